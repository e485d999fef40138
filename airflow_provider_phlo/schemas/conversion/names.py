"""Names of columns: dlt's convention, and which names of a source are one column however they are written."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import pyarrow as pa

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.types import DOC

# what styles of writing a name differ in: dateString, date_string, Date-String
# how the comment on a column begins whose name does not show that of the source
_COMMENT = "Source name: "
_SEPARATORS = re.compile(r"[\s_.-]+")


class ColumnNames:
    """
    The names that a source's names get in one table, for all batches of a run.

    :param normalize: dlt's naming convention. It replaces what it does not know, so that names with nothing in common
        can come out as one.
    :param table: named in errors.
    :param comments: those on the table's columns: :meth:`noted` wrote there which source names came out as which.
    """

    def __init__(
        self, normalize: Callable[[str], str], table: str, comments: Mapping[str, str | None] | None = None
    ) -> None:
        self._normalize = normalize
        self._table = table
        self._sources = {
            column: comment.partition(_COMMENT)[2]
            for column, comment in (comments or {}).items()
            if comment and _COMMENT in comment
        }

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

    def noted(self, rows: pa.Table) -> pa.Table:
        """Return ``rows`` with the source's name as comment on the columns whose own name does not show it."""
        fields = [
            item.with_metadata({**(item.metadata or {}), DOC: f"{_before(item)}{_COMMENT}{self._sources[item.name]}"})
            if _plain(self._sources.get(item.name, item.name)) != _plain(item.name)
            else item
            for item in rows.schema
        ]
        return pa.table(rows.columns, schema=pa.schema(fields))


def _before(item: pa.Field) -> str:
    """Return what the comment on a column says already, which says what its text holds."""
    comment = (item.metadata or {}).get(DOC, b"").decode().partition(_COMMENT)[0].rstrip("; ")
    return f"{comment}; " if comment else ""


def _plain(name: str) -> str:
    return _SEPARATORS.sub("", name).casefold()
