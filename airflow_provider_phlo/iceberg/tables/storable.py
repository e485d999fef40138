"""Give rows that SQL computed the types that Iceberg knows; a value that would not stay what it is, is an error."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.tables.casting import cast


def storable(identifier: str, data: pa.Table) -> pa.Table:
    """
    Return rows with every column in a type that Iceberg knows.

    :param identifier: names the table in messages.
    :raises SchemaError: a type has no counterpart, or a value does not fit it, such as a nanosecond.
    """
    columns = {}
    for name in data.column_names:
        kind = _storable_type(data.schema.field(name).type)
        if kind is None:
            raise SchemaError(
                f"Column {name} of {identifier} has type {data.schema.field(name).type}, which Iceberg does not know: "
                "cast it in the SQL."
            )
        columns[name] = cast_column(identifier, data[name], kind, name)
    return pa.table(columns)


def _storable_type(kind: pa.DataType) -> pa.DataType | None:
    for matches, storable in _STORABLE:
        if matches(kind):
            return storable(kind)
    return None


def _nested(kind: pa.DataType) -> pa.DataType | None:
    if pa.types.is_struct(kind):
        members = [(field.name, _storable_type(field.type)) for field in kind]
        return None if any(member is None for _, member in members) else pa.struct(members)
    if pa.types.is_map(kind):
        key, item = _storable_type(kind.key_type), _storable_type(kind.item_type)
        return pa.map_(key, item) if key and item else None
    element = _storable_type(kind.value_type)
    return pa.list_(element) if element else None


def _same(kind: pa.DataType) -> pa.DataType:
    return kind


# Nothing but what DuckDB and dlt hand over; the first line that matches counts.
_STORABLE: tuple[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], pa.DataType | None]], ...] = (
    (pa.types.is_null, lambda _: pa.string()),
    (pa.types.is_boolean, _same),
    (pa.types.is_unsigned_integer, lambda kind: pa.int32() if kind.bit_width < 32 else pa.int64()),
    (pa.types.is_integer, lambda kind: pa.int64() if kind.bit_width == 64 else pa.int32()),
    (pa.types.is_float16, lambda _: pa.float32()),
    (pa.types.is_floating, _same),
    (pa.types.is_decimal, lambda kind: pa.decimal128(kind.precision, kind.scale) if kind.precision <= 38 else None),
    (pa.types.is_date, lambda _: pa.date32()),
    (pa.types.is_time, lambda _: pa.time64("us")),
    (pa.types.is_timestamp, lambda kind: pa.timestamp("us", "UTC" if kind.tz else None)),
    (lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind), lambda _: pa.string()),
    (lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind), lambda _: pa.binary()),
    (pa.types.is_string_view, lambda _: pa.string()),
    (pa.types.is_dictionary, lambda kind: _storable_type(kind.value_type)),
    (pa.types.is_nested, _nested),
)


def cast_column(identifier: str, values: pa.ChunkedArray, kind: pa.DataType, column: str) -> pa.ChunkedArray:
    """
    Return values in another type.

    :param identifier: names their table in messages.
    :param column: names their column there.
    :raises SchemaError: a value would not stay what it is.
    """
    if values.type == kind:
        return values
    try:
        return cast(values, kind)
    except pa.ArrowInvalid:  # its message holds the value
        raise SchemaError(
            f"Column {column} of {identifier} has values of {values.type} that do not fit {kind}: cast it in the SQL."
        ) from None
