"""What a table's metadata says of what was written into it, compared with the rows that are there."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pandera.pandas import Field
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.cli.lake.query import run as query
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.metrics.figures import Period, catalog_figures, table_figures
from airflow_provider_phlo.metrics.loads import TableLoads, table_loads
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.lake import publish_run

TABLE = "raw.readings"
NOW = dt.datetime.now(dt.UTC)
LAST_DAY = Period(NOW - dt.timedelta(days=1), NOW + dt.timedelta(hours=1), "24h")


class Reading(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0)


DEFINITION = TableDefinition(TABLE, MergePlan(key=("k",)), declared=model_columns(Reading))


@pytest.fixture
def ingest(home: Path, catalog: Catalog) -> Any:
    def run(token: str, values: dict[int, float], day: str = "2024-01-15") -> None:
        records = [{"k": k, "v": v} for k, v in values.items()]
        publish_run(home, catalog, DEFINITION, records, token, day=day)

    return run


def read(catalog: Catalog) -> TableLoads:
    return table_loads(catalog.load_table(TABLE))


def test_figures_agree_with_queries(ingest: Any, catalog: Catalog) -> None:
    ingest("one", {1: 1.0, 2: 2.0, 3: -1.0})
    ingest("two", {1: 1.0, 2: 5.0, 4: 4.0}, day="2024-01-16")
    ingest("three", {1: 1.0})  # changes nothing, and makes no snapshot
    [figures] = catalog_figures(catalog, LAST_DAY)
    [(rows, added)] = query(catalog, f"SELECT count(*), count(DISTINCT k) FROM {TABLE}").rows
    [(aside,)] = query(catalog, f"SELECT count(*) FROM {TABLE}__quarantine").rows
    by_run = query(catalog, f"SELECT _phlo_run_id, count(*) FROM {TABLE} GROUP BY 1").rows
    assert figures.table == TABLE
    assert figures.total_rows == rows == 3
    assert figures.counts["inserted"] - figures.counts["deleted"] == added
    assert figures.counts["quarantined"] == aside == 1
    assert dict(by_run)["manual__two"] == 2  # one inserted, one updated
    counts = {"read": 7, "inserted": 3, "updated": 1, "deleted": 0, "unchanged": 2, "duplicates": 0, "quarantined": 1}
    assert figures.counts == counts
    assert (figures.loads, figures.volume, figures.unknown_before) == (3, 4, None)
    assert sum(day["read"] for day in figures.per_day.values() if day) == 7


def test_freshness_is_that_of_the_last_run_even_if_it_changed_nothing(ingest: Any, catalog: Catalog) -> None:
    ingest("one", {1: 1.0})
    ingest("same", {1: 1.0}, day="2024-01-17")
    [figures] = catalog_figures(catalog, LAST_DAY)
    snapshot = catalog.load_table(TABLE).current_snapshot()
    assert figures.partition_date == "2024-01-17"
    assert figures.last_at is not None
    assert figures.last_at.timestamp() * 1000 > snapshot.timestamp_ms


def test_maintenance_is_not_a_load(ingest: Any, catalog: Catalog) -> None:
    ingest("one", {1: 1.0})
    ingest("two", {2: 1.0})
    compact(catalog, TABLE)
    assert len(catalog.load_table(TABLE).metadata.snapshots) == 3
    assert [load.counts["inserted"] for load in read(catalog).loads] == [1, 1]


def test_what_was_rolled_back_is_in_no_figure_and_said(ingest: Any, catalog: Catalog) -> None:
    ingest("one", {1: 1.0})
    kept = catalog.load_table(TABLE).current_snapshot().snapshot_id
    ingest("two", {2: 1.0, 3: 1.0})
    rollback(catalog, plan_rollback(catalog, TABLE, to_snapshot=kept))
    found = read(catalog)
    assert [load.run_id for load in found.loads] == ["manual__one"]
    assert found.undone == 1


def test_what_has_expired_is_said_and_not_counted_as_nothing(ingest: Any, catalog: Catalog) -> None:
    other = pa.table({"k": [90], "v": [1.0]})
    for number in range(4):
        ingest(f"t{number}", {number: 1.0})
        if number == 1:
            _append(catalog, other)
    assert read(catalog).known_since is None
    table = catalog.load_table(TABLE)
    table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in table.snapshots()[:2]]).commit()
    found = read(catalog)
    # marks outlive snapshots, but say nothing of the other writer, who wrote what is left first
    assert found.known_since is not None
    figures = table_figures(found, LAST_DAY)
    assert figures.unknown_before == found.known_since
    assert figures.counts["inserted"] == 4
    later = Period(found.known_since, LAST_DAY.until, "1h")
    assert table_figures(found, later).unknown_before is None


def test_marks_say_what_runs_did_whose_snapshots_have_expired(ingest: Any, catalog: Catalog) -> None:
    for number in range(3):
        ingest(f"t{number}", {number: 1.0})
    before = read(catalog)
    table = catalog.load_table(TABLE)
    table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in table.snapshots()[:2]]).commit()
    after = read(catalog)
    assert [load.counts for load in after.loads] == [load.counts for load in before.loads]
    assert after.known_since == after.loads[0].at


def test_other_writers_are_counted_by_what_they_wrote(ingest: Any, catalog: Catalog) -> None:
    ingest("one", {1: 1.0})
    _append(catalog, pa.table({"k": [7, 8], "v": [1.0, 2.0]}))
    [figures] = catalog_figures(catalog, LAST_DAY)
    assert figures.counts["written"] == 2
    assert figures.volume == 3


def test_a_table_without_rows(catalog: Catalog) -> None:
    catalog.create_namespace("raw")
    catalog.create_table(TABLE, pa.schema([("k", pa.int64())]))
    [figures] = catalog_figures(catalog, LAST_DAY)
    assert (figures.loads, figures.last_at, figures.total_rows, figures.unknown_before) == (0, None, 0, None)


def _append(catalog: Catalog, rows: pa.Table) -> None:
    table = catalog.load_table(TABLE)
    names = [field.name for field in table.schema().fields]
    full = table.scan(limit=0).to_arrow().schema
    missing = {name: pa.nulls(len(rows), full.field(name).type) for name in names if name not in rows.column_names}
    columns = {name: rows[name].cast(full.field(name).type) for name in rows.column_names} | missing
    table.append(pa.table([columns[name] for name in names], schema=full))
