"""
Run checks on a table or a data frame: all aggregates in one scan, then what needs a query or a frame of its own.

Every check gives a result. One that cannot be evaluated (a column is missing, types do not compare, somebody's own
code raises) has failed, and says so without showing data.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError, TerminalError
from airflow_provider_phlo.quality.base import Aggregate, QualityCheck, RowCheck, SQLCheck
from airflow_provider_phlo.quality.dialects import Dialect
from airflow_provider_phlo.quality.engines import FRAME, Engine, EvaluationError, FrameInDuckDB, reading
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.samples import with_samples
from airflow_provider_phlo.sql import quote_identifier
from airflow_provider_phlo.terms import MetadataColumn, names_of

if TYPE_CHECKING:
    import pandas as pd
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.iceberg.trino.queries import Queries
    from airflow_provider_phlo.quality.drift.history import DailyScan

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """
    The rows under check, as the engine sees them.

    :param table: their name in results.
    :param source: what follows ``FROM``, filter included.
    :param parameters: the values of the ``?`` markers in ``source``.
    :param columns: the type of each column, in DuckDB's words.
    :param whole: what follows ``FROM`` without the filter, for checks that compare with other rows.
    :param partition_column: the column that ``partition`` speaks of; None leaves it to the check.
    :param partition: the day (or value) that the run is about; None leaves it to the check.
    :param filtered: the column and the day (or value) that ``source`` is filtered by, if it is.
    :param key: the columns that name a row.
    :param pii: the columns whose values are never told.
    """

    engine: Engine
    table: str | None
    source: str
    parameters: tuple[Any, ...]
    columns: Mapping[str, str]
    whole: str
    partition_column: str | None = None
    partition: str | date | None = None
    key: tuple[str, ...] = ()
    pii: frozenset[str] = frozenset()
    filtered: tuple[str, str | date] | None = None

    @property
    def dialect(self) -> Dialect:
        """The engine's words."""
        return self.engine.dialect

    def fetch(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return all rows of a query."""
        return self.engine.fetch(sql, parameters)

    def aggregate(self, aggregates: Iterable[Aggregate]) -> tuple[Any, ...]:
        """Return the values of ``aggregates`` over the rows, from one scan."""
        aggregates = tuple(aggregates)
        sql = f"SELECT {', '.join(aggregate.sql for aggregate in aggregates)} FROM {self.source}"  # noqa: S608 - quoted
        values = [value for aggregate in aggregates for value in aggregate.parameters]
        return self.fetch(sql, [*values, *self.parameters])[0]

    @cached_property
    def daily(self) -> dict[str, DailyScan]:
        """The scan by day that drift checks of one run share, by partition column."""
        return {}

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The rows as a pandas data frame, for checks that are no SQL."""
        return self.engine.arrow(f"SELECT * FROM {self.source}", self.parameters).to_pandas()  # noqa: S608 - quoted


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
) -> list[QualityCheckResult]:
    """
    Run ``checks`` on a table of the catalog; a result each, in their order.

    :param table: ``namespace.table``.
    :param branch: the branch to read; main of tables that lack it (a run that changed nothing has no branch).
    :param partition_column: the column that ``partition`` speaks of, ``_phlo_partition_date`` by default.
    :param partition: check only rows of this day (or value, if the column holds no time); all rows when None.
    :param run_date: the day that the run is about: what drift checks look at where all rows are checked.
    :param trino: push the checks down to this Trino instead of DuckDB; what it cannot read (see :func:`.reading`)
        DuckDB does.
    :raises ConfigurationError: there is no such table or partition column.
    """
    from airflow_provider_phlo.iceberg.declared import declared_columns

    with reading(catalog, table, branch=branch, trino=trino) as engine:
        source = engine.table(table)
        columns = engine.columns(source)
        where, parameters = partition_filter(table, columns, partition_column, partition)
        context = {
            "table": table,
            "branch": branch,
            "partition_column": partition_column or (MetadataColumn.PARTITION_DATE if partition else None),
            "partition": partition,
        }
        key, pii = declared_columns(engine.loaded(table))
        filtered = None if partition is None else (partition_column or MetadataColumn.PARTITION_DATE, partition)
        rows = Rows(
            engine,
            table,
            source + where,
            parameters,
            columns,
            source,
            partition_column=partition_column,
            partition=run_date if partition is None else partition,
            key=key,
            pii=pii,
            filtered=filtered,
        )
        snapshot_id = engine.snapshot_id(table)
        return [replace(result, snapshot_id=snapshot_id) for result in evaluate(rows, checks, context)]


def run_checks_on_frame(
    frame: Any, checks: Iterable[QualityCheck], context: Mapping[str, Any] | None = None
) -> list[QualityCheckResult]:
    """
    Run ``checks`` on a pandas or polars data frame, an Arrow table, or a list of records.

    :param context: ``table`` names the rows in results; ``tables`` gives other frames by the names of the tables that
        checks read them as; ``partition_column`` and ``partition`` say which day a drift check compares.
    """
    import duckdb

    context = context or {}
    table, column, partition = (context.get(name) for name in ("table", "partition_column", "partition"))
    with duckdb.connect() as connection:
        engine = FrameInDuckDB(connection, frame, table, context.get("tables", {}))
        source = quote_identifier(FRAME)
        rows = Rows(engine, table, source, (), engine.columns(source), source, column, partition)
        return evaluate(rows, checks, context)


def evaluate(rows: Rows, checks: Iterable[QualityCheck], context: Mapping[str, Any]) -> list[QualityCheckResult]:
    """Run ``checks`` on ``rows``; a result each, in their order."""
    checks = list(checks)
    for place, check in enumerate(checks):
        if not isinstance(check, QualityCheck):
            raise ConfigurationError(
                f"checks[{place}] is {check!r}: give instances of the checks of airflow_provider_phlo.quality, or of a "
                "QualityCheck of your own."
            )
    planned = {place: check for place, check in enumerate(checks) if isinstance(check, SQLCheck)}
    row_count, values, seconds = _scan(rows, planned)
    results = []
    for place, check in enumerate(checks):
        started = time.perf_counter()
        if isinstance(check, SQLCheck):
            result = _judge(rows, check, row_count, values[place])
            result = with_samples(rows, check, result) if isinstance(check, RowCheck) else result
        else:
            result = _execute(rows, check, context)
        took = time.perf_counter() - started + (seconds if place in planned else 0.0)
        results.append(_completed(result, check, rows.table, row_count, took))
    return results


Values = Mapping[str, Any] | QualityCheckResult


def _scan(rows: Rows, planned: Mapping[int, SQLCheck]) -> tuple[int, dict[int, Values], float]:
    """Return the number of rows, the values of each check (or its failure), and each check's share of the time."""
    started = time.perf_counter()
    values: dict[int, Values] = {}
    wanted: dict[tuple[int, str], Aggregate] = {}
    for place, check in planned.items():
        problem = check.problem(rows.columns)
        values[place] = _failure(problem) if problem else {}
        if not problem:
            named = check.aggregates(rows)
            wanted.update({(place, name): aggregate for name, aggregate in named.items()})
    row_count, found = _compute(rows, wanted)
    for place in values:
        mine = {name: value for (owner, name), value in found.items() if owner == place}
        failures = [value for value in mine.values() if isinstance(value, QualityCheckResult)]
        if mine:
            values[place] = failures[0] if failures else mine
    return row_count, values, (time.perf_counter() - started) / max(len(planned), 1)


def _compute(rows: Rows, wanted: Mapping[tuple[int, str], Aggregate]) -> tuple[int, dict[tuple[int, str], Any]]:
    count = Aggregate("count(*)")
    try:
        row_count, *found = rows.aggregate([count, *wanted.values()])
        return row_count, dict(zip(wanted, found, strict=True))
    except EvaluationError:
        # one aggregate spoils the scan: find out which, so that the others still count
        (row_count,) = rows.aggregate([count])
        return row_count, {key: _compute_alone(rows, aggregate) for key, aggregate in wanted.items()}


def _compute_alone(rows: Rows, aggregate: Aggregate) -> Any:
    try:
        return rows.aggregate([aggregate])[0]
    except EvaluationError as error:
        return _engine_failure(rows, error)


def _judge(rows: Rows, check: SQLCheck, row_count: int, values: Values) -> QualityCheckResult:
    if isinstance(values, QualityCheckResult):
        return values
    try:
        values = {**values, **check.measure(rows)}
    except EvaluationError as error:
        return _engine_failure(rows, error)
    except TerminalError as error:  # a transient one is no finding: the task tries again
        return _failure(str(error))
    try:
        result = check.judge(row_count, values)
    except Exception as error:  # noqa: BLE001 - one check's mistake must not hide what the others find
        return _mistake(error)
    if isinstance(result, QualityCheckResult):
        return result
    return _failure(f"judge returned {type(result).__name__}, it must return a QualityCheckResult")


def _execute(rows: Rows, check: QualityCheck, context: Mapping[str, Any]) -> QualityCheckResult:
    """Run somebody's own check; whatever it raises is a failed check."""
    frame = rows.frame.copy(deep=False)  # a column that one check adds or replaces is not seen by the next
    try:
        result = check.execute(frame, context)
        if isinstance(result, QualityCheckResult):
            return _understood(result)
    except Exception as error:  # noqa: BLE001
        return _mistake(error)
    return _failure(f"execute returned {type(result).__name__}, it must return a QualityCheckResult")


def _understood(result: QualityCheckResult) -> QualityCheckResult:
    """Return somebody's own result with plain values; one that does not say whether it passed has failed."""
    passed = result.passed.item() if hasattr(result.passed, "item") else result.passed  # NumPy has truths of its own
    if not isinstance(passed, bool):
        return _failure(f"the check says passed={type(passed).__name__}, it must be True or False")
    if not isinstance(result.metrics, Mapping):
        return _failure(f"the check says metrics={type(result.metrics).__name__}, it must be a mapping")
    failed = None if result.failed is None else int(result.failed)
    return replace(result, passed=passed, failed=failed, columns=names_of(result.columns))


def _mistake(error: Exception) -> QualityCheckResult:
    place = traceback.extract_tb(error.__traceback__)[-1]
    # the text of the error may quote data: it is not told
    return _failure(f"the check raised {type(error).__name__} in {place.name}, line {place.lineno}")


def _completed(
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


def _failure(message: str) -> QualityCheckResult:
    return QualityCheckResult(False, None, message)


def _engine_failure(rows: Rows, error: EvaluationError) -> QualityCheckResult:
    types = ", ".join(f"{name} {kind}" for name, kind in rows.columns.items())
    return _failure(f"it cannot be evaluated ({error}); compare it with the column types: {types}")


def partition_filter(
    table: str, columns: Mapping[str, str], column: str | None, partition: str | date | None
) -> tuple[str, tuple[Any, ...]]:
    """
    Return the ``WHERE`` that leaves the rows of one day (or value), and its values; nothing when ``partition`` is None.

    :raises ConfigurationError: there is no such column, or the day is none.
    """
    if partition is None:
        return "", ()
    column = column or MetadataColumn.PARTITION_DATE
    if column not in columns:
        raise ConfigurationError(
            f"Table {table} has no partition column {column}. Set partition_column to one of: {', '.join(columns)}."
        )
    name, kind = quote_identifier(column), columns[column]
    if not kind.startswith(("DATE", "TIMESTAMP")):
        return f" WHERE CAST({name} AS VARCHAR) = ?", (str(partition),)
    day = _day(partition)
    return f" WHERE {name} >= CAST(? AS DATE) AND {name} < CAST(? AS DATE)", (day, day + timedelta(days=1))


def _day(partition: str | date) -> date:
    try:
        return date.fromisoformat(str(partition))
    except ValueError:
        raise ConfigurationError(f"Partition {str(partition)!r} is not a day: write it as YYYY-MM-DD.") from None
