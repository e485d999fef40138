"""Run the rules of a ``pandera.polars`` model with its own backend, on Polars frames."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pandera.polars as pandera
import polars as pl
import pyarrow as pa
from pandera.errors import SchemaErrorReason, SchemaErrors, SchemaWarning

from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.failures import Failure
from airflow_provider_phlo.schemas.validation.arrow_rules import Rules
from airflow_provider_phlo.schemas.validation.pandas_rules import without_limit

log = logging.getLogger(__name__)


def run(table: pa.Table, declared: ModelColumns, rules: Rules) -> list[Failure]:
    """Return the rows that break ``rules``."""
    names = [column.name for column in declared.columns if rules.need_all_columns or column.name in rules.columns]
    frame = pl.DataFrame({name: _series(table[name], declared.schema.columns[name].dtype) for name in names})
    schemas = [
        pandera.DataFrameSchema({name: pandera.Column(checks=[check], nullable=True)})
        for name, checks in rules.columns.items()
        for check in without_limit(checks)
    ]
    schemas += [pandera.DataFrameSchema(checks=[check]) for check in without_limit(rules.frame)]
    # one by one: Pandera cannot collect failing values of different types in one frame
    return [failure for schema in schemas for failure in _broken(schema, frame, declared.model.__name__)]


def _broken(schema: pandera.DataFrameSchema, frame: pl.DataFrame, model: str) -> list[Failure]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SchemaWarning)
        try:
            schema.validate(frame, lazy=True)
            failures = []
        except SchemaErrors as errors:
            failures = [_failure(error, len(frame)) for error in errors.schema_errors]
    if any(issubclass(warning.category, SchemaWarning) for warning in caught):
        # Pandera's own message would show values
        log.warning("%s: a check that only warns (raise_warning=True) fails for some rows", model)
    return failures


def _series(values: pa.ChunkedArray, dtype: Any) -> pl.Series:
    """Return a series of the declared type, whose date-times may have no time zone, or another one."""
    series = pl.Series(values)
    kind = getattr(dtype, "type", series.dtype)
    if isinstance(kind, pl.Datetime):
        zone = kind.time_zone
        series = series.dt.convert_time_zone(zone) if zone else series.dt.replace_time_zone(None)
    if isinstance(kind, pl.Decimal):
        return series  # as it is stored: Pandera takes a decimal without digits for one with no digits after the point
    return series.cast(kind, strict=False)


def _failure(error: Any, count: int) -> Failure:
    """Turn Pandera's error into data without values; a rule about several columns names none of them."""
    check = error.check if isinstance(error.check, str) else error.check.error or error.check.name
    column = error.column_name or ""
    if error.reason_code is SchemaErrorReason.CHECK_ERROR:
        return Failure(column, f"{check} (raises {str(error.failure_cases).partition('(')[0]})", None)
    output = getattr(error, "check_output", None)
    if output is None or len(output) != count:
        return Failure(column, check, None)
    held = output.to_series().fill_null(True)
    return Failure(column, check, tuple((~held).arg_true().to_list()))
