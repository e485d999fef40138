"""What DuckDB and Trino spell differently, said once. Everything else in a check is SQL that both read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence


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

    @abstractmethod
    def quantiles(self, number: str, fractions: Sequence[float]) -> list[str]:
        """Return an aggregate for each of ``fractions``: the value below which that share of the numbers lies."""

    @abstractmethod
    def distinct_count(self, column: str) -> str:
        """Return the aggregate that estimates how many values differ, in bounded memory."""


class DuckDB(Dialect):
    """DuckDB, whose session runs in UTC."""

    name = "duckdb"

    def matches(self, text: str, pattern: str) -> str:
        return f"regexp_matches({text}, {pattern})"

    def is_nan(self, number: str) -> str:
        return f"isnan({number})"

    def moment(self, column: str, kind: str) -> str:
        return f"TRY_CAST({column} AS TIMESTAMP WITH TIME ZONE)"

    def quantiles(self, number: str, fractions: Sequence[float]) -> list[str]:
        # exact; DuckDB computes the list once
        whole = f"quantile_cont({number}, [{', '.join(map(repr, fractions))}])"
        return [f"{whole}[{place}]" for place in range(1, len(fractions) + 1)]

    def distinct_count(self, column: str) -> str:
        return f"approx_count_distinct({column})"


DUCKDB = DuckDB()
