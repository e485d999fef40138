"""Data frames of every kind, as Arrow."""

from __future__ import annotations

import datetime
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
    from airflow_provider_phlo.schemas.conversion.arrow_columns import plain

    table = _as_table(frame)
    if table is None:
        return None
    for place, name in enumerate(table.column_names):
        column = plain(table.column(place))
        if column is not table.column(place):
            table = table.set_column(place, name, column)
    return table


def _as_table(frame: Any) -> pa.Table | None:
    import pyarrow as pa

    if isinstance(frame, list):
        # Arrow would take the columns of the first record for those of all
        names = dict.fromkeys(name for record in frame for name in record)
        return pa.table({name: _column([record.get(name) for record in frame]) for name in names})
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return _pandas_table(frame)
    if hasattr(frame, "collect") and hasattr(frame, "collect_schema"):  # a lazy frame of polars
        frame = frame.collect()
    return pa.table(frame) if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__") else None


def _pandas_table(frame: pd.DataFrame) -> pa.Table:
    import pandas as pd
    import pyarrow as pa

    frame = frame.astype(
        {name: kind.subtype for name, kind in frame.dtypes.items() if isinstance(kind, pd.SparseDtype)}
    )
    objects = [place for place, kind in enumerate(frame.dtypes) if getattr(kind, "hasobject", False)]
    if not objects:
        return pa.Table.from_pandas(frame, preserve_index=False)
    places = range(len(frame.columns))
    columns = [
        _column(frame.iloc[:, place].tolist(), gaps=True) if place in objects else pa.array(frame.iloc[:, place])
        for place in places
    ]
    return pa.table(columns, names=[str(name) for name in frame.columns])


def _column(values: list[Any], *, gaps: bool = False) -> pa.Array:
    """
    Return objects as an Arrow column.

    :param gaps: whether NaN is a gap, as in pandas.
    :raises ValueError: for times with an offset, and for date-times of which some have a zone: Arrow drops it.
    """
    import pyarrow as pa

    from airflow_provider_phlo.plain_values import PLAIN_TYPES, plain_value

    values = [value if type(value) in PLAIN_TYPES else plain_value(value) for value in values]
    times = [value for value in values if isinstance(value, (datetime.datetime, datetime.time))]
    zoned = [value for value in times if value.tzinfo is not None]
    if zoned and (len(zoned) < len(times) or isinstance(zoned[0], datetime.time)):
        raise ValueError("zones that Arrow would drop")
    if any(getattr(value, "nanosecond", 0) for value in times):  # Arrow would cut them
        return pa.array(values, pa.timestamp("ns", "UTC" if zoned else None), from_pandas=True)
    return pa.array(values, from_pandas=True) if gaps else pa.array(values)


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
