"""``phlo maintenance``: plan and run the maintenance of tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.output import FAILED, REFUSED, Result, leave, open_catalog, show
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions, MaintenanceReport

COLUMNS = ["table", "job", "what", "amount"]


def plan(args: argparse.Namespace) -> None:
    """Print what maintenance would do."""
    from airflow_provider_phlo.iceberg import maintenance

    _each_table(args, "maintenance plan", maintenance.plan)


def run(args: argparse.Namespace) -> None:
    """Do the maintenance and print what was done."""
    from airflow_provider_phlo.iceberg import maintenance

    _each_table(args, "maintenance run", maintenance.run)


def _each_table(args: argparse.Namespace, command: str, work: Callable[..., MaintenanceReport]) -> None:
    """Do ``work`` for every table; all refusals come before the first table is touched."""
    from airflow_provider_phlo.iceberg import maintenance
    from airflow_provider_phlo.naming import qualified_table

    try:
        options = _options(args)
        catalog = open_catalog()
        patterns = [name if {"*", "?", "."}.intersection(name) else qualified_table(name) for name in args.tables]
        tables = maintenance.matching_tables(catalog, patterns)
        for table in tables:
            maintenance.check(catalog, table, options)
    except ConfigurationError as error:
        leave(command, str(error), REFUSED)
    reports, failed = [], []
    for table in tables:
        try:
            reports.append(work(catalog, table, options))
        except PhloError as error:
            failed.append(str(error))
    show(Result(COLUMNS, [row for report in reports for row in _rows(report)]), args.output)
    if failed:
        leave(command, "\n".join(failed), FAILED)


def _options(args: argparse.Namespace) -> MaintenanceOptions:
    from airflow_provider_phlo.iceberg.expiry import Retention
    from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions

    return MaintenanceOptions(
        jobs=tuple(name.strip() for name in args.jobs.split(",") if name.strip()),
        target_file_bytes=args.target_file_bytes,
        min_files=args.min_files,
        retention=Retention(args.snapshot_days, args.keep_last, args.branch_days),
        orphan_days=args.orphan_days,
        force=args.force,
    )


def _rows(report: MaintenanceReport) -> Iterator[tuple[str, str, str, Any]]:
    for job, amounts in report.jobs.items():
        for what, amount in amounts.items():
            yield report.table, job, what, amount
