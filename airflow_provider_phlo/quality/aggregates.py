"""Compare aggregates of two sides, group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.canonical import MAX_DIGITS, Type, common, parse
from airflow_provider_phlo.quality.checksums import double
from airflow_provider_phlo.quality.differences import (
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
from airflow_provider_phlo.quality.sides import Query, Side, forms_of, resolved, united


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
                self._select(self.source, kinds, [*aliases("v", count), *nothing], "n AS s, 0 AS t"),
                self._select(self.target, kinds, [*nothing, *aliases("v", count)], "0 AS s, n AS t"),
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
        found = [self._types(self.source), self._types(self.target)]
        wanted = [common(kinds) for kinds in zip(*found, strict=True)]
        for name, kind, source, target in zip(names, wanted, *found, strict=True):
            if kind is None:
                raise ConfigurationError(
                    f"{name} is {source.family} in {self.source.title} and {target.family} in {self.target.title}: "
                    "these are never equal. Convert it in the source's expression."
                )
        return [kind for kind in wanted if kind is not None]

    def _types(self, side: Side) -> list[Type]:
        columns = side.engine.columns(f"({self._grouped(side, side.unfiltered())}) AS q")
        kinds = {name: parse(kind) for name, kind in list(columns.items())[:-1]}
        unknown = [columns[name] for name, kind in kinds.items() if kind is None]
        if unknown:
            raise ConfigurationError(f"Values of type {', '.join(unknown)} are not compared: convert them.")
        return [kind for kind in kinds.values() if kind is not None]

    def _select(self, side: Side, kinds: Sequence[Type], values: Sequence[str], counts: str) -> Query:
        """Return a side's groups as comparable values."""
        forms, rows = forms_of(side.engine), side.united()
        names = [*aliases("k", len(self.groups)), *aliases("v", len(self.measures))]
        comparable = [
            f"{forms.comparable(name, found, wanted)} AS {name}"
            for name, found, wanted in zip(names, self._types(side), kinds, strict=True)
        ]
        inner = f"SELECT {', '.join([*comparable, 'n'])} FROM ({self._grouped(side, rows.sql)}) AS q"  # noqa: S608
        count = len(self.measures)
        named = zip(values, [*aliases("a", count), *aliases("b", count)], strict=True)
        chosen = [*names[: len(self.groups)], *(f"{value} AS {name}" for value, name in named), counts]
        return Query(f"SELECT {', '.join(chosen)} FROM ({inner}) AS q", rows.parameters)  # noqa: S608 - generated

    def _grouped(self, side: Side, rows: str) -> str:
        """Return the query for a side's groups: their columns, aggregates and numbers of rows."""
        groups = [self._group(side, name) for name in self.groups]
        values = [self._value(side, measure) for measure in self.measures]
        columns = [
            *(f"{group} AS k{place}" for place, group in enumerate(groups)),
            *(f"{value} AS v{place}" for place, value in enumerate(values)),
            "count(*) AS n",
        ]
        by = f" GROUP BY {', '.join(str(place + 1) for place in range(len(groups)))}" if groups else ""
        return f"SELECT {', '.join(columns)} FROM {rows}{by}"  # noqa: S608 - generated

    def _group(self, side: Side, name: str) -> str:
        return side.expression(self.groups[name] if side is self.source else name, day=name == self.day)

    def _value(self, side: Side, measure: Measure) -> str:
        if side is self.source:
            return resolved(side.engine, measure.source)
        if measure.whole:
            return resolved(side.engine, measure.target)
        return f"max({side.expression(measure.target)})"


def _within(place: int, kind: Type, measure: Measure) -> str:
    """Return the condition that a pair of values is close enough."""
    if not kind.numeric or not (measure.relative or measure.absolute):
        return "false"
    source, target = f"a{place}", f"b{place}"
    if kind.family == "float":
        finite = " AND ".join(f"abs({value}) <= 1.7976931348623157e308" for value in (source, target))
        apart, whole = f"abs({target} - {source})", f"abs({source})"
    else:
        finite, exact = "true", f"DECIMAL({MAX_DIGITS}, {kind.scale})"
        # subtracted exactly: doubles would take large numbers for equal
        apart = f"CAST(abs(CAST({target} AS {exact}) - CAST({source} AS {exact})) AS DOUBLE)"
        whole = f"abs(CAST({source} AS DOUBLE))"
    return (
        f"{finite} AND ({apart} <= {double(measure.absolute)} OR {apart} <= {double(measure.relative)} * {whole})"
    )
