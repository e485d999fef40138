"""Run a Pandera model over a conformed batch and say which rows break which rule, never with a value."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import ValidationError
from airflow_provider_phlo.row_hash import float_bits
from airflow_provider_phlo.schemas import pandas_rules
from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.names import Failure
from airflow_provider_phlo.schemas.polars_models import is_polars
from airflow_provider_phlo.schemas.rules import answered

SAMPLE_ROWS = 10
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
    table, found = _row_failures(table, declared)
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
    """Return ``found`` less the values, and the whole rows, that are known to be bad, and less what is empty then."""
    failures = []
    for failure in found:
        rows = failure.rows
        if rows is not None and known:
            rows = tuple(row for row in rows if not known & {(failure.column, row), ("", row)})
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


def counted(failures: Iterable[tuple[int, Failure]], known: Iterable[FailureCount] = ()) -> list[FailureCount]:
    """
    Add up the failures of several batches.

    :param failures: each with the position of its batch's first row.
    :param known: the sums so far.
    """
    totals = {(each.column, each.check): each for each in known}
    for offset, failure in failures:
        rule = (failure.column, failure.check)
        so_far = totals.get(rule, FailureCount(*rule, 0))
        if failure.rows is None or so_far.count is None:
            totals[rule] = FailureCount(*rule, None)
            continue
        sample = (*so_far.positions, *(row + offset for row in failure.rows[:SAMPLE_ROWS]))[:SAMPLE_ROWS]
        totals[rule] = FailureCount(*rule, so_far.count + len(failure.rows), sample)
    return list(totals.values())


def raise_for(failures: Sequence[FailureCount], table: str, bad: int) -> None:
    """
    Raise one error that names column, check, count and sample positions of every failure; none for no failure.

    :param bad: how many rows are concerned.
    """
    if not failures:
        return
    # a rule about the batch as a whole names no row to set aside
    can_go_on = all(failure.count is not None for failure in failures)
    quarantine = ", or set strict_validation=False to quarantine such rows" if can_go_on else ""
    raise ValidationError(
        f"{table}: {bad} row(s) break the validation schema, nothing is merged.\n  "
        + "\n  ".join(map(str, failures))
        + f"\nFix the source or the schema{quarantine}.",
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


def _row_failures(table: pa.Table, declared: ModelColumns) -> tuple[pa.Table, list[Failure]]:
    """Run the rules about rows: what Arrow can answer at once first, the rest by the model's own backend."""
    if len(table) == 0:
        return table, []
    if pandas_rules.has_parsers(declared):
        return pandas_rules.run_with_parsers(table, declared)
    found, rules = answered(table, declared)
    found += [_nulls(table, column.name) for column in declared.columns if not column.nullable]
    if not rules:
        return table, found
    if is_polars(declared.model):
        from airflow_provider_phlo.schemas import polars_rules

        return table, [*found, *polars_rules.run(table, declared, rules)]
    return table, [*found, *pandas_rules.run(table, declared, rules)]


def duplicate_rows(table: pa.Table, columns: Sequence[str], identity: Sequence[str]) -> list[int]:
    """
    Return the positions of the rows whose value of ``columns`` belongs to another row too, ascending.

    A row with a NULL there is like no other. 0.0 and -0.0 are one value, as in a key.

    :param identity: rows that are equal there are one row, of which the merge keeps one; empty: every row counts.
    """
    if identity and set(columns) >= set(identity):
        return []
    named = list(dict.fromkeys([*columns, *identity]))
    table = _with_float_bits(table.select(named))
    known = table
    if any(table[name].null_count for name in columns):
        known = known.filter(_all_valid(table, columns))
    firsts = _groups(known, named).aggregate([]) if identity else known
    counts = _groups(firsts, columns).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not len(repeated):
        return []
    found = _with_positions(table, columns).join(repeated.select(list(columns)), list(columns), join_type="left semi")
    return sorted(found[_POSITION].to_pylist())


def _with_float_bits(table: pa.Table) -> pa.Table:
    for position, item in enumerate(table.schema):
        if pa.types.is_floating(item.type):
            table = table.set_column(position, item.name, float_bits(table[item.name].combine_chunks()))
    return table


def _groups(table: pa.Table, columns: Sequence[str]) -> pa.TableGroupBy:
    return table.group_by(list(columns), use_threads=False)  # on two cores half the time of several threads


def _with_positions(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    selected = table.select(list(dict.fromkeys(columns)))
    return selected.append_column(_POSITION, pa.array(np.arange(len(table))))


def _all_valid(table: pa.Table, columns: Iterable[str]) -> pa.ChunkedArray:
    valid = [pc.is_valid(table[name]) for name in columns]
    return functools.reduce(pc.and_, valid)
