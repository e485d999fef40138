"""
Who is to be notified: one message per destination, rule and table, of what is due.

What is due follows from the state alone: what silences, quiet hours and cooldowns hold back is said when they are over,
if it is still so.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from airflow_provider_phlo.alerts.delivery.messages import content_of
from airflow_provider_phlo.alerts.incidents.state import (
    Incident,
    IncidentState,
    Message,
    MessageState,
    State,
    Status,
    identifier,
)
from airflow_provider_phlo.alerts.incidents.transitions import opens_at
from airflow_provider_phlo.alerts.rules.configuration import Configuration, Rule
from airflow_provider_phlo.alerts.rules.selectors import fits
from airflow_provider_phlo.alerts.rules.verdicts import Severity

# of the incidents that a message names
_MOST_IDS = 100
# destination, rule, table, what it is about
_Group = tuple[str, str, str | None, Status]


def notify(state: State, configuration: Configuration, now: datetime) -> tuple[State, tuple[Message, ...], int]:
    """
    Return the state in which everybody who has to hear of something has a message waiting.

    :returns: beside it the new messages, and how many incidents are held back by silences or quiet hours.
    """
    groups: dict[_Group, list[Incident]] = {}
    incidents, held = dict(state.incidents), 0
    for key, incident in state.incidents.items():
        if incident.rehearsed and not configuration.dry_run:
            incident = incidents[key] = _not_notified(incident)
        rule = configuration.rule(incident.rule) or _gone(incident)
        status = _due(incident, rule, now)
        if status is None:
            continue
        if status == Status.RESOLVED and not rule.send_resolved:
            incidents[key] = _notified(incident, status, (), now, configuration)
        elif _is_held(incident, state, configuration, now):
            held += 1
        else:
            everybody = _recipients(incident, rule, status, configuration)
            recipients = tuple(name for name in everybody if name not in configuration.off)
            if everybody and not recipients and status != Status.RESOLVED:
                continue  # whoever has the variable notifies them
            incidents[key] = _notified(incident, status, recipients, now, configuration)
            for name in recipients:
                said = Status.CLOSED if status == Status.RESOLVED and incident.is_closed else status
                groups.setdefault((name, incident.rule, incident.table, said), []).append(incident)
    after = replace(state, incidents=incidents)
    last = max((each.number for each in state.messages.values()), default=0)
    messages = tuple(
        replace(_message(group, found, after, configuration, now), number=number)
        for number, (group, found) in enumerate(groups.items(), last + 1)
    )
    return after.with_messages(*messages), messages, held


def _gone(incident: Incident) -> Rule:
    """Return what stands for a rule that is not configured any more."""
    return Rule.model_construct(name=incident.rule, kind=incident.kind, to=[*incident.notified_to], facts=[])


def _due(incident: Incident, rule: Rule, now: datetime) -> Status | None:
    if incident.state == IncidentState.RESOLVED:
        return Status.RESOLVED if incident.notified == Status.OPENED else None
    if incident.state != IncidentState.OPEN:
        return None
    since_notified = now - incident.opened_notified_at if incident.opened_notified_at else None
    if incident.notified != Status.OPENED:
        return Status.OPENED if since_notified is None or since_notified >= rule.cooldown else None
    if incident.severity == Severity.ERROR and incident.notified_severity == Severity.WARN:
        return Status.OPENED
    if incident.acknowledged_at is not None or incident.recovering_since is not None or since_notified is None:
        return None
    if rule.escalate and incident.escalated_at is None and since_notified >= rule.escalate.after:
        return Status.ESCALATED
    last = incident.notified_at or now
    return Status.REMINDER if rule.remind_after and now - last >= rule.remind_after else None


def is_silenced(incident: Incident, state: State, now: datetime) -> bool:
    """Return whether somebody has silenced an incident."""
    return any(
        silence.until > now
        and fits(silence.rule, incident.rule)
        and (silence.table is None or fits(silence.table, incident.table))
        for silence in state.silences
    )


def held_because(incident: Incident, state: State, configuration: Configuration, now: datetime) -> str:
    """Return why nobody is notified of an incident for now; nothing if they were, or are by the next round."""
    rule = configuration.rule(incident.rule)
    if rule is None or incident.notified == Status.OPENED:
        return ""
    if is_silenced(incident, state, now):
        return "silenced"
    if any(hours.hold(incident, now) for hours in configuration.quiet_hours):
        return "quiet hours"
    if incident.state == IncidentState.PENDING and now < (at := opens_at(incident, rule)):
        return f"{'nothing can be said' if incident.opens_at else 'open_after'}: until {_minute(at)}"
    if incident.opened_notified_at is not None and now < incident.opened_notified_at + rule.cooldown:
        return f"cooldown: until {_minute(incident.opened_notified_at + rule.cooldown)}"
    everybody = _recipients(incident, rule, Status.OPENED, configuration)
    off = [name for name in everybody if name in configuration.off]
    return f"off: {', '.join(off)}" if off and len(off) == len(everybody) else ""


def _minute(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _is_held(incident: Incident, state: State, configuration: Configuration, now: datetime) -> bool:
    quiet = any(hours.hold(incident, now) for hours in configuration.quiet_hours)
    return quiet or is_silenced(incident, state, now)


def _recipients(incident: Incident, rule: Rule, status: Status, configuration: Configuration) -> tuple[str, ...]:
    if status == Status.ESCALATED and rule.escalate:
        return tuple(dict.fromkeys(rule.escalate.to))
    if status == Status.RESOLVED:
        return incident.notified_to
    route = next((route.to for route in configuration.routes if route.select(incident)), [])
    return tuple(dict.fromkeys(rule.to or route))


def _not_notified(incident: Incident) -> Incident:
    """Return an incident that nobody has heard of but in a dry run."""
    return replace(
        incident,
        rehearsed=False,
        notified=None,
        notified_at=None,
        notified_severity=None,
        notified_to=(),
        opened_notified_at=None,
        escalated_at=None,
    )


def _notified(
    incident: Incident, status: Status, recipients: tuple[str, ...], now: datetime, configuration: Configuration
) -> Incident:
    if status == Status.RESOLVED:
        return replace(incident, notified=Status.RESOLVED, notified_at=now, notified_to=())
    notified = replace(
        incident,
        notified=Status.OPENED,
        notified_at=now,
        notified_severity=incident.severity,
        notified_to=tuple(dict.fromkeys((*incident.notified_to, *recipients))),
        rehearsed=configuration.dry_run and (incident.rehearsed or incident.notified is None),
    )
    if status == Status.ESCALATED:
        return replace(notified, escalated_at=now)
    return replace(notified, opened_notified_at=now) if status == Status.OPENED else notified


def _message(
    group: _Group, found: list[Incident], after: State, configuration: Configuration, now: datetime
) -> Message:
    destination, rule_name, table, status = group
    rule = configuration.rule(rule_name) or _gone(found[0])
    still_open = sum(
        each.state == IncidentState.OPEN and each.rule == rule_name and each.table == table
        for each in after.incidents.values()
    )
    severity = Severity.ERROR if any(each.severity == Severity.ERROR for each in found) else Severity.WARN
    ids = tuple(sorted(each.id for each in found))
    moments = sorted(str(each.notified_at) for each in found)
    return Message(
        id=identifier(destination, status, ids, moments),
        destination=destination,
        status=status,
        rule=rule_name,
        table=table,
        severity=severity,
        incidents=ids[:_MOST_IDS],
        content=content_of(found, rule, status, severity, still_open, configuration.base_url, now),
        created_at=now,
        due_at=now,
        state=MessageState.DRY_RUN if configuration.dry_run else MessageState.WAITING,
    )
