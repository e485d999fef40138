"""How the merge compares rows: by their content, by their order, and by which came first."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.iceberg.files.content_hashes import source_columns
from airflow_provider_phlo.iceberg.merge.keys import comparable

HASH_LENGTH = 32
# multipliers that spread the digits of a hash over 64 bits; any odd numbers without a pattern will do
_ODD_NUMBERS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0xD6E8FEB86659FD93], np.uint64)

Mask = np.ndarray[Any, Any]


def differs(one: pa.Table, other: pa.Table) -> Mask:
    """Return, row by row, whether the contents of ``one`` and ``other`` differ; they have the same columns."""
    found = np.zeros(len(one), bool)
    for name in source_columns(one.column_names):
        left, right = comparable(one, name), comparable(other, name)
        unequal = pc.fill_null(pc.not_equal(left, right), False).to_numpy(zero_copy_only=False)
        gaps = left.is_null().to_numpy(zero_copy_only=False) != right.is_null().to_numpy(zero_copy_only=False)
        found |= unequal | gaps
    return found


def first_of_each(values: pa.Array) -> Mask:
    """Return a mask of the first occurrence of each value."""
    return first_of_each_number(values.dictionary_encode().indices.to_numpy(zero_copy_only=False))


def first_of_each_number(numbers: np.ndarray[Any, Any]) -> Mask:
    """Return a mask of the first occurrence of each number."""
    first = np.zeros(len(numbers), bool)
    first[np.unique(numbers, return_index=True)[1]] = True
    return first


def ranks(values: pa.Array) -> np.ndarray[Any, Any]:
    """
    Return numbers that are ordered as ``values`` are: equal ones have one number, NULL and NaN come first.

    :raises pyarrow.ArrowNotImplementedError: if values of the type have no order.
    """
    if pa.types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), pc.add(values, pa.scalar(0, values.type)))
    ranked = pc.rank(values, sort_keys="ascending", tiebreaker="dense").to_numpy()
    # NULL is last by default, and how to say otherwise has changed: releases before 25 lack one way, later ones warn
    return np.where(values.is_null().to_numpy(zero_copy_only=False), 0, ranked)


class HashLookup:
    """
    Look up which of a set of hashes occur among others.

    :param hashes: the set, without repetition.
    """

    def __init__(self, hashes: pa.Array) -> None:
        self.hashes = hashes
        numbers = _fingerprints(hashes)
        self._numbers = None if numbers is None or not _all_distinct(numbers) else pa.array(numbers)

    def among(self, present: pa.Array) -> Mask:
        """Return for each of the hashes whether it is one of ``present``."""
        there = _fingerprints(present)
        if self._numbers is None or there is None:
            return pc.is_in(self.hashes, value_set=present).to_numpy(zero_copy_only=False)
        at = pc.index_in(pa.array(there), value_set=self._numbers)
        rows = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
        at = at.take(pa.array(rows))
        same = pc.equal(present.take(pa.array(rows)), self.hashes.take(at)).to_numpy(zero_copy_only=False)
        found = np.zeros(len(self.hashes), bool)
        found[at.to_numpy(zero_copy_only=False)[same]] = True
        return found


def first_of_each_hash(hashes: pa.Array) -> Mask:
    """Return a mask of the first occurrence of each hash."""
    numbers = _fingerprints(hashes)
    if numbers is not None and _all_distinct(numbers):  # then the hashes are, too
        return np.ones(len(hashes), bool)
    return first_of_each(hashes)


def _all_distinct(numbers: np.ndarray[Any, Any]) -> bool:
    return bool(pc.count_distinct(pa.array(numbers)).as_py() == len(numbers))


def _fingerprints(hashes: pa.Array) -> np.ndarray[Any, Any] | None:
    """Return a number for each hash, several times faster to look up than text; None unless all are ours."""
    if hashes.null_count or not len(hashes):
        return None
    _, offsets, data = hashes.buffers()
    ends = np.frombuffer(offsets, np.int64)[hashes.offset : hashes.offset + len(hashes) + 1]
    if np.any(np.diff(ends) != HASH_LENGTH):
        return None
    words = np.frombuffer(data, np.uint8)[ends[0] : ends[-1]].view(np.uint64).reshape(len(hashes), -1)
    return words @ _ODD_NUMBERS


def same_multiset(one: pa.Array, other: pa.Array) -> bool:
    """Return whether both have the same values, each as often, in whatever order."""
    if len(one) != len(other):
        return False
    return bool(one.take(pc.sort_indices(one)).equals(other.take(pc.sort_indices(other))))
