"""Run a Pandera model over a conformed batch and say which rows break which rule, never with a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrors
from pandera.pandas import DataFrameSchema

from airflow_provider_phlo.exceptions import ValidationError
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.conform import Failure

SAMPLE_ROWS = 10


def validate(
    table: pa.Table, declared: ModelColumns, *, key: Sequence[str] = (), conversion_failures: Iterable[Failure] = ()
) -> tuple[pa.Table, list[Failure]]:
    """
    Check every rule of the model that looks at rows; uniqueness is the table's affair (see :func:`duplicates`).

    :param table: a batch out of :func:`airflow_provider_phlo.schemas.conform.conform`.
    :param key: the key columns; a NULL there breaks a rule.
    :param conversion_failures: what ``conform`` found; a value that failed there is not reported a second time.
    :returns: the batch (changed only where the model has parsers), and all failures.
    """
    failures = [*conversion_failures]
    known = {(failure.column, row) for failure in failures for row in failure.rows or ()}
    table, undeclared = _undeclared(table, declared)
    failures += undeclared
    table, found = _run_pandera(table, declared)
    found += [_nulls(table, column) for column in key if column not in declared or declared[column].nullable]
    return table, failures + _without(found, known)


def missing_values(
    table: pa.Table,
    declared: ModelColumns | None,
    *,
    key: Sequence[str] = (),
    conversion_failures: Iterable[Failure] = (),
) -> list[Failure]:
    """Return the failures that no table can hold even when rules are not checked: bad types, NULL where required."""
    failures = [*conversion_failures]
    known = {(failure.column, row) for failure in failures for row in failure.rows or ()}
    required = [column.name for column in declared.columns if not column.nullable] if declared else []
    return failures + _without([_nulls(table, name) for name in dict.fromkeys([*required, *key])], known)


def _without(found: Iterable[Failure], known: set[tuple[str, int]]) -> list[Failure]:
    """Return ``found`` less the values that are known to be bad, and less what is empty then."""
    failures = []
    for failure in found:
        rows = failure.rows
        if rows is not None:
            rows = tuple(row for row in rows if (failure.column, row) not in known)
        if rows is None or rows:
            failures.append(Failure(failure.column, failure.check, rows))
    return failures


def bad_rows(failures: Iterable[Failure]) -> list[int]:
    """Return the positions of all rows that break a rule, ascending."""
    return sorted({row for failure in failures for row in failure.rows or ()})


@dataclass(frozen=True)
class FailureCount:
    """
    How many rows of all batches break one rule.

    :param count: rows; None when the rule is about a batch as a whole.
    :param positions: the first few, counted from the first row that the source yielded.
    """

    column: str
    check: str
    count: int | None
    positions: tuple[int, ...] = ()

    def __str__(self) -> str:
        if self.count is None:
            return f"column {self.column!r}: check {self.check} fails for the batch as a whole"
        sample = ", ".join(map(str, self.positions)) + (", …" if self.count > len(self.positions) else "")
        return f"column {self.column!r}: check {self.check} fails for {self.count} row(s), at positions {sample}"


def counted(failures: Iterable[tuple[int, Failure]]) -> list[FailureCount]:
    """
    Add up the failures of several batches.

    :param failures: each with the position of its batch's first row.
    """
    totals: dict[tuple[str, str], FailureCount] = {}
    for offset, failure in failures:
        rule = (failure.column, failure.check)
        known = totals.get(rule, FailureCount(*rule, 0))
        if failure.rows is None or known.count is None:
            totals[rule] = FailureCount(*rule, None)
            continue
        sample = (*known.positions, *(row + offset for row in failure.rows))[:SAMPLE_ROWS]
        totals[rule] = FailureCount(*rule, known.count + len(failure.rows), sample)
    return list(totals.values())


def raise_for(failures: Sequence[FailureCount], table: str, bad: int) -> None:
    """
    Raise one error that names column, check, count and sample positions of every failure; none for no failure.

    :param bad: how many rows are concerned.
    """
    if not failures:
        return
    raise ValidationError(
        f"{table}: {bad} row(s) break the validation schema, nothing is merged.\n  "
        + "\n  ".join(map(str, failures))
        + "\nFix the source or the schema, or set strict_validation=False to quarantine such rows.",
        failures,
    )


def _undeclared(table: pa.Table, declared: ModelColumns) -> tuple[pa.Table, list[Failure]]:
    """Apply ``strict``: an undeclared column with values is a failure of those rows, ``"filter"`` drops it."""
    extra = [name for name in table.column_names if name not in declared]
    if not extra or not declared.strict:
        return table, []
    failures: list[Failure] = []
    if declared.strict is not True:
        return table.drop_columns(extra), failures
    for name in extra:
        rows = tuple(np.flatnonzero(pc.is_valid(table[name]).to_numpy()).tolist())
        if rows:
            failures.append(Failure(name, "column_in_schema", rows))
    return table.drop_columns(extra), failures


def _nulls(table: pa.Table, column: str) -> Failure:
    if column not in table.column_names:
        return Failure(column, "column_in_data", tuple(range(len(table))))
    return Failure(column, "not_nullable", tuple(np.flatnonzero(pc.is_null(table[column]).to_numpy()).tolist()))


def _run_pandera(table: pa.Table, declared: ModelColumns) -> tuple[pa.Table, list[Failure]]:
    if len(table) == 0:
        return table, []
    schema = _row_rules(declared)
    frame = _frame(table, [column.name for column in declared.columns])
    try:
        checked = schema.validate(frame, lazy=True)
    except SchemaErrors as errors:
        return table, _failures(errors.failure_cases)
    parsers = schema.parsers or any(column.parsers for column in schema.columns.values())
    return (_parsed(table, checked, declared) if parsers else table), []


def _row_rules(declared: ModelColumns) -> DataFrameSchema:
    """Return the model's schema without what is done elsewhere: types (conform), strictness, uniqueness, defaults."""
    schema = declared.schema.update_columns(
        {
            column.name: {
                "dtype": None,
                "coerce": False,
                "unique": False,
                "nullable": column.nullable,
                "required": True,
                "default": None,
            }
            for column in declared.columns
        }
    )
    schema.strict, schema.unique, schema.coerce, schema.dtype, schema.index = False, None, False, None, None
    return schema


def _frame(table: pa.Table, names: Iterable[str]) -> pd.DataFrame:
    return pd.DataFrame({name: _series(table[name]) for name in names})


def _series(values: pa.ChunkedArray) -> pd.Series:
    """Return a series that keeps integers and booleans exact beside NULLs."""
    if values.null_count and pa.types.is_integer(values.type):
        return values.to_pandas(types_mapper={values.type: pd.Int64Dtype()}.get)
    if values.null_count and pa.types.is_boolean(values.type):
        return values.to_pandas(types_mapper={values.type: pd.BooleanDtype()}.get)
    return values.to_pandas()


def _failures(cases: pd.DataFrame) -> list[Failure]:
    """Turn Pandera's failure cases into data, leaving the values behind."""
    found = []
    for (column, check), group in cases.groupby(["column", "check"], dropna=False, sort=False):
        rows = None if group["index"].isna().any() else tuple(sorted({int(row) for row in group["index"]}))
        found.append(Failure("" if pd.isna(column) else str(column), str(check), rows))
    return found


def _parsed(table: pa.Table, frame: pd.DataFrame, declared: ModelColumns) -> pa.Table:
    for column in declared.columns:
        position = table.schema.get_field_index(column.name)
        values = pa.Array.from_pandas(frame[column.name], type=column.type)
        table = table.set_column(position, column.name, values)
    return table


def duplicates(table: pa.Table, columns: Sequence[str], key: Sequence[str]) -> int:
    """
    Return how many values of ``columns`` belong to more than one row.

    :param key: rows with the same key are one row, of which the merge keeps one; empty means every row counts.
    """
    columns = list(columns)
    if set(columns) >= set(key) and key:
        return 0
    if key:
        table = table.select([*columns, *key]).group_by([*columns, *key]).aggregate([])
    counts = table.group_by(columns).aggregate([([], "count_all")])
    return int(pc.sum(pc.greater(counts["count_all"], 1)).as_py() or 0)
