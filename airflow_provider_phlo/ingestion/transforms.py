"""
Apply an author's transforms to a chunk, and know afterwards which row was made from which record.

Transforms see one more column, the position of the record in its chunk. Those that pass columns on (filters, new or
changed columns, explosions) carry it along; where it gets lost, or a transform cannot take it, only the number of rows
shows what was dropped and added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exceptions import ConfigurationError

Transform = Callable[[pa.Table], pa.Table]
POSITION = "_phlo_source_position"
# the position of a row whose record is not known
UNKNOWN = -1
_UNFIT = (pa.ArrowException, TypeError, ValueError, LookupError)


@dataclass(frozen=True)
class Transformed:
    """
    What transforms made of records.

    :param origins: the position of each row's record, :data:`UNKNOWN` for a row without one; None if a transform lost
        the positions.
    :param dropped: records without a row.
    :param added: rows beyond one per record.
    """

    rows: pa.Table
    origins: np.ndarray | None
    dropped: int
    added: int


def apply(transforms: Sequence[Transform], rows: pa.Table, positions: np.ndarray, table: str) -> Transformed:
    """
    Apply ``transforms`` in turn.

    :param rows: one per record.
    :param positions: the position of each record in its chunk.
    :raises ConfigurationError: if one does not return an Arrow table.
    """
    found = rows.append_column(POSITION, pa.array(positions, pa.int64()))
    for transform in transforms:
        found = _applied(transform, found, table)
    origins = _origins(found, positions)
    if POSITION in found.column_names:
        found = found.drop_columns([POSITION])
    if origins is None:
        change = len(found) - len(rows)
        return Transformed(found, None, max(0, -change), max(0, change))
    kept = len(np.unique(origins[origins != UNKNOWN]))
    return Transformed(found, origins, len(rows) - kept, len(found) - kept)


def together(parts: Sequence[Transformed]) -> Transformed:
    """Combine several results into one."""
    return Transformed(
        pa.concat_tables([part.rows for part in parts], promote_options="permissive"),
        np.concatenate([part.origins for part in parts]),
        sum(part.dropped for part in parts),
        sum(part.added for part in parts),
    )


def _applied(transform: Transform, rows: pa.Table, table: str) -> pa.Table:
    try:
        result = transform(rows)
    except _UNFIT:
        if POSITION not in rows.column_names:
            raise
        # it may know its columns by number
        result = transform(rows.drop_columns([POSITION]))
    if not isinstance(result, pa.Table):
        raise ConfigurationError(
            f"{table}: transform {transform!r} returned {type(result).__name__}, not a pyarrow.Table."
        )
    return result


def _origins(rows: pa.Table, positions: np.ndarray) -> np.ndarray | None:
    if rows.column_names.count(POSITION) != 1 or not pa.types.is_integer(rows.schema.field(POSITION).type):
        return None
    found = pc.fill_null(rows[POSITION], UNKNOWN).to_numpy().astype(np.int64)
    return found if bool(np.isin(found, [*positions, UNKNOWN]).all()) else None
