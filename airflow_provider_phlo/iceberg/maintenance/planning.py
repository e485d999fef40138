"""
Keep tables small and fast: compaction, manifests, snapshot expiry, orphan removal. Plan first, then run.

Safe while writers run: every change of a table is one commit, repeated when another was faster; a writer whose
branch was made before rebases, as it does when another writer publishes.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg.branches.expiry import (
    MOST_DAYS,
    ExpiryPlan,
    Retention,
    expire,
    held_by,
    is_days,
    plan_expiry,
)
from airflow_provider_phlo.iceberg.duckdb.views import all_tables
from airflow_provider_phlo.iceberg.maintenance.compaction import check_compaction, compact, plan_compaction
from airflow_provider_phlo.iceberg.maintenance.manifests import plan_manifests, rewrite_manifests
from airflow_provider_phlo.iceberg.maintenance.orphans import (
    MINIMUM_HOURS,
    check_orphan_removal,
    plan_orphans,
    remove_orphans,
)
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.properties import may_collect
from airflow_provider_phlo.iceberg.tables.support import require_writable

_Steps = dict[str, Callable[[], dict[str, Any]]]
# in the order in which they run: each cleans up what the ones before it leave behind
JOBS = ("compaction", "manifests", "expiry", "orphans")


@dataclass(frozen=True)
class MaintenanceOptions:
    """
    Which jobs to run, and their limits.

    :param jobs: some of ``compaction``, ``manifests``, ``expiry``, ``orphans``.
    :param target_file_bytes: None means the table's ``write.target-file-size-bytes``, else 128 MiB.
    :param min_files: fewer small files of a partition are not worth a compaction.
    :param orphan_days: the age guard of orphan removal: longer than any writer runs.
    :param force: accept ages below an hour. Nothing may read or write the table then.
    """

    jobs: Sequence[str] = JOBS
    target_file_bytes: int | None = None
    min_files: int = 2
    retention: Retention = field(default_factory=Retention)
    orphan_days: float = 3
    force: bool = False

    def __post_init__(self) -> None:
        unknown = sorted(set(self.jobs) - set(JOBS))
        if unknown or not self.jobs:
            raise ConfigurationError(f"jobs={list(self.jobs)}: name some of {', '.join(JOBS)}.")
        if self.min_files < 2 or (self.target_file_bytes is not None and self.target_file_bytes < 1):
            raise ConfigurationError("min_files is at least 2, target_file_bytes is positive.")
        if not is_days(self.orphan_days):
            raise ConfigurationError(f"orphan_days={self.orphan_days}: give days from 0 to {MOST_DAYS}.")


@dataclass(frozen=True)
class MaintenanceReport:
    """
    What is to be done, or was done, with one table.

    :param jobs: for each job, what it does and how much.
    :param error: why the table was given up, with nothing lost: a later attempt may succeed.
    """

    table: str
    jobs: dict[str, dict[str, Any]]
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the report as a JSON object."""
        return asdict(self)


def maintain(
    catalog: Catalog,
    patterns: Collection[str],
    options: MaintenanceOptions | None = None,
    *,
    dry_run: bool = False,
    now: datetime.datetime | None = None,
) -> list[MaintenanceReport]:
    """
    Plan (``dry_run``) or run the maintenance of all tables that a pattern names, one after the other.

    :param patterns: ``namespace.table``, with ``*`` and ``?``.
    :returns: one report per table; the report of a table whose writers were faster in every round carries the error.
    :raises ConfigurationError: if a pattern names no table, or a job would lose data; nothing is done then.
    """
    options = options or MaintenanceOptions()
    tables = _matching(all_tables(catalog), patterns)
    for table in tables:
        _check(catalog, table, options)
    return [_attempt(plan if dry_run else run, catalog, table, options, now) for table in tables]


def _matching(tables: Sequence[str], patterns: Collection[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(table, pattern) for table in tables):
            raise ConfigurationError(
                f"No table is named {pattern}: the catalog has {', '.join(tables[:20]) or 'none'}."
            )
    return [table for table in tables if any(fnmatchcase(table, pattern) for pattern in patterns)]


def _attempt(
    work: Callable[..., MaintenanceReport],
    catalog: Catalog,
    table: str,
    options: MaintenanceOptions,
    now: datetime.datetime | None,
) -> MaintenanceReport:
    try:
        return work(catalog, table, options, now=now)
    except CommitConflictError as error:
        return MaintenanceReport(table, {}, str(error))


def plan(
    catalog: Catalog,
    identifier: str,
    options: MaintenanceOptions | None = None,
    *,
    now: datetime.datetime | None = None,
) -> MaintenanceReport:
    """
    Return what :func:`run` would do now; nothing is changed. What one job leaves for the next to do is not counted.

    :raises ConfigurationError: if the table does not exist, or a job would lose data.
    """
    options, now = options or MaintenanceOptions(), now or datetime.datetime.now(datetime.UTC)
    _check(catalog, identifier, options)
    table = catalog.load_table(identifier)
    planned: _Steps = {
        "compaction": lambda: plan_compaction(
            table, target_bytes=options.target_file_bytes, min_files=options.min_files
        ).totals(),
        "manifests": lambda: plan_manifests(table).totals(),
        "expiry": lambda: _planned_expiry(table, plan_expiry(table, options.retention, now)),
        "orphans": lambda: plan_orphans(catalog, identifier, days=options.orphan_days, now=now).totals(),
    }
    return MaintenanceReport(identifier, {job: planned[job]() for job in JOBS if job in options.jobs})


def run(
    catalog: Catalog,
    identifier: str,
    options: MaintenanceOptions | None = None,
    *,
    now: datetime.datetime | None = None,
) -> MaintenanceReport:
    """
    Do the jobs, one after the other, each as its own commit.

    :returns: what was done.
    :raises ConfigurationError: if the table does not exist, or a job would lose data; nothing is done then.
    :raises CommitConflictError: if others changed the table in every round; what earlier jobs did stays.
    """
    options, now = options or MaintenanceOptions(), now or datetime.datetime.now(datetime.UTC)
    _check(catalog, identifier, options)
    steps: _Steps = {
        "compaction": lambda: asdict(
            compact(catalog, identifier, target_bytes=options.target_file_bytes, min_files=options.min_files)
        ),
        "manifests": lambda: asdict(rewrite_manifests(catalog, identifier)),
        "expiry": lambda: expire(catalog, identifier, options.retention, now).totals(),
        "orphans": lambda: remove_orphans(catalog, identifier, days=options.orphan_days, now=now).totals(),
    }
    return MaintenanceReport(identifier, {job: steps[job]() for job in JOBS if job in options.jobs})


def _planned_expiry(table: Table, expiring: ExpiryPlan) -> dict[str, Any]:
    files, size = held_by(table, expiring.snapshots)
    return {**expiring.totals(), "files": files, "bytes": size}


def _check(catalog: Catalog, identifier: str, options: MaintenanceOptions) -> None:
    """Refuse what must not be done before the first job has begun."""
    table = find_table(catalog, identifier)
    if table is None:
        raise ConfigurationError(f"Table {identifier} does not exist: correct the name.")
    collected = {"expiry", "orphans"}.intersection(options.jobs)
    if collected and not may_collect(table.properties):
        raise ConfigurationError(
            f"{identifier} has gc.enabled={table.properties['gc.enabled']}: its files are shared with something that "
            f"Iceberg does not know. Leave out {' and '.join(sorted(collected))}, or set it when nothing else "
            "uses them."
        )
    days = options.retention.snapshot_days
    if "expiry" in options.jobs and days is not None and days * 24 < MINIMUM_HOURS and not options.force:
        raise ConfigurationError(
            f"{identifier}: snapshot_days={days} is less than {MINIMUM_HOURS} hour, and a "
            "running query may still read an older snapshot: give more, or force when nothing uses the table."
        )
    if "orphans" in options.jobs:
        check_orphan_removal(catalog, table, days=options.orphan_days, force=options.force)
    if "manifests" in options.jobs:
        require_writable(table)
    if "compaction" in options.jobs:
        check_compaction(table)
