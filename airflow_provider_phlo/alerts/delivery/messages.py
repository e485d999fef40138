"""
What a message says: counts, since when, what changed, what to do, and where to look.

Only what its rule lets it state is said (:meth:`~.configuration.Rule.stated`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from typing import Any
from urllib.parse import quote, urlencode

from airflow_provider_phlo.alerts.incidents.state import Incident, IncidentState, Status, identifier
from airflow_provider_phlo.alerts.rules.configuration import Rule
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, RunRef, Severity

# of more incidents than this in one message, the others are counted
_MOST_LINES = 20
_LONGEST = 500

_ADVICE = {
    RuleKind.QUALITY_CHECK_FAILED: "Look at the rows that fail, then fix the data or the check and run it again.",
    RuleKind.FRESHNESS: "See whether the runs that fill the table have failed, are late or are paused.",
    RuleKind.METRIC: "Look at the metric's table.",
    RuleKind.TASK_FAILED: "Read the task's log, then clear the task.",
    RuleKind.CONTRACT_BREACH: "phlo contract check shows which promise is broken; inform those who rely on it.",
    RuleKind.ROW_COUNT_ANOMALY: "Compare with the source: phlo metrics asset shows what runs have written.",
    RuleKind.QUARANTINE_RATE: "phlo quarantine list shows why rows were set aside.",
}
_TITLES = {
    Status.OPENED: "",
    Status.REMINDER: "still ",
    Status.ESCALATED: "not acknowledged: ",
    Status.RESOLVED: "resolved: ",
    Status.CLOSED: "closed, not resolved: ",
}
# what messages that something is over are about
_OVER = (Status.RESOLVED, Status.CLOSED)


def content_of(
    incidents: Sequence[Incident],
    rule: Rule,
    status: Status,
    severity: Severity,
    still_open: int,
    base_url: str,
    now: datetime,
) -> dict[str, Any]:
    """
    Return what a message about incidents of one rule and table says: what templates may use.

    :param still_open: how many incidents of this rule and table are open.
    """
    first = incidents[0]
    ordered = sorted(incidents, key=lambda each: (each.since, each.subject))
    content: dict[str, Any] = {
        "key": identifier(rule.name, first.table),
        "action": "resolve" if status in _OVER and not still_open else "trigger",
        "status": str(status),
        "severity": str(severity),
        "rule": rule.name,
        "kind": str(first.kind),
        "table": first.table,
        "owner": first.owner,
        "group": first.group,
        "consumers": sorted({name for each in incidents for name in each.consumers}),
        "since": min(each.since for each in incidents).isoformat(timespec="seconds"),
        "at": now.isoformat(timespec="seconds"),
        "count": len(incidents),
        "still_open": still_open,
        "incidents": [_incident(each, rule, base_url) for each in ordered[:_MOST_LINES]],
        "advice": "" if status in _OVER else rule.advice or _ADVICE[first.kind],
        "table_url": _table_url(base_url, first.table),
        "run_url": next((url for each in ordered if (url := _run_url(base_url, each.run))), ""),
    }
    content["title"] = _title(content, ordered, status)
    content["text"] = _text(content)
    content["html"] = "<br>\n".join(escape(line) for line in content["text"].splitlines())
    return content


def _incident(incident: Incident, rule: Rule, base_url: str) -> dict[str, Any]:
    return {
        "id": incident.id,
        "subject": incident.subject[:_LONGEST],
        "severity": str(incident.severity),
        "message": _one_line(incident.message),
        "since": incident.since.isoformat(timespec="seconds"),
        "flaps": incident.flaps,
        "resolved_because": incident.resolved_because,
        "facts": rule.stated(incident.facts),
        "run_url": _run_url(base_url, incident.run),
    }


def _title(content: Mapping[str, Any], incidents: Sequence[Incident], status: Status) -> str:
    what = incidents[0].subject if len(incidents) == 1 else f"{len(incidents)} incidents"
    # what has no name of its own is called as its rule
    what = "" if what == content["rule"] and content["table"] else what
    about = " of ".join(filter(None, (what, content["table"])))
    return _one_line(f"[{content['severity']}] {_TITLES[status]}{content['rule']}: {about}")


def _text(content: Mapping[str, Any]) -> str:
    lines = [content["title"]]
    for each in content["incidents"]:
        flaps = f", {each['flaps']} times wrong again meanwhile" if each["flaps"] else ""
        over = f" ({each['resolved_because']})" if each["resolved_because"] and content["status"] in _OVER else ""
        ends = "" if each["message"].endswith((".", "!", "?", "…")) else "."
        lines.append(f"- {each['message']}{ends} Since {each['since']}{flaps}.{over}")
    if content["count"] > len(content["incidents"]):
        lines.append(f"- and {content['count'] - len(content['incidents'])} more")
    if content["status"] in _OVER and content["still_open"]:
        lines.append(f"Of this rule and table {content['still_open']} still open.")
    labels = (("Owner", "owner"), ("What to do", "advice"), ("Run", "run_url"), ("Table", "table_url"))
    lines += [f"{label}: {content[name]}" for label, name in labels if content[name]]
    if content["consumers"]:
        lines.append(f"Relied on by: {', '.join(content['consumers'])}")
    return "\n".join(lines)


def _one_line(text: str) -> str:
    short = " ".join(text.split())
    return short if len(short) <= _LONGEST else short[: _LONGEST - 1] + "…"


def _run_url(base_url: str, run: RunRef | None) -> str:
    if not base_url or run is None:
        return ""
    task = f"/tasks/{quote(run.task_id, safe='')}" if run.task_id else ""
    return f"{base_url.rstrip('/')}/dags/{quote(run.dag_id, safe='')}/runs/{quote(run.run_id, safe='')}{task}"


def _table_url(base_url: str, table: str | None) -> str:
    return f"{base_url.rstrip('/')}/assets?{urlencode({'name_pattern': table})}" if base_url and table else ""


def content_of_test(destination: str, base_url: str, now: datetime) -> dict[str, Any]:
    """Return what a message says that tries a destination: it is marked as such."""
    rule = Rule.model_construct(
        name="phlo-alerts-test", kind=RuleKind.METRIC, advice="Nothing: this only shows that messages arrive.", facts=[]
    )
    incident = Incident(
        id=identifier("test", destination, now),
        rule=rule.name,
        kind=RuleKind.METRIC,
        table=None,
        subject="a test message",
        severity=Severity.WARN,
        state=IncidentState.OPEN,
        message=f"This is a test of the destination {destination}.",
        since=now,
        seen_at=now,
    )
    content = content_of([incident], rule, Status.OPENED, Severity.WARN, 1, base_url, now)
    # a key of its own, so that it touches no real incident of the destination
    return {**content, "key": incident.id, "test": True}
