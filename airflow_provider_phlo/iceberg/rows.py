"""What the merge compares of rows: their keys, their content hashes, and the bounds that prune files."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual

from airflow_provider_phlo.row_hash import encoded_rows, row_hashes
from airflow_provider_phlo.schemas.iceberg import METADATA_COLUMNS

HASH = "_phlo_row_hash"


def content_hashes(rows: pa.Table) -> pa.Array:
    """Return the content hashes: those stored with the rows; computed where another writer has stored none."""
    stored = _flat(rows[HASH]) if HASH in rows.column_names else None
    if stored is not None and not stored.null_count:
        return stored
    computed = row_hashes(rows, [name for name in rows.column_names if name not in METADATA_COLUMNS])
    return computed if stored is None else pc.coalesce(stored, computed.cast(stored.type))


def with_hashes(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with their hashes, if the table stores them and the batch came without."""
    if HASH not in rows.column_names or not rows[HASH].null_count:
        return rows
    return rows.set_column(rows.column_names.index(HASH), HASH, content_hashes(rows))


def key_values(rows: pa.Table, key: Sequence[str]) -> pa.Array:
    """Return one value a row that is equal for equal keys."""
    if len(key) > 1:
        return _flat(encoded_rows(rows, key))
    values = _flat(rows[key[0]])
    # Arrow compares neither NaN nor nested values as we do
    plain = not (pa.types.is_floating(values.type) or pa.types.is_nested(values.type))
    return values if plain else _flat(encoded_rows(rows, key))


def _flat(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def first_of_each(values: pa.Array) -> np.ndarray[Any, Any]:
    """Return a mask of the values that did not come before."""
    return first_of_each_number(values.dictionary_encode().indices.to_numpy(zero_copy_only=False))


def first_of_each_number(numbers: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return a mask of the numbers that did not come before."""
    first = np.zeros(len(numbers), bool)
    first[np.unique(numbers, return_index=True)[1]] = True
    return first


def key_bounds(rows: pa.Table, key: Iterable[str]) -> BooleanExpression:
    """Return a filter that holds for every key of the batch, so that Iceberg's column bounds can prune files."""
    return _all_of(itertools.chain.from_iterable(_column_bounds(rows, name) for name in key))


def _column_bounds(rows: pa.Table, name: str) -> Iterator[BooleanExpression]:
    kind = rows.schema.field(name).type
    # a NaN key is in no range; nested values have no bounds; binary ones cannot be compared here
    if pa.types.is_floating(kind) or pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_boolean(kind):
        return
    limits = pc.min_max(rows[name]).as_py()
    if limits["min"] is not None:
        yield GreaterThanOrEqual(name, value=limits["min"])  # type: ignore[misc]
        yield LessThanOrEqual(name, value=limits["max"])  # type: ignore[misc]


def _all_of(expressions: Iterable[BooleanExpression]) -> BooleanExpression:
    found: BooleanExpression = AlwaysTrue()
    for expression in expressions:
        found = And(found, expression)
    return found
