"""
Turn what a source yields into Arrow tables whose declared columns have their declared types.

A value that cannot be converted becomes NULL and a :class:`Failure`; undeclared columns get the type of their values.
Names follow dlt's naming convention. Nested values that no schema declares become JSON text with sorted keys. Records
and Arrow tables of the same values give the same table.
"""

from __future__ import annotations

import datetime
import decimal
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import DECIMAL, TIMESTAMP, Column, ModelColumns
from airflow_provider_phlo.schemas.names import Failure, Records, columns_of_records, is_name
from airflow_provider_phlo.schemas.values import (
    ARROW_ERRORS,
    CONVERSION_ERRORS,
    NESTED,
    converter,
    is_missing,
    text,
    timestamp,
    type_name,
)

Values: TypeAlias = "Sequence[Any] | pa.ChunkedArray"
Array: TypeAlias = "pa.Array | pa.ChunkedArray"
INTEGER_BEYOND_LONG = pa.decimal128(38, 0)
# Python objects of so many nested values exist at a time: more keep the garbage collector busy.
NESTED_AT_A_TIME = 512


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
    :param known: types that undeclared columns already have in the table; kept where the values allow it.
    :returns: the table, and the values that could not be converted; such rows hold NULL there. A failure without a
        column is about a record that cannot be read at all; its row holds nothing.
    :raises SchemaError: if two columns of an Arrow table get one name, or one has none.
    """
    count = len(chunk)
    failures: list[Failure] = []
    if isinstance(chunk, pa.Table):
        source: Mapping[str, Values] = _columns_of_table(chunk, normalize)
    else:
        source = columns_of_records(chunk, normalize, failures)
    columns: dict[str, Array] = {}
    for name, values in source.items():
        column = declared[name] if declared is not None and name in declared else None
        array = _typed(name, values, column, (known or {}).get(name), failures)
        if not pa.types.is_null(array.type):
            columns[name] = _without_nan(array)
    for column in declared.columns if declared else ():
        _complete(columns, column, count, failures)
    return pa.table(columns) if columns else pa.table({"": pa.nulls(count)}).select([]), failures


def _typed(
    name: str, values: Values, column: Column | None, known: pa.DataType | None, failures: list[Failure]
) -> Array:
    """Return one column in its declared type, else in the table's or its own; add what is bad to ``failures``."""
    if column is not None:
        array, bad = _declared(values, column)
        if bad:
            failures.append(Failure(name, f"is_{type_name(column.exact)}", tuple(bad)))
        return array
    try:
        return _as_known(values, known)
    except _NoText as error:
        failures.append(Failure(name, "is_text", tuple(error.positions)))
        some: list[Any] = values.to_pylist() if isinstance(values, pa.ChunkedArray) else [*values]
        for position in error.positions:
            some[position] = None
        return _as_known(some, known)


def _declared(values: Values, column: Column) -> tuple[Array, list[int]]:
    """Return ``values`` in the type of a declared column and the positions of those that are not."""
    array, bad = _converted(values, column.exact)
    return array if column.exact == column.type else array.cast(column.type), bad


def _without_nan(values: Array) -> Array:
    """Return NULL for NaN, which is how data frames write a gap: a row means the same in whatever form it comes."""
    if not pa.types.is_floating(values.type) or not pc.any(pc.is_nan(values)).as_py():
        return values
    return pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)


def _complete(columns: dict[str, Any], column: Column, count: int, failures: list[Failure]) -> None:
    """Add a declared column that the source lacks, and fill in its default."""
    if column.name not in columns:
        columns[column.name] = pa.nulls(count, column.type)
        if not column.nullable and column.default is None and count:
            failures.append(Failure(column.name, "column_in_data", tuple(range(count))))
    if column.default is not None and columns[column.name].null_count:
        default, bad = _declared([column.default], column)
        if bad:
            raise SchemaError(f"The default of column {column.name!r} is no {type_name(column.exact)}.")
        gaps = pc.is_null(columns[column.name])
        columns[column.name] = pc.if_else(gaps, default[0], columns[column.name])


def _columns_of_table(table: pa.Table, normalize: Callable[[str], str]) -> dict[str, Values]:
    names = table.column_names
    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise SchemaError(f"The source has several columns of one name: {', '.join(repeated)}. Rename them.")
    originals: dict[str, str] = {}
    for original in names:
        if not is_name(original):
            raise SchemaError(f"The source has a column named {original!r:.80}: a name is text, not empty, not long.")
        name = normalize(original)
        if name in originals:
            raise SchemaError(
                f"Source columns {originals[name]!r} and {original!r} are both named {name!r} in the table: rename one."
            )
        originals[name] = original
    return {name: table[original] for name, original in originals.items()}


def _inferred(values: Values) -> Array:
    """Return ``values`` in a type of their own; nested ones as JSON text, a mixture as text."""
    if isinstance(values, pa.ChunkedArray):
        return _json_of_nested(values) if pa.types.is_nested(values.type) else _plain(values)
    kinds = {type(value) for value in values}
    if any(issubclass(kind, NESTED) for kind in kinds):
        return _as_text(values)
    try:
        return _of_one_family(values, {_family(kind) for kind in kinds if kind is not type(None)})
    except ARROW_ERRORS:
        return _as_text(values)


def _family(kind: type) -> type:
    """Return the basic type that ``kind`` is one of: a library's own date-time is a date-time."""
    families = (bool, int, float, str, bytes, decimal.Decimal, datetime.datetime, datetime.date)
    return next((family for family in families if issubclass(kind, family)), kind)


def _of_one_family(values: Sequence[Any], families: set[type]) -> Array:
    if len(families) > 1 and not families <= {int, float}:
        # NaN, NaT and NA among other things are how pandas writes a gap
        values = [None if is_missing(value) else value for value in values]
        families = {_family(type(value)) for value in values if value is not None}
    if families == {int}:
        return _integers(values)
    if families <= {int, float} and families:
        return pa.array([_number(value) for value in values], pa.float64())
    if families == {datetime.datetime}:
        return _timestamps(values)
    if families and families <= {decimal.Decimal, int}:
        return _decimals(pa.array(values))
    return _as_text(values) if len(families) > 1 else _plain_or_json(pa.array(values), values)


def _number(value: Any) -> float | None:
    return None if value is None or is_missing(value) else float(value)


def _integers(values: Sequence[Any]) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except (pa.ArrowInvalid, OverflowError):
        return pa.array([None if value is None else decimal.Decimal(value) for value in values], INTEGER_BEYOND_LONG)


def _timestamps(values: Sequence[Any]) -> pa.Array:
    values = [None if value is None or is_missing(value) else value for value in values]
    if any(value is not None and value.tzinfo is not None for value in values):
        return pa.array([None if value is None else timestamp(value) for value in values], TIMESTAMP)
    return pa.array(values, pa.timestamp("us"))


def _decimals(values: pa.Array) -> pa.Array:
    """Give decimals one type, whatever the digits of a batch; more digits than Iceberg has become text."""
    try:
        return values.cast(DECIMAL)
    except pa.ArrowInvalid:
        if not pa.types.is_decimal128(values.type):
            raise
        return values


def _plain_or_json(array: pa.Array, values: Sequence[Any]) -> Array:
    return _as_text(values) if pa.types.is_nested(array.type) else _plain(array)


def _as_known(values: Values, known: pa.DataType | None) -> Array:
    """Return ``values`` in the type of the table's column if all of them fit, else in their own."""
    inferred = _inferred(values)
    if known is None or pa.types.is_null(inferred.type) or pa.types.is_nested(known):
        return inferred
    known = _plain_type(known)
    if inferred.type == known:
        return inferred
    try:
        converted, bad = _converted(values, known)
    except KeyError:  # a type of other programs: uuid, fixed-length bytes
        return inferred
    return inferred if bad else converted


def _plain(values: Array) -> Array:
    """Drop what Iceberg has no type for: dictionaries, nanoseconds, half floats, large and view types."""
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _decoded(values)
    if isinstance(kind, pa.BaseExtensionType):
        return _as_text(values.to_pylist())
    wanted = pa.binary() if pa.types.is_fixed_size_binary(kind) else _plain_type(kind)
    if wanted == kind:
        return values
    return pc.cast(values, wanted, safe=not pa.types.is_temporal(kind))


def _decoded(values: Array) -> Array:
    """Return the values of a dictionary-encoded column; Arrow's cast knows fewer types."""
    chunks = values.chunks if isinstance(values, pa.ChunkedArray) else [values]
    if not chunks:
        return pa.chunked_array([], _plain_type(values.type.value_type))
    return pa.chunked_array([_plain(chunk.dictionary).take(chunk.indices) for chunk in chunks])


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", "UTC" if kind.tz else None)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_date64(kind):
        return pa.date32()
    if pa.types.is_time(kind):
        return pa.time64("us")
    return pa.float32() if pa.types.is_float16(kind) else kind


class _NoText(Exception):
    """Values that no text can be made of: nested too deeply, integers of thousands of digits."""

    def __init__(self, positions: list[int]) -> None:
        super().__init__(positions)
        self.positions = positions


def _as_text(values: Iterable[Any]) -> pa.Array:
    values = list(values)
    try:
        return pa.array(map(_text_or_none, values), pa.string())
    except CONVERSION_ERRORS:
        raise _NoText([position for position, value in enumerate(values) if not _has_text(value)]) from None


def _text_or_none(value: Any) -> str | None:
    return None if value is None or is_missing(value) else text(value)


def _has_text(value: Any) -> bool:
    try:
        _text_or_none(value)
    except CONVERSION_ERRORS:
        return False
    return True


def _json_of_nested(values: pa.ChunkedArray) -> pa.ChunkedArray:
    parts = [
        _as_text(values.slice(start, NESTED_AT_A_TIME).to_pylist()) for start in range(0, len(values), NESTED_AT_A_TIME)
    ]
    return pa.chunked_array(parts, pa.string())


def _converted(values: Values, kind: pa.DataType) -> tuple[Array, list[int]]:
    """Return ``values`` as ``kind`` and the positions of those that are not."""
    if isinstance(values, pa.ChunkedArray):
        return _converted_array(values, kind)
    if _holds_only(values, kind):
        try:
            return pa.array(values, kind, from_pandas=True), []  # NaN is how pandas writes a gap
        except ARROW_ERRORS:
            pass
    return _converted_one_by_one(values, kind)


def _converted_array(values: pa.ChunkedArray, kind: pa.DataType) -> tuple[Array, list[int]]:
    if pa.types.is_dictionary(values.type):
        values = _decoded(values)
    if values.type == kind:
        return values, []
    if pa.types.is_nested(values.type) and pa.types.is_string(kind):
        return _json_of_nested(values), []
    if _casts_plainly(values.type, kind):
        try:
            return _plain_cast(values, kind), []
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            pass
    return _converted_one_by_one(values.to_pylist(), kind)


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds the values of both: the wider number, a time with zone, else text."""
    if one == other:
        return one
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other):
        return TIMESTAMP if one.tz or other.tz else one
    try:
        merged = pa.unify_schemas([pa.schema([("", one)]), pa.schema([("", other)])], promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return pa.string()
    found = merged.field(0).type
    is_number = pa.types.is_integer(found) or pa.types.is_floating(found) or pa.types.is_decimal128(found)
    return found if is_number else pa.string()


def recast(values: pa.ChunkedArray, kind: pa.DataType) -> Array:
    """Return ``values``, whose type has ``kind`` as :func:`common_type`, as ``kind``."""
    array, bad = _converted(values, kind)
    if bad:
        raise SchemaError(f"{len(bad)} value(s) of type {values.type} are no {kind}: declare the column in the schema.")
    return array


_SAME_KIND: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_timestamp,
    pa.types.is_date,
    pa.types.is_time,
    pa.types.is_decimal,
    lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind),
    lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
)


def _casts_plainly(source: pa.DataType, kind: pa.DataType) -> bool:
    """Return whether Arrow's own cast means what :mod:`airflow_provider_phlo.schemas.values` means."""
    if pa.types.is_null(source) or (pa.types.is_integer(source) and pa.types.is_string(kind)):
        return True
    return any(matches(source) and matches(kind) for matches in _SAME_KIND)


def _plain_cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind) and pa.types.is_timestamp(values.type):
        values = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
        return pc.assume_timezone(values, "UTC") if values.type.tz is None and kind.tz else values.cast(kind)
    # a smaller float holds the nearest number, as it does for records
    return values.cast(kind, safe=not pa.types.is_floating(kind))


_EXACT_TYPES: tuple[tuple[Callable[[pa.DataType], bool], set[type]], ...] = (
    (pa.types.is_string, {str}),
    (pa.types.is_integer, {int}),
    (pa.types.is_floating, {float, int}),
    (pa.types.is_boolean, {bool}),
    (pa.types.is_binary, {bytes}),
)


def _holds_only(values: Sequence[Any], kind: pa.DataType) -> bool:
    """Return whether every value already is of the Python type that ``kind`` stands for."""
    kinds = {type(value) for value in values}
    kinds.discard(type(None))
    return any(matches(kind) and kinds <= allowed for matches, allowed in _EXACT_TYPES)


def _converted_one_by_one(values: Sequence[Any], kind: pa.DataType) -> tuple[pa.Array, list[int]]:
    convert = converter(kind)
    good: list[Any] = []
    bad: list[int] = []
    for position, value in enumerate(values):
        try:
            good.append(None if value is None or is_missing(value) else convert(value))
        except CONVERSION_ERRORS:
            good.append(None)
            bad.append(position)
    try:
        return pa.array(good, kind), bad
    except ARROW_ERRORS:
        return _arrow_one_by_one(good, kind, bad)


def _arrow_one_by_one(values: list[Any], kind: pa.DataType, bad: list[int]) -> tuple[pa.Array, list[int]]:
    """Find the values that Python accepts and Arrow does not: out of range, too many digits, wrong nesting."""
    for position, value in enumerate(values):
        try:
            pa.scalar(value, kind)
        except ARROW_ERRORS:
            values[position] = None
            bad.append(position)
    return pa.array(values, kind), sorted(bad)
