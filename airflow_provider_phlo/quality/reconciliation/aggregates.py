"""Compare aggregates of two sides, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.reconciliation.differences import (
    DIFFERENT,
    EXTRA,
    MISSING,
    REPEATED,
    SAME,
    Differences,
    KeyLabels,
    add_counted,
    aliases,
    counting_query,
)
from airflow_provider_phlo.quality.reconciliation.sides import Side, forms_of, resolve_expression, union_all
from airflow_provider_phlo.quality.reconciliation.value_tolerance import ValueTolerance
from airflow_provider_phlo.quality.reconciliation.value_types import ValueType, common_type, parse_type
from airflow_provider_phlo.sql import Query


@dataclass(frozen=True)
class ComparedAggregate:
    """
    One aggregate, as each side gives it.

    :param source: an SQL aggregate over rows of the source.
    :param target: an SQL aggregate over rows of the target, or a column of it.
    :param is_aggregate: whether ``target`` is an aggregate; else it is a column, and a group has one row.
    :param relative: the tolerance as a share of the source's value.
    :param absolute: the tolerance as a number.
    """

    name: str
    source: str
    target: str
    is_aggregate: bool
    relative: float
    absolute: float


@dataclass(frozen=True)
class AggregateComparison:
    """
    Aggregates of two sides, group by group.

    :param groups: the source's column or SQL expression for each column of a group, by its name in the target.
    :param day: the column among them that holds the partition: a time counts as its UTC day.
    """

    source: Side
    target: Side
    groups: Mapping[str, str]
    aggregates: Sequence[ComparedAggregate]
    day: str | None = None

    def differences(self, keys: KeyLabels) -> tuple[Differences, int]:
        """Return how the groups differ, and the number of those that do not."""
        found = Differences()
        rows = self.source.engine.fetch(self._query(keys.limit))
        same = add_counted(found, rows, [aggregate.name for aggregate in self.aggregates], keys)
        return found, same

    def _query(self, limit: int) -> Query:
        kinds = self._common_types()
        keys, count = aliases("k", len(self.groups)), len(self.aggregates)
        flags = dict(zip((aggregate.name for aggregate in self.aggregates), aliases("f", count), strict=True))
        nulls = ["NULL"] * count
        both = union_all(
            [
                self._sides[0].select(kinds, [*aliases("v", count), *nulls], "n AS s, 0 AS t"),
                self._sides[1].select(kinds, [*nulls, *aliases("v", count)], "0 AS s, n AS t"),
            ]
        )
        values = [*aliases("a", count), *aliases("b", count)]
        known = ", ".join([*keys, *(f"max({value}) AS {value}" for value in values), "sum(s) AS s", "sum(t) AS t"])
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        paired = f"SELECT {known} FROM ({both.sql}) AS b{grouped}"  # noqa: S608 - generated
        classified = self._classify(paired, keys, kinds[len(keys) :])
        return Query(counting_query(classified, keys, flags, limit), both.parameters)

    def _classify(self, paired: str, keys: Sequence[str], kinds: Sequence[ValueType]) -> str:
        """Return the query for the kind of difference of each group, and which of its aggregates differ."""
        differs = [
            f"(a{index} IS DISTINCT FROM b{index} AND NOT coalesce({self._within(index, kind, aggregate)}, false))"
            for index, (kind, aggregate) in enumerate(zip(kinds, self.aggregates, strict=True))
        ]
        missing = f"WHEN s = 0 AND t = 0 THEN '{SAME}' "
        if keys:
            missing = f"WHEN t = 0 THEN '{MISSING}' WHEN s = 0 THEN '{EXTRA}' "
        repeated = (
            "" if all(aggregate.is_aggregate for aggregate in self.aggregates) else f"WHEN t > 1 THEN '{REPEATED}' "
        )
        what = f"CASE {missing}{repeated}WHEN {' OR '.join(differs)} THEN '{DIFFERENT}' ELSE '{SAME}' END AS what"
        flags = [f"{condition} AS f{index}" for index, condition in enumerate(differs)]
        judged = f"SELECT {', '.join([*keys, what, *flags])} FROM ({paired}) AS p"  # noqa: S608 - generated
        shown = [f"what = '{DIFFERENT}' AND f{index} AS f{index}" for index in range(len(differs))]
        return f"SELECT {', '.join([*keys, 'what', *shown])} FROM ({judged}) AS j"  # noqa: S608 - generated

    def _within(self, index: int, kind: ValueType, aggregate: ComparedAggregate) -> str:
        """Return the condition that the values of source and target are close enough."""
        tolerance = ValueTolerance(aggregate.relative, aggregate.absolute)
        if not kind.numeric or not tolerance:
            return "false"
        return tolerance.within(f"a{index}", f"b{index}", kind, forms_of(self.source.engine))

    def _common_types(self) -> list[ValueType]:
        """
        Return the type as which each group column and aggregate is compared.

        :raises ConfigurationError: the types of source and target are never equal.
        """
        names = [*self.groups, *(aggregate.name for aggregate in self.aggregates)]
        found = [side.types for side in self._sides]
        common = [common_type(types) for types in zip(*found, strict=True)]
        for name, kind, source, target in zip(names, common, *found, strict=True):
            if kind is None:
                raise ConfigurationError(
                    f"{name} is {source.family} in {self.source.title} and {target.family} in {self.target.title}: "
                    "these are never equal. Convert it in the source's expression."
                )
        return [kind for kind in common if kind is not None]

    @cached_property
    def _sides(self) -> tuple[_GroupedSide, _GroupedSide]:
        """Source and target, grouped and aggregated."""
        source, target = self.source, self.target
        return (
            _GroupedSide(
                source,
                [source.expression(given, as_day=name == self.day) for name, given in self.groups.items()],
                [resolve_expression(source.engine, aggregate.source) for aggregate in self.aggregates],
            ),
            _GroupedSide(
                target,
                [target.expression(name, as_day=name == self.day) for name in self.groups],
                [
                    resolve_expression(target.engine, aggregate.target)
                    if aggregate.is_aggregate
                    else f"max({target.expression(aggregate.target)})"
                    for aggregate in self.aggregates
                ],
            ),
        )


@dataclass(frozen=True)
class _GroupedSide:
    """
    One side, grouped and aggregated.

    :param groups: SQL of the columns of a group.
    :param values: SQL of the aggregates.
    """

    side: Side
    groups: Sequence[str]
    values: Sequence[str]

    @cached_property
    def types(self) -> list[ValueType]:
        """The types of groups and values."""
        columns = self.side.engine.columns(f"({self._query(self.side.union_of_all_rows())}) AS q")
        found = {name: parse_type(columns[name]) for name in self._names}
        unknown = [columns[name] for name, kind in found.items() if kind is None]
        if unknown:
            raise ConfigurationError(f"Values of type {', '.join(unknown)} cannot be compared: convert them.")
        return [kind for kind in found.values() if kind is not None]

    def select(self, kinds: Sequence[ValueType], values: Sequence[str], counts: str) -> Query:
        """
        Return the query for the groups as comparable values.

        :param kinds: the types as which they are compared.
        :param values: SQL of each column behind those of the group: a value of ours, or NULL.
        :param counts: SQL of the last columns.
        """
        forms, rows = forms_of(self.side.engine), self.side.union()
        comparable = [
            f"{forms.comparable(name, own, common)} AS {name}"
            for name, own, common in zip(self._names, self.types, kinds, strict=True)
        ]
        inner = f"SELECT {', '.join([*comparable, 'n'])} FROM ({self._query(rows.sql)}) AS q"  # noqa: S608 - generated
        names = [*aliases("a", len(self.values)), *aliases("b", len(self.values))]
        named = (f"{value} AS {name}" for value, name in zip(values, names, strict=True))
        chosen = [*aliases("k", len(self.groups)), *named, counts]
        return Query(f"SELECT {', '.join(chosen)} FROM ({inner}) AS q", rows.parameters)  # noqa: S608 - generated

    @property
    def _names(self) -> list[str]:
        return [*aliases("k", len(self.groups)), *aliases("v", len(self.values))]

    def _query(self, rows: str) -> str:
        values = zip([*self.groups, *self.values], self._names, strict=True)
        columns = ", ".join([*(f"{value} AS {name}" for value, name in values), "count(*) AS n"])
        positions = ", ".join(str(index + 1) for index in range(len(self.groups)))
        return f"SELECT {columns} FROM {rows}" + (f" GROUP BY {positions}" if positions else "")  # noqa: S608 - generated
