"""Rows of a person in a DuckDB file that was published: the file is replaced by one that never had them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.places import Found, Kind
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing.duckdb_file import DuckDBPublisher
from airflow_provider_phlo.sql import quote_identifier


@dataclass(frozen=True)
class DuckDBPlace:
    """
    A table of a file.

    :param key: under the table's names of the columns.
    """

    path: Path
    schema: str
    table: str
    key: Key
    kind: Kind = Kind.EXPORT

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"{self.path}:{self.schema}.{self.table}"

    def find(self) -> Found:
        """
        Count the rows; nothing is changed.

        :raises TransientError: the file cannot be read: it is in pieces, or another process writes to it.
        """
        if not self.path.exists():
            return Found()
        try:
            with duckdb.connect(self.path, read_only=True) as connection:
                count = self._rows(connection)
        except duckdb.Error as error:
            raise TransientError(f"{self.path} cannot be searched: {describe(error)}.") from None
        return Found({"rows": count} if count else {})

    def erase(self) -> None:
        """
        Replace the file by a copy without the rows: in DuckDB, what is deleted stays on the file's pages.

        :raises ConfigurationError: another process writes to it.
        :raises TransientError: the disk is full.
        """
        if self.find():
            DuckDBPublisher(self.path, schema=self.schema).replace_without(self._delete)

    def _rows(self, connection: duckdb.DuckDBPyConnection) -> int:
        condition = self._condition(connection)
        if not condition:
            return 0
        ((count,),) = connection.execute(f"SELECT count(*) FROM {condition}", self._values).fetchall()  # noqa: S608 - quoted
        return int(count)

    def _delete(self, connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute(f"DELETE FROM {self._condition(connection)}", self._values)  # noqa: S608 - quoted

    def _condition(self, connection: duckdb.DuckDBPyConnection) -> str:
        """Return the table and which of its rows are theirs, as SQL; nothing if it does not have the columns."""
        types = dict(
            connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() "
                "WHERE database_name = current_database() AND schema_name = ? AND table_name = ?",
                [self.schema, self.table],
            ).fetchall()
        )
        if not self.key.values.keys() <= types.keys():
            return ""
        # what is not a value of the column's type is nobody's
        columns = (f"{quote_identifier(name)} = TRY_CAST(? AS {types[name]})" for name in self.key.values)
        return f"{quote_identifier(self.schema)}.{quote_identifier(self.table)} WHERE {' AND '.join(columns)}"

    @property
    def _values(self) -> list[str]:
        return list(self.key.values.values())
