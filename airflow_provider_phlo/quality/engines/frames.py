"""Data frames of every kind, as Arrow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa


def to_arrow(frame: Any) -> pa.Table:
    """
    Return the rows of ``frame`` as an Arrow table.

    pandas writes a missing number as NaN: such a NaN becomes NULL, as in pandas' own conversion.

    :param frame: a pandas or polars data frame, an Arrow table, or a list of records.
    :raises ConfigurationError: it is something else, has no columns, two of the same name, or one of mixed types.
    """
    import pyarrow as pa

    try:
        table = _to_arrow(frame)
    except (pa.ArrowException, TypeError, ValueError, AttributeError, OverflowError):  # their texts quote values
        table = None
    if table is None:
        raise ConfigurationError(
            f"Cannot check this {type(frame).__name__}: give a pandas or polars data frame, an Arrow table, or a list "
            "of records; with values of one type in each column, and one column of each name."
        )
    if not table.column_names:
        raise ConfigurationError(f"Cannot check a {type(frame).__name__} without columns.")
    _require_distinct_names(table.schema, f"this {type(frame).__name__}")
    return _readable(table)


def _readable(table: pa.Table) -> pa.Table:
    """Return the table without the number types that DuckDB lacks."""
    import pyarrow as pa

    for place, column in enumerate(table.schema):
        kind = _readable_type(column.type)
        if kind != column.type:
            try:
                table = table.set_column(place, column.name, table.column(place).cast(kind))
            except pa.ArrowException:  # its text quotes a value
                raise ConfigurationError(
                    f"Column {column.name} is {column.type}, and some of its values do not fit {kind}: convert it."
                ) from None
    return table


def _readable_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_float16(kind):
        return pa.float32()
    if pa.types.is_decimal(kind) and (kind.scale < 0 or pa.types.is_decimal256(kind)):
        return pa.decimal128(min(kind.precision - min(kind.scale, 0), 38), max(kind.scale, 0))
    if pa.types.is_struct(kind):
        return pa.struct([item.with_type(_member_type(item.type)) for item in kind])
    if pa.types.is_map(kind):
        return pa.map_(_member_type(kind.key_type), kind.item_field.with_type(_member_type(kind.item_type)))
    for matches, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if matches(kind):
            return make(kind.value_field.with_type(_member_type(kind.value_type)))
    return kind


def _member_type(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    # lists that are all empty have no dictionary that DuckDB could read
    return _readable_type(kind.value_type if pa.types.is_dictionary(kind) else kind)


def _require_distinct_names(columns: Iterable[pa.Field], where: str) -> None:
    """
    Refuse columns, or members of a struct, that have one name, or two that differ in nothing but case.

    :param where: whose they are, in the message.
    :raises ConfigurationError: there are some.
    """
    from airflow_provider_phlo.iceberg.tables.names import case_twins

    fields = list(columns)
    names = [item.name for item in fields]
    repeated = next(((name, name) for name, many in Counter(names).items() if many > 1), None)
    if twins := repeated or case_twins(names):
        raise ConfigurationError(
            f"The columns {twins[0]} and {twins[1]} of {where} cannot be told apart in SQL, where upper and lower "
            "case are the same: rename one of them."
        )
    for item in fields:
        _require_distinct_names(getattr(item.type, "fields", ()), item.name)


def _to_arrow(frame: Any) -> pa.Table | None:
    import pyarrow as pa

    if isinstance(frame, list):
        # Arrow would take the columns of the first record for those of all
        names = dict.fromkeys(name for record in frame for name in record)
        return pa.table({name: [record.get(name) for record in frame] for name in names})
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "collect") and hasattr(frame, "collect_schema"):  # a lazy frame of polars
        frame = frame.collect()
    return pa.table(frame) if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__") else None


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Return an Arrow table as a pandas frame whose integers stay integers, also where some of them are missing."""
    import pandas as pd
    import pyarrow as pa

    # floats, which pandas makes of integers beside a missing one, are inexact beyond 2^53
    frame = table.to_pandas(integer_object_nulls=True)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pa.types.is_integer(column.type) and column.null_count:
            kind = str(column.type)  # such as uint8, which pandas calls UInt8 where it may be missing
            frame[name] = pd.Series(column.to_pylist(), dtype=kind.replace("u", "U").replace("i", "I", 1))
    return frame
