"""Tables that Trino has merged into carry position delete files: everything else reads and writes them right."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.files.partition_days import has_partition
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.trino import TrinoEngine
from airflow_provider_phlo.sql import quote
from tests.expect import expect
from tests.services.batches import DAY, batch, content, create, run

# in one worker: the groups "trino" and "trino checks" at once are enough for Trino
pytestmark = pytest.mark.xdist_group("trino")

TYPES = {"k": pa.int64(), "v": pa.int64(), "gone": pa.bool_()}
OTHER_DAY = "2024-01-16"
PLAN = MergePlan(key=("k",), hard_delete="gone")
KEYED = MergePlan(key=("k",))


def rows(keys: range, version: int, **more: Any) -> list[dict[str, Any]]:
    return [{"k": key, "v": version, **more} for key in keys]


@pytest.fixture
def holed(trino, lake, table_name):
    """Return a table of 100 rows in two partitions; Trino has updated 10 rows of each, and deleted 5 of the first."""
    create(lake, table_name, TYPES)
    run(EMBEDDED, lake, table_name, batch(rows(range(50), 0), TYPES), KEYED)
    run(EMBEDDED, lake, table_name, batch(rows(range(50, 100), 0), TYPES, OTHER_DAY), KEYED, OTHER_DAY)
    engine = TrinoEngine(trino.connect)
    changes = [*rows(range(10), 1), *rows(range(10, 15), 1, gone=True), *rows(range(50, 60), 1)]
    run(engine, lake, table_name, batch(changes, TYPES), PLAN)
    tasks = list(lake.load_table(table_name).scan().plan_files())
    assert any(task.delete_files for task in tasks)
    return table_name


def expected(updated: range = range(0), version: int = 2) -> dict[int, int]:
    found = {key: 1 if key < 10 or 50 <= key < 60 else 0 for key in range(100) if not 10 <= key < 15}
    return found | dict.fromkeys(updated, version)


def versions(lake: Any, name: str) -> dict[int, int]:
    found = [dict(row) for row in content(lake, name)]
    keyed = {row["k"]: row["v"] for row in found}
    assert len(keyed) == len(found)
    return keyed


def test_all_readers_agree(trino, lake, holed):
    assert versions(lake, holed) == expected()
    by_pyiceberg = lake.load_table(holed).scan().to_arrow()
    assert dict(zip(by_pyiceberg["k"].to_pylist(), by_pyiceberg["v"].to_pylist(), strict=True)) == expected()
    assert dict(trino.query(f"SELECT k, v FROM {holed}")) == expected()
    with connect(lake, tables=[holed], locked=True) as connection:
        assert connection.sql(f"SELECT count(*), sum(v) FROM {quote(holed)} WHERE k < 60").fetchall() == [(55, 20)]
        (plan,) = connection.sql(f"EXPLAIN SELECT k FROM {quote(holed)}").fetchall()
        assert "READ_PARQUET" in plan[1]
        assert "phlo arrow" not in plan[1]


def test_the_embedded_engine_goes_on(lake, holed):
    result, _ = run(EMBEDDED, lake, holed, batch(rows(range(5, 20), 2), TYPES), KEYED)
    expect(result, updated=10, inserted=5, unchanged=0)
    assert versions(lake, holed) == expected(range(5, 20))
    again, _ = run(EMBEDDED, lake, holed, batch(rows(range(5, 20), 2), TYPES), KEYED)
    expect(again, unchanged=15, snapshot_id=None)


def test_deletes_of_a_file_that_is_gone_do_no_harm(trino, lake, holed):
    """The embedded engine rewrites every file with holes; the delete files then name files that are no more."""
    everything = batch(rows(range(100), 3), TYPES)
    run(EMBEDDED, lake, holed, everything, KEYED)
    table = lake.load_table(holed)
    assert any(file.content.value for manifest in table.current_snapshot().manifests(table.io) if manifest.content.value
               for file in [entry.data_file for entry in manifest.fetch_manifest_entry(table.io)])  # fmt: skip
    assert versions(lake, holed) == dict.fromkeys(range(100), 3) == dict(trino.query(f"SELECT k, v FROM {holed}"))
    run(TrinoEngine(trino.connect), lake, holed, batch(rows(range(3), 4), TYPES), PLAN)
    run(EMBEDDED, lake, holed, batch(rows(range(2, 5), 5), TYPES), KEYED)
    wanted = dict.fromkeys(range(100), 3) | dict.fromkeys(range(3), 4) | dict.fromkeys(range(2, 5), 5)
    assert versions(lake, holed) == wanted == dict(trino.query(f"SELECT k, v FROM {holed}"))


def test_a_partition_is_replaced(lake, holed):
    day = batch(rows(range(200, 203), 2), TYPES, OTHER_DAY)
    result, _ = run(EMBEDDED, lake, holed, day, MergePlan("replace"), OTHER_DAY)
    assert result.inserted == 3
    moved = set(range(50, 60))  # a changed row has the partition of the run that changed it
    kept = {key: value for key, value in expected().items() if key < 50 or key in moved}
    assert versions(lake, holed) == kept | dict.fromkeys(range(200, 203), 2)


def test_a_partition_without_a_live_row_does_not_exist(trino, lake, holed):
    assert has_partition(lake, holed, "_phlo_partition_date", OTHER_DAY)
    gone = batch(rows(range(60, 100), 9, gone=True), TYPES)
    run(TrinoEngine(trino.connect), lake, holed, gone, PLAN)
    assert not has_partition(lake, holed, "_phlo_partition_date", OTHER_DAY)
    assert has_partition(lake, holed, "_phlo_partition_date", DAY)


def test_a_model_is_compared_and_overwritten(lake, holed):
    same = lake.load_table(holed).scan().to_arrow()
    assert not overwrite_if_changed(lake, holed, same).changed
    assert overwrite_if_changed(lake, holed, same.slice(1)).changed
    assert len(versions(lake, holed)) == len(same) - 1
