"""
Turn what a source yields into Arrow tables whose declared columns have their declared types.

A value that cannot be converted becomes NULL and a :class:`Failure`; undeclared columns get the type of their values.
Names follow dlt's naming convention. Nested values that no schema declares become JSON text with sorted keys. Records
and Arrow tables with the same values give the same table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import Column, ModelColumns
from airflow_provider_phlo.schemas.conversion.casts import convert_column, text_as_json
from airflow_provider_phlo.schemas.conversion.limits import unstorable, without
from airflow_provider_phlo.schemas.conversion.records import LONGEST_NAME, Records, columns_of_records, is_name
from airflow_provider_phlo.schemas.conversion.storable import Array, NoText, Values
from airflow_provider_phlo.schemas.conversion.undeclared import type_undeclared
from airflow_provider_phlo.schemas.failures import Failure
from airflow_provider_phlo.schemas.values import type_name


def conform(
    chunk: Records | pa.Table,
    declared: ModelColumns | None,
    normalize: Callable[[str], str],
    known: Mapping[str, pa.DataType] | None = None,
) -> tuple[pa.Table, list[Failure]]:
    """
    Return ``chunk`` as a table of normalised names and declared types.

    :param chunk: records, or an Arrow table.
    :param declared: the columns of the validation schema; None declares nothing.
    :param normalize: dlt's naming convention.
    :param known: the types that undeclared columns already have in the table; kept where the values fit.
    :returns: the table, and failures for the values that could not be converted, which are NULL in the table. A failure
        without a column is about a record that cannot be read at all; its row is empty.
    :raises SchemaError: if two columns of an Arrow table get the same name, or a name cannot be a column's.
    """
    count = len(chunk)
    failures: list[Failure] = []
    if isinstance(chunk, pa.Table):
        source: Mapping[str, Values] = _table_columns(chunk, normalize)
    else:
        source = columns_of_records(chunk, normalize, failures)
    columns: dict[str, Array] = {}
    for name, values in source.items():
        column = declared[name] if declared is not None and name in declared else None
        array = _type_column(name, values, column, (known or {}).get(name), failures)
        if not pa.types.is_null(array.type):
            columns[name] = _without_nan(array)
    for column in declared.columns if declared else ():
        _add_declared(columns, column, count, failures)
    return pa.table(columns) if columns else pa.table({"": pa.nulls(count)}).select([]), failures


def _type_column(
    name: str, values: Values, column: Column | None, known: pa.DataType | None, failures: list[Failure]
) -> Array:
    """Return one column in its declared type, else in the table's or its own; add bad values to ``failures``."""
    if column is None or isinstance(values, pa.ChunkedArray):  # declared types judge the values of records
        check, outside = unstorable(values)
        if outside:
            failures.append(Failure(name, check, tuple(outside)))
            values = without(values, outside)
    if column is not None:
        array, bad = _convert_declared(values, column)
        if bad:
            failures.append(Failure(name, f"is_{type_name(column.exact)}", tuple(bad)))
        return array
    try:
        return type_undeclared(values, known)
    except NoText as error:
        failures.append(Failure(name, "is_text", tuple(error.positions)))
        return type_undeclared(without(values, error.positions), known)


def _convert_declared(values: Values, column: Column) -> tuple[Array, list[int]]:
    """Return ``values`` in the type of a declared column, and the positions of those that cannot be converted."""
    if column.json:
        values = text_as_json(values)
    array, bad = convert_column(values, column.exact)
    return array if column.exact == column.type else array.cast(column.type), bad


def _without_nan(values: Array) -> Array:
    """Turn NaN, with which data frames mark a gap, into NULL: a row means the same in whatever form it comes."""
    if not pa.types.is_floating(values.type) or not pc.any(pc.is_nan(values)).as_py():
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _add_declared(columns: dict[str, Any], column: Column, count: int, failures: list[Failure]) -> None:
    """Add a declared column that the source lacks, and fill in its default."""
    if column.name not in columns:
        columns[column.name] = pa.nulls(count, column.type)
        if not column.nullable and column.default is None and count:
            failures.append(Failure(column.name, "column_in_data", tuple(range(count))))
    if column.default is not None and columns[column.name].null_count:
        default, bad = _convert_declared([column.default], column)
        if bad:
            raise SchemaError(f"The default of column {column.name!r} is not of type {type_name(column.exact)}.")
        gaps = pc.is_null(columns[column.name])
        columns[column.name] = pc.if_else(gaps, default[0], columns[column.name])


def _table_columns(table: pa.Table, normalize: Callable[[str], str]) -> dict[str, Values]:
    names = table.column_names
    if len(set(names)) < len(names):
        repeated = sorted({name for name, times in Counter(names).items() if times > 1})
        raise SchemaError(f"The source has several columns with the same name: {', '.join(repeated)}. Rename them.")
    originals: dict[str, str] = {}
    for original in names:
        if not is_name(original):
            raise SchemaError(
                f"The source has a column named {original!r:.80}: a name must be text, not empty, and at most "
                f"{LONGEST_NAME} characters long."
            )
        name = normalize(original)
        if name in originals:
            raise SchemaError(
                f"Source columns {originals[name]!r} and {original!r} are both named {name!r} in the table: rename one."
            )
        originals[name] = original
    return {name: table[original] for name, original in originals.items()}
