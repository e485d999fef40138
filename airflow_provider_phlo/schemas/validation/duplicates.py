"""Rows of a run that share a value which has to be unique."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.row_hash import float_bits

_POSITION = "__position"


def duplicate_rows(table: pa.Table, columns: Sequence[str], identity: Sequence[str]) -> list[int]:
    """
    Return the positions of the rows that share their value of ``columns`` with another row, ascending.

    A row with a NULL in ``columns`` equals no other. 0.0 and -0.0 are the same value, as in a key.

    :param identity: rows that are equal in these columns count once, because the merge keeps one of them; empty: every
        row counts.
    """
    if identity and set(columns) >= set(identity):
        return []
    named = list(dict.fromkeys([*columns, *identity]))
    table = _with_float_bits(table.select(named))
    known = table
    if any(table[name].null_count for name in columns):
        known = known.filter(_all_valid(table, columns))
    firsts = _groups(known, named).aggregate([]) if identity else known
    counts = _groups(firsts, columns).aggregate([([], "count_all")])
    repeated = counts.filter(pc.greater(counts["count_all"], 1))
    if not len(repeated):
        return []
    found = _with_positions(table, columns).join(repeated.select(list(columns)), list(columns), join_type="left semi")
    return sorted(found[_POSITION].to_pylist())


def _with_float_bits(table: pa.Table) -> pa.Table:
    for position, item in enumerate(table.schema):
        if pa.types.is_floating(item.type):
            table = table.set_column(position, item.name, float_bits(table[item.name].combine_chunks()))
    return table


def _groups(table: pa.Table, columns: Sequence[str]) -> pa.TableGroupBy:
    return table.group_by(list(columns), use_threads=False)  # on two cores, one thread takes half the time


def _with_positions(table: pa.Table, columns: Iterable[str]) -> pa.Table:
    selected = table.select(list(dict.fromkeys(columns)))
    return selected.append_column(_POSITION, pa.array(np.arange(len(table))))


def _all_valid(table: pa.Table, columns: Iterable[str]) -> pa.ChunkedArray:
    valid = [pc.is_valid(table[name]) for name in columns]
    return functools.reduce(pc.and_, valid)
