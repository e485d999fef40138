"""What DuckDB and Trino spell differently, in one place. Everything else in a check is SQL that both read."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

# an escaped character, a class of characters, or the end of the text
_PATTERN_TOKENS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)
_MULTILINE = re.compile(r"\(\?[a-z]*m")


class Dialect(ABC):
    """
    What one engine spells in its own way.

    Arguments that are SQL are put into the text as they are: identifiers are already quoted, values are ``?`` markers.
    """

    name: str

    @abstractmethod
    def matches(self, text: str, pattern: str) -> str:
        """Return the condition that the regular expression ``pattern`` is found in ``text``."""

    def pattern(self, pattern: str) -> str:
        """Return a regular expression in the form in which the engine reads it as DuckDB does."""
        return pattern

    @abstractmethod
    def is_nan(self, number: str) -> str:
        """Return the condition that a floating point ``number`` is NaN."""

    @abstractmethod
    def instant(self, column: str, kind: str) -> str:
        """
        Return ``column`` as a time with a zone, NULL where it holds none; dates and times without a zone count as UTC.

        :param kind: the column's type, in DuckDB's words.
        """

    def day(self, column: str, kind: str) -> str:
        """
        Return the UTC day of a date or a time.

        :param kind: the column's type, in DuckDB's words.
        """
        return f"CAST({column} AS DATE)"

    @abstractmethod
    def quantiles(self, number: str, fractions: Sequence[float]) -> list[str]:
        """Return an aggregate for each of ``fractions``: the value below which that share of the numbers lies."""

    @abstractmethod
    def any_item(self, items: str, name: str, condition: str) -> str:
        """
        Return the condition that an item of a list meets ``condition``; false for NULL.

        :param name: what ``condition`` calls the item.
        """

    @abstractmethod
    def sum_items(self, items: str, name: str, number: str) -> str:
        """Return the sum of ``number`` over the items of a list, which it calls ``name``; 0 for NULL."""

    @abstractmethod
    def item_count(self, items: str) -> str:
        """Return the number of items of a list."""

    @abstractmethod
    def repeats_items(self, items: str) -> str:
        """Return the condition that a list holds an item twice, beside NULL; NULL for NULL."""

    @abstractmethod
    def distinct_count(self, column: str) -> str:
        """Return the aggregate that estimates the number of distinct values, in bounded memory."""


class DuckDBDialect(Dialect):
    """DuckDB, whose session runs in UTC."""

    name = "duckdb"

    def matches(self, text: str, pattern: str) -> str:
        return f"regexp_matches({text}, {pattern})"

    def is_nan(self, number: str) -> str:
        return f"isnan({number})"

    def instant(self, column: str, kind: str) -> str:
        return f"TRY_CAST({column} AS TIMESTAMP WITH TIME ZONE)"

    def day(self, column: str, kind: str) -> str:
        return super().day(self.without_nanoseconds(column) if kind.endswith("_NS") else column, kind)

    def without_nanoseconds(self, column: str) -> str:
        """Return a time without its nanoseconds, which DuckDB's own cast would round, as a timestamp in UTC."""
        return f"make_timestamp(epoch_ns({column}) // 1000)"

    def quantiles(self, number: str, fractions: Sequence[float]) -> list[str]:
        # exact; DuckDB computes the list only once
        values = f"quantile_cont({number}, [{', '.join(map(repr, fractions))}])"
        return [f"{values}[{index}]" for index in range(1, len(fractions) + 1)]

    def any_item(self, items: str, name: str, condition: str) -> str:
        return f"coalesce(len(list_filter({items}, lambda {name}: {condition})) > 0, false)"

    def sum_items(self, items: str, name: str, number: str) -> str:
        return f"coalesce(list_sum(list_transform({items}, lambda {name}: {number})), 0)"

    def item_count(self, items: str) -> str:
        return f"len({items})"

    def repeats_items(self, items: str) -> str:
        return f"len(list_distinct({items})) < len(list_filter({items}, lambda item: item IS NOT NULL))"

    def distinct_count(self, column: str) -> str:
        return f"approx_count_distinct({column})"


class TrinoDialect(Dialect):
    """Trino, whose session runs in UTC."""

    name = "trino"

    def matches(self, text: str, pattern: str) -> str:
        return f"regexp_like({text}, {pattern})"

    def pattern(self, pattern: str) -> str:
        """Keep ``$`` from matching before a line break at the end of the text."""
        if _MULTILINE.search(pattern):
            return pattern
        return _PATTERN_TOKENS.sub(lambda token: r"\z" if token[0] == "$" else token[0], pattern)

    def is_nan(self, number: str) -> str:
        return f"is_nan({number})"

    def instant(self, column: str, kind: str) -> str:
        if not kind.startswith("VARCHAR"):
            return f"CAST({column} AS TIMESTAMP(6) WITH TIME ZONE)"
        # the function reads a zone as +02:00 only
        zoned = (
            rf"regexp_replace({column}, '([T ]\d\d:[\d:.]+[+-]\d\d)(\d\d)?$', "
            "x -> x[1] || ':' || coalesce(x[2], '00'))"
        )
        spaced = f"TRY_CAST({column} AS TIMESTAMP(6) WITH TIME ZONE)"
        return f"coalesce(TRY(from_iso8601_timestamp_nanos(replace({zoned}, ' ', 'T'))), {spaced})"

    def quantiles(self, number: str, fractions: Sequence[float]) -> list[str]:
        values = f"approx_percentile({number}, ARRAY[{', '.join(f'{fraction:.9f}E0' for fraction in fractions)}])"
        return [f"{values}[{index}]" for index in range(1, len(fractions) + 1)]

    def any_item(self, items: str, name: str, condition: str) -> str:
        return f"coalesce(any_match({items}, {name} -> {condition}), false)"

    def sum_items(self, items: str, name: str, number: str) -> str:
        return f"coalesce(reduce({items}, 0, (total, {name}) -> total + {number}, total -> total), 0)"

    def item_count(self, items: str) -> str:
        return f"cardinality({items})"

    def repeats_items(self, items: str) -> str:
        present = f"filter({items}, item -> item IS NOT NULL)"
        return f"cardinality(array_distinct({present})) < cardinality({present})"

    def distinct_count(self, column: str) -> str:
        return f"approx_distinct({column})"


DUCKDB = DuckDBDialect()
TRINO = TrinoDialect()
