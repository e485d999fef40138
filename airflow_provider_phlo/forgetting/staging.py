"""
Rows of a person in the staging area: batches that have them are removed whole.

A batch that was published is there to be looked at. One that was not would bring the rows back: its run has to extract
anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.forgetting.places import Found, Kind
from airflow_provider_phlo.forgetting.records import RECORD, RecordKey
from airflow_provider_phlo.forgetting.values import rows_with
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.ingestion.staged_batches import below, children, remove


@dataclass(frozen=True)
class StagingPlace:
    """
    The staged batches of a table.

    :param root: the staging root.
    :param table: ``namespace.table``.
    :param wanted: whose rows, as their source had them.
    """

    catalog: Catalog
    root: Any
    table: str
    wanted: RecordKey
    kind: Kind = Kind.STAGING

    @property
    def name(self) -> str:
        """Return what people call it."""
        return f"{self.root / self.table}"

    def find(self) -> Found:
        """Search the files of all batches, also of attempts that died; nothing is changed."""
        rows, batches, waiting = 0, 0, []
        table = find_table(self.catalog, self.table)
        for batch in self._batches():
            found = self._rows(batch)
            if found is None:
                continue
            rows, batches = rows + found, batches + 1
            if table is None or find_published_result(table, batch.name) is None:
                waiting.append(f"{batch.parent.name}/{batch.name}")
        amounts = {"rows": rows, "batches": batches}
        notes = [f"{', '.join(waiting)}: not published; clear the ingest task of that run, too"] if waiting else []
        return Found({name: count for name, count in amounts.items() if count}, tuple(notes))

    def erase(self) -> None:
        """Remove the batches that have such rows."""
        for batch in self._batches():
            if self._rows(batch) is not None:
                remove(batch)

    def _batches(self) -> Iterator[Any]:
        for day in children(self.root / self.table):
            yield from children(day)

    def _rows(self, batch: Any) -> int | None:
        """Return how many such rows a batch has; None if it is free of them."""
        found, free = 0, True
        for path in below(batch):
            if not path.name.endswith(".parquet"):
                continue
            try:
                with path.open("rb") as source:
                    count = self._count(pq.read_table(pa.BufferReader(source.read())))
            except FileNotFoundError:  # retention has removed it
                continue
            except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError):  # in pieces: nobody knows what is in it
                return found
            found, free = found + count, free and not count
        return None if free else found

    def _count(self, rows: pa.Table) -> int:
        if RECORD in rows.column_names and "quarantine_id" in rows.column_names:
            return int(self.wanted.matches(rows).sum())
        values = self.wanted.key.values
        if not values.keys() <= set(rows.column_names):
            return 0
        return int(rows_with(rows, values, self.wanted.kinds).sum())
