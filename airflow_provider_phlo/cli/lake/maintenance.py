"""``phlo maintenance``: plan and run the maintenance of tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_on_error, exit_with
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show

if TYPE_CHECKING:
    import argparse

    from airflow_provider_phlo.iceberg.maintenance import MaintenanceOptions, MaintenanceReport

COLUMNS = ["table", "job", "what", "amount"]


def plan(args: argparse.Namespace) -> None:
    """Print what maintenance would do."""
    _maintain(args, "maintenance plan", dry_run=True)


def run(args: argparse.Namespace) -> None:
    """Run maintenance and print what was done."""
    _maintain(args, "maintenance run", dry_run=False)


def _maintain(args: argparse.Namespace, command: str, *, dry_run: bool) -> None:
    from airflow_provider_phlo.iceberg.maintenance import maintain
    from airflow_provider_phlo.naming import qualified_table

    with exit_on_error(command):
        patterns = [name if {"*", "?"}.intersection(name) else qualified_table(name) for name in args.tables]
        reports = maintain(open_catalog(), patterns, _options(args), dry_run=dry_run)
    rows = [row for report in reports for row in _rows(report)]
    if args.output == "table":
        rows = [(table, job, what.replace("_", " "), _in_words(what, amount)) for table, job, what, amount in rows]
    show(Result(COLUMNS, rows, right=("amount",)), args.output)
    errors = [report.error for report in reports if report.error]
    if errors:
        exit_with(command, "\n".join(errors), FAILED)


def _in_words(what: str, amount: Any) -> str:
    if isinstance(amount, list):
        return ", ".join(map(str, amount)) or "none"
    return words.size(amount) if what.startswith("bytes") else words.number(amount)


def _options(args: argparse.Namespace) -> MaintenanceOptions:
    from airflow_provider_phlo.iceberg.branches.expiry import Retention
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
