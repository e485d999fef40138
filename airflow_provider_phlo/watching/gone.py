"""Incidents about what there is no more: a table that was dropped, a promise that nobody makes any longer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from airflow_provider_phlo.alerts.incidents.state import Incident
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Verdict

# found out by looking at a table, or at the results of its checks
_OF_TABLES = frozenset(
    {RuleKind.FRESHNESS, RuleKind.ROW_COUNT_ANOMALY, RuleKind.QUARANTINE_RATE, RuleKind.QUALITY_CHECK_FAILED}
)


@dataclass(frozen=True)
class Gone:
    """
    Why nobody will see any more of an incident, if so.

    :param tables: all that the catalog has.
    :param readable: those that could be looked at in this round.
    :param verdicts: of this round.
    :param contracts_are_judged: whether everything that contracts promise has a verdict.
    """

    tables: frozenset[str]
    readable: frozenset[str]
    verdicts: Iterable[Verdict]
    contracts_are_judged: bool
    _seen: set[tuple[RuleKind, str | None, str]] = field(init=False, default_factory=set, repr=False)

    def __post_init__(self) -> None:
        self._seen.update((each.rule, each.table, each.subject) for each in self.verdicts)

    def reason(self, incident: Incident) -> str | None:
        """Return why an incident is over although nothing says that it is right again; None: it is not."""
        if (incident.kind, incident.table, incident.subject) in self._seen or incident.table is None:
            return None
        if incident.table not in self.tables and incident.kind in {*_OF_TABLES, RuleKind.CONTRACT_BREACH}:
            return "there is no such table any more"
        if incident.kind == RuleKind.FRESHNESS and incident.table in self.readable:
            return "no freshness is promised of the table any more"
        # what a task has found, a task finds again
        if incident.kind == RuleKind.CONTRACT_BREACH and incident.run is None and self.contracts_are_judged:
            return "no contract promises it any more"
        return None
