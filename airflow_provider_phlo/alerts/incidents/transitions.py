"""
What verdicts and time make of incidents, and what is to be said about them: pure functions of values.

Whoever computes this twice from the same state gets the same ids, so that nothing is said twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from airflow_provider_phlo.alerts.incidents.state import (
    PASSED,
    Incident,
    IncidentState,
    Key,
    MessageState,
    State,
    Status,
    identifier,
)
from airflow_provider_phlo.alerts.rules.configuration import Configuration, Rule
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Verdict

#: A moment that is further ahead of this clock than this was written by a clock that is wrong, and is not believed.
SKEW = timedelta(minutes=5)
#: How long an incident stays open that is not seen any more: its table or task is gone.
FORGOTTEN = timedelta(days=45)
# a verdict that changes nothing is written down this rarely
_SEEN_AGAIN = timedelta(days=1)
_MOST_PAST = 2_000
_MOST_MESSAGES = 2_000
# why an incident is over that nobody can see any more; None: it is not
GoneReason = Callable[[Incident], str | None]
# what a verdict is about: the kind of its rule, its table, its subject
_Thing = tuple[RuleKind, str | None, str]


@dataclass(frozen=True)
class Seen:
    """
    What verdicts have changed.

    :param unknown: verdicts that say nothing.
    :param unmatched: verdicts that no rule is about.
    """

    state: State
    opened: tuple[Key, ...] = ()
    resolved: tuple[Key, ...] = ()
    unknown: int = 0
    unmatched: int = 0


def rule_for(configuration: Configuration, verdict: Verdict) -> Rule | None:
    """Return the rule that a verdict is for: the one that it names, else the first that fits."""
    rules = [rule for rule in configuration.rules if rule.kind == verdict.rule]
    if verdict.rule_name is not None:
        return next((rule for rule in rules if rule.name == verdict.rule_name), None)
    # a rule with a bound of its own is not about the bound that stands with the table
    return next((rule for rule in rules if not rule.has_bound and rule.select(verdict)), None)


def nothing_is_gone(incident: Incident) -> str | None:
    """Say of no incident that nobody can see any more of it."""
    return None


def see(
    state: State,
    configuration: Configuration,
    verdicts: Iterable[Verdict],
    now: datetime,
    gone: GoneReason = nothing_is_gone,
) -> Seen:
    """
    Return what becomes of incidents by what was seen, and by the time that has passed.

    :param now: by the clock of whoever asks; with a zone.
    :param gone: returns why an incident is over that nobody can see any more: its table was dropped.
    """
    book = _Book(state, now)
    unknown = unmatched = 0
    for verdict in sorted(verdicts, key=lambda each: each.observed_at):
        rule = rule_for(configuration, verdict)
        unmatched += rule is None
        unknown += rule is not None and verdict.passed is None
        if verdict.passed:
            book.passed(verdict)
        elif rule is not None and verdict.passed is False:
            book.failed(verdict, rule)
        elif rule is not None:
            book.unknown(verdict, rule)
    incidents = {
        key: kept
        for key, each in book.incidents.items()
        if (aged := _aged(each, configuration.rule(each.rule), now)) is not None
        and (kept := _ended(aged, gone, now)) is not None
    }
    after = replace(state, incidents=incidents, past=tuple(book.past))
    return Seen(after, *_changes(state, after), unknown, unmatched)


class _Book:
    """
    Incidents, while verdicts change them.

    What has passed ends what is open about it under any rule: rules may select by the severity or the owner, which
    a verdict that something is right need not have.
    """

    def __init__(self, state: State, now: datetime) -> None:
        self.incidents = dict(state.incidents)
        self.past = list(state.past)
        self._now = now
        self._keys: dict[_Thing, list[Key]] = {}
        for key, incident in self.incidents.items():
            self._keys.setdefault(_thing(incident.kind, incident.table, incident.subject), []).append(key)

    def passed(self, verdict: Verdict) -> None:
        for key in self._keys.get(_thing(verdict.rule, verdict.table, verdict.subject), ()):
            self._put(key, _passed(self.incidents.get(key), verdict, self._now))

    def failed(self, verdict: Verdict, rule: Rule) -> None:
        key = Key(rule.name, verdict.table, verdict.subject)
        keys = self._keys.setdefault(_thing(verdict.rule, verdict.table, verdict.subject), [])
        for other in keys:
            if other != key:
                self._put(other, _passed_on(self.incidents.get(other), verdict, rule, self._now))
        if rule.severity is not None:
            verdict = replace(verdict, severity=rule.severity)
        self._put(key, _failed(self.incidents.get(key), verdict, rule, self._now))
        if key not in keys:
            keys.append(key)

    def unknown(self, verdict: Verdict, rule: Rule) -> None:
        """Wait for something to be said, so long; what is open stays as it is."""
        key = Key(rule.name, verdict.table, verdict.subject)
        old = self.incidents.get(key)
        if verdict.wrong_after is None:
            if old is not None and old.state == IncidentState.PENDING and old.opens_at is not None:
                self._put(key, None)
        elif old is None or not old.is_live:
            self._put(key, replace(_begun(verdict, rule), opens_at=verdict.observed_at + verdict.wrong_after))

    def _put(self, key: Key, new: Incident | None) -> None:
        old = self.incidents.get(key)
        if new is None:
            self.incidents.pop(key, None)
            return
        if old is not None and old.id != new.id:
            self.past.append(old)
        self.incidents[key] = new


def _thing(kind: RuleKind, table: str | None, subject: str) -> _Thing:
    """Return what may be wrong only once; a metric stays the same when its SQL reads another table."""
    return kind, None if kind == RuleKind.METRIC else table, subject


def _changes(before: State, after: State) -> tuple[tuple[Key, ...], tuple[Key, ...]]:
    """Return the keys that are open now and were not, and those that were and are not."""
    opened, resolved = [], []
    for key, new in after.incidents.items():
        old = before.incidents.get(key)
        was_open = old is not None and old.state == IncidentState.OPEN
        if new.state == IncidentState.OPEN and not was_open:
            opened.append(key)
        if new.state == IncidentState.RESOLVED and was_open:
            resolved.append(key)
    return tuple(opened), tuple(resolved)


def _is_outdated(old: Incident, verdict: Verdict, now: datetime) -> bool:
    """Return whether something newer has been seen: another watcher was faster, or this one looked long ago."""
    return verdict.observed_at < old.seen_at <= now + SKEW


def _failed(old: Incident | None, verdict: Verdict, rule: Rule, now: datetime) -> Incident:
    if old is None:
        return _begun(verdict, rule)
    if _is_outdated(old, verdict, now):
        return old
    if old.state == IncidentState.RESOLVED:
        notified = old.opened_notified_at
        # whoever heard that it is closed, as its rule was gone, has not heard that it is right
        if notified is None or old.is_closed or now - notified >= rule.cooldown:
            return _begun(verdict, rule)
        # so soon after the last time, it is the same incident
        reopened = replace(
            old, state=IncidentState.PENDING, since=verdict.observed_at, resolved_at=None, flaps=old.flaps + 1
        )
        if old.notified == Status.RESOLVED:  # otherwise they still think that it is open, as it is
            reopened = replace(reopened, notified=None, escalated_at=None, acknowledged_at=None, acknowledged_by="")
        return _described(reopened, verdict, rule)
    if old.opens_at is not None:
        since = verdict.observed_at if old.state == IncidentState.PENDING else old.since
        return _described(replace(old, since=since, opens_at=None), verdict, rule)
    if old.recovering_since is not None:
        was_over = verdict.observed_at - old.recovering_since >= rule.resolve_after
        if was_over and old.state == IncidentState.PENDING:  # and no round has looked since then
            return _described(replace(old, since=verdict.observed_at, recovering_since=None, flaps=0), verdict, rule)
        return _described(replace(old, recovering_since=None, flaps=old.flaps + 1), verdict, rule)
    worse = old.severity != verdict.severity
    if worse or verdict.observed_at - old.seen_at >= _SEEN_AGAIN:
        return _described(old, verdict, rule)
    return old


def _begun(verdict: Verdict, rule: Rule) -> Incident:
    begun = Incident(
        id=identifier(rule.name, verdict.table, verdict.subject, verdict.observed_at.isoformat()),
        rule=rule.name,
        kind=verdict.rule,
        table=verdict.table,
        subject=verdict.subject,
        severity=verdict.severity,
        state=IncidentState.PENDING,
        message=verdict.message,
        since=verdict.observed_at,
        seen_at=verdict.observed_at,
    )
    return _described(begun, verdict, rule)


def _described(incident: Incident, verdict: Verdict, rule: Rule) -> Incident:
    """Return the incident as it was seen last, as far as it may be kept."""
    return replace(
        incident,
        severity=verdict.severity,
        message=verdict.message,
        seen_at=verdict.observed_at,
        facts=rule.stated(verdict.facts),
        group=verdict.group,
        owner=verdict.owner,
        tags=verdict.tags,
        consumers=verdict.consumers,
        run=verdict.run,
    )


def _passed(old: Incident | None, verdict: Verdict, now: datetime) -> Incident | None:
    if old is None or old.state == IncidentState.RESOLVED or _is_outdated(old, verdict, now):
        return old
    if old.state == IncidentState.PENDING and old.opens_at is not None:
        return None
    if old.state == IncidentState.PENDING and old.opened_notified_at is not None:
        return replace(_resolved(old, now, PASSED), seen_at=verdict.observed_at)
    if old.recovering_since is not None:
        return old
    return replace(old, recovering_since=verdict.observed_at, seen_at=verdict.observed_at)


def _passed_on(old: Incident | None, verdict: Verdict, rule: Rule, now: datetime) -> Incident | None:
    """Return what becomes of an incident that another rule has now, as when a warning has become an error."""
    if old is None or old.state == IncidentState.RESOLVED or _is_outdated(old, verdict, now):
        return old
    if old.state == IncidentState.PENDING and old.opened_notified_at is None:
        return None
    return replace(_resolved(old, now, f"it is an incident of the rule {rule.name} now"), seen_at=verdict.observed_at)


def _aged(incident: Incident, rule: Rule | None, now: datetime) -> Incident | None:
    """Return what time has made of an incident; None of one that is over before anybody had to hear of it."""
    if incident.state == IncidentState.RESOLVED:
        return incident
    if rule is None:
        return _resolved(incident, now, "the rule is not configured any more")
    is_pending = incident.state == IncidentState.PENDING
    if incident.recovering_since is not None and now - incident.recovering_since >= rule.resolve_after:
        return None if is_pending else _resolved(incident, now, PASSED)
    if now - incident.seen_at >= FORGOTTEN:
        return _resolved(incident, now, f"nothing was seen of it for {FORGOTTEN.days} days")
    # what is right for a moment is not over, but nobody is notified in that moment
    if is_pending and incident.recovering_since is None and now >= opens_at(incident, rule):
        return replace(incident, state=IncidentState.OPEN, opened_at=now)
    return incident


def opens_at(incident: Incident, rule: Rule) -> datetime:
    """Return from when on a pending incident is open, if nothing else is seen of it."""
    return max(incident.since + rule.open_after, incident.opens_at or incident.since)


def _ended(incident: Incident, gone: GoneReason, now: datetime) -> Incident | None:
    """Return what becomes of an incident that may be about nothing any more; None if nobody had heard of it."""
    why = None if incident.state == IncidentState.RESOLVED else gone(incident)
    if why is None:
        return incident
    if incident.state == IncidentState.PENDING and incident.opened_notified_at is None:
        return None
    return _resolved(incident, now, why)


def _resolved(incident: Incident, now: datetime, why: str) -> Incident:
    return replace(incident, state=IncidentState.RESOLVED, resolved_at=now, resolved_because=why, recovering_since=None)


def prune(state: State, retention: timedelta, now: datetime) -> State:
    """Return the state without what is over for longer than ``retention``, and with a bounded number of the rest."""
    before = now - retention
    over = sorted(
        (each for each in state.incidents.values() if not each.is_live and (each.resolved_at or now) > before),
        key=lambda each: each.resolved_at or now,
    )
    kept_over = {each.id for each in over[-_MOST_PAST:]}
    incidents = {key: each for key, each in state.incidents.items() if each.is_live or each.id in kept_over}
    past = [each for each in state.past if (each.resolved_at or now) > before]
    done = [each for each in state.messages.values() if each.state != MessageState.WAITING]
    kept = sorted((each for each in done if each.created_at > before), key=lambda each: each.created_at)
    dropped = {each.id for each in done} - {each.id for each in kept[-_MOST_MESSAGES:]}
    messages = {id_: each for id_, each in state.messages.items() if id_ not in dropped}
    silences = tuple(each for each in state.silences if each.until > before)
    return State(incidents, tuple(past[-_MOST_PAST:]), messages, silences)
