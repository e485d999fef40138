"""Data frames of every kind, as Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
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
    return table


def _to_arrow(frame: Any) -> pa.Table | None:
    import pyarrow as pa

    if isinstance(frame, list):
        return pa.Table.from_pylist(frame)
    if hasattr(frame, "iloc") and hasattr(frame, "columns"):
        return pa.Table.from_pandas(frame, preserve_index=False)
    if hasattr(frame, "collect") and hasattr(frame, "collect_schema"):  # a lazy frame of polars
        frame = frame.collect()
    return pa.table(frame) if hasattr(frame, "__arrow_c_stream__") or hasattr(frame, "__arrow_c_array__") else None
