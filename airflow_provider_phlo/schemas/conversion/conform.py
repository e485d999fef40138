"""
Turn what a source yields into Arrow tables whose declared columns have their declared types.

A value that cannot be converted becomes NULL and a :class:`Failure`; undeclared columns get the type of their values,
and variants beside them for values of other types. Names follow dlt's naming convention. Nested values that no schema
declares become JSON text with sorted keys. Records and Arrow tables with the same values give the same table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import Column, ModelColumns
from airflow_provider_phlo.schemas.conversion.arrow_columns import plain, repeated_member
from airflow_provider_phlo.schemas.conversion.casts import convert_column
from airflow_provider_phlo.schemas.conversion.json_texts import not_json, text_as_json
from airflow_provider_phlo.schemas.conversion.limits import unstorable, without
from airflow_provider_phlo.schemas.conversion.names import ColumnNames
from airflow_provider_phlo.schemas.conversion.nested import further_members
from airflow_provider_phlo.schemas.conversion.records import LONGEST_NAME, Records, columns_of_records, is_name
from airflow_provider_phlo.schemas.conversion.storable import Array, NoText, Values, as_text
from airflow_provider_phlo.schemas.conversion.undeclared import (
    JSON,
    Piece,
    beside,
    one_array,
    require_one_type,
    type_undeclared,
    without_nan,
)
from airflow_provider_phlo.schemas.conversion.variants import is_json, marked, normalize_variant
from airflow_provider_phlo.schemas.failures import Failure
from airflow_provider_phlo.schemas.values import type_name

Result = TypeVar("Result")


def conform(
    chunk: Records | pa.Table,
    declared: ModelColumns | None,
    normalize: Callable[[str], str],
    known: Mapping[str, pa.DataType] | None = None,
    *,
    hinted: Mapping[str, pa.DataType] | None = None,
    key: Collection[str] = (),
    variants: bool = True,
) -> tuple[pa.Table, list[Failure]]:
    """
    Return ``chunk`` as a table of normalised names and declared types.

    :param chunk: records, or an Arrow table.
    :param declared: the columns of the validation schema; None declares nothing.
    :param normalize: dlt's naming convention.
    :param known: the types that undeclared columns already have in the table.
    :param hinted: the types that a source's hints give to undeclared columns; values are converted where they can be.
    :param key: columns that cannot have variants; a value of another type makes the row bad.
    :param variants: False refuses values that an undeclared column cannot hold exactly.
    :returns: the table, and failures for the values that could not be converted, which are NULL in the table. A failure
        without a column is about a record that cannot be read at all; its row is empty.
    :raises SchemaError: if two columns of an Arrow table get the same name, or a name cannot be a column's; or if
        variants are needed and refused.
    """
    count = len(chunk)
    failures: list[Failure] = []
    source = _source_columns(chunk, normalize, failures)
    columns: dict[str, Array] = {}
    marks: dict[str, pa.Field] = {}
    taken = {*source, *(column.name for column in (declared.columns if declared else ()))}
    for name, values in source.items():
        if declared is not None and name in declared:
            columns[name] = without_nan(_typed_as_declared(values, declared[name], failures))
            found = _further_members(name, values, declared[name].exact, known or {}, taken, failures)
        else:
            found = _undeclared(name, values, known or {}, (hinted or {}).get(name), taken, failures)
            found = _only_key(name, found, failures) if name in key else found
        if not variants:
            require_one_type(found, name, declared[name].type if declared is not None and name in declared else None)
        for each, piece in found.items():
            if not pa.types.is_null(piece.array.type):
                columns[each] = piece.array
                marks[each] = marked(each, piece, name)
    for column in declared.columns if declared else ():
        _add_declared(columns, column, count, failures)
    return _table(columns, marks, count), failures


def conform_loosely(
    chunk: Records | pa.Table,
    wanted: Mapping[str, pa.DataType],
    normalize: Callable[[str], str],
    known: Mapping[str, pa.DataType],
    hinted: Mapping[str, pa.DataType],
    key: Collection[str] = (),
) -> tuple[pa.Table, list[Failure]]:
    """
    Return ``chunk`` as a table for transforms: a declared column has its type if all values do, else one of its own.

    :param wanted: the types of declared columns, to which :func:`conform` converts what the transforms return.

    The other parameters, and what is returned, are those of :func:`conform`.
    """
    failures: list[Failure] = []
    source = _source_columns(chunk, normalize, failures)
    columns: dict[str, Array] = {}
    marks: dict[str, pa.Field] = {}
    taken = source.keys() | wanted.keys()
    for name, values in source.items():
        if name in wanted:
            columns[name] = _wanted(name, values, wanted[name], failures)
            found = {}
            if columns[name].type == wanted[name]:
                found = _further_members(name, values, wanted[name], known, taken, failures)
        else:
            found = _undeclared(name, values, known, hinted.get(name), taken, failures)
            found = _only_key(name, found, failures) if name in key else found
        for each, piece in found.items():
            columns[each] = piece.array
            marks[each] = marked(each, piece, name)
    columns = {name: array for name, array in columns.items() if not pa.types.is_null(array.type)}
    return _table(columns, marks, len(chunk)), failures


def _source_columns(
    chunk: Records | pa.Table, normalize: Callable[[str], str], failures: list[Failure]
) -> Mapping[str, Values]:
    # a source's own column is not a variant, whatever its name: only what was converted before has variants
    named = normalize if isinstance(normalize, ColumnNames) else lambda name: normalize_variant(name, normalize)
    if isinstance(chunk, pa.Table):
        return _table_columns(chunk, named)
    return columns_of_records(chunk, named, failures)


def _table(columns: Mapping[str, Array], marks: Mapping[str, pa.Field], count: int) -> pa.Table:
    if not columns:
        return pa.table({"": pa.nulls(count)}).select([])
    schema = pa.schema([marks.get(name) or pa.field(name, array.type) for name, array in columns.items()])
    return pa.table(list(columns.values()), schema=schema)


def _undeclared(
    name: str,
    values: Values,
    known: Mapping[str, pa.DataType],
    hint: pa.DataType | None,
    taken: Collection[str],
    failures: list[Failure],
) -> dict[str, Piece]:
    """Return an undeclared column and its variants; add values that no text can hold to ``failures``."""
    values = _storable(name, values, failures)
    return _with_texts(name, values, lambda held: type_undeclared(name, held, known, hint, taken), failures)


def _further_members(
    name: str,
    values: Values,
    kind: pa.DataType,
    known: Mapping[str, pa.DataType],
    taken: Collection[str],
    failures: list[Failure],
) -> dict[str, Piece]:
    """Return the column beside a declared one that has what its structs have no members for, if there is any."""
    more = further_members(values, kind)
    if more is None:
        return {}
    return _with_texts(name, more, lambda held: beside(name, Piece(as_text(held), JSON), known, taken), failures)


def _wanted(name: str, values: Values, wanted: pa.DataType, failures: list[Failure]) -> Array:
    values = _storable(name, values, failures)
    array, bad = convert_column(values, wanted)
    if not bad:
        return without_nan(array)
    return _with_texts(name, values, one_array, failures)


def _storable(name: str, values: Values, failures: list[Failure]) -> Values:
    """Return ``values`` with NULL for those that no table can hold."""
    if isinstance(values, pa.ChunkedArray) and (bad := not_json(values)):
        failures.append(Failure(name, "is_json", tuple(bad)))
        values = without(values, bad)
    while True:
        check, outside = unstorable(values)
        if not outside:
            return values
        failures.append(Failure(name, check, tuple(outside)))
        values = without(values, outside)


def _with_texts(name: str, values: Values, convert: Callable[[Values], Result], failures: list[Failure]) -> Result:
    """Return what ``convert`` makes of ``values``, with NULL for those that cannot be written as text."""
    while True:  # those of one kind of value are found at a time
        try:
            return convert(values)
        except NoText as error:
            if not error.positions:
                raise
            failures.append(Failure(name, "is_text", tuple(error.positions)))
            values = without(values, error.positions)


def _only_key(name: str, found: dict[str, Piece], failures: list[Failure]) -> dict[str, Piece]:
    """Return the key column alone; rows whose key is of another type are bad."""
    others = [piece.array for each, piece in found.items() if each != name]
    bad = sorted({row for array in others for row in pc.indices_nonzero(array.is_valid()).to_pylist()})
    if bad:
        failures.append(Failure(name, f"is_{type_name(found[name].array.type)}", tuple(bad)))
    return {name: found[name]}


def _typed_as_declared(values: Values, column: Column, failures: list[Failure]) -> Array:
    """Return a column in its declared type; add bad values to ``failures``."""
    if isinstance(values, pa.ChunkedArray):  # declared types judge the values of records
        values = _storable(column.name, values, failures)
    array, bad = _convert_declared(values, column)
    if bad:
        failures.append(Failure(column.name, f"is_{type_name(column.exact)}", tuple(bad)))
    return array


def _convert_declared(values: Values, column: Column) -> tuple[Array, list[int]]:
    """Return ``values`` in the type of a declared column, and the positions of those that cannot be converted."""
    if column.json:
        values = text_as_json(values)
    array, bad = convert_column(values, column.exact)
    return array if column.exact == column.type else array.cast(column.type), bad


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
        if member := repeated_member(table.schema.field(original).type):
            raise SchemaError(
                f"The source has a column {original!r:.80} whose values have two members named {member!r:.80}: rename "
                "one."
            )
        originals[name] = original
    return {name: _source_values(table, original) for name, original in originals.items()}


def _source_values(table: pa.Table, name: str) -> Values:
    values = table[name]
    if is_json(table.schema.field(name)):
        return values.cast(pa.string()).cast(JSON)
    return values.to_pylist() if pa.types.is_union(values.type) else plain(values)
