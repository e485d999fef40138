"""Models of ``pandera.polars``: which those are, and their types. Polars is imported only where there is one."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def is_polars(model: Any) -> bool:
    """Return whether ``model`` is a ``pandera.polars.DataFrameModel``."""
    return isinstance(model, type) and any(base.__module__.startswith("pandera.api.polars") for base in model.__mro__)


def polars_type(dtype: Any) -> pa.DataType:
    """
    Return the Arrow type of Pandera's dtype for a Polars column; a date-time is UTC.

    :raises KeyError: if Iceberg has no such type.
    """
    import polars as pl

    kind = getattr(dtype, "type", None)
    if kind is None or kind == pl.Object or kind == pl.Duration:
        raise KeyError(dtype)
    try:
        return _stored(pl.Series([], dtype=kind).to_arrow().type)
    except (TypeError, ValueError, pa.ArrowException):
        raise KeyError(dtype) from None


def _stored(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_stored(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(item.name, _stored(item.type)) for item in kind])
    for matches, stored in _STORED:
        if matches(kind):
            return stored
    return kind


_STORED = (
    (pa.types.is_timestamp, pa.timestamp("us", tz="UTC")),
    (pa.types.is_time, pa.time64("us")),
    (pa.types.is_large_string, pa.string()),
    (pa.types.is_string_view, pa.string()),
    (pa.types.is_large_binary, pa.binary()),
    (pa.types.is_binary_view, pa.binary()),
    (pa.types.is_uint64, pa.decimal128(20, 0)),
    (pa.types.is_uint32, pa.int64()),
    (lambda kind: pa.types.is_integer(kind) and kind.bit_width < 32, pa.int32()),
)
