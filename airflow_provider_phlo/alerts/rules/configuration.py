"""``include/alerting/config.yaml``: which rules there are, and who is notified of what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from airflow_provider_phlo.alerts.rules.conditions import Condition, parse_condition
from airflow_provider_phlo.alerts.rules.quiet_hours import QuietHours, known_zone
from airflow_provider_phlo.alerts.rules.selectors import Selectors
from airflow_provider_phlo.alerts.rules.verdicts import POLICY, RuleKind, Severity

SLACK_VARIABLE = "PHLO_ALERT_SLACK_WEBHOOK"
SLACK_CHANNEL_VARIABLE = "PHLO_ALERT_SLACK_CHANNEL"
#: The destination that there is when the variable above is set.
SLACK = "slack"
WEBHOOK = "airflow_provider_phlo.notifications.webhook.WebhookNotifier"

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_PERIOD = re.compile(r"([0-9]{1,6})([smhdw])")
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_PART = r"[^.\s](?:[^.]*[^.\s])?"
_TABLE = re.compile(rf"{_PART}(?:\.{_PART})+")
#: Facts that every message may state: they count rows and hours.
COUNTS = frozenset(
    {
        "failed",
        "row_count",
        "rows",
        "expected_rows",
        "read",
        "quarantined",
        "rate",
        "age_hours",
        "warn_hours",
        "error_hours",
        "breaches",
        "days",
        "map_index",
        "try_number",
    }
)
_DAYS = frozenset({"first_day", "last_day"})
# what belongs to rules of one kind only
_OF_KIND = {
    "sql": RuleKind.METRIC,
    "table": RuleKind.METRIC,
    "day": RuleKind.METRIC,
    "when": RuleKind.METRIC,
    "engine": RuleKind.METRIC,
    "zone": RuleKind.METRIC,
    "show_value": RuleKind.METRIC,
    "older_than": RuleKind.FRESHNESS,
    "deviation": RuleKind.ROW_COUNT_ANOMALY,
    "more_than": RuleKind.QUARANTINE_RATE,
}


# those that say how much is too much, in place of what stands with the table
_BOUNDS = ("older_than", "deviation", "more_than")
# selectors of what the verdicts of a kind do not have: with them, a rule would never be about anything
_NEVER = {
    RuleKind.FRESHNESS: ("dags", "subjects"),
    RuleKind.ROW_COUNT_ANOMALY: ("dags", "subjects"),
    RuleKind.QUARANTINE_RATE: ("dags", "subjects"),
    RuleKind.METRIC: tuple(Selectors.model_fields),
    RuleKind.TASK_FAILED: ("tables", "groups"),
}
# how bad verdicts of a kind are, where it is always the same
_ALWAYS = {
    RuleKind.ROW_COUNT_ANOMALY: Severity.WARN,
    RuleKind.QUARANTINE_RATE: Severity.WARN,
    RuleKind.TASK_FAILED: Severity.ERROR,
}


def _period(value: Any) -> Any:
    found = _PERIOD.fullmatch(value) if isinstance(value, str) else None
    if isinstance(value, timedelta):
        return value
    if found is None:
        raise ValueError("write a length of time: 30m, 12h or 7d")
    return timedelta(seconds=int(found[1]) * _UNITS[found[2]])


def _not_none(value: timedelta) -> timedelta:
    if not value:
        raise ValueError("write more than no time at all, such as 30m")
    return value


def _condition(value: Any) -> Any:
    return parse_condition(value) if isinstance(value, str) else value


def _like(pattern: re.Pattern[str], words: str) -> AfterValidator:
    """Return what refuses a text of another form, in words: a pattern means nothing to who reads it."""

    def require(value: str) -> str:
        if pattern.fullmatch(value) is None:
            raise ValueError(words)
        return value

    return AfterValidator(require)


ImportPath = Annotated[str, _like(_IMPORT_PATH, "write the import path of a notifier: package.module.Class")]
RuleName = Annotated[str, _like(_NAME, "a name has letters, digits, dots, - and _, and no spaces")]
TableName = Annotated[str, _like(_TABLE, "write a table as namespace.table")]
Period = Annotated[timedelta, BeforeValidator(_period)]
# a length of nothing might mean "at once" or "never"
LongPeriod = Annotated[Period, AfterValidator(_not_none)]
When = Annotated[Condition, BeforeValidator(_condition)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Destination(_Part):
    """Where messages go."""

    notifier: ImportPath = Field(
        WEBHOOK, description="Import path of an Airflow notifier (the generic webhook of ours)"
    )
    arguments: dict[str, Any] = Field(
        {}, description="Its arguments; texts are Jinja templates; secrets are ${VARIABLES} or in connections"
    )
    timeout: LongPeriod = Field(timedelta(seconds=10), description="How long one message may take")


class Escalation(_Part):
    """Whom to notify when nobody has acknowledged."""

    after: Period = Field(description="How long after the first message")
    to: list[str] = Field(description="Destinations", min_length=1)


class Route(Selectors):
    """Where incidents go whose rule does not say it; the first route that fits counts."""

    to: list[str] = Field(description="Destinations", min_length=1)


class Rule(Selectors):
    """What is looked at, and who is notified; of several rules of a kind that fit, the first counts."""

    name: RuleName = Field(description="The rule's name: letters, digits, dots, - and _")
    kind: RuleKind = Field(description="What it is about")
    to: list[str] = Field([], description="Destinations (those of the first route that fits)")
    severity: Severity | None = Field(None, description="How bad it is: error or warn (as it was seen; error)")
    open_after: Period = Field(timedelta(0), description="How long it has to be wrong before anybody is notified")
    resolve_after: Period = Field(timedelta(minutes=10), description="How long it has to be right to count as resolved")
    cooldown: Period = Field(
        timedelta(hours=1), description="The least time from one message that it is wrong to the next"
    )
    send_resolved: bool = Field(True, description="Whether those who were notified hear of it when it is right again")
    remind_after: LongPeriod | None = Field(None, description="Say it again when it is still wrong after this time")
    escalate: Escalation | None = Field(None, description="Whom to notify when nobody has acknowledged")
    facts: list[str] = Field([], description="Facts that its messages may state, beside counts and ages")
    advice: str = Field("", description="What to do, in its messages")
    sql: str | None = Field(None, description="metric: one SELECT of one value, or of one row per day", min_length=1)
    table: TableName | None = Field(None, description="metric: the table, where there is no sql (namespace.table)")
    day: str | None = Field(None, description="metric: the column with the day, where the table has several rows")
    when: When | None = Field(
        None,
        description="metric: when it is wrong, such as cv_pct > 40 for 7 consecutive days; value: sql's last column",
    )
    engine: Literal["duckdb", "trino"] = Field("duckdb", description="metric: what runs its SQL")
    zone: str = Field("UTC", description="metric: the time zone whose days are meant")
    show_value: bool = Field(False, description="metric: whether its messages may state the value")
    older_than: LongPeriod | None = Field(
        None, description="freshness: the age that is too much (the table's own policy)"
    )
    deviation: float | None = Field(
        None, gt=0, description="row_count_anomaly: how far from the usual count is too far, as a share (0.5)"
    )
    more_than: float | None = Field(
        None, ge=0, le=1, description="quarantine_rate: the share of rows set aside that is too much (0.05)"
    )

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, name: str) -> str:
        return known_zone(name)

    @model_validator(mode="after")
    def _check_selectors(self) -> Rule:
        """Refuse what would select nothing, so that nobody ever hears of the rule."""
        for name in _NEVER.get(self.kind, ()):
            if getattr(self, name):
                cure = "quiet hours and routes may select by it" if self.kind == RuleKind.METRIC else "leave it out"
                raise ValueError(f"{name} is not for rules of kind {self.kind}, which know none: {cure}")
        seen = Severity.ERROR if self.older_than is not None else _ALWAYS.get(self.kind)
        if seen is not None and self.severities and seen not in self.severities:
            raise ValueError(f"severities leaves out {seen}, and what this rule is about is always {seen}")
        if self.has_bound and self.name == POLICY:
            raise ValueError(f"the name {POLICY} is that of what stands with tables: give the rule another one")
        return self

    @model_validator(mode="after")
    def _check_kind(self) -> Rule:
        for name, kind in _OF_KIND.items():
            if name in self.model_fields_set and kind != self.kind:
                raise ValueError(f"{name} is for rules of kind {kind}")
        if self.kind == RuleKind.METRIC:
            if self.when is None:
                raise ValueError("a metric needs when, such as cv_pct > 40 for 7 consecutive days")
            if (self.sql is None) == (self.table is None):
                raise ValueError("a metric needs sql, or a table")
            if self.sql is None and self.when.days > 1 and not self.day:
                raise ValueError("a metric of several days needs day, the table's column that says which day it is")
            if self.sql is None and self.when.value is None:
                raise ValueError("a metric of a table needs a column before the comparison")
        return self

    @property
    def has_bound(self) -> bool:
        """Return whether it says itself how much is too much: then it is not about what stands with the table."""
        return any(getattr(self, name) is not None for name in _BOUNDS)

    def stated(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Return the facts that may be kept and said: others may be values of rows."""
        declared = {*self.facts, *(["value"] if self.show_value else [])}
        return {
            name: value
            for name, value in facts.items()
            if name in declared or (name in COUNTS and isinstance(value, int | float)) or (name in _DAYS)
        }


class Configuration(_Part):
    """All of ``include/alerting/config.yaml``."""

    base_url: str = Field("", description="Airflow's address, for links ([api] base_url)")
    dry_run: bool = Field(False, description="Write down who would be notified, and send nothing")
    retention: LongPeriod = Field(timedelta(days=30), description="How long resolved incidents and messages are kept")
    destinations: dict[str, Destination] = Field(
        {}, description=f"Name → where messages go; {SLACK} is there when {SLACK_VARIABLE} is set"
    )
    routes: list[Route] = Field([], description="Where incidents go whose rule does not say it")
    quiet_hours: list[QuietHours] = Field([], description="When messages wait")
    rules: list[Rule] = Field([], description="What is looked at")
    _off: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def off(self) -> Mapping[str, str]:
        """Return the destinations that get nothing, as the variable that says their address is not set, and which."""
        return self._off

    def with_off(self, off: Mapping[str, str]) -> Configuration:
        """Return the same with these destinations off, by the variable of each."""
        copied = self.model_copy()
        copied._off = dict(off)
        return copied

    def rule(self, name: str) -> Rule | None:
        """Return the rule of this name; None if there is none."""
        return next((rule for rule in self.rules if rule.name == name), None)

    def asks_for(self, *kinds: RuleKind) -> bool:
        """Return whether any rule is of one of these kinds."""
        return any(rule.kind in kinds for rule in self.rules)
