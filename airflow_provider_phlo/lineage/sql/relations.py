"""What is known of the rows of a table or query: its columns, and where the values of each come from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property


class How(StrEnum):
    """What a column does to the values of another one; the weakest first."""

    COPIED = "copied"
    COMPUTED = "computed"
    AGGREGATED = "aggregated"


class Effect(StrEnum):
    """What a column decides about the rows of a table: which there are, or which of several."""

    FILTERED = "filtered"
    JOINED = "joined"
    GROUPED = "grouped"
    DEDUPLICATED = "deduplicated"
    SORTED = "sorted"


#: A column of a table: the table's id, and the column's name.
Origin = tuple[str, str]
Origins = dict[Origin, How]
Effects = dict[Origin, Effect]

_STRENGTH = {how: rank for rank, how in enumerate(How)}


@dataclass(frozen=True)
class Value:
    """
    Where the values of a column or expression come from.

    :param origins: the columns they are made from, and how; never more than are certain.
    :param unknown: why that is not all there is; None if it is.
    """

    origins: Mapping[Origin, How] = field(default_factory=dict)
    unknown: str | None = None

    def at_least(self, how: How) -> Value:
        """Return the value after it was made into something else."""
        if how is How.COPIED or not self.origins:
            return self
        return Value({origin: stronger(how, each) for origin, each in self.origins.items()}, self.unknown)


def stronger(first: How, second: How) -> How:
    """Return the one of two that changes more."""
    return first if _STRENGTH[first] >= _STRENGTH[second] else second


def combined(values: Iterable[Value]) -> Value:
    """Return what is made of all of these values."""
    origins: Origins = {}
    unknown = None
    for value in values:
        for origin, how in value.origins.items():
            known = origins.get(origin)
            origins[origin] = how if known is None else stronger(known, how)
        unknown = unknown or value.unknown
    return Value(origins, unknown)


@dataclass(frozen=True)
class Column:
    """
    A column of a query.

    :param name: None if the engine names it.
    """

    name: str | None
    value: Value

    @property
    def key(self) -> str | None:
        """Return what the name is compared by: upper and lower case are the same to both engines."""
        return None if self.name is None else self.name.lower()


@dataclass(frozen=True)
class Rest:
    """
    Columns whose names are not known.

    :param table: of this table, whose own column names they have.
    :param value: what every such column comes from, where it is not of a table.
    :param hidden: names that are not among them, in lower case.
    """

    table: str | None = None
    value: Value = field(default_factory=Value)
    hidden: frozenset[str] = frozenset()

    def find(self, name: str) -> Value | None:
        """Return the value of the column ``name``, if there may be one."""
        if name.lower() in self.hidden:
            return None
        return self.value if self.table is None else Value({(self.table, name): How.COPIED})

    def without(self, names: Iterable[str]) -> Rest:
        """Return the rest without some names, in lower case."""
        return Rest(self.table, self.value, self.hidden | frozenset(names))


@dataclass(frozen=True)
class Relation:
    """
    The rows of a table or query.

    :param columns: the columns whose names are known, in their order.
    :param rests: where there are others.
    :param effects: the columns that decide which rows there are.
    """

    columns: Sequence[Column] = ()
    rests: tuple[Rest, ...] = ()
    effects: Mapping[Origin, Effect] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> Mapping[str, Value]:
        found: dict[str, Value] = {}
        for column in self.columns:
            if column.key is None:
                continue
            twice = column.key in found
            found[column.key] = Value({}, f"two columns are called {column.name}") if twice else column.value
        return found

    def find(self, name: str) -> Value | None:
        """Return the value of the column ``name`` among those whose names are known."""
        return self._by_name.get(name.lower())

    def may_have(self, name: str) -> list[Value]:
        """Return the value that the column ``name`` has in each rest that may have it."""
        return [value for rest in self.rests if (value := rest.find(name)) is not None]

    @property
    def whole(self) -> Value:
        """Return what is made of all columns together."""
        values = [column.value for column in self.columns]
        values += [
            rest.value if rest.table is None else Value({}, f"not all columns of {rest.table} are known")
            for rest in self.rests
        ]
        return combined(values)

    def renamed(self, names: Sequence[str]) -> Relation:
        """Return the relation with other names for its first columns, as ``AS t(a, b)`` gives."""
        if not names:
            return self
        if self.rests:
            unknown = Value({}, "columns are named by position, and not all of them are known")
            if not self.columns and len(self.rests) == 1 and self.rests[0].table is None:
                unknown = self.rests[0].value
            return Relation([Column(name, unknown) for name in names], (), self.effects)
        pairs = zip(names, self.columns, strict=False)
        columns = [Column(name, column.value) for name, column in pairs]
        return Relation([*columns, *self.columns[len(names) :]], (), self.effects)


def table_relation(table: str, columns: Iterable[str], *, complete: bool) -> Relation:
    """
    Return what a table is to the queries that read it.

    :param table: its id.
    :param columns: the names of its columns.
    :param complete: whether these are all.
    """
    known = [Column(name, Value({(table, name): How.COPIED})) for name in columns]
    hidden = frozenset(column.name.lower() for column in known if column.name is not None)
    return Relation(known, () if complete else (Rest(table, hidden=hidden),))


def unknown_relation(reason: str) -> Relation:
    """Return a relation whose columns are not known."""
    return Relation((), (Rest(value=Value({}, reason)),))


def effects_of(value: Value, effect: Effect) -> Iterator[tuple[Origin, Effect]]:
    """Yield the columns that a condition is made of, as what decides about rows."""
    for origin in value.origins:
        yield origin, effect
