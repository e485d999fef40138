"""Models of ``pandera.polars`` and their types. Polars is imported only if there is such a model."""

from __future__ import annotations

from typing import Any

import pyarrow as pa


def is_polars(model: Any) -> bool:
    """Return whether ``model`` is a ``pandera.polars.DataFrameModel``."""
    return isinstance(model, type) and any(base.__module__.startswith("pandera.api.polars") for base in model.__mro__)


def polars_type(dtype: Any) -> pa.DataType:
    """
    Return the Arrow type for Pandera's dtype of a Polars column; date-times are UTC.

    :raises KeyError: if Iceberg has no such type.
    """
    import polars as pl

    kind = getattr(dtype, "type", None)
    if kind is None or kind == pl.Object or kind == pl.Duration:
        raise KeyError(dtype)
    try:
        return _in_utc(pl.Series([], dtype=kind).to_arrow().type)
    except (TypeError, ValueError, pa.ArrowException):
        raise KeyError(dtype) from None


def _in_utc(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        return _in_utc(kind.value_type)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_in_utc(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(item.name, _in_utc(item.type)) for item in kind])
    return pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind
