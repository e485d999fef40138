"""What a table costs as it grows: by column, and by the number of runs."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg

FEW, MANY = 500, 4000


def wide(columns: int) -> pa.Table:
    """Return two rows of this many columns."""
    return pa.table({"k": [1, 2], **{f"c{number}": [0.5, None] for number in range(columns)}})


def cpu_seconds(work: Callable[[], object]) -> float:
    """Return the least CPU time of three times: what else the machine does is not in it."""
    taken = []
    for _ in range(3):
        started = time.process_time()
        work()
        taken.append(time.process_time() - started)
    return min(taken)


@pytest.mark.parametrize("step", ["fit", "evolve", "stage"])
def test_case_49_cost_per_column_is_linear(catalog: Catalog, step: str) -> None:
    seconds = {}
    for columns in (FEW, MANY):
        rows, name = wide(columns), f"raw.t{columns}"
        table = tables.ensure_table(catalog, name, arrow_to_iceberg(rows.schema))
        work: dict[str, Callable[[], object]] = {
            "fit": lambda rows=rows, table=table: tables.fit(rows, table),
            "evolve": lambda rows=rows, name=name: tables.evolve(catalog, name, rows.schema),
            "stage": lambda rows=rows: staged_batches.concat([rows, rows]),
        }
        seconds[columns] = cpu_seconds(work[step])
    # eight times as many columns: 64 times the seconds, if each looks through all of them
    assert seconds[MANY] < 20 * seconds[FEW], seconds
