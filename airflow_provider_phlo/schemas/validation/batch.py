"""Run a Pandera model over a converted batch and say which rows break which rule, never with a value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.failures import Failure
from airflow_provider_phlo.schemas.polars_models import is_polars
from airflow_provider_phlo.schemas.validation import pandas_rules
from airflow_provider_phlo.schemas.validation.arrow_rules import check_with_arrow


def validate(
    table: pa.Table, declared: ModelColumns, *, key: Sequence[str] = (), conversion_failures: Iterable[Failure] = ()
) -> tuple[pa.Table, list[Failure]]:
    """
    Check every rule of the model about rows; uniqueness is checked over the whole run (:mod:`.duplicates`).

    :param table: a batch from :func:`airflow_provider_phlo.schemas.conversion.conform`.
    :param key: the key columns; NULL in one of them is a failure.
    :param conversion_failures: what ``conform`` found; a value that failed there is not reported again.
    :returns: the batch (changed only if the model has parsers), and all failures.
    """
    failures = [*conversion_failures]
    known = {(failure.column, row) for failure in failures for row in failure.rows or ()}
    table, undeclared = _undeclared(table, declared)
    failures += undeclared
    lost_keys = [_nulls(table, column) for column in key if column not in declared or declared[column].nullable]
    table, found = _row_failures(table, declared)
    return table, failures + _without([*found, *lost_keys], known)


def missing_values(
    table: pa.Table,
    declared: ModelColumns | None,
    *,
    key: Sequence[str] = (),
    conversion_failures: Iterable[Failure] = (),
) -> list[Failure]:
    """Return what no table can hold, even if rules are not checked: bad types, NULL in a required column."""
    failures = [*conversion_failures]
    known = {(failure.column, row) for failure in failures for row in failure.rows or ()}
    required = [column.name for column in declared.columns if not column.nullable] if declared else []
    return failures + _without([_nulls(table, name) for name in dict.fromkeys([*required, *key])], known)


def _without(found: Iterable[Failure], known: set[tuple[str, int]]) -> list[Failure]:
    """Return ``found`` without the values and whole rows already known to be bad, and without failures left empty."""
    failures = []
    for failure in found:
        rows = failure.rows
        if rows is not None and known:
            rows = tuple(row for row in rows if not known & {(failure.column, row), ("", row)})
        if rows is None or rows:
            failures.append(Failure(failure.column, failure.check, rows))
    return failures


def _undeclared(table: pa.Table, declared: ModelColumns) -> tuple[pa.Table, list[Failure]]:
    """Apply ``strict``: True makes rows with a value in an undeclared column fail, ``"filter"`` drops such columns."""
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
    if table.schema.get_field_index(column) < 0:
        return Failure(column, "column_in_data", tuple(range(len(table))))
    return Failure(column, "not_nullable", tuple(np.flatnonzero(pc.is_null(table[column]).to_numpy()).tolist()))


def _row_failures(table: pa.Table, declared: ModelColumns) -> tuple[pa.Table, list[Failure]]:
    """Check the rules about rows: by Arrow where it can, the rest by the model's own backend."""
    if len(table) == 0:
        return table, []
    if pandas_rules.has_parsers(declared):
        return pandas_rules.run_with_parsers(table, declared)
    found, rules = check_with_arrow(table, declared)
    found += [_nulls(table, column.name) for column in declared.columns if not column.nullable]
    if not rules:
        return table, found
    if is_polars(declared.model):
        from airflow_provider_phlo.schemas.validation import polars_rules

        return table, [*found, *polars_rules.run(table, declared, rules)]
    return table, [*found, *pandas_rules.run(table, declared, rules)]
