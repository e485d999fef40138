"""Where a contract's values are: columns, members of structs, and members of the structs in lists, as SQL."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from airflow_provider_phlo.contracts.model.contract import ITEM
from airflow_provider_phlo.quality.engines.dialects import Dialect
from airflow_provider_phlo.sql import Query, quote_identifier
from airflow_provider_phlo.suggestions import did_you_mean

# makes the condition of a value: of its SQL, and its type in DuckDB's words
Condition = Callable[[str, str], Query]


@dataclass(frozen=True)
class Place:
    """
    A column, or a member below it.

    :param path: the names, from the column on; :data:`~.contract.ITEM` for any item of a list.
    """

    path: tuple[str, ...]

    @property
    def name(self) -> str:
        """The names, joined by dots."""
        return ".".join(self.path).replace(f".{ITEM}", ITEM)

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return why a table with columns of these types does not have it, or None."""
        column, *members = self.path
        if column not in types:
            return f"the table has no column {column}.{did_you_mean(column, types)}".rstrip(".")
        kind, above = types[column], column
        for member in members:
            if member == ITEM:
                if not kind.endswith("]"):
                    return f"{above} is not a list"
                kind, above = _item(kind), f"{above}{ITEM}"
                continue
            inside = members_of(item_of(kind))
            if member not in inside:
                return f"{above} has no member {member}.{did_you_mean(member, inside)}".rstrip(".")
            kind, above = inside[member], f"{above}.{member}"
        return None

    def kind(self, types: Mapping[str, str]) -> str:
        """Return its type, in DuckDB's words."""
        kind = types[self.path[0]]
        for member in self.path[1:]:
            kind = _below(kind, member)
        return kind

    def in_list(self, types: Mapping[str, str]) -> bool:
        """Return whether one row can have many of it."""
        kinds = [types[self.path[0]]]
        for member in self.path[1:]:
            kinds.append(_below(kinds[-1], member))
        return any(kind.endswith("]") for kind in kinds[:-1])

    def value(self) -> str:
        """Return it as SQL; not for members of lists."""
        value = quote_identifier(self.path[0])
        for member in self.path[1:]:
            value = _member(value, member)
        return value

    def any_of(self, types: Mapping[str, str], condition: Condition, dialect: Dialect) -> Query:
        """Return the condition that a row has a value that meets ``condition``; what a NULL would hold is not one."""

        def below(value: str, kind: str, path: tuple[str, ...], depth: int) -> Query:
            if not path:
                return condition(value, kind)
            if kind.endswith("]"):
                name = f"item{depth}"
                inner = below(name, _item(kind), _within(path), depth + 1)
                return Query(dialect.any_item(value, name, inner.sql), inner.parameters)
            inner = below(_member(value, path[0]), members_of(kind)[path[0]], path[1:], depth)
            return Query(f"({value} IS NOT NULL AND {inner.sql})", inner.parameters)

        return below(quote_identifier(self.path[0]), types[self.path[0]], self.path[1:], 0)

    def count(self, types: Mapping[str, str], condition: Condition | None, dialect: Dialect) -> Query:
        """Return the aggregate that counts the values that meet ``condition``; all of them where that is None."""

        def below(value: str, kind: str, path: tuple[str, ...], depth: int) -> Query:
            if not path:
                met = condition(value, kind) if condition else Query("true")
                return Query(f"CASE WHEN {met.sql} THEN 1 ELSE 0 END", met.parameters)
            if kind.endswith("]"):
                name = f"item{depth}"
                inner = below(name, _item(kind), _within(path), depth + 1)
                return Query(dialect.sum_items(value, name, inner.sql), inner.parameters)
            inner = below(_member(value, path[0]), members_of(kind)[path[0]], path[1:], depth)
            return Query(f"CASE WHEN {value} IS NULL THEN 0 ELSE {inner.sql} END", inner.parameters)

        each = below(quote_identifier(self.path[0]), types[self.path[0]], self.path[1:], 0)
        return Query(f"coalesce(sum({each.sql}), 0)", each.parameters)


def _item(kind: str) -> str:
    return kind[: kind.rindex("[")]


def _within(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path within an item of a list; members are named without the lists that they are in."""
    return path[1:] if path[0] == ITEM else path


def _below(kind: str, name: str) -> str:
    return _item(kind) if name == ITEM else members_of(item_of(kind))[name]


def item_of(kind: str) -> str:
    """Return the type of a list's items, through lists of lists; another type as it is."""
    while kind.endswith("]"):
        kind = kind[: kind.rindex("[")]
    return kind


@cache
def members_of(kind: str) -> Mapping[str, str]:
    """Return the types of a struct's members, by name; none of another type."""
    if not kind.startswith("STRUCT"):
        return {}
    import duckdb

    found: list[tuple[str, Any]] = duckdb.sqltype(kind).children
    return {name: str(child) for name, child in found}


def _member(value: str, name: str) -> str:
    return f"({value}).{quote_identifier(name)}"
