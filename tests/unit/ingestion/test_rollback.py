"""A rollback as whole runs see it: dlt reads again what was undone, a run in flight merges again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches import rollback
from airflow_provider_phlo.iceberg.maintenance import planning
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.ingestion import landing, preparation, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.results import LandedBatch
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from tests.lake import open_lake

TABLE = "raw.n"
DEFINITION = TableDefinition(TABLE, MergePlan(key=("n",)))


@dlt.resource(name="counter")
def counter(n: Any = dlt.sources.incremental("n", initial_value=0)) -> Iterator[Any]:  # noqa: B008  # dlt's own way
    yield [{"n": n.last_value + step} for step in (1, 2)]


class Pipeline:
    """The tasks of a run, with the state that the table keeps."""

    def __init__(self, home: Path, definition: TableDefinition = DEFINITION) -> None:
        self.home, self.root, self.definition = home, home / "staging", definition
        self.catalog: Catalog = open_lake(home)

    def land(self, token: str, day: str = "2024-01-15", source: Callable[[], Any] = lambda: counter) -> dict[str, Any]:
        batch = stage(
            source,
            StagingPlan(TABLE, key=("n",)),
            root=self.root,
            token=token,
            partition_date=day,
            run_id=f"run {token}",
            pipelines_dir=self.home / "dlt",
            state=preparation.table_state(found := find_table(self.catalog, TABLE)),
            set_back=preparation.last_set_back(found),
        )
        assert batch is not None
        landed = landing.land(self.catalog, self.root, staged_batches.load(self.root, batch.folder), self.definition)
        assert landed is not None
        return landed.to_json()

    def shift_clock(self, landed: dict[str, Any], seconds: float) -> None:
        """Make the batch one of a worker whose clock is wrong by ``seconds``."""
        manifest = self.root / landed["folder"] / staged_batches.MANIFEST
        content = json.loads(manifest.read_text())
        del content["checksum"]
        manifest.write_text(json.dumps({**content, "staged_at": content["staged_at"] + seconds}))

    def publish(self, landed: dict[str, Any], audited: list[str] | None = None) -> dict[str, Any]:
        seen = [] if audited is None else audited
        batch = LandedBatch.from_json(landed)
        return publication.publish(self.catalog, self.root, batch, self.definition, seen.append).to_json()

    def run(self, token: str) -> int:
        self.publish(self.land(token))
        head = branch_head(self.catalog.load_table(TABLE))
        assert head is not None
        return head

    def back(self, snapshot_id: int) -> None:
        rollback.rollback(self.catalog, rollback.plan_rollback(self.catalog, TABLE, to_snapshot=snapshot_id))

    def numbers(self) -> list[int]:
        return sorted(self.catalog.load_table(TABLE).scan().to_arrow()["n"].to_pylist())


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(tmp_path)


def test_dlt_reads_again_what_was_undone(pipeline: Pipeline) -> None:
    one = pipeline.run("one")
    pipeline.run("two")
    pipeline.run("three")
    assert pipeline.numbers() == [1, 2, 3, 4, 5, 6]
    planning.run(pipeline.catalog, TABLE, planning.MaintenanceOptions(jobs=["compaction"]))
    pipeline.back(one)
    assert pipeline.numbers() == [1, 2]
    pipeline.run("four")
    assert pipeline.numbers() == [1, 2, 3, 4]  # without the state going back it would be 7 and 8


def test_a_cleared_run_does_its_work_again(pipeline: Pipeline) -> None:
    one = pipeline.run("one")
    pipeline.run("two")
    pipeline.back(one)
    again = pipeline.land("two")  # staged before: nothing is extracted again
    assert again["inserted"] == 2
    assert pipeline.publish(again)["snapshot_id"] == branch_head(pipeline.catalog.load_table(TABLE))
    assert pipeline.numbers() == [1, 2, 3, 4]


def test_a_run_in_flight_merges_again_on_top_of_what_is_left(pipeline: Pipeline) -> None:
    one = pipeline.run("one")
    pipeline.run("two")
    flying = pipeline.land("three")  # read 5 and 6
    pipeline.back(one)
    audited: list[str] = []
    published = pipeline.publish(flying, audited)
    assert audited == [flying["branch"]]
    assert published["inserted"] == 2
    assert pipeline.numbers() == [1, 2, 5, 6]  # 3 and 4 stay undone
    pipeline.run("four")
    assert pipeline.numbers() == [1, 2, 3, 4, 5, 6]  # and are read again


def test_a_run_in_flight_that_would_double_rows_is_stopped(tmp_path: Path) -> None:
    pipeline = Pipeline(tmp_path, TableDefinition(TABLE, MergePlan("append", deduplication=False)))
    one = pipeline.run("one")
    pipeline.run("two")
    flying = pipeline.land("three")
    pipeline.back(one)
    with pytest.raises(ConfigurationError, match="clear the run"):
        pipeline.publish(flying)
    assert pipeline.numbers() == [1, 2]
    pipeline.run("cleared")
    assert pipeline.numbers() == [1, 2, 3, 4]


@pytest.mark.long
@pytest.mark.parametrize("strategy", ["merge", "append"])
@pytest.mark.parametrize("seconds", [-864_000, -600, 0, 600, 864_000])
def test_case_40_no_clock_decides_what_is_read_again(tmp_path: Path, seconds: float, strategy: str) -> None:
    hashed = {"merge": MergePlan(key=("n",)), "append": MergePlan("append", deduplication=True, method="hash")}
    pipeline = Pipeline(tmp_path, TableDefinition(TABLE, hashed[strategy]))
    one = pipeline.run("one")
    pipeline.run("two")
    before = pipeline.land("three")
    pipeline.shift_clock(before, seconds)
    pipeline.back(one)
    after = pipeline.land("four")  # reads 3 and 4, which were undone
    pipeline.shift_clock(after, seconds)
    pipeline.publish(before)
    assert pipeline.numbers() == [1, 2, 5, 6]
    pipeline.publish(after)
    assert pipeline.numbers() == [1, 2, 3, 4, 5, 6]
    pipeline.run("five")  # 5 and 6 again
    pipeline.run("six")
    assert pipeline.numbers() == [1, 2, 3, 4, 5, 6, 7, 8]
