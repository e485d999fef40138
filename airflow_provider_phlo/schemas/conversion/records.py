"""Records as columns, and which of them cannot be: a name is text, not empty, and has one value per record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from airflow_provider_phlo.plain_values import PLAIN_TYPES, plain_value
from airflow_provider_phlo.schemas.failures import Failure

Records: TypeAlias = Sequence[Mapping[str, Any]]

# characters; catalogs keep names in columns of 255 and the like
LONGEST_NAME = 255


class Malformed(dict[str, Any]):
    """
    Something that a source yielded instead of a record; as a mapping it is empty.

    :param raw: what the source yielded.
    :param check: the rule that it breaks: ``is_json``, ``is_record`` or ``unique_names``.
    """

    def __init__(self, raw: Any, check: str) -> None:
        super().__init__()
        self.raw = raw
        self.check = check


def is_name(name: Any) -> bool:
    """Return whether a table can have a column for a source's ``name``."""
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
        return False
    return name.encode(errors="ignore").decode() == name  # half a surrogate pair is not text


def columns_of_records(
    records: Records, normalize: Callable[[str], str], failures: list[Failure]
) -> dict[str, list[Any]]:
    """
    Return the values of each column, by its normalised name, in the order of the records.

    :param normalize: dlt's naming convention.
    :param failures: gets the rows that are not records, or whose names cannot be columns; these rows are empty.
    """
    originals: dict[str, dict[str, None]] = {}
    # what is wrong with a record's names, by these names: most records have the same ones
    layouts: dict[tuple[Any, ...], str] = {}
    for record in records:
        names = tuple(record)
        if names not in layouts:
            layouts[names] = _problem(names, normalize)
            for name in names if not layouts[names] else ():
                originals.setdefault(normalize(name), {})[name] = None
    if () in layouts or any(layouts.values()):
        records = _readable(records, layouts, failures)
    return {name: _values(records, list(found)) for name, found in originals.items()}


def _problem(names: tuple[Any, ...], normalize: Callable[[str], str]) -> str:
    if not all(map(is_name, names)):
        return "column_names"
    return "" if len(set(map(normalize, names))) == len(names) else "unique_names"


def _readable(records: Records, layouts: Mapping[tuple[Any, ...], str], failures: list[Failure]) -> Records:
    """Return ``records`` with an empty one for each that cannot be read."""
    bad: dict[str, list[int]] = {}
    for position, record in enumerate(records):
        check = record.check if isinstance(record, Malformed) else layouts[tuple(record)]
        if check:
            bad.setdefault(check, []).append(position)
    failures += [Failure("", check, tuple(positions)) for check, positions in bad.items()]
    unreadable = {position for positions in bad.values() for position in positions}
    return [{} if position in unreadable else record for position, record in enumerate(records)]


def _values(records: Records, names: list[str]) -> list[Any]:
    if len(names) == 1:
        [name] = names
        values = [record.get(name) for record in records]
    else:
        values = [next((record[name] for name in names if name in record), None) for record in records]
    if PLAIN_TYPES.issuperset(map(type, values)):
        return values
    return [value if type(value) in PLAIN_TYPES else plain_value(value) for value in values]
