"""What DuckDB and Trino spell differently, said once. Everything else in a check is SQL that both read."""

from __future__ import annotations

from abc import ABC, abstractmethod


class Dialect(ABC):
    """
    One engine's words.

    Arguments that are SQL are written into the text as they are: identifiers come quoted, values as ``?``.
    """

    name: str

    @abstractmethod
    def matches(self, text: str, pattern: str) -> str:
        """Return the condition that the regular expression ``pattern`` is found in ``text``."""

    @abstractmethod
    def is_nan(self, number: str) -> str:
        """Return the condition that a floating point ``number`` is NaN."""

    @abstractmethod
    def moment(self, column: str, kind: str) -> str:
        """
        Return ``column`` as a time with zone, NULL where it holds none; dates and times without a zone count as UTC.

        :param kind: the column's type, in DuckDB's words.
        """


class DuckDB(Dialect):
    """DuckDB, whose session runs in UTC."""

    name = "duckdb"

    def matches(self, text: str, pattern: str) -> str:
        return f"regexp_matches({text}, {pattern})"

    def is_nan(self, number: str) -> str:
        return f"isnan({number})"

    def moment(self, column: str, kind: str) -> str:
        return f"TRY_CAST({column} AS TIMESTAMP WITH TIME ZONE)"


DUCKDB = DuckDB()
