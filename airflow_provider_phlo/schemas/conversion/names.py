"""Names of columns: dlt's convention, and which names of a source are one column however they are written."""

from __future__ import annotations

import re
from collections.abc import Callable

from airflow_provider_phlo.exceptions import SchemaError

# what styles of writing a name differ in: dateString, date_string, Date-String
_SEPARATORS = re.compile(r"[\s_.-]+")


class ColumnNames:
    """
    The names that a source's names get in one table, for all batches of a run.

    :param normalize: dlt's naming convention. It replaces what it does not know, so that names with nothing in common
        can come out as one.
    :param table: named in errors.
    """

    def __init__(self, normalize: Callable[[str], str], table: str) -> None:
        self._normalize = normalize
        self._table = table
        self._sources: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        """
        Return the column's name.

        :raises SchemaError: if another name of the source has that already, and is not the same name in another style.
        """
        column = self._normalize(name)
        other = self._sources.setdefault(column, name)
        if other != name and _plain(other) != _plain(name):
            raise SchemaError(
                f"{self._table}: source columns {other!r:.80} and {name!r:.80} are both named {column!r} in the table: "
                "rename one at the source, before its rows are yielded."
            )
        return column


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()
