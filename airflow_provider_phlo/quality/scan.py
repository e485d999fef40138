"""
Run checks on a table or a data frame: all aggregates in one scan, then what needs a query or a frame of its own.

Every check gives a result. One that cannot be evaluated (a column is missing, types do not compare, somebody's own
code raises) has failed, and says so without showing data.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.process import keep_offsets
from airflow_provider_phlo.quality.base import QualityCheck
from airflow_provider_phlo.quality.engines import FRAME, DuckDBFrameEngine, EvaluationError, open_duckdb, open_engine
from airflow_provider_phlo.quality.failures import failed_by_engine
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.rows_under_check import (
    RowsUnderCheck,
    SelectedPartition,
    partition_filter,
    require_days,
)
from airflow_provider_phlo.sql import Query, quote_identifier
from airflow_provider_phlo.terms import MAIN_BRANCH, MetadataColumn

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.iceberg.trino.queries import Queries

ROW_COUNT = Query("count(*)")


def run_checks(
    catalog: Catalog,
    table: str,
    checks: Iterable[QualityCheck],
    *,
    branch: str | None = None,
    partition_column: str | None = None,
    partition: str | date | None = None,
    run_date: str | date | None = None,
    trino: Queries | None = None,
    connection: DuckDBPyConnection | None = None,
) -> list[QualityCheckResult]:
    """
    Run ``checks`` on a table of the catalog; return one result per check, in their order.

    :param table: ``namespace.table``.
    :param branch: the branch to read; where it is a run's, main of tables that lack it (a run that changed nothing has
        no branch).
    :param partition_column: the column that ``partition`` refers to, ``_phlo_partition_date`` by default.
    :param partition: check only rows of this day (or value, if the column holds no time); all rows when None.
    :param run_date: the day that the run is about: what drift checks look at when all rows are checked.
    :param trino: push the checks down to this Trino instead of DuckDB; DuckDB reads what it cannot read (see
        :func:`.open_engine`).
    :param connection: a DuckDB that serves one table after the other.
    :raises ConfigurationError: there is no such table, branch or partition column.
    """
    from airflow_provider_phlo.iceberg.branches.declared import declared_columns

    keep_offsets()
    _require_branch(catalog, table, branch)
    column = partition_column or MetadataColumn.PARTITION_DATE
    with open_engine(catalog, table, branch=branch, trino=trino, connection=connection) as engine:
        all_rows = engine.table(table)
        columns = engine.columns(all_rows)
        where = partition_filter(table, columns, column, partition)
        require_days(engine, all_rows, where, columns, column, partition)
        key, pii = declared_columns(engine.loaded(table))
        rows = RowsUnderCheck(
            engine,
            table,
            Query(all_rows + where.sql, where.parameters),
            columns,
            all_rows,
            partition_column=partition_column,
            partition=run_date if partition is None else partition,
            key=key,
            pii=pii,
            filtered_by=None if partition is None else SelectedPartition(column, partition),
        )
        context = {
            "table": table,
            "branch": branch,
            "partition_column": partition_column or (column if partition else None),
            "partition": partition,
        }
        snapshot_id = engine.snapshot_id(table)
        return [replace(result, snapshot_id=snapshot_id) for result in evaluate(rows, checks, context)]


def _require_branch(catalog: Catalog, table: str, branch: str | None) -> None:
    """Check that a branch is there, unless it is a run's, which may have had nothing to write."""
    from airflow_provider_phlo.iceberg.branches.run_branches import is_of_a_run
    from airflow_provider_phlo.iceberg.catalogs import nessie
    from airflow_provider_phlo.iceberg.tables.lookup import find_table

    if branch is None or branch == MAIN_BRANCH or is_of_a_run(branch, None):
        return
    if nessie.is_nessie(catalog):
        is_there = nessie.head_commit(catalog, branch) is not None
    else:
        found = find_table(catalog, table)
        is_there = found is None or branch in found.refs()
    if not is_there:
        raise ConfigurationError(
            f"{table} has no branch {branch}: phlo catalog branches {table} lists those that are kept."
        )


def run_checks_on_frame(
    frame: Any, checks: Iterable[QualityCheck], context: Mapping[str, Any] | None = None
) -> list[QualityCheckResult]:
    """
    Run ``checks`` on a pandas or polars data frame, an Arrow table, or a list of records.

    :param context: ``table`` names the rows in results; ``tables`` maps the names of other tables, as checks read them,
        to frames; ``partition_column`` and ``partition`` say which day a drift check compares.
    """
    keep_offsets()
    context = context or {}
    table, column, partition = (context.get(name) for name in ("table", "partition_column", "partition"))
    with open_duckdb() as connection:
        engine = DuckDBFrameEngine(connection, frame, table, context.get("tables", {}))
        source = quote_identifier(FRAME)
        rows = RowsUnderCheck(engine, table, Query(source), engine.columns(source), source, column, partition)
        return evaluate(rows, checks, context)


def evaluate(
    rows: RowsUnderCheck, checks: Iterable[QualityCheck], context: Mapping[str, Any]
) -> list[QualityCheckResult]:
    """Run ``checks`` on ``rows``; return one result per check that they stand for, in their order."""
    checks = list(checks)
    for index, check in enumerate(checks):
        if not isinstance(check, QualityCheck):
            raise ConfigurationError(
                f"checks[{index}] is {check!r}: give instances of the checks of airflow_provider_phlo.quality, or of a "
                "QualityCheck of your own."
            )
    checks = [part for check in checks for part in check.parts()]
    scan = _scan(rows, checks)
    results = []
    for index, check in enumerate(checks):
        started = time.perf_counter()
        values = scan.values.get(index, {})
        if isinstance(values, QualityCheckResult):
            result = values
        else:
            result = check.evaluate(rows, context, scan.row_count, values)
        seconds = time.perf_counter() - started + (scan.seconds_per_check if index in scan.values else 0.0)
        results.append(_complete(result, check, rows.table, scan.row_count, seconds))
    return results


class _Wanted(NamedTuple):
    """One aggregate of the scan: the check that wants it, by its index, and the name it has there."""

    check: int
    name: str


class _Scan(NamedTuple):
    """
    What one scan of the rows gave.

    :param values: for each check that took part, by its index, the values by name, or its failure.
    :param seconds_per_check: each check's share of the time that the scan took.
    """

    row_count: int
    values: Mapping[int, Mapping[str, Any] | QualityCheckResult]
    seconds_per_check: float


def _scan(rows: RowsUnderCheck, checks: Sequence[QualityCheck]) -> _Scan:
    started = time.perf_counter()
    values: dict[int, Mapping[str, Any] | QualityCheckResult] = {}
    wanted: dict[_Wanted, Query] = {}
    for index, check in enumerate(checks):
        plan = check.plan_scan(rows)
        if isinstance(plan, QualityCheckResult):
            values[index] = plan
        elif plan is not None:
            values[index] = {}
            wanted.update({_Wanted(index, name): aggregate for name, aggregate in plan.items()})
    row_count, computed = _compute(rows, wanted)
    for index in values:
        own = {name: value for (check, name), value in computed.items() if check == index}
        failures = [value for value in own.values() if isinstance(value, QualityCheckResult)]
        if own:
            values[index] = failures[0] if failures else own
    return _Scan(row_count, values, (time.perf_counter() - started) / max(len(values), 1))


def _compute(rows: RowsUnderCheck, wanted: Mapping[_Wanted, Query]) -> tuple[int, dict[_Wanted, Any]]:
    """Return the number of rows, and the value of each aggregate or its failure."""
    try:
        row_count, *computed = rows.aggregate([ROW_COUNT, *wanted.values()])
        return row_count, dict(zip(wanted, computed, strict=True))
    except EvaluationError:
        # one aggregate spoils the scan: find out which, so that the others still count
        (row_count,) = rows.aggregate([ROW_COUNT])
        return row_count, {key: _compute_alone(rows, aggregate) for key, aggregate in wanted.items()}


def _compute_alone(rows: RowsUnderCheck, aggregate: Query) -> Any:
    try:
        return rows.aggregate([aggregate])[0]
    except EvaluationError as error:
        return failed_by_engine(rows, error)


def _complete(
    result: QualityCheckResult, check: QualityCheck, table: str | None, row_count: int, seconds: float
) -> QualityCheckResult:
    """Fill in what the check left open."""
    return replace(
        result,
        check_name=result.check_name or check.check_name(),
        check_type=result.check_type or check.check_type,
        table=result.table or table,
        columns=tuple(result.columns) or check.column_names(),
        row_count=row_count if result.row_count is None else result.row_count,
        execution_time_seconds=round(seconds, 6),
        severity="warn" if "warn" in (check.severity, result.severity) else "error",
        expected=result.expected or check.expectation(),
        actual=result.actual if result.failed is None else result.actual or f"{result.failed} rows fail",
    )
