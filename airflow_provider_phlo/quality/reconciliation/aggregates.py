"""Compare aggregates of two sides, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.bounds import ROUNDING
from airflow_provider_phlo.quality.reconciliation.canonical import MAX_DIGITS, Type, common, parse
from airflow_provider_phlo.quality.reconciliation.checksums import double
from airflow_provider_phlo.quality.reconciliation.differences import (
    DIFFERENT,
    EXTRA,
    MISSING,
    REPEATED,
    SAME,
    Differences,
    Naming,
    aliases,
    ranked,
    read,
)
from airflow_provider_phlo.quality.reconciliation.sides import Query, Side, forms_of, resolved, united


@dataclass(frozen=True)
class Measure:
    """
    One aggregate, as both sides have it.

    :param source: its SQL over rows of the source.
    :param target: its SQL over rows of the target.
    :param whole: whether ``target`` is an aggregate; else it is a column of which a group has one row.
    """

    name: str
    source: str
    target: str
    whole: bool
    relative: float
    absolute: float


@dataclass(frozen=True)
class AggregateComparison:
    """
    Aggregates of two sides.

    :param groups: what the source has for each column of the target that tells the group.
    :param day: the one of them that tells the partition: of a time, its day counts.
    """

    source: Side
    target: Side
    groups: Mapping[str, str]
    measures: Sequence[Measure]
    day: str | None = None

    def differences(self, naming: Naming) -> tuple[Differences, int]:
        """Return how the groups differ, and how many do not."""
        found = Differences()
        query = self._compared(naming.limit)
        flags = [measure.name for measure in self.measures]
        same = read(self.source.engine.fetch(*query), flags, naming, found)
        return found, same

    def _compared(self, limit: int) -> Query:
        kinds = self._kinds()
        keys, count = aliases("k", len(self.groups)), len(self.measures)
        flags = dict(zip((measure.name for measure in self.measures), aliases("f", count), strict=True))
        nothing = ["NULL"] * count
        both = united(
            [
                self._grouped[0].select(kinds, [*aliases("v", count), *nothing], "n AS s, 0 AS t"),
                self._grouped[1].select(kinds, [*nothing, *aliases("v", count)], "0 AS s, n AS t"),
            ]
        )
        values = [*aliases("a", count), *aliases("b", count)]
        known = ", ".join([*keys, *(f"max({value}) AS {value}" for value in values), "sum(s) AS s", "sum(t) AS t"])
        grouped = f" GROUP BY {', '.join(keys)}" if keys else ""
        paired = f"SELECT {known} FROM ({both.sql}) AS b{grouped}"  # noqa: S608 - generated
        return Query(ranked(self._judged(paired, keys, kinds[len(keys) :]), keys, flags, limit), both.parameters)

    def _judged(self, paired: str, keys: Sequence[str], kinds: Sequence[Type]) -> str:
        """Return the query for what each group is, and which of its aggregates differ."""
        differs = [
            f"(a{place} IS DISTINCT FROM b{place} AND NOT coalesce({_within(place, kind, measure)}, false))"
            for place, (kind, measure) in enumerate(zip(kinds, self.measures, strict=True))
        ]
        missing = f"WHEN s = 0 AND t = 0 THEN '{SAME}' "
        if keys:
            missing = f"WHEN t = 0 THEN '{MISSING}' WHEN s = 0 THEN '{EXTRA}' "
        repeated = "" if all(measure.whole for measure in self.measures) else f"WHEN t > 1 THEN '{REPEATED}' "
        what = f"CASE {missing}{repeated}WHEN {' OR '.join(differs)} THEN '{DIFFERENT}' ELSE '{SAME}' END AS what"
        flags = [f"{condition} AS f{place}" for place, condition in enumerate(differs)]
        judged = f"SELECT {', '.join([*keys, what, *flags])} FROM ({paired}) AS p"  # noqa: S608 - generated
        shown = [f"what = '{DIFFERENT}' AND f{place} AS f{place}" for place in range(len(differs))]
        return f"SELECT {', '.join([*keys, 'what', *shown])} FROM ({judged}) AS j"  # noqa: S608 - generated

    def _kinds(self) -> list[Type]:
        """
        Return the type as which each group column and aggregate is compared.

        :raises ConfigurationError: source and target are of kinds that never equal.
        """
        names = [*self.groups, *(measure.name for measure in self.measures)]
        found = [grouped.types for grouped in self._grouped]
        wanted = [common(kinds) for kinds in zip(*found, strict=True)]
        for name, kind, source, target in zip(names, wanted, *found, strict=True):
            if kind is None:
                raise ConfigurationError(
                    f"{name} is {source.family} in {self.source.title} and {target.family} in {self.target.title}: "
                    "these are never equal. Convert it in the source's expression."
                )
        return [kind for kind in wanted if kind is not None]

    @cached_property
    def _grouped(self) -> tuple[_Grouped, _Grouped]:
        """Source and target, grouped and aggregated."""
        source, target = self.source, self.target
        return (
            _Grouped(
                source,
                [source.expression(given, day=name == self.day) for name, given in self.groups.items()],
                [resolved(source.engine, measure.source) for measure in self.measures],
            ),
            _Grouped(
                target,
                [target.expression(name, day=name == self.day) for name in self.groups],
                [
                    resolved(target.engine, measure.target)
                    if measure.whole
                    else f"max({target.expression(measure.target)})"
                    for measure in self.measures
                ],
            ),
        )


@dataclass(frozen=True)
class _Grouped:
    """
    One side, grouped and aggregated.

    :param groups: SQL of what tells the group.
    :param values: SQL of the aggregates.
    """

    side: Side
    groups: Sequence[str]
    values: Sequence[str]

    @cached_property
    def types(self) -> list[Type]:
        """The types of groups and values."""
        columns = self.side.engine.columns(f"({self._query(self.side.unfiltered())}) AS q")
        found = {name: parse(columns[name]) for name in self._names}
        unknown = [columns[name] for name, kind in found.items() if kind is None]
        if unknown:
            raise ConfigurationError(f"Values of type {', '.join(unknown)} are not compared: convert them.")
        return [kind for kind in found.values() if kind is not None]

    def select(self, kinds: Sequence[Type], values: Sequence[str], counts: str) -> Query:
        """
        Return the groups as comparable values.

        :param kinds: the types as which they are compared.
        :param values: for each column of the result behind the groups, which of ours it is, or NULL.
        :param counts: the last columns.
        """
        forms, rows = forms_of(self.side.engine), self.side.united()
        comparable = [
            f"{forms.comparable(name, found, wanted)} AS {name}"
            for name, found, wanted in zip(self._names, self.types, kinds, strict=True)
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
        places = ", ".join(str(place + 1) for place in range(len(self.groups)))
        return f"SELECT {columns} FROM {rows}" + (f" GROUP BY {places}" if places else "")  # noqa: S608 - generated


def _within(place: int, kind: Type, measure: Measure) -> str:
    """Return the condition that a pair of values is close enough."""
    if not kind.numeric or not (measure.relative or measure.absolute):
        return "false"
    source, target = f"a{place}", f"b{place}"
    absolute, relative = double(measure.absolute), double(measure.relative * (1 + ROUNDING))
    if kind.family == "float":
        finite = " AND ".join(f"abs({value}) <= 1.7976931348623157e308" for value in (source, target))
        apart, whole = f"abs({target} - {source})", f"abs({source})"
        absolute = f"{absolute} + {double(ROUNDING)} * {whole}"
    else:
        finite, exact = "true", f"DECIMAL({MAX_DIGITS}, {kind.scale})"
        # subtracted exactly: doubles would take large numbers for equal
        apart = f"CAST(abs(CAST({target} AS {exact}) - CAST({source} AS {exact})) AS DOUBLE)"
        whole = f"abs(CAST({source} AS DOUBLE))"
    return f"{finite} AND ({apart} <= {absolute} OR {apart} <= {relative} * {whole})"
