"""From facts about tables to verdicts: freshness, the number of rows of a day, the share in quarantine."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from airflow_provider_phlo.alerts.incidents.store import TABLE as INCIDENTS
from airflow_provider_phlo.alerts.rules.selectors import WILDCARDS
from airflow_provider_phlo.alerts.rules.verdicts import (
    LONGEST_UNKNOWN,
    OF_CHECKS,
    POLICY,
    RuleKind,
    Severity,
    Verdict,
)
from airflow_provider_phlo.quality import RowCountAnomalyCheck
from airflow_provider_phlo.quality.check_results import TABLE as CHECK_RESULTS
from airflow_provider_phlo.quality.drift.statistics import ROWS
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, State, TablePolicy
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.terms import QUARANTINE_SUFFIX
from airflow_provider_phlo.watching.facts import TableFacts
from airflow_provider_phlo.watching.reading import Unreadable

if TYPE_CHECKING:
    from airflow_provider_phlo.alerts.rules.configuration import Configuration, Rule

# the share of records in quarantine that is too much, where no rule says another
QUARANTINE_SHARE = 0.05
# what the provider itself writes down, in a table that it makes before it has anything to write
_RECORDS = (CHECK_RESULTS, INCIDENTS)
# what is read for a day may still come this long after it
_LAST_RUN_OF_A_DAY = timedelta(hours=1)


@dataclass(frozen=True)
class _About:
    """What all verdicts on one table say."""

    facts: TableFacts
    now: datetime

    def verdict(
        self,
        rule: RuleKind,
        passed: bool | None,
        message: str,
        *,
        subject: str = POLICY,
        severity: Severity = Severity.ERROR,
        facts: Mapping[str, Any] | None = None,
    ) -> Verdict:
        """Return a verdict on the table, with whose it is."""
        policy = self.facts.policy or TablePolicy()
        return Verdict(
            rule,
            self.facts.table,
            subject,
            passed,
            severity,
            f"{self.facts.table}: {message}",
            self.now,
            {name: value for name, value in (facts or {}).items() if value is not None},
            policy.group,
            policy.owner,
            policy.tags,
            rule_name=None if subject == POLICY else subject,
        )


def verdicts_of(
    facts: TableFacts | Unreadable, now: datetime, configuration: Configuration | None = None
) -> list[Verdict]:
    """
    Return what is to be said of one table: by what stands with it, and by rules with bounds of their own.

    :param configuration: of alerts; None if the project has none.
    """
    if isinstance(facts, Unreadable):
        return [_unwatched(facts.table, facts.problem, now, lasts=facts.lasts)]
    if facts.problem:
        return [_unwatched(facts.table, facts.problem, now, lasts=True)]
    rules = () if configuration is None else configuration.rules
    about = _About(facts, now)
    return [
        *_freshness(about, [rule for rule in rules if rule.kind == RuleKind.FRESHNESS and rule.older_than]),
        *_row_count(about, [rule for rule in rules if rule.kind == RuleKind.ROW_COUNT_ANOMALY and rule.deviation]),
        *_quarantine(
            about, [rule for rule in rules if rule.kind == RuleKind.QUARANTINE_RATE and rule.more_than is not None]
        ),
    ]


def verdicts_of_missing(configuration: Configuration, tables: Collection[str], now: datetime) -> Iterator[Verdict]:
    """
    Yield that nothing can be said of tables that rules name and that are not there: a typing error, or not made yet.

    A rule with an age of its own waits for a table as long as for a publication, then that is wrong.

    :param tables: all that the catalog has.
    """
    for rule in configuration.rules:
        for name in rule.tables:
            is_quarantine = name.endswith(QUARANTINE_SUFFIX)
            if name in tables or WILDCARDS.search(name) or (is_quarantine and rule.kind in OF_CHECKS):
                continue
            what = "quarantines are not watched" if is_quarantine else "there is no such table"
            said = f"{what}, and the rule {rule.name} is about it.{did_you_mean(name, tables)}"
            yield Verdict(
                rule.kind,
                name,
                rule.name,
                None,
                Severity.ERROR,
                f"{name}: {said}",
                now,
                rule_name=rule.name,
                wrong_after=rule.older_than,
            )


def _unwatched(table: str, problem: str, now: datetime, *, lasts: bool) -> Verdict:
    """Return that nothing can be said of a table; what no later round can mend is wrong."""
    message = f"{table} cannot be watched: {problem}"
    if lasts:
        return Verdict(RuleKind.FRESHNESS, table, POLICY, False, Severity.WARN, message, now)
    return Verdict(RuleKind.FRESHNESS, table, POLICY, None, Severity.ERROR, message, now, wrong_after=LONGEST_UNKNOWN)


def _for_rules(about: _About, kind: RuleKind, rules: Iterable[Rule]) -> Iterator[Rule]:
    """Yield the rules that are about the table."""
    severity = Severity.ERROR if kind == RuleKind.FRESHNESS else Severity.WARN
    for rule in rules:
        if rule.select(about.verdict(kind, None, "", subject=rule.name, severity=severity)):
            yield rule


def _freshness(about: _About, rules: Iterable[Rule]) -> Iterator[Verdict]:
    own = about.facts.policy.freshness if about.facts.policy else None
    if own is not None:
        yield _freshness_by(about, own, POLICY)
    elif about.facts.snapshot_id is None and about.facts.policy is None and about.facts.table not in _RECORDS:
        message = (
            "nothing has ever been published into it, so no policy stands with it: see whether its first run failed"
        )
        yield about.verdict(RuleKind.FRESHNESS, None, message)
    for rule in _for_rules(about, RuleKind.FRESHNESS, rules):
        hours = rule.older_than / timedelta(hours=1) if rule.older_than else 0
        policy = replace(own, warn_hours=hours, error_hours=hours) if own else FreshnessPolicy(hours, hours)
        yield _freshness_by(about, policy, rule.name)


def _freshness_by(about: _About, policy: FreshnessPolicy, subject: str) -> Verdict:
    newest, now = about.facts.current_as_of, about.now
    known_since = about.facts.known_since if newest is None else None
    found = policy.judge(newest or known_since, now)
    passed, message = found.passed, found.message
    if known_since is not None and passed:
        passed, message = None, f"its last publication with new rows was before {known_since:%Y-%m-%d %H:%M} UTC"
    return about.verdict(
        RuleKind.FRESHNESS,
        passed,
        message,
        subject=subject,
        severity=Severity.WARN if found.state is State.LATE else Severity.ERROR,
        facts={
            "age_hours": found.age_hours,
            "warn_hours": policy.warn_hours,
            "error_hours": policy.error_hours,
            "due": found.due.isoformat() if found.due else None,
            "state": str(found.state),
        },
    )


def _row_count(about: _About, rules: Iterable[Rule]) -> Iterator[Verdict]:
    if about.facts.policy is None or (day := _last_whole_day(about)) is None:
        return
    yield from _row_count_by(about, day, RowCountAnomalyCheck(), POLICY)
    for rule in _for_rules(about, RuleKind.ROW_COUNT_ANOMALY, rules):
        check = RowCountAnomalyCheck(deviations=None, relative_tolerance=rule.deviation or 0.0)
        yield from _row_count_by(about, day, check, rule.name)


def _row_count_by(about: _About, day: date, check: RowCountAnomalyCheck, subject: str) -> Iterator[Verdict]:
    """
    Compare what was read for a day with the days before it; with too few of them there is nothing to say.

    Both have to be unusual, what the day has brought and what each publication has: a day that was loaded twice by hand
    has read twice as much, and that is not the source's doing.
    """
    days = {date.fromisoformat(each): found for each, found in about.facts.days.items()}
    by_day = {each: {ROWS: float(found.read)} for each, found in days.items() if each <= day}
    by_load = {each: {ROWS: found.read / found.loads} for each, found in days.items() if each <= day}
    results = [
        check.judge(0, {"day": day, "days": numbers, "source": None, "names": (ROWS,)}) for numbers in (by_day, by_load)
    ]
    statistics = results[0].metrics.get("statistics")
    if statistics is None:
        return
    expected = statistics[ROWS]
    yield about.verdict(
        RuleKind.ROW_COUNT_ANOMALY,
        any(result.passed for result in results),
        f"{int(by_day[day][ROWS])} records were read for {day}, {_range(expected)} are usual "
        f"({results[0].metrics['compared_with']})",
        subject=subject,
        severity=Severity.WARN,
        facts={
            "day": str(day),
            "rows": int(by_day[day][ROWS]),
            "expected_rows": expected["expected_median"],
            "expected_low": expected["expected_low"],
            "expected_high": expected["expected_high"],
        },
    )


def _range(expected: Mapping[str, float]) -> str:
    return f"{round(expected['expected_low'])} to {round(expected['expected_high'])}"


def _last_whole_day(about: _About) -> date | None:
    """Return the newest day that has ended and has something read for it; None if there is none."""
    freshness = about.facts.policy.freshness if about.facts.policy else None
    zone = UTC if freshness is None else ZoneInfo(freshness.zone)
    for text in sorted(about.facts.days, reverse=True):
        day = date.fromisoformat(text)
        end = datetime.combine(day + timedelta(days=1), time(), zone)
        if about.now >= end + _LAST_RUN_OF_A_DAY:
            return day
    return None


def _quarantine(about: _About, rules: Iterable[Rule]) -> Iterator[Verdict]:
    if about.facts.policy is None or not about.facts.read:
        return
    yield _quarantine_by(about, QUARANTINE_SHARE, POLICY)
    for rule in _for_rules(about, RuleKind.QUARANTINE_RATE, rules):
        yield _quarantine_by(about, rule.more_than or 0.0, rule.name)


def _quarantine_by(about: _About, bound: float, subject: str) -> Verdict:
    read, quarantined = about.facts.read, about.facts.quarantined
    rate = quarantined / read
    return about.verdict(
        RuleKind.QUARANTINE_RATE,
        rate <= bound,
        f"{quarantined} of the {read} records that were read last, in a day, are in quarantine ({100 * rate:.3g} %, at "
        f"most {100 * bound:g} % are expected)",
        subject=subject,
        severity=Severity.WARN,
        facts={"read": read, "quarantined": quarantined, "rate": round(rate, 6), "expected_rate": bound},
    )
