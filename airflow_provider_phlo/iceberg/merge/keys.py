"""Find the keys of a batch among the rows of a table: by hash tables of Arrow, column by column."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.expressions import AlwaysTrue, And, BooleanExpression, GreaterThanOrEqual, LessThanOrEqual
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import StringType

from airflow_provider_phlo.iceberg.files.statistics import are_certain
from airflow_provider_phlo.iceberg.tables.partitioning import above_truncation
from airflow_provider_phlo.row_hash import encoded_rows, float_bits

# the number of a key that the batch does not have
NOT_IN_BATCH = -1
_TOO_MANY = 2**62


class KeyIndex:
    """
    The distinct keys of a batch, numbered from 0.

    :param rows: the batch; no key column holds NULL.
    :param key: the key columns.
    """

    def __init__(self, rows: pa.Table, key: Sequence[str]) -> None:
        self.key = tuple(key)
        self.distinct: list[_Distinct] = []
        codes = np.zeros(len(rows), np.int64)
        self._steps: list[np.ndarray[Any, Any] | None] = []
        for name in self.key:
            encoded = comparable(rows, name).dictionary_encode()
            self.distinct.append(_Distinct(encoded.dictionary))
            codes, dense = self._combined(codes, encoded.indices.to_numpy(zero_copy_only=False))
            self._steps.append(dense)
        self.numbers: np.ndarray[Any, Any] = codes
        self.count = len(self.distinct[0])
        if len(self.key) > 1:
            combinations = pa.array(codes).dictionary_encode()
            self._combinations = combinations.dictionary
            self.numbers = combinations.indices.to_numpy(zero_copy_only=False)
            self.count = len(self._combinations)

    def _combined(
        self, codes: np.ndarray[Any, Any], column: np.ndarray[Any, Any]
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
        """Return codes that go with both; the codes until here, sorted, if they had to be numbered anew to fit."""
        width, dense = len(self.distinct[-1]), None
        if len(codes) and int(codes.max()) >= _TOO_MANY // max(width, 1):
            dense, codes = np.unique(codes, return_inverse=True)
        return codes * width + column, dense

    def locate(self, rows: pa.Table) -> np.ndarray[Any, Any]:
        """Return the number of each row's key, :data:`NOT_IN_BATCH` where the batch does not have it."""
        if not self.count or not len(rows):
            return np.full(len(rows), NOT_IN_BATCH, np.int64)
        codes = np.zeros(len(rows), np.int64)
        known = np.ones(len(rows), bool)
        for name, distinct, dense in zip(self.key, self.distinct, self._steps, strict=True):
            column = distinct.positions(comparable(rows, name))
            known &= column >= 0
            if dense is not None:
                at = np.minimum(np.searchsorted(dense, codes), len(dense) - 1)
                known &= dense[at] == codes
                codes = at
            codes = codes * len(distinct) + np.maximum(column, 0)
        if len(self.key) == 1:
            return np.where(known, codes, NOT_IN_BATCH)
        numbers = pc.fill_null(pc.index_in(pa.array(codes), value_set=self._combinations), NOT_IN_BATCH)
        return np.where(known, numbers.to_numpy(zero_copy_only=False), NOT_IN_BATCH)


class _Distinct:
    """The distinct values of a key column of the batch, in order of arrival."""

    def __init__(self, values: pa.Array) -> None:
        self.values = values
        numbers = _whole_numbers(values)
        # ids and times often arrive in order: then a file is compared with the few that it can have
        self._ascending = numbers if numbers is not None and bool(np.all(numbers[1:] > numbers[:-1])) else None

    def __len__(self) -> int:
        return len(self.values)

    def positions(self, rows: pa.Array) -> np.ndarray[Any, Any]:
        """Return where each value is, :data:`NOT_IN_BATCH` for NULL and for one that is not there."""
        first, end = self._near(rows)
        found = pc.index_in(rows, value_set=self.values.slice(first, end - first), skip_nulls=True)
        positions = pc.fill_null(found, NOT_IN_BATCH).to_numpy(zero_copy_only=False)
        return np.where(positions < 0, NOT_IN_BATCH, positions + first) if first else positions

    def _near(self, rows: pa.Array) -> tuple[int, int]:
        """Return between which positions the values of ``rows`` are, if anywhere."""
        wanted = _whole_numbers(rows.drop_null()) if self._ascending is not None else None
        if wanted is None or self._ascending is None or not len(wanted):
            return 0, len(self)
        first = np.searchsorted(self._ascending, wanted.min(), side="left")
        return int(first), int(np.searchsorted(self._ascending, wanted.max(), side="right"))


def _whole_numbers(values: pa.Array) -> np.ndarray[Any, Any] | None:
    """Return integers and instants as numbers that compare as they do; None for other types."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    return values.to_numpy() if pa.types.is_integer(values.type) else None


def comparable(rows: pa.Table, name: str) -> pa.Array:
    """Return a column in a form whose equality is ours: NaN is NaN, -0.0 is 0.0, nested values by their content."""
    values = rows[name].combine_chunks()
    if pa.types.is_floating(values.type):
        return float_bits(values)
    if pa.types.is_nested(values.type):
        encoded = encoded_rows(rows.select([name]), [name]).combine_chunks()
        return pc.if_else(pc.is_null(values), pa.scalar(None, encoded.type), encoded)
    if isinstance(values.type, pa.BaseExtensionType):  # a UUID: its bytes
        return values.storage
    return values


class KeyBounds:
    """The values of the batch's keys, sorted, so that a data file's bounds show whether it can hold any of them."""

    def __init__(self, rows: pa.Table, key: Iterable[str], schema: Schema) -> None:
        self.columns = [
            (schema.find_field(name), _sorted_values(rows[name])) for name in key if _has_bounds(rows[name].type)
        ]
        self._limits = {item.name: _limits(rows[item.name]) for item, _ in self.columns}

    def filter(self) -> BooleanExpression:
        """Return what holds for every key of the batch, so that partitions can be left out."""
        found: BooleanExpression = AlwaysTrue()
        for name, (low, high) in self._limits.items():
            if low is not None:
                found = And(found, GreaterThanOrEqual(name, value=low), LessThanOrEqual(name, value=high))  # type: ignore[misc]
        return found

    def may_be_in(self, file: DataFile) -> bool:
        """Return whether the bounds of a file leave room for a key of the batch."""
        for item, values in self.columns:
            lower = (file.lower_bounds or {}).get(item.field_id)
            upper = (file.upper_bounds or {}).get(item.field_id)
            if lower is None or upper is None:
                continue
            if isinstance(item.field_type, StringType) and not are_certain(file):
                continue
            try:
                low, high = (from_bytes(item.field_type, each) for each in (lower, upper))  # type: ignore[arg-type]
            except (ValueError, TypeError):  # of a type that the column had before
                continue
            at = bisect_left(values, low)
            if at == len(values) or values[at] > high:
                return False
        return True


def _limits(values: pa.ChunkedArray) -> tuple[Any, Any]:
    """Return the smallest and the largest value, as a filter on partitions may have them; None for no values."""
    low, high = pc.min_max(values).as_py().values()
    if low is not None and (pa.types.is_integer(values.type) or pa.types.is_decimal(values.type)):
        high = above_truncation(high, values.type)
    return low, high


def _has_bounds(kind: pa.DataType) -> bool:
    # a NaN is in no range; nested values have no bounds; others are not compared here
    texts = (pa.types.is_string, pa.types.is_large_string)
    kinds = (pa.types.is_integer, pa.types.is_date32, pa.types.is_timestamp, pa.types.is_decimal, *texts)
    return any(fits(kind) for fits in kinds)


def _sorted_values(values: pa.ChunkedArray) -> Sequence[Any] | np.ndarray[Any, Any]:
    """Return the values in order, as Iceberg's bounds have them."""
    present = values.drop_null()
    if pa.types.is_date32(present.type):
        present = present.cast(pa.int32())
    elif pa.types.is_timestamp(present.type):
        present = present.cast(pa.int64())
    if pa.types.is_integer(present.type):
        # of the sorts, this one takes least where values are in order already, as ids and times often are
        return np.sort(present.to_numpy(), kind="stable")
    distinct = present.unique()
    return _Values(distinct.take(pc.sort_indices(distinct)))


class _Values(Sequence[Any]):
    """Python values of an Arrow array, each made when it is looked at."""

    def __init__(self, values: pa.Array) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, position: Any) -> Any:
        return self._values[position].as_py()
