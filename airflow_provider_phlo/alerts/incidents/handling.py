"""What people do about incidents: silence rules for a while, acknowledge that they look after something."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.incidents.state import Incident, IncidentState, Silence, State, identifier
from airflow_provider_phlo.alerts.rules.selectors import fits

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


def silence(
    catalog: Catalog, rule: str, table: str | None, until: datetime, now: datetime, *, by: str = "", reason: str = ""
) -> Silence:
    """
    Let nobody be notified of a rule's incidents for a while; what is still wrong then is sent then.

    :param rule: the rule's name, with * and ?.
    :param table: only this one, with * and ?.
    """
    made = Silence(identifier(rule, table, now.isoformat()), rule, table, now, until, by, reason)
    store.change(catalog, lambda state: replace(state, silences=(*state.silences, made)))
    return made


def end_silence(catalog: Catalog, rule: str, table: str | None, now: datetime) -> int:
    """End the silences of this rule and table now; return how many there were."""
    ended = 0

    def decide(state: State) -> State:
        nonlocal ended
        meant = {each.id for each in state.silences if (each.rule, each.table) == (rule, table) and each.until > now}
        ended = len(meant)
        kept = (replace(each, until=now) if each.id in meant else each for each in state.silences)
        return replace(state, silences=tuple(kept)) if meant else state

    store.change(catalog, decide)
    return ended


def acknowledge(catalog: Catalog, what: str, table: str | None, now: datetime, *, by: str = "") -> list[Incident]:
    """
    Note that somebody looks after open incidents: they are neither repeated nor escalated, until they are over.

    :param what: an incident's id, or a rule's name with * and ?.
    :param table: only of this one, with * and ?.
    :returns: the incidents.
    """
    found: list[Incident] = []

    def decide(state: State) -> State:
        found[:] = [each for each in state.incidents.values() if _is_meant(each, what, table)]
        new = {each.key: replace(each, acknowledged_at=now, acknowledged_by=by) for each in found}
        return replace(state, incidents={**state.incidents, **new}) if new else state

    store.change(catalog, decide)
    return found


def _is_meant(incident: Incident, what: str, table: str | None) -> bool:
    if incident.state == IncidentState.RESOLVED or incident.acknowledged_at is not None:
        return False
    if table is not None and not fits(table, incident.table):
        return False
    return incident.id == what or fits(what, incident.rule)
