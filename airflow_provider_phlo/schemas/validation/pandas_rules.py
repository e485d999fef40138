"""Run rules, and the parsers of a model, with Pandera's pandas backend."""

from __future__ import annotations

import copy
import datetime
import functools
import logging
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pandera.api.function_dispatch import Dispatcher
from pandera.errors import SchemaErrorReason, SchemaErrors, SchemaWarning
from pandera.pandas import Check, DataFrameSchema
from pandera.pandas import Column as PanderaColumn

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.failures import Failure
from airflow_provider_phlo.schemas.validation.arrow_rules import Rules

log = logging.getLogger(__name__)

_EXACT_IN_FLOAT = 2**53


def run(table: pa.Table, declared: ModelColumns, rules: Rules) -> list[Failure]:
    """Return the rows that break ``rules``."""
    names = [column.name for column in declared.columns if rules.need_all_columns or column.name in rules.columns]
    columns = {
        name: PanderaColumn(checks=_decisive(rules.columns.get(name, ())), nullable=True, required=True)
        for name in names
    }
    schema = DataFrameSchema(columns, checks=_decisive(rules.frame), name=declared.model.__name__)
    return _run_schema(schema, _frame(table, declared, names))[1]


def has_parsers(declared: ModelColumns) -> bool:
    """Return whether the model changes values."""
    schema = declared.schema
    return bool(schema.parsers or any(column.parsers for column in schema.columns.values()))


def run_with_parsers(table: pa.Table, declared: ModelColumns) -> tuple[pa.Table, list[Failure]]:
    """Return the rows as the parsers leave them, and failures of rows that then break a rule."""
    schema = _row_rules(declared)
    frame = _frame(table, declared, [column.name for column in declared.columns])
    checked, failures = _run_schema(schema, frame)
    if checked is None:
        # the parsers also saw rows that are now set aside: run them again on the rest
        bad = {row for failure in failures for row in failure.rows or ()}
        checked, more = _run_schema(schema, frame.drop(index=sorted(bad)))
        failures += more
    return (table if checked is None else _with_parsed_values(table, checked, declared)), failures


def _run_schema(schema: DataFrameSchema, frame: pd.DataFrame) -> tuple[pd.DataFrame | None, list[Failure]]:
    """Return the frame as the parsers leave it (None if a rule is broken), and the failures."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SchemaWarning)
        try:
            checked, failures = schema.validate(frame, lazy=True), []
        except SchemaErrors as errors:
            checked, failures = None, _failures(errors)
    if any(issubclass(warning.category, SchemaWarning) for warning in caught):
        # Pandera's own message would show values
        log.warning("%s: a check that only warns (raise_warning=True) fails for some rows", schema.name)
    return checked, failures


def _row_rules(declared: ModelColumns) -> DataFrameSchema:
    """Return the model's schema without what is checked elsewhere: types, strictness, uniqueness, defaults."""
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
                "checks": _decisive(declared.schema.columns[column.name].checks),
            }
            for column in declared.columns
        }
    )
    schema.strict, schema.unique, schema.coerce, schema.dtype, schema.index = False, None, False, None, None
    schema.drop_invalid_rows, schema.checks = False, _decisive(schema.checks)
    return schema


def _decisive(checks: Iterable[Check]) -> list[Check]:
    """
    Return copies of ``checks`` that answer True or False for every row.

    A comparison with a NULL of pandas' own types is neither, and Pandera cannot count it. It then counts as broken, as
    a comparison with NaN does.
    """
    copies = without_limit(checks)
    for check in copies:
        if not isinstance(check._check_fn, Dispatcher):  # Pandera's own checks skip NULL
            check._check_fn = _decide(check._check_fn)
    return copies


def _decide(check: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(check)
    def decided(*arguments: Any, **options: Any) -> Any:
        output = check(*arguments, **options)
        if output is pd.NA:
            return False
        if not isinstance(output, (pd.Series, pd.DataFrame)):
            return output
        unknown = output.isna()
        return output.mask(unknown, False).astype(bool) if unknown.to_numpy().any() else output

    return decided


def without_limit(checks: Iterable[Check]) -> list[Check]:
    """Return copies of ``checks`` that report every bad row, whatever their ``n_failure_cases``."""
    copies = [copy.copy(check) for check in checks]
    for check in copies:
        check.n_failure_cases = None
    return copies


def _frame(table: pa.Table, declared: ModelColumns, names: Iterable[str]) -> pd.DataFrame:
    frame = {}
    for name in names:
        values = table[name]
        if pa.types.is_timestamp(values.type) and _compared_without_zone(declared.schema.columns[name].checks):
            values = values.cast(pa.timestamp("us"))
        frame[name] = _series(values)
    return pd.DataFrame(frame)


def _compared_without_zone(checks: Iterable[Check]) -> bool:
    """Return whether a bound such as ``ge=datetime(2020, 1, 1)`` has no time zone: values are then compared as UTC."""
    bounds: list[Any] = []
    for check in checks:
        for bound in (check.statistics or {}).values():
            bounds += bound if isinstance(bound, (list, tuple, set, frozenset)) else [bound]
    return any(isinstance(bound, datetime.datetime) and bound.tzinfo is None for bound in bounds)


def _series(values: pa.ChunkedArray) -> pd.Series:
    """
    Return a series that keeps integers and booleans exact even if there are NULLs.

    Integers that a float can hold exactly become floats then, as authors of pandas checks expect.
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
    """Turn Pandera's errors into data without values; a rule about several columns names none of them."""
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


def _with_parsed_values(table: pa.Table, frame: pd.DataFrame, declared: ModelColumns) -> pa.Table:
    """Return ``table`` with the values of ``frame``; rows that the frame lacks become NULL."""
    rows = pa.array(frame.index, pa.int64())
    indices = pc.index_in(pa.array(range(len(table)), pa.int64()), rows)
    for column in declared.columns:
        position = table.schema.get_field_index(column.name)
        try:
            values = pa.Array.from_pandas(frame[column.name], type=column.type)
            if column.exact != column.type:
                values.cast(column.exact)  # raises if a value fits the table's type but not the declared one
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            raise SchemaError(
                f"{declared.model.__name__}: a parser gives column {column.name!r} values that are not {column.exact}."
            ) from None
        table = table.set_column(position, column.name, values.take(indices))
    return table
