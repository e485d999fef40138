"""One round of the watcher: look at every table, hand over what was seen, write down what has changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import alerts
from airflow_provider_phlo.alerts.rules.evaluation import evaluate
from airflow_provider_phlo.alerts.rules.verdicts import RuleKind, Verdict
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.quality.check_results import TABLE as CHECK_RESULTS
from airflow_provider_phlo.quality.freshness import TablePolicy
from airflow_provider_phlo.watching.contracts import see_contracts
from airflow_provider_phlo.watching.facts import TableFacts
from airflow_provider_phlo.watching.gone import Gone
from airflow_provider_phlo.watching.judging import verdicts_of, verdicts_of_missing
from airflow_provider_phlo.watching.reading import KNOWN, FactsCache, read_facts
from airflow_provider_phlo.watching.recording import Looked, record_changes

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.alerts.processing import AlertRound
    from airflow_provider_phlo.alerts.rules.configuration import Configuration
    from airflow_provider_phlo.iceberg.trino.queries import Queries


@dataclass(frozen=True)
class RoundResult:
    """
    What one round has seen and done.

    :param tables: how many tables there are.
    :param verdicts: what was seen of tables and contracts, and what rules about metrics and checks have found.
    :param alerts: what became of incidents and messages; None if the project has no rules, or nothing was to be done.
    :param messages: what a dry run would have sent.
    :param problems: what could not be written down.
    :param recorded: rows that were written into ``phlo.check_results``.
    """

    tables: int
    verdicts: tuple[Verdict, ...]
    alerts: AlertRound | None = None
    messages: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    recorded: int = 0
    seconds: float = field(default=0.0, compare=False)

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """Return the verdicts that something is wrong."""
        return tuple(verdict for verdict in self.verdicts if verdict.passed is False)

    @property
    def unknown(self) -> tuple[Verdict, ...]:
        """Return the verdicts that nothing can be said."""
        return tuple(verdict for verdict in self.verdicts if verdict.passed is None)


def watch(
    catalog: Catalog,
    folder: Path,
    now: datetime,
    *,
    dry_run: bool = False,
    base_url: str = "",
    run: tuple[str, str] = ("", ""),
    known: FactsCache = KNOWN,
    connect_to_trino: Callable[[], Any] | None = None,
) -> RoundResult:
    """
    Look at every table once.

    :param folder: the project's, with ``include/alerting`` and ``include/contracts``; both may be missing.
    :param now: by this machine's clock; with a zone.
    :param dry_run: change nothing, send nothing.
    :param base_url: Airflow's address, for links in messages.
    :param run: the DAG and the run that the round is of.
    :param known: what is known of tables that have not changed.
    :param connect_to_trino: opens a DB-API connection, for metrics whose engine is Trino.
    :raises ConfigurationError: the configuration of alerts is wrong.
    :raises TransientError: the catalog does not answer.
    """
    started = time.perf_counter()
    configuration = alerts.read_configuration(folder, base_url=base_url)
    facts = read_facts(catalog, now, known)
    verdicts = [verdict for each in facts for verdict in verdicts_of(each, now, configuration)]
    policies = {each.table: (each.policy if isinstance(each, TableFacts) else None) or TablePolicy() for each in facts}
    contracts = see_contracts(catalog, folder, policies, now)
    verdicts += contracts.verdicts
    ruled: list[Verdict] = []
    if configuration is not None:
        verdicts += verdicts_of_missing(configuration, policies, now)
        ruled = evaluate(catalog, configuration, now, trino=_trino(configuration, connect_to_trino), policies=policies)
    every = _newest([*verdicts, *ruled])
    # whoever is to be woken first: what cannot be recorded is a problem, and keeps nobody asleep
    readable = frozenset(each.table for each in facts if isinstance(each, TableFacts) and not each.problem)
    gone = Gone(frozenset(policies), readable, every, contracts.are_judged)
    done, messages = _hand_over(catalog, configuration, every, gone, now, dry_run=dry_run)
    recorded, problems = 0, []
    if not dry_run:
        snapshots = {each.table: each.snapshot_id if isinstance(each, TableFacts) else None for each in facts}
        # results of checks are recorded already: that is where they are from
        own = [*verdicts, *(verdict for verdict in ruled if verdict.rule == RuleKind.METRIC)]
        try:
            recorded = record_changes(catalog, own, Looked(snapshots, now, run))
        except Exception as error:  # noqa: BLE001 - see above
            problems.append(f"What has changed is not recorded in {CHECK_RESULTS}: {describe(error)}")
    seconds = time.perf_counter() - started
    return RoundResult(len(facts), every, done, messages, tuple(problems), recorded, seconds)


def _trino(configuration: Configuration, connect: Callable[[], Any] | None) -> Queries | None:
    """Return what runs statements on Trino, if a rule needs it."""
    if connect is None or not any(rule.engine == "trino" for rule in configuration.rules):
        return None
    from airflow_provider_phlo.iceberg.trino.queries import Queries

    return Queries(connect)


def _newest(verdicts: Iterable[Verdict]) -> tuple[Verdict, ...]:
    """Return one verdict about each thing: a task may have found out what this round did, or what it could not."""
    found: dict[tuple[str, str | None, str], Verdict] = {}
    for verdict in verdicts:
        key = (verdict.rule, verdict.table, verdict.subject)
        other = found.get(key)
        if other is None or (verdict.passed is not None, verdict.observed_at) > (
            other.passed is not None,
            other.observed_at,
        ):
            found[key] = verdict
    return tuple(found.values())


def _hand_over(
    catalog: Catalog,
    configuration: Configuration | None,
    verdicts: Sequence[Verdict],
    gone: Gone,
    now: datetime,
    *,
    dry_run: bool,
) -> tuple[AlertRound | None, tuple[str, ...]]:
    """Give what was seen to alerts; in a dry run return what would be sent."""
    if configuration is None:
        return None, ()
    if dry_run:
        messages = alerts.preview(catalog, configuration, verdicts, now, gone.reason)
        return None, tuple(str(each.content["text"]) for each in messages)
    return alerts.process(catalog, configuration, verdicts, now, gone=gone.reason), ()


def summary(result: RoundResult) -> dict[str, object]:
    """Return a round as a small JSON object, for XCom and logs."""
    return {
        "tables": result.tables,
        "verdicts": len(result.verdicts),
        "wrong": _names(result.wrong),
        "unknown": _names(result.unknown),
        "problems": list(result.problems),
        "recorded": result.recorded,
        "seconds": round(result.seconds, 3),
    }


def _names(verdicts: Sequence[Verdict]) -> list[str]:
    # a table may have several metrics
    return [
        f"{verdict.rule} {verdict.subject if verdict.rule == RuleKind.METRIC else verdict.table or verdict.subject}"
        for verdict in verdicts
    ]
