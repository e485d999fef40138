"""What was seen of the things that alert rules are about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any


class RuleKind(StrEnum):
    """What a rule is about."""

    QUALITY_CHECK_FAILED = "quality_check_failed"
    FRESHNESS = "freshness"
    METRIC = "metric"
    TASK_FAILED = "task_failed"
    CONTRACT_BREACH = "contract_breach"
    ROW_COUNT_ANOMALY = "row_count_anomaly"
    QUARANTINE_RATE = "quarantine_rate"


#: The subject of verdicts that rest on what stands with a table, not on the bound of a rule.
POLICY = "policy"
#: How long something that may pass by itself, as a store that does not answer, may keep things from being looked at.
LONGEST_UNKNOWN = timedelta(hours=1)
#: What results of checks are about: those of contracts have a kind of their own.
OF_CHECKS = (RuleKind.QUALITY_CHECK_FAILED, RuleKind.CONTRACT_BREACH)


class Severity(StrEnum):
    """How bad it is."""

    ERROR = "error"
    WARN = "warn"


@dataclass(frozen=True)
class RunRef:
    """The task of a run, for links."""

    dag_id: str
    run_id: str
    task_id: str | None = None


@dataclass(frozen=True)
class Verdict:
    """
    What was seen of one thing that a rule is about, at one moment.

    :param table: ``namespace.table``; None for what is about no table.
    :param subject: what else distinguishes incidents: the name of the check, contract, task or rule.
    :param passed: None when nothing can be said: no incident is opened or resolved by it, and ``message`` says why.
    :param message: one sentence, without a value of a row.
    :param observed_at: when, by the clock of whoever saw it; with a zone.
    :param facts: counts, ages and bounds, as plain JSON.
    :param consumers: who relies on the table.
    :param rule_name: the configured rule that it is for; None: the first that selects it.
    :param wrong_after: where nothing can be said: how long that may last before it is wrong itself; None: for ever.
    """

    rule: RuleKind
    table: str | None
    subject: str
    passed: bool | None
    severity: Severity
    message: str
    observed_at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    group: str | None = None
    owner: str | None = None
    tags: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    run: RunRef | None = None
    rule_name: str | None = None
    wrong_after: timedelta | None = None
