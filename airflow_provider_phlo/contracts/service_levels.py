"""
Service levels judged by facts: what was published into a table, and the oldest and newest values of a column.

What no fact says anything about is not judged, and says why: it never passes in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.contracts.elements import Element, column_extremes, elements_of
from airflow_provider_phlo.contracts.model.contract import Contract, Promise, ServiceLevel
from airflow_provider_phlo.contracts.model.durations import OF_ELEMENTS, in_hours, kind_of
from airflow_provider_phlo.contracts.rules.thresholds import is_percent
from airflow_provider_phlo.contracts.tables import table_name
from airflow_provider_phlo.quality.freshness import CLOCK_SKEW, FreshnessPolicy, State, in_words, table_policy

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table

    from airflow_provider_phlo.metrics.loads import TableLoads

# over which the share of good rows is counted
QUALITY_PERIOD = timedelta(days=7)
# intervals between publications that are looked at, and how much longer one may be: runs do not start on the second
_INTERVALS = 10
_SHORTEST_PERIOD = timedelta(days=7)
_LATENESS = 1.1


@dataclass(frozen=True)
class LevelVerdict:
    """
    Whether a table keeps one service level.

    :param rule: what identifies it in the contract: ``freshness``, ``retention of day``.
    :param passed: None if no fact says anything about it; ``message`` says why.
    :param facts: ages, counts and limits; plain JSON.
    """

    table: str
    rule: str
    passed: bool | None
    message: str
    column: str = ""
    line: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Judged:
    """What is known when a level is judged: the level, the table, what was written into it, the clock."""

    level: ServiceLevel
    table: Table
    loads: TableLoads
    now: datetime
    connection: DuckDBPyConnection | None = None

    @property
    def hours(self) -> float | None:
        """The amount in hours; None if it is not a duration."""
        value = self.level.value
        if isinstance(value, str):
            try:
                value = float(value)
            except ValueError:
                return None
        hours = in_hours(replace(self.level, value=value))
        return hours if hours and 0 < hours < float("inf") else None


Finding = tuple[bool | None, str, dict[str, Any]]


def judge_service_levels(
    catalog: Catalog,
    contract: Contract,
    now: datetime,
    *,
    namespace: str = "raw",
    rows: bool = True,
    connection: DuckDBPyConnection | None = None,
) -> list[LevelVerdict]:
    """
    Return whether the tables of a contract keep its service levels.

    :param now: the moment that ages are counted to.
    :param namespace: of tables that the contract names without one.
    :param rows: whether columns may be read; levels of an element are not judged otherwise.
    :param connection: a DuckDB that serves one table after the other.
    """
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.metrics.loads import table_loads

    if not contract.service_levels:
        return []
    found: list[LevelVerdict] = []
    levels: dict[str, list[LevelVerdict]] = {}
    for promise in contract.promises:
        name = table_name(promise, catalog, namespace)
        table = find_table(catalog, name)
        if table is None:
            continue  # which is a breach of its own
        loads = table_loads(table)
        for level in contract.service_levels:
            verdicts = _of_table(catalog, contract, promise, name, _Judged(level, table, loads, now, connection), rows)
            levels.setdefault(level.property, []).extend(verdicts)
            found += verdicts
    found += [_of_nothing(contract, level, now) for level in contract.service_levels if not levels.get(level.property)]
    return found


def _of_table(
    catalog: Catalog, contract: Contract, promise: Promise, name: str, judged: _Judged, rows: bool
) -> list[LevelVerdict]:
    """Return the verdicts of a level about one table: one for each of its elements there, or one without."""
    level = judged.level
    if not level.element:
        passed, message, facts = _by_publications(judged)
        return [LevelVerdict(name, level.property, passed, message, line=level.line, facts=facts)]
    verdicts = []
    for element in elements_of(level.element, contract, promise):
        passed, message, facts = _by_column(catalog, name, element, judged) if rows else _unread(element)
        rule = f"{level.property} of {element.column}"
        verdicts.append(LevelVerdict(name, rule, passed, message, element.column, level.line, facts))
    return verdicts


def _of_nothing(contract: Contract, level: ServiceLevel, now: datetime) -> LevelVerdict:
    """Return the verdict of a level that is about no table there is; the clock goes on without one."""
    if not level.element and kind_of(level.property) in _BY_THE_CLOCK:
        passed, message, facts = _end(level, now)
        return LevelVerdict(contract.promises[0].table, level.property, passed, message, line=level.line, facts=facts)
    names = ", ".join(promise.table for promise in contract.promises)
    reason = f"element {level.element} is not a column of {names}" if level.element else f"{names} does not exist"
    return LevelVerdict(contract.promises[0].table, level.property, None, reason, line=level.line)


def _unread(element: Element) -> Finding:
    return None, f"it is about the values of {element.column}: phlo contract check --sla reads them", {}


def _by_publications(judged: _Judged) -> Finding:
    kind = kind_of(judged.level.property)
    if kind in _BY_THE_CLOCK:
        return _end(judged.level, judged.now)
    judge = _BY_PUBLICATIONS.get(kind)
    if judge is None:
        return _unjudged(judged.level)
    if kind in _DURATIONS and judged.hours is None:
        return _no_duration(judged.level)
    return judge(judged)


def _freshness(judged: _Judged) -> Finding:
    hours = judged.hours or 0.0
    newest = judged.loads.current_as_of(judged.now)
    if newest is None and judged.loads.known_since is not None:
        return _freshness_unknown(judged, hours)
    policy = _calendar(judged.table, hours)
    freshness = policy.judge(newest, judged.now)
    if freshness.state is State.UNKNOWN:
        return None, freshness.message, {"age_hours": freshness.age_hours}
    return bool(freshness.passed), freshness.message, {"age_hours": freshness.age_hours, "hours": hours}


def _freshness_unknown(judged: _Judged, hours: float) -> Finding:
    """Return the finding for a table of which only upkeep is known: it is at least as old as what has expired."""
    since = judged.loads.known_since
    age = (judged.now - since) / timedelta(hours=1) if since else 0.0
    if age > hours:
        return (
            False,
            f"nothing was published for {in_words(age)}, at most {in_words(hours)} are promised",
            {"hours": hours},
        )
    return None, "when it was published last has expired from its history", {}


def _calendar(table: Table, hours: float) -> FreshnessPolicy:
    """Return the policy of these hours, in the calendar that stands with the table, if one does."""
    declared = table_policy(".".join(table.name()), table.properties)
    if declared is None or declared.freshness is None:
        return FreshnessPolicy(hours, hours)
    return replace(declared.freshness, warn_hours=hours, error_hours=hours)


def _quality(judged: _Judged) -> Finding:
    share = _share(judged.level)
    if share is None:
        amount = f"{judged.level.value} {judged.level.unit}".strip()
        return None, f"{amount} is not a share of rows: write a number, and share or percent", {}
    least = 1 - share if kind_of(judged.level.property) == "errorrate" else share
    loads = [
        load
        for load in judged.loads.within(judged.now - QUALITY_PERIOD, judged.now + CLOCK_SKEW)
        if "read" in load.counts and not load.replay
    ]
    read = sum(load.counts["read"] for load in loads)
    if not read:
        return None, f"no run has read rows for it in the last {QUALITY_PERIOD.days} days", {}
    bad = sum(load.counts.get("quarantined", 0) for load in loads)
    good = read - bad
    message = (
        f"{good} of {read} rows that were read in {QUALITY_PERIOD.days} days are good ({100 * good / read:.4g} %), at "
        f"least {float(100 * least):.6g} % are promised"
    )
    return good >= least * read, message, {"read": read, "quarantined": bad, "threshold": float(least)}


def _share(level: ServiceLevel) -> Fraction | None:
    """Return a share of rows as it is written; None if it is not one."""
    if isinstance(level.value, bool) or not isinstance(level.value, int | float):
        return None
    share = Fraction(str(level.value)) / (100 if is_percent(level.unit) else 1)
    return share if 0 <= share <= 1 else None


def _frequency(judged: _Judged) -> Finding:
    hours = judged.hours or 0.0
    period = max(_SHORTEST_PERIOD, timedelta(hours=hours * _INTERVALS))
    since = judged.now - period
    moments = [load.at for load in judged.loads.loads if load.shows_source and load.at <= judged.now]
    if not moments:
        return None, "no publication into it is known", {}
    recent = [moment for moment in moments if moment >= since]
    before = [moment for moment in moments if moment < since][-1:]
    every = [*before, *recent, judged.now]
    gaps = [(later - earlier) / timedelta(hours=1) for earlier, later in pairwise(every)]
    longest = max(gaps)
    facts = {"longest_hours": round(longest, 2), "hours": hours, "publications": len(recent)}
    apart = f"at most {in_words(longest)} lay between two publications in {period.days} days"
    message = f"{apart}, {in_words(hours)} are promised"
    return longest <= hours * _LATENESS, message, facts


def _by_column(catalog: Catalog, name: str, element: Element, judged: _Judged) -> Finding:
    kind = kind_of(judged.level.property)
    if kind not in OF_ELEMENTS:
        return _unjudged(judged.level)
    if judged.hours is None:
        return _no_duration(judged.level)
    if kind == "frequency":  # how often rows come, whatever column says when
        return _frequency(judged)
    if element.problem:
        return False, element.problem, {}
    found = column_extremes(catalog, name, element.column, judged.now + CLOCK_SKEW, judged.connection)
    if found is None:
        return None, f"{element.column} does not hold dates or times", {}
    if found.newest is None or found.oldest is None:
        return (kind == "retention"), f"there is no time in {element.column}", {}
    if kind == "retention":
        return _retention(judged, element, found.oldest)
    age = max((judged.now - found.newest) / timedelta(hours=1), 0.0)
    message = f"the newest {element.column} is {age:.4g} h old, at most {judged.hours:g} h are promised"
    return age <= judged.hours, message, {"age_hours": round(age, 2), "hours": judged.hours}


def _retention(judged: _Judged, element: Element, oldest: datetime) -> Finding:
    """What is older than it is kept for should be gone."""
    hours = judged.hours or 0.0
    age = (judged.now - oldest) / timedelta(hours=1)
    amount = f"{judged.level.value} {judged.level.unit}"
    message = f"the oldest {element.column} is {age / 24:.4g} days old, rows are kept for {amount}"
    return age <= hours, message, {"age_hours": round(age, 2), "hours": hours}


def _retention_unjudged(judged: _Judged) -> Finding:
    return None, "retention needs an element: the column that says how old a row is", {}


def _end(level: ServiceLevel, now: datetime) -> Finding:
    """A contract holds until its end."""
    moment = _moment(level.value)
    if moment is None:
        return None, f"{level.value} is not a moment", {}
    passed = now < moment
    return passed, f"{level.property} {'is' if passed else 'was'} on {moment:%Y-%m-%d}", {}


def _moment(value: Any) -> datetime | None:
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day)
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _unjudged(level: ServiceLevel) -> Finding:
    return None, f"no fact of a table says anything about {level.property}", {}


def _no_duration(level: ServiceLevel) -> Finding:
    amount = f"{level.value} {level.unit}".strip()
    return None, f"{amount} is not a duration: write a number, and d, h, m or another unit of time", {}


_BY_THE_CLOCK = frozenset({"endofsupport", "endoflife"})
_DURATIONS = frozenset({"freshness", "latency", "frequency"})
_BY_PUBLICATIONS: Mapping[str, Callable[[_Judged], Finding]] = {
    "freshness": _freshness,
    "latency": _freshness,
    "quality": _quality,
    "errorrate": _quality,
    "frequency": _frequency,
    "retention": _retention_unjudged,
}


def not_judged(verdicts: Sequence[LevelVerdict]) -> tuple[str, ...]:
    """Return what no fact says anything about, for people."""
    return tuple(f"{each.rule} of {each.table}: {each.message}" for each in verdicts if each.passed is None)
