"""A batch on its way into a table: fitted to it, one row per key, in memory as far as it is small."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.files.content_hashes import HASH_TYPE, fill_missing_hashes, stored_or_computed_hashes
from airflow_provider_phlo.iceberg.merge.keys import KeyIndex
from airflow_provider_phlo.iceberg.merge.plan import MergePlan
from airflow_provider_phlo.iceberg.merge.rows import Mask, first_of_each_hash, ranks
from airflow_provider_phlo.iceberg.tables.evolution import fit
from airflow_provider_phlo.iceberg.tables.lookup import column_names
from airflow_provider_phlo.terms import DeduplicationMethod, MergeStrategy, MetadataColumn

# a batch of up to this many Arrow bytes is kept in memory; of a larger one, only key, hash and order of every row
BYTES_IN_MEMORY = 256 * 1024 * 1024


class ArrowBatches(Protocol):
    """Arrow tables in arrival order that can be iterated over several times, such as a run's staged files."""

    def __iter__(self) -> Iterator[pa.Table]:
        """Yield the tables; columns and types may differ from one to the next."""


class Batch:
    """
    The rows of a run, fitted to a table.

    ``decision_columns`` holds what decides what becomes of each row (key, order, deletion mark, hash), ``kept`` a mask
    of the rows that are left after deduplication.

    :param rows: the rows as they were staged.
    :raises SchemaError: if rows do not fit the table, a key is NULL, or rows share a key though deduplication is off.
    :raises ConfigurationError: if the table lacks a column that the plan names.
    """

    def __init__(self, rows: ArrowBatches | pa.Table, table: Table, plan: MergePlan) -> None:
        _require_columns(table, plan)
        self.table = table
        self.plan = plan
        self._rows: Iterable[pa.Table] = [rows] if isinstance(rows, pa.Table) else rows
        self.decision_columns, self._in_memory = self._read()
        self.kept = np.ones(len(self), bool)
        if plan.strategy != MergeStrategy.APPEND or (plan.deduplication and plan.method != DeduplicationMethod.HASH):
            self.kept = self._one_of_each()
        elif plan.by_hash:
            self.kept = first_of_each_hash(self.hashes)

    def __len__(self) -> int:
        return len(self.decision_columns)

    def _read(self) -> tuple[pa.Table, list[pa.Table] | None]:
        """Return the columns that decide (key, order, hash) of all rows, and whole rows if they are few."""
        names = column_names(self.table)
        compared = (*self.plan.decision_columns(), MetadataColumn.ROW_HASH)
        wanted = [name for name in names if name in compared] or names[:1]  # something to count
        deciding = []
        in_memory: list[pa.Table] | None = []
        size = 0
        for part in self._fitted():
            deciding.append(part.select(wanted))
            size += part.nbytes
            if in_memory is not None:
                in_memory.append(part)
                in_memory = in_memory if size <= BYTES_IN_MEMORY else None
        return self._one_table(deciding).select(wanted), in_memory

    def _one_table(self, parts: list[pa.Table]) -> pa.Table:
        """Return all rows in one chunk per column; nothing is copied if they are in one already."""
        return pa.concat_tables(parts).combine_chunks() if parts else fit(pa.table({}), self.table)

    def _fitted(self) -> Iterator[pa.Table]:
        return (fill_missing_hashes(fit(part, self.table)) for part in self._rows if len(part))

    @property
    def is_small(self) -> bool:
        """Return whether all rows are in memory."""
        return self._in_memory is not None

    @cached_property
    def hashes(self) -> pa.Array:
        """Return the content hash of every row."""
        if MetadataColumn.ROW_HASH in self.decision_columns.column_names:
            return stored_or_computed_hashes(self.decision_columns.select([MetadataColumn.ROW_HASH]))
        parts = [stored_or_computed_hashes(part) for part in self._in_memory or self._fitted()]
        return pa.concat_arrays([pa.array([], HASH_TYPE), *parts])

    @cached_property
    def key_index(self) -> KeyIndex:
        """Return the keys of the batch, numbered."""
        return KeyIndex(self.decision_columns, self.plan.key)

    @cached_property
    def all_rows(self) -> pa.Table:
        """Return all rows of a small batch as one table."""
        return self._one_table(self._in_memory or [])

    @cached_property
    def order(self) -> pa.Array | None:
        """Return what says which version of a row is newer."""
        return self.decision_columns[self.plan.order_by].combine_chunks() if self.plan.order_by else None

    @cached_property
    def deletes(self) -> Mask:
        """Return a mask of the rows whose key is to be removed."""
        if not self.plan.hard_delete:
            return np.zeros(len(self), bool)
        values = self.decision_columns[self.plan.hard_delete].combine_chunks()
        marked = pc.fill_null(values, False) if pa.types.is_boolean(values.type) else pc.is_valid(values)
        return marked.to_numpy(zero_copy_only=False)

    def chosen(self, mask: Mask) -> Iterator[pa.Table]:
        """Yield the rows that ``mask`` marks, in arrival order."""
        start = 0
        for part in self._in_memory if self._in_memory is not None else self._fitted():
            yield part.filter(pa.array(mask[start : start + len(part)]))
            start += len(part)

    def _one_of_each(self) -> Mask:
        plan = self.plan
        if not plan.key:
            return first_of_each_hash(self.hashes) if plan.by_hash else np.ones(len(self), bool)
        for name in plan.key:
            gaps = self.decision_columns[name].null_count
            if gaps:
                raise SchemaError(f"Key column {name!r} has {gaps} NULL(s): a row without key cannot be merged.")
        shared = len(self) - self.key_index.count
        if shared and not plan.deduplication:
            raise SchemaError(
                f"{shared} row(s) share their key with another of the batch, and deduplication is off: "
                "switch it on, or make the source yield each key once."
            )
        return self._newest_of_each(self.key_index.numbers) if shared else np.ones(len(self), bool)

    def _newest_of_each(self, numbers: np.ndarray[Any, Any]) -> Mask:
        """Keep the last (or first) row of each number, by order or else by arrival."""
        by = (numbers,) if self.order is None else (ranks(self.order), numbers)
        order = np.lexsort(by)  # stable: rows that are equal stay in arrival order
        last = np.append(numbers[order][1:] != numbers[order][:-1], True)
        first = np.append(True, last[:-1])
        kept = np.zeros(len(self), bool)
        kept[order[first if self.plan.method == DeduplicationMethod.FIRST else last]] = True
        return kept


def _require_columns(table: Table, plan: MergePlan) -> None:
    name, present = ".".join(table.name()), column_names(table)
    missing = [column for column in plan.key if column not in present]
    if missing:
        raise ConfigurationError(
            f"{name} has no key column(s) {', '.join(missing)}: unique_key names columns as dlt "
            f"writes them; the table has {', '.join(present)}."
        )
    for option, column in (("order_by", plan.order_by), ("hard_delete", plan.hard_delete)):
        if column is not None and column not in present:
            raise ConfigurationError(
                f"{name} has no column {column!r}, which {option} names: write it as dlt does; the table has "
                f"{', '.join(present)}."
            )
    if plan.order_by:
        kind = schema_to_pyarrow(table.schema()).field(plan.order_by).type
        try:
            ranks(pa.array([], kind))
        except pa.ArrowNotImplementedError:
            raise ConfigurationError(f"order_by={plan.order_by!r}: values of {kind} have no order.") from None
