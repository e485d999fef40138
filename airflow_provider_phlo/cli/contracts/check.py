"""``phlo contract check``: whether tables keep what contracts promise of their rows and service levels."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.cli.contracts.contract import chosen_contracts, end_with, is_broken, project_contracts
from airflow_provider_phlo.cli.contracts.junit import Case, document
from airflow_provider_phlo.cli.terminal import words
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show, write_lines
from airflow_provider_phlo.contract_files import FOLDER
from airflow_provider_phlo.contracts import Contract
from airflow_provider_phlo.contracts.enforcement import ContractReport, check_contract, require_readable_sql
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.quality.engines import open_duckdb

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog

_COLUMNS = ["contract", "table", "column", "rule", "passed", "severity", "failed", "rows", "message", "where"]
Row = tuple[Any, ...]


def checks(args: argparse.Namespace) -> None:
    """Check contracts; the exit code is 1 if a promise is broken."""
    chosen, problems = (chosen_contracts(args.contracts), []) if args.contracts else project_contracts()
    if not chosen and not problems:
        raise ConfigurationError(f"There is no contract in {FOLDER}: docs/contracts.md shows what one says.")
    readable = [each for each in chosen if not _refused(each, problems, named=bool(args.contracts))]
    catalog = open_catalog()
    with open_duckdb() as connection:
        reports = [report for each in readable if (report := _report(each, catalog, args, problems, connection))]
    _print(reports, args)
    broken = [is_broken(report.contract) for report in reports if not report.passed]
    end_with("contract check", [*broken, *problems])


def _refused(contract: Contract, problems: list[str], *, named: bool) -> bool:
    """Return whether a contract's SQL is refused; one that was asked for by name refuses the whole command."""
    try:
        require_readable_sql(contract)
    except ConfigurationError as error:
        if named:
            raise
        problems.append(str(error))
        return True
    return False


def _report(
    contract: Contract,
    catalog: Catalog,
    args: argparse.Namespace,
    problems: list[str],
    connection: DuckDBPyConnection,
) -> ContractReport | None:
    """Return what was found; a contract that cannot be checked is a problem, and keeps no other from being checked."""
    from airflow_provider_phlo import settings

    before = _stamp(contract)
    try:
        report = check_contract(
            catalog,
            contract,
            sla=args.sla,
            branch=args.branch,
            partition=args.partition,
            namespace=settings.default_namespace(),
            connection=connection,
        )
    except PhloError as error:
        problems.append(f"{contract.name}: {error}")
        return None
    if _stamp(contract) != before:
        problems.append(f"{contract.source} has changed while it was checked: check it again.")
    return report


def _stamp(contract: Contract) -> tuple[int, int] | None:
    try:
        found = contract.source.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def _print(reports: Sequence[ContractReport], args: argparse.Namespace) -> None:
    if args.output == "junit":
        cases = [case for report in reports for case in _cases(report)]
        write_lines([document(cases, [report.contract.name for report in reports])])
        return
    people = args.output == "table"
    rows = [row for report in reports for row in _rows(report) if not (people and row[4])]
    broken = [report for report in reports if report.breaches]
    if rows or not people:
        show(Result(_COLUMNS, rows), args.output)
    if people and reports and not broken:
        print(f"{words.plural(len(reports), 'contract')}: every promise that was checked is kept.")
    if not people:
        return
    if not args.sla and any(report.contract.service_levels for report in reports):
        print("phlo contract check: service levels were not judged: add --sla.", file=sys.stderr)


def _rows(report: ContractReport) -> Iterator[Row]:
    """Yield a row for every verdict: what is broken first."""
    contract = report.contract
    for breach in report.breaches:
        yield (
            contract.name,
            breach.table,
            breach.column or None,
            breach.rule,
            False,
            breach.severity,
            breach.failed,
            breach.row_count,
            breach.message,
            contract.where(breach.line),
        )
    for reason in report.not_judged:
        yield contract.name, None, None, None, None, None, None, None, f"not judged: {reason}", str(contract.source)
    for result in report.results:
        if result.passed:
            yield (
                contract.name,
                result.table,
                ", ".join(result.columns) or None,
                result.metrics["rule"],
                True,
                result.severity,
                result.failed,
                result.row_count,
                result.message,
                contract.where(result.metrics["line"]),
            )


def _cases(report: ContractReport) -> Iterator[Case]:
    seconds = {result.metrics["rule"]: result.execution_time_seconds for result in report.results}
    relied = f" Relied on by {', '.join(report.consumers)}." if report.consumers else ""
    for _, table, column, rule, passed, severity, _, _, message, where in _rows(report):
        if passed is None:
            yield Case(report.contract.name, message, unjudged=message)
            continue
        name = f"{table}: {rule}" if not column or column in rule else f"{table}: {rule} {column}"
        yield Case(
            report.contract.name,
            name,
            problem="" if passed else f"{message}.{relied}",
            warning=severity == "warn",
            where=where,
            seconds=seconds.get(rule, 0.0),
        )
