"""Loaded events go into Iceberg: each once, the first of an id, whatever fails in between."""

from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.events.lakehouse import loaded_events
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.preparation import table_state
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas.columns import model_columns
from include.schemas.public_events import PublicEvents
from tests.lake import open_lake
from tests.unit.files.conftest import Lake, event, text

TABLE, DAY = "raw.public_events", "2024-01-15"
DECLARED = model_columns(PublicEvents)
DEFINITION = TableDefinition(TABLE, MergePlan(key=("event_id",), method="first"), DECLARED)


@pytest.fixture
def lake(tmp_path):
    return Lake(tmp_path)


class Runs:
    """Runs of the DAG's Iceberg part, of which publication can be left out."""

    def __init__(self, lake, home):
        self.database, self.home, self.catalog = lake.database, home, open_lake(home)

    def run(self, token, *, publish=True):
        """Return how many rows were staged, and how many of them the table gained."""
        root = self.home / "staging"
        batch = stage(
            lambda: loaded_events(self.database),
            StagingPlan(TABLE, key=("event_id",), declared=DECLARED),
            root=root,
            token=token,
            partition_date=DAY,
            run_id=token,
            pipelines_dir=self.home / "dlt",
            state=table_state(find_table(self.catalog, TABLE)),
        )
        if batch is None:
            return None
        landed = landing.land(self.catalog, root, staged_batches.load(root, batch.folder), DEFINITION)
        if publish:
            landed = publication.publish(self.catalog, root, landed, DEFINITION, lambda branch: None)
        return batch.rows, landed.merged.inserted

    def rows(self):
        table = self.catalog.load_table(TABLE).scan().to_arrow()
        return sorted(zip(table["event_id"].to_pylist(), table["event_type"].to_pylist(), strict=True))


@pytest.fixture
def runs(lake, tmp_path):
    return Runs(lake, tmp_path / "home")


def test_nothing_is_there_before_the_first_load(runs):
    assert runs.run("1") is None


def test_each_loaded_event_goes_into_the_table_once(lake, runs):
    lake.write("b.jsonl", text(event(1), event(2), event(2**70), "{", event(3, created_at=None)))
    lake.load()
    assert runs.run("1") == (4, 4)
    assert runs.run("2") == (0, 0)
    # also what sorts before the files that were taken, and the first of an id stays
    lake.write("a.jsonl", text(event(1, type="late"), event(4)))
    lake.load()
    assert runs.run("3") == (1, 1)
    names = {"1": "PushEvent", "2": "PushEvent", "3": "PushEvent", "4": "PushEvent", str(2**70): "PushEvent"}
    assert dict(runs.rows()) == names
    table = runs.catalog.load_table(TABLE).scan(row_filter="event_id == '4'").to_arrow()
    ((row,),) = (table.to_pylist(),)
    assert (row["actor_id"], row["repo_name"], row["source_file"]) == (
        583231,
        "octocat/hello",
        str(lake.folder / "a.jsonl"),
    )
    assert json.loads(row["raw"]) == event(4)
    assert json.loads(row["payload"]) == event(4)["payload"]


def test_what_was_not_published_is_taken_by_the_next_run(lake, runs):
    lake.write("a.jsonl", text(event(1)))
    lake.load()
    assert runs.run("1", publish=False) == (1, 1)
    lake.write("b.jsonl", text(event(2)))
    lake.load()
    assert runs.run("2") == (2, 2)
    assert [key for key, _ in runs.rows()] == ["1", "2"]


@pytest.mark.long
def test_another_database_is_taken_whole_also_what_was_loaded_earlier(lake, runs, tmp_path):
    """When it was loaded says nothing of what was taken of another; one that comes back is known by its hashes."""
    other = Lake(tmp_path / "other")
    other.write("a.jsonl", text(event(1), event(3)))
    other.load()
    changing = lake.write("a.jsonl", text(event(1), event(2)))
    lake.load()
    assert runs.run("1") == (2, 2)
    runs.database = other.database
    assert runs.run("2") == (2, 1)
    assert runs.run("3") == (0, 0)
    runs.database = lake.database
    assert runs.run("4") == (2, 0)
    # a time is known although the file of then has changed
    changing.write_bytes(text(event(4)))
    lake.load()
    assert runs.run("5") == (1, 1)
    assert [key for key, _ in runs.rows()] == ["1", "2", "3", "4"]


def test_a_database_that_was_loaded_anew_doubles_nothing(lake, runs):
    lake.write("a.jsonl", text(event(1), event(2)))
    lake.load()
    runs.run("1")
    lake.database.unlink()
    lake.load()
    assert runs.run("2") == (2, 0)
    assert [key for key, _ in runs.rows()] == ["1", "2"]
    assert len(runs.catalog.load_table(TABLE).snapshots()) == 1
