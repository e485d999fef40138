"""Run a Pandera model over a conformed batch and say which rows break which rule, never with a value."""

from __future__ import annotations

import copy
import datetime
import functools
import logging
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandera.errors import SchemaErrorReason, SchemaErrors, SchemaWarning
from pandera.pandas import Check, DataFrameSchema

from airflow_provider_phlo.exceptions import SchemaError, ValidationError
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.conform import Failure

log = logging.getLogger(__name__)

SAMPLE_ROWS = 10
_EXACT_IN_FLOAT = 2**53
_POSITION = "__position"


def validate(
    table: pa.Table, declared: ModelColumns, *, key: Sequence[str] = (), conversion_failures: Iterable[Failure] = ()
) -> tuple[pa.Table, list[Failure]]:
    """
    Check every rule of the model that looks at rows; uniqueness is the whole run's affair (:func:`duplicate_rows`).

    :param table: a batch out of :func:`airflow_provider_phlo.schemas.conform.conform`.
    :param key: the key columns; a NULL there breaks a rule.
    :param conversion_failures: what ``conform`` found; a value that failed there is not reported a second time.
    :returns: the batch (changed only where the model has parsers), and all failures.
    """
    failures = [*conversion_failures]
    known = {(failure.column, row) for failure in failures for row in failure.rows or ()}
    table, undeclared = _undeclared(table, declared)
    failures += undeclared
    lost_keys = [_nulls(table, column) for column in key if column not in declared or declared[column].nullable]
    table, found = _run_pandera(table, declared)
    return table, failures + _without([*found, *lost_keys], known)


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
        where = f"column {self.column!r}" if self.column else "whole rows"
        if self.count is None:
            return f"{where}: check {self.check} fails for the batch as a whole"
        sample = ", ".join(map(str, self.positions)) + (", …" if self.count > len(self.positions) else "")
        return f"{where}: check {self.check} fails for {self.count} row(s), at positions {sample}"


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
    frame = _frame(table, declared)
    checked, failures = _checked(schema, frame)
    if not (schema.parsers or any(column.parsers for column in schema.columns.values())):
        return table, failures
    if checked is None:
        # parsers ran on rows that are out: once more for those that go on
        frame = frame.drop(index=bad_rows(failures))
        checked, more = _checked(schema, frame)
        failures += more
    return (table if checked is None else _parsed(table, checked, declared)), failures


def _checked(schema: DataFrameSchema, frame: pd.DataFrame) -> tuple[pd.DataFrame | None, list[Failure]]:
    """Return the frame as parsers leave it, None if a rule is broken, and the broken rules."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SchemaWarning)
        try:
            checked, failures = schema.validate(frame, lazy=True), []
        except SchemaErrors as errors:
            checked, failures = None, _failures(errors)
    if any(issubclass(warning.category, SchemaWarning) for warning in caught):
        # Pandera's own text shows the values
        log.warning("%s: a check that only warns (raise_warning=True) fails for some rows", schema.name)
    return checked, failures


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
                "drop_invalid_rows": False,
                "checks": _uncut(declared.schema.columns[column.name].checks),
            }
            for column in declared.columns
        }
    )
    schema.strict, schema.unique, schema.coerce, schema.dtype, schema.index = False, None, False, None, None
    schema.drop_invalid_rows, schema.checks = False, _uncut(schema.checks)
    return schema


def _uncut(checks: Iterable[Check]) -> list[Check]:
    """Return ``checks`` so that they report every row, whatever their ``n_failure_cases``: each has to go."""
    copies = [copy.copy(check) for check in checks]
    for check in copies:
        check.n_failure_cases = None
    return copies


def _frame(table: pa.Table, declared: ModelColumns) -> pd.DataFrame:
    frame = {}
    for column in declared.columns:
        values = table[column.name]
        if pa.types.is_timestamp(values.type) and _compared_without_zone(declared.schema.columns[column.name].checks):
            values = values.cast(pa.timestamp("us"))
        frame[column.name] = _series(values)
    return pd.DataFrame(frame)


def _compared_without_zone(checks: Iterable[Check]) -> bool:
    """Return whether a bound such as ``ge=datetime(2020, 1, 1)`` has no zone: then values are compared as UTC."""
    bounds: list[Any] = []
    for check in checks:
        for bound in (check.statistics or {}).values():
            bounds += bound if isinstance(bound, (list, tuple, set, frozenset)) else [bound]
    return any(isinstance(bound, datetime.datetime) and bound.tzinfo is None for bound in bounds)


def _series(values: pa.ChunkedArray) -> pd.Series:
    """
    Return a series that keeps integers and booleans exact beside NULLs.

    Integers that a float holds exactly become floats there: comparing columns then gives no third truth value, which
    Pandera cannot count.
    """
    if values.null_count and pa.types.is_integer(values.type):
        bounds = pc.min_max(values).as_py()
        if all(bound is None or abs(bound) <= _EXACT_IN_FLOAT for bound in bounds.values()):
            return values.cast(pa.float64()).to_pandas()
        return values.to_pandas(types_mapper={values.type: pd.Int64Dtype()}.get)
    if values.null_count and pa.types.is_boolean(values.type):
        return values.to_pandas(types_mapper={values.type: pd.BooleanDtype()}.get)
    return values.to_pandas()


def _failures(errors: SchemaErrors) -> list[Failure]:
    """Turn Pandera's errors into data, leaving the values behind; a rule about several columns names none."""
    found = []
    for error in errors.schema_errors:
        check = error.check if isinstance(error.check, str) else error.check.error or error.check.name
        rows = None
        if isinstance(error.failure_cases, pd.DataFrame) and not error.failure_cases["index"].isna().any():
            rows = tuple(sorted({int(row) for row in error.failure_cases["index"]}))
        if error.reason_code is SchemaErrorReason.CHECK_ERROR:
            check = f"{check} (raises {str(error.failure_cases).partition('(')[0]})"
        found.append(Failure(error.column_name or "", check, rows))
    return found


def _parsed(table: pa.Table, frame: pd.DataFrame, declared: ModelColumns) -> pa.Table:
    """Return ``table`` with the values of ``frame``; rows that the frame lacks hold NULL."""
    rows = pa.array(frame.index, pa.int64())
    places = pc.index_in(pa.array(range(len(table)), pa.int64()), rows)
    for column in declared.columns:
        position = table.schema.get_field_index(column.name)
        try:
            values = pa.Array.from_pandas(frame[column.name], type=column.type)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise SchemaError(
                f"{declared.model.__name__}: a parser gives column {column.name!r} values that are no {column.type}."
            ) from None
        table = table.set_column(position, column.name, values.take(places))
    return table


def duplicate_rows(table: pa.Table, columns: Sequence[str], identity: Sequence[str]) -> list[int]:
    """
    Return the positions of the rows whose value of ``columns`` belongs to another row too, ascending.

    A row with a NULL there is like no other.

    :param identity: rows that are equal there are one row, of which the merge keeps one; empty: every row counts.
    """
    if identity and set(columns) >= set(identity):
        return []
    table = _with_positions(table, [*columns, *identity]).filter(_all_valid(table, columns))
    firsts = table.group_by([*dict.fromkeys([*columns, *identity])]).aggregate([]) if identity else table
    counts = firsts.group_by(list(columns)).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not len(repeated):
        return []
    found = table.join(repeated.select(list(columns)), keys=list(columns), join_type="left semi")
    return sorted(found[_POSITION].to_pylist())


def _with_positions(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    selected = table.select(list(dict.fromkeys(columns)))
    return selected.append_column(_POSITION, pa.array(range(len(table)), pa.int64()))


def _all_valid(table: pa.Table, columns: Iterable[str]) -> pa.ChunkedArray:
    valid = [pc.is_valid(table[name]) for name in columns]
    return functools.reduce(pc.and_, valid)
