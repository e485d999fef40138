"""
From verdicts to messages: what has changed is committed together with the messages about it, then they are sent.

Both steps may be repeated, by retries and by several watchers at once: who commits first decides, and the others find
it done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_phlo.alerts.delivery import sending
from airflow_provider_phlo.alerts.delivery.notifying import notify
from airflow_provider_phlo.alerts.incidents import store
from airflow_provider_phlo.alerts.incidents.state import Message, State, Status
from airflow_provider_phlo.alerts.incidents.transitions import GoneReason, nothing_is_gone, prune, rule_for, see
from airflow_provider_phlo.alerts.rules.configuration import Configuration
from airflow_provider_phlo.alerts.rules.verdicts import Verdict
from airflow_provider_phlo.exceptions import CommitConflictError, TransientError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AlertRound:
    """
    What one round did, in numbers.

    :param opened: incidents that began.
    :param resolved: incidents that ended.
    :param repeated: reminders and escalations.
    :param silenced: incidents that nobody is notified of now, for a silence or quiet hours.
    :param sent: messages that arrived.
    :param failed_deliveries: messages that did not, and are tried again.
    :param unknown: verdicts that say nothing.
    """

    opened: int = 0
    resolved: int = 0
    repeated: int = 0
    silenced: int = 0
    sent: int = 0
    failed_deliveries: int = 0
    unknown: int = 0


def process(
    catalog: Catalog,
    configuration: Configuration,
    verdicts: Iterable[Verdict],
    now: datetime,
    *,
    deliver: bool = True,
    gone: GoneReason = nothing_is_gone,
) -> AlertRound:
    """
    Write down what has changed and who has to hear of it, and send what is due.

    :param now: by this machine's clock; with a zone.
    :param deliver: whether to notify anybody; otherwise the next round that does so finds what is due.
    :param gone: returns why an incident is over that nobody can see any more.
    :raises CommitConflictError: others wrote at the same time, every time.
    :raises TransientError: the disk is full, or the catalog does not answer: nothing has changed.
    """
    verdicts = list(verdicts)
    matter = [verdict for verdict in verdicts if rule_for(configuration, verdict) is not None]
    unknown = sum(verdict.passed is None for verdict in matter)
    may_be_wrong = any(verdict.passed is False or verdict.wrong_after is not None for verdict in matter)
    if not may_be_wrong and store.is_quiet(catalog):
        return AlertRound(unknown=unknown)
    claimant, counts = sending.new_claimant() if deliver else None, AlertRound()

    def change(state: State) -> State:
        nonlocal counts
        after, counts = decide(state, configuration, verdicts, now, claimant, gone)
        return after

    state = store.change(catalog, change)
    outcomes = _send(catalog, state, configuration, claimant, now) if claimant else []
    failed = sum(outcome.error is not None for outcome in outcomes)
    return replace(counts, sent=len(outcomes) - failed, failed_deliveries=failed)


def decide(
    state: State,
    configuration: Configuration,
    verdicts: Iterable[Verdict],
    now: datetime,
    claimant: str | None,
    gone: GoneReason = nothing_is_gone,
) -> tuple[State, AlertRound]:
    """
    Return what follows from a state and from what was seen, with the messages that are to be sent.

    :param claimant: who sends what is due; None: another round does, which puts what it finds into few messages.
    """
    seen = see(state, configuration, verdicts, now, gone)
    after, counts = seen.state, AlertRound(len(seen.opened), len(seen.resolved), unknown=seen.unknown)
    if claimant:
        after, messages, held = notify(after, configuration, now)
        repeated = sum(message.status in (Status.REMINDER, Status.ESCALATED) for message in messages)
        counts = replace(counts, repeated=repeated, silenced=held)
        after = sending.claim(after, claimant, now, configuration.off)
    return (state if after == state else prune(after, configuration.retention, now)), counts


def preview(
    catalog: Catalog,
    configuration: Configuration,
    verdicts: Iterable[Verdict],
    now: datetime,
    gone: GoneReason = nothing_is_gone,
) -> tuple[Message, ...]:
    """Return the messages that :func:`process` would write down; nothing is changed or sent."""
    seen = see(store.read_state(catalog), configuration, verdicts, now, gone)
    return notify(seen.state, configuration, now)[1]


def _send(
    catalog: Catalog, state: State, configuration: Configuration, claimant: str, now: datetime
) -> list[sending.Outcome]:
    mine = sending.claimed(state, claimant)
    if not mine:
        return []
    began = time.monotonic()
    outcomes: list[sending.Outcome] = []
    unmarked: list[sending.Outcome] = []

    def mark() -> None:
        after = now + timedelta(seconds=time.monotonic() - began)
        store.change(catalog, lambda state: sending.settle(state, unmarked, claimant, after))
        unmarked.clear()

    # each as soon as it is known: what has arrived and is not marked is sent again if this process dies
    for found in sending.deliver(mine, configuration):
        outcomes += found
        unmarked += found
        with suppress(CommitConflictError, TransientError):  # the others are to be served; then once more
            mark()
    if unmarked:
        mark()
    for name, count in sending.unsent(outcomes).items():
        reason = next(each.error for each in outcomes if each.error is not None and each.message.destination == name)
        log.warning("alerts: %d to %s not delivered, tried again later: %s", count, name, reason)
    return outcomes
