"""What a table costs as it grows: by column, and by the number of runs."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.serializers import FromInputFile

from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.branches import marks, upkeep
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.maintenance import orphans
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import point_with_retention

TABLE = "raw.t"
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


@pytest.mark.long
@pytest.mark.parametrize("step", ["fit", "evolve", "stage"])
def test_case_49_cost_per_column_is_linear(catalog: Catalog, step: str) -> None:
    seconds = {}
    for columns in (FEW, MANY):
        rows, name = wide(columns), f"raw.t{columns}"
        table = tables.ensure_table(catalog, name, arrow_to_iceberg(rows.schema))
        work: dict[str, Callable[[], object]] = {
            "fit": partial(tables.fit, rows, table),
            "evolve": partial(tables.evolve, catalog, name, rows.schema),
            "stage": partial(staged_batches.concat, [rows, rows]),
        }
        seconds[columns] = cpu_seconds(work[step])
    # eight times as many columns: 64 times the seconds, if each looks through all of them
    assert seconds[MANY] < 20 * seconds[FEW], seconds


def result_of(number: int) -> dict[str, Any]:
    """Return what a run returns, about as large as real ones."""
    return {"number": number, "note": "x" * 300}


def publish_run(catalog: Catalog, number: int) -> None:
    """Merge a row and publish it, as a run does."""
    token = f"t{number}"
    rows = pa.table({"k": [number % 5], "v": [float(number)]})
    head = merge(catalog, TABLE, rows, MergePlan(key=("k",)), token=token).head
    run = run_branch(catalog, branches.branch_name(token))
    run.publish(Publication(TABLE, token, result_of(number), expected_head=head))


def make_table(catalog: Catalog, **properties: str) -> None:
    schema = arrow_to_iceberg(pa.table({"k": [1], "v": [1.0]}).schema)
    tables.ensure_table(catalog, TABLE, schema, properties=properties)


def metadata_bytes(catalog: Catalog) -> int:
    location = catalog.load_table(TABLE).metadata_location
    return Path(location.removeprefix("file://")).stat().st_size


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "DEFAULT_KEEP", 5)
    monkeypatch.setattr(upkeep, "DEFAULT_MOST", 10)
    monkeypatch.setattr(marks, "MARKS_KEPT", 5)
    monkeypatch.setattr(marks, "PACKED_TOGETHER", 5)


@pytest.mark.long
@pytest.mark.usefixtures("few_kept")
def test_case_62_metadata_stays_small_and_every_run_is_known(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    make_table(catalog, **{"write.metadata.previous-versions-max": "5"})
    parsed = []
    real = FromInputFile.table_metadata

    def counted(*given: Any) -> Any:
        parsed.append(given)
        return real(*given)

    monkeypatch.setattr(FromInputFile, "table_metadata", counted)
    sizes = []
    for number in range(60):
        publish_run(catalog, number)
        sizes.append(metadata_bytes(catalog))
    table = catalog.load_table(TABLE)
    assert len(table.metadata.snapshots) == 11  # the last ten, and the one that was written since
    assert not parsed, "each version of the metadata was written here"
    assert max(sizes[30:]) < 1.5 * sizes[15]
    # exactly once: what each run published is known, and its retry adds nothing
    assert [find_published_result(table, f"t{number}") for number in range(60)] == [
        result_of(number) for number in range(60)
    ]
    folder = Path(table.metadata_location.removeprefix("file://")).parent
    assert len(list(folder.glob("*.metadata.json"))) == 6


@pytest.mark.usefixtures("few_kept")
def test_case_62_a_reader_of_a_recent_snapshot_keeps_its_files(catalog: Catalog) -> None:
    make_table(catalog)
    for number in range(3):
        publish_run(catalog, number)
    reader = catalog.load_table(TABLE)
    before = reader.scan().to_arrow().sort_by("k")
    for number in range(3, 40):
        publish_run(catalog, number)
    assert reader.metadata.current_snapshot_id is not None
    assert catalog.load_table(TABLE).snapshot_by_id(reader.metadata.current_snapshot_id) is None
    # orphans of the last hour stay by their age, all older ones by what is held
    later = dt.datetime.now(dt.UTC) + dt.timedelta(hours=2)
    held = orphans.referenced(catalog.load_table(TABLE))
    first = catalog.load_table(TABLE).properties[upkeep.HELD_PROPERTY]
    assert len(json.loads(first)) in (1, 2)  # an hour may have ended meanwhile
    assert held
    orphans.remove_orphans(catalog, TABLE, days=1, now=later)
    assert reader.scan().to_arrow().sort_by("k").equals(before)


@pytest.mark.usefixtures("few_kept")
def test_case_62_files_from_before_the_hour_are_held(catalog: Catalog) -> None:
    make_table(catalog)
    publish_run(catalog, 0)
    oldest = catalog.load_table(TABLE)
    files = {task.file.file_path for task in oldest.scan().plan_files()}
    for number in range(1, 30):
        publish_run(catalog, number)
    needed = orphans.referenced(catalog.load_table(TABLE))
    assert {orphans.normalized(path) for path in files} <= needed


@pytest.mark.usefixtures("few_kept")
def test_case_62_a_tables_own_retention(catalog: Catalog) -> None:
    make_table(catalog, **{"history.expire.max-snapshot-age-ms": "1", "history.expire.min-snapshots-to-keep": "3"})
    for number in range(8):
        publish_run(catalog, number)
        time.sleep(0.003)
    assert len(catalog.load_table(TABLE).metadata.snapshots) == 4


@pytest.mark.usefixtures("few_kept")
def test_case_22_what_others_have_staged_is_not_counted(catalog: Catalog) -> None:
    make_table(catalog)
    publish_run(catalog, 0)
    table = catalog.load_table(TABLE)
    # as Spark writes with spark.wap.id: nothing points to it until it is cherry-picked
    with table.transaction() as transaction:
        producer = transaction.update_snapshot(branch=None, snapshot_properties={"wap.id": "1"}).fast_append()
        producer.commit()
    point_with_retention(catalog, TABLE, "main", branch_head(table), min_snapshots_to_keep=5)
    for number in range(1, 20):
        publish_run(catalog, number)
    table = catalog.load_table(TABLE)
    assert table.snapshot_by_id(producer.snapshot_id) is not None
    assert len(table.metadata.snapshots) == 12  # the last ten, the one that was written since, and the staged one
    assert table.metadata.refs["main"].min_snapshots_to_keep == 5
    rollback(catalog, plan_rollback(catalog, TABLE, to_snapshot=table.metadata.snapshots[-3].snapshot_id))
    assert catalog.load_table(TABLE).metadata.refs["main"].min_snapshots_to_keep == 5


@pytest.mark.usefixtures("few_kept")
def test_case_62_upkeep_can_be_switched_off(catalog: Catalog) -> None:
    catalog.properties[upkeep.UPKEEP_PROPERTY] = "false"
    make_table(catalog)
    for number in range(14):
        publish_run(catalog, number)
    assert len(catalog.load_table(TABLE).metadata.snapshots) == 14


@pytest.mark.usefixtures("few_kept")
def test_case_62_a_rollback_takes_packed_marks_back(catalog: Catalog) -> None:
    make_table(catalog, **{"history.expire.min-snapshots-to-keep": "30"})
    for number in range(20):
        publish_run(catalog, number)
    snapshots = [entry.snapshot_id for entry in catalog.load_table(TABLE).history()]
    plan = plan_rollback(catalog, TABLE, to_snapshot=snapshots[7])
    assert set(plan.unmarked) == {f"t{number}" for number in range(8, 20)}
    rollback(catalog, plan)
    table = catalog.load_table(TABLE)
    known = [number for number in range(20) if find_published_result(table, f"t{number}") is not None]
    assert known == list(range(8))


@pytest.mark.usefixtures("few_kept")
def test_case_62_metadata_is_written_as_pyiceberg_writes_it(catalog: Catalog) -> None:
    assert isinstance(catalog, CachingSqlCatalog)
    make_table(catalog)
    other = open_catalog("phlo", catalog.properties)
    for number in range(14):  # each of two processes knows some of the snapshots
        publish_run(catalog if number % 3 else other, number)
        for each in (catalog, other):
            table = each.load_table(TABLE)
            written = json.loads(Path(table.metadata_location.removeprefix("file://")).read_text())
            assert written == json.loads(table.metadata.model_dump_json(exclude_none=True))
            assert isinstance(each, CachingSqlCatalog)
            assert json.loads(each.metadata_text(table.metadata)) == written
