"""
What of dlt a table honours, and what is refused by name; docs/dlt.md lists all of it.

dlt's hints describe tables that dlt itself would write. Here the decorator describes the table: a hint that says the
same, or that this package can honour, is taken; one that would change what is written, and cannot be honoured, is a
:class:`ConfigurationError` before a row is read.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from dlt.common.configuration.container import Container
from dlt.common.pipeline import LoadInfo
from dlt.extract import DltResource, DltSource
from dlt.extract.extractors import ImportFileMeta
from dlt.extract.hints import HintsMeta
from dlt.extract.incremental import Incremental, IncrementalResourceWrapper
from dlt.extract.incremental.context import TimeIntervalContext
from dlt.extract.items import TableNameMeta

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.schemas.columns import DECIMAL, TIMESTAMP
from airflow_provider_phlo.schemas.conversion.undeclared import BEYOND_LONG, NAIVE

_TYPES = {
    "text": pa.string(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "timestamp": TIMESTAMP,
    "bigint": pa.int64(),
    "binary": pa.binary(),
    "decimal": DECIMAL,
    "wei": BEYOND_LONG,
    "date": pa.date32(),
    "time": pa.time64("us"),
}
# what says the same as this package does anyway
_HARMLESS: Mapping[str, tuple[Any, ...]] = {
    "table_format": ("iceberg", "native"),
    "file_format": ("parquet", "preferred"),
    "max_table_nesting": (0,),
    "root_key": (False,),
    "parent_table_name": (),
    "references": (),
    "nested_hints": (),
    "additional_table_hints": (),
}
_INSTEAD = {
    "table_format": "the table is an Iceberg table",
    "file_format": "batches are staged as Parquet",
    "max_table_nesting": "nested values stay in the row, as JSON or as the schema declares them",
    "root_key": "nested values stay in the row: there are no child tables",
    "parent_table_name": "nested values stay in the row: there are no child tables",
    "references": "Iceberg tables have no foreign keys: check them with a CustomSQLCheck",
    "nested_hints": "nested values stay in the row: there are no child tables",
    "additional_table_hints": "set table_properties of @phlo_ingestion",
}
_STRATEGIES = {
    "scd2": "keep history with a dbt snapshot",
    "cdc": "name order_by and hard_delete in merge_config",
    "insert-only": "use merge_strategy='append' with deduplication",
}
_CONTRACT = (
    "say it in the validation schema: Config.strict = True makes rows with unknown columns bad, strict = 'filter' "
    "drops such columns, and [phlo] undeclared_types = error refuses other types"
)
_COLUMN_FLAGS = {
    "dedup_sort": "name the column in merge_config={'order_by': …}",
    "partition": "name it in partition_by",
    "cluster": "name it in sort_by",
    "sort": "name it in sort_by",
    "row_key": "rows have _dlt_id",
    "parent_key": "nested values stay in the row: there are no child tables",
    "root_key": "nested values stay in the row: there are no child tables",
    "unique": "declare it in the schema: Field(unique=True)",
}


@dataclass
class Hints:
    """
    What a resource's hints say of the columns, by names as the table has them.

    :param hard_delete: the column that marks deletions; empty for none.
    :param types: of columns with a ``data_type``.
    :param required: columns with ``nullable=False``.
    """

    hard_delete: str = ""
    types: dict[str, pa.DataType] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)


def read_hints(yielded: Any, table: str, key: tuple[str, ...], normalize: Callable[[str], str]) -> Hints:
    """
    Return what the hints of a dlt source or resource say of the columns.

    :param yielded: what the source function returned; anything but dlt's has no hints.
    :param key: the table's ``unique_key``.
    :param normalize: dlt's naming convention.
    :raises ConfigurationError: if one cannot be honoured; names it, and what to do instead.
    """
    if isinstance(yielded, LoadInfo):
        raise _refusal(table, "run", "return the source, which loads into no destination of dlt's own then")
    if isinstance(yielded, DltSource):
        if yielded.schema.data_table_names(include_incomplete=True):
            raise _refusal(table, "schema with tables", "the validation schema declares the columns")
        contract = yielded.schema_contract
        if contract and not _evolves(contract):
            raise _refusal(table, "schema_contract", _CONTRACT)
        _require_harmless(table, {"max_table_nesting": yielded.max_table_nesting or 0, "root_key": yielded.root_key})
        selected = list(yielded.selected_resources.values())
        yielded = selected[0] if len(selected) == 1 else None
    if not isinstance(yielded, DltResource):
        return Hints()
    _require_harmless(table, {"max_table_nesting": yielded.max_table_nesting or 0})
    if yielded.has_dynamic_table_name:
        raise _refusal(table, "table_name=lambda", "its rows go to one table: write a resource per table, or filter")
    hints = dict(yielded._hints or {})
    if yielded.validator is not None:  # it applies the contract of its own model as rows pass
        hints.pop("schema_contract", None)
    found = Hints()
    _read(hints, found, table, key, normalize, yielded.name)
    return found


def _read(
    hints: Mapping[str, Any],
    found: Hints,
    table: str,
    key: tuple[str, ...],
    normalize: Callable[[str], str],
    name: str = "",
) -> None:
    """Add what ``hints`` say to ``found``."""
    for hint, value in hints.items():
        if callable(value) and hint not in ("incremental", "validator", "original_columns"):
            raise _refusal(table, f"{hint}=lambda", "its rows go to one table: give a value")
    _require_harmless(table, hints)
    contract = hints.get("schema_contract")
    if contract and not _evolves(contract):
        raise _refusal(table, "schema_contract", _CONTRACT)
    if hints.get("table_name") not in (None, "", name, table, table.rpartition(".")[2]):
        raise _refusal(table, f"table_name={hints['table_name']!r}", "table_name of @phlo_ingestion names the table")
    _require_disposition(table, hints.get("write_disposition"))
    columns = _by_name(hints.get("columns") or {})
    for hint in ("primary_key", "merge_key"):
        _require_key(table, hint, hints.get(hint), columns, key, normalize)
    for column, content in columns.items():
        _read_column(normalize(column), content, found, table)


def _by_name(columns: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(columns, Mapping):
        return columns
    return {str(item["name"]): item for item in columns} if isinstance(columns, (list, tuple)) else {}


def _read_column(name: str, content: Mapping[str, Any], found: Hints, table: str) -> None:
    for flag, instead in _COLUMN_FLAGS.items():
        if content.get(flag):
            raise _refusal(table, f"{flag} of column {name!r}", instead)
    if content.get("hard_delete"):
        found.hard_delete = name
    kind = content.get("data_type")
    if kind not in (None, "json"):  # values say themselves whether they are nested
        found.types[name] = _type_of(str(kind), content)
    if content.get("nullable") is False:
        found.required.append(name)


def _type_of(kind: str, content: Mapping[str, Any]) -> pa.DataType:
    if kind == "decimal" and content.get("precision"):
        return pa.decimal128(min(int(content["precision"]), 38), int(content.get("scale") or 0))
    if kind == "timestamp" and content.get("timezone") is False:
        return NAIVE
    return _TYPES[kind]


def _evolves(contract: Any) -> bool:
    modes = contract.values() if isinstance(contract, Mapping) else [contract]
    return all(mode == "evolve" for mode in modes)


def _require_harmless(table: str, hints: Mapping[str, Any]) -> None:
    for hint, allowed in _HARMLESS.items():
        value = hints.get(hint)
        if value and value not in allowed:
            raise _refusal(table, hint if isinstance(value, (dict, list)) else f"{hint}={value!r}", _INSTEAD[hint])


def _require_disposition(table: str, disposition: Any) -> None:
    if disposition == "skip":
        raise _refusal(table, "write_disposition='skip'", "return None to skip")
    strategy = disposition.get("strategy") if isinstance(disposition, Mapping) else None
    if strategy in _STRATEGIES:
        raise _refusal(table, f"write_disposition strategy {strategy!r}", _STRATEGIES[strategy])


def _require_key(
    table: str,
    hint: str,
    value: Any,
    columns: Mapping[str, Mapping[str, Any]],
    key: tuple[str, ...],
    normalize: Callable[[str], str],
) -> None:
    """Refuse a key that is not the table's: rows would be merged by a key that the resource does not mean."""
    named = [value] if isinstance(value, str) else [*(value or ())]
    named += [name for name, content in columns.items() if content.get(hint)]
    meant = {normalize(name) for name in named}
    if meant and key and meant != set(key):
        raise _refusal(
            table, f"{hint} {', '.join(sorted(meant))}", f"unique_key is {', '.join(key)}, and both have to be the same"
        )


def _refusal(table: str, hint: str, instead: str) -> ConfigurationError:
    return ConfigurationError(f"{table}: dlt's {hint} cannot be honoured here: {instead}.")


def watched(yielded: Any, note: Callable[[Any], None]) -> Iterator[Any]:
    """
    Yield what ``yielded`` yields; each mark that dlt's ``mark`` has set on an item is shown to ``note``.

    :param note: takes the mark; may raise.
    """
    if not isinstance(yielded, DltResource):
        yield from yielded
        return

    def look(item: Any, meta: Any = None) -> Any:
        if meta is not None:
            note(meta)
        return item

    pipe = yielded._pipe
    before = {id(step) for step in pipe.steps}
    pipe.append_step(look)
    added = next(step for step in pipe.steps if id(step) not in before)
    try:
        yield from yielded
    finally:  # a resource may be a global that the next run uses again
        for position, step in enumerate(pipe.steps):
            if step is added:
                pipe.remove_step(position)
                break


def read_mark(mark: Any, found: Hints, table: str, key: tuple[str, ...], normalize: Callable[[str], str]) -> None:
    """
    Add what a mark on an item says to ``found``.

    :raises ConfigurationError: if it cannot be honoured.
    """
    if isinstance(mark, TableNameMeta):
        if normalize(mark.table_name) not in (table, table.rpartition(".")[2]):
            raise _refusal(
                table,
                f"mark.with_table_name({mark.table_name!r})",
                "its rows go to one table: write a resource per table",
            )
    elif isinstance(mark, ImportFileMeta):
        raise _refusal(
            table,
            "mark.with_file_import",
            "rows are read here: yield what the file holds, e.g. pyarrow.parquet.read_table",
        )
    elif isinstance(mark, HintsMeta):
        if mark.create_table_variant:
            raise _refusal(table, "mark.with_hints(create_table_variant=True)", "its rows go to one table")
        _read(mark.hints or {}, found, table, key, normalize)


def kept_cursors(yielded: Any) -> Iterator[tuple[str, str | None]]:
    """
    Yield the cursors that a dlt source or resource that was read keeps in dlt's state, its parents included.

    One with an ``end_value``, or the window of a scheduler, keeps none.

    :returns: names of resources, each with the path of a cursor, or None for whatever else it keeps.
    """
    if isinstance(yielded, DltSource):
        yielded = next(iter(yielded.selected_resources.values()))
    pipe = yielded._pipe if isinstance(yielded, DltResource) else None
    while pipe is not None:
        yield pipe.name, None
        for step in pipe.steps:
            cursor = step.incremental if isinstance(step, IncrementalResourceWrapper) else step
            if isinstance(cursor, Incremental) and cursor.end_value is None:
                yield pipe.name, cursor.cursor_path
        pipe = pipe.parent


@contextmanager
def day_for_schedulers(partition_date: str, zone: str = "UTC") -> Iterator[None]:
    """
    Give an incremental with ``allow_external_schedulers`` the partition date as its window.

    :param partition_date: ``YYYY-MM-DD``.
    :param zone: whose day it is.
    """
    start = datetime.datetime.fromisoformat(partition_date).replace(tzinfo=ZoneInfo(zone))
    end = start + datetime.timedelta(days=1)  # the wall clock's: 23 or 25 hours where the clocks change
    with Container().injectable_context(TimeIntervalContext((start, end))):
        yield


@contextmanager
def duckdb_reader() -> Iterator[None]:
    """Let dlt's ``read_csv_duckdb`` work with DuckDB 2, whose relations have no ``fetchmany``."""
    readers: Any = sys.modules.get("dlt.sources.filesystem.readers")
    if readers is None:
        yield
        return
    original = readers.fetch_json
    readers.fetch_json = _records_of_relation
    try:
        yield
    finally:
        readers.fetch_json = original


def _records_of_relation(relation: Any, size: int) -> Iterator[list[dict[str, Any]]]:
    for batch in relation.to_arrow_reader(size):
        yield batch.to_pylist()
