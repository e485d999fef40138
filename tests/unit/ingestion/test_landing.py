from __future__ import annotations

import datetime as dt
import multiprocessing
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pytest
from pandera.pandas import Field
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField, StringType

from airflow_provider_phlo.exceptions import (
    CommitConflictError,
    ConfigurationError,
    QualityCheckError,
    SchemaError,
)
from airflow_provider_phlo.iceberg.branches.declared import declared_columns
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.catalogs import retries
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.ingestion import landing, preparation, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.quarantine import quarantine_table
from airflow_provider_phlo.ingestion.results import LandedBatch
from airflow_provider_phlo.ingestion.staging import QUARANTINE_SCHEMA, StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.expect import expect
from tests.lake import open_lake
from tests.patience import PATIENCE

TABLE = "raw.t"
DAY = "2024-01-15"
# children are forked from a process that has imported the libraries and has no threads
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "airflow_provider_phlo.ingestion.staging",
        "airflow_provider_phlo.ingestion.landing",
        "pyiceberg.catalog.sql",
        "pytest",
        "hypothesis",
    ]
)
MERGE = TableDefinition(TABLE, MergePlan(key=("k",)))
APPEND = TableDefinition(TABLE, MergePlan("append", deduplication=False))


class Reading(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0, nullable=True)


DECLARED = TableDefinition(TABLE, MergePlan(key=("k",)), declared=model_columns(Reading))


class House:
    """A catalog, a staging root, and what the tasks of one run do in them."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "staging"
        self.catalog = open_lake(home)

    def stage(
        self,
        token: str,
        records: list[dict[str, Any]],
        definition: TableDefinition = MERGE,
        day: str = DAY,
        state: str = "",
    ) -> staged_batches.StagedBatch:
        plan = StagingPlan(
            definition.table,
            key=definition.plan.key,
            declared=definition.declared,
            strict=False,
            metadata_columns=definition.metadata_columns,
            comments=preparation.table_comments(find_table(self.catalog, definition.table)),
        )
        batch = stage(
            lambda: iter(records),
            plan,
            root=self.root,
            token=token,
            partition_date=day,
            run_id=f"run {token}",
            pipelines_dir=self.home / "dlt",
        )
        assert batch is not None
        if state:
            folder = self.root / batch.folder
            batch = staged_batches.StagedBatch(**{**batch.__dict__, "state": state})
            (folder / staged_batches.MANIFEST).unlink()
            staged_batches.BatchWriter(self.root, batch.table, day, token).finish(batch)
        return batch

    def land(self, batch: staged_batches.StagedBatch, definition: TableDefinition = MERGE) -> dict[str, Any]:
        landed = landing.land(self.catalog, self.root, batch, definition)
        assert landed is not None
        return landed.to_json()

    def publish(self, landed: dict[str, Any], definition: TableDefinition = MERGE, audit: Any = None) -> dict[str, Any]:
        return publication.publish(
            self.catalog, self.root, LandedBatch.from_json(landed), definition, audit or (lambda branch: None)
        ).to_json()

    def run(
        self, token: str, records: list[dict[str, Any]], definition: TableDefinition = MERGE, day: str = DAY
    ) -> dict[str, Any]:
        return self.publish(self.land(self.stage(token, records, definition, day), definition), definition)

    def rows(self, *columns: str, table: str = TABLE, branch: str = "main") -> list[tuple[Any, ...]]:
        loaded = self.catalog.load_table(table)
        head = branch_head(loaded, branch)
        if head is None:
            return []
        names = columns or ("k", "v")
        content = loaded.scan(snapshot_id=head).to_arrow().select(list(names))
        return sorted((tuple(row.values()) for row in content.to_pylist()), key=repr)

    def published(self) -> list[str]:
        """Return the tokens of main's snapshots, oldest first."""
        table = self.catalog.load_table(TABLE)
        return [table.snapshot_by_id(entry.snapshot_id).summary["phlo.token"] for entry in table.history()]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_run_lands_on_its_branch_and_shows_when_published(house: House) -> None:
    landed = house.land(house.stage("one", [{"k": 1, "v": 1.5}, {"k": 2, "v": None}], DECLARED), DECLARED)
    assert house.rows() == []
    assert house.rows(branch=landed["branch"]) == [(1, 1.5), (2, None)]
    audited: list[str] = []
    result = house.publish(landed, DECLARED, audited.append)
    assert (audited, result) == ([], landed)
    assert house.rows("k", "_phlo_run_id", "_phlo_partition_date") == [
        (1, "run one", dt.date(2024, 1, 15)),
        (2, "run one", dt.date(2024, 1, 15)),
    ]
    table = house.catalog.load_table(TABLE)
    assert [item.name for item in table.spec().fields] == ["_phlo_partition_date"]
    expect(landed, read=2, inserted=2, quarantined=0)
    summary = table.current_snapshot().summary
    assert (summary["phlo.run-id"], summary["phlo.read"]) == ("run one", "2")


def test_retries_of_a_published_run_return_its_first_result(house: House) -> None:
    batch = house.stage("one", [{"k": 1, "v": 1.0}], APPEND)
    landed = house.land(batch, APPEND)
    first = house.publish(landed, APPEND)
    house.run("two", [{"k": 2, "v": 2.0}], APPEND)
    location = house.catalog.load_table(TABLE).metadata_location
    assert house.land(batch, APPEND) == first
    assert house.publish(landed, APPEND, pytest.fail) == first
    staged_batches.remove(house.root / batch.folder)
    assert house.publish(landed, APPEND, pytest.fail) == first
    assert house.catalog.load_table(TABLE).metadata_location == location
    assert house.rows() == [(1, 1.0), (2, 2.0)]


def test_landing_again_before_publication_doubles_nothing(house: House) -> None:
    house.run("zero", [{"k": 0, "v": 0.0}], APPEND)
    batch = house.stage("one", [{"k": 1, "v": 1.0}], APPEND)
    house.land(batch, APPEND)
    house.publish(house.land(batch, APPEND), APPEND)
    assert house.rows() == [(0, 0.0), (1, 1.0)]
    assert house.published() == ["zero", "one"]


@pytest.mark.parametrize("start", [[], [{"k": 0, "v": 0.0}]], ids=["empty table", "table with rows"])
def test_when_main_moved_the_merge_is_repeated_and_audited(house: House, start: list[dict[str, Any]]) -> None:
    house.run("zero", start, DECLARED)
    slow = house.land(house.stage("slow", [{"k": 1, "v": 1.0}, {"k": 2, "v": 2.0}], DECLARED), DECLARED)
    house.run("fast", [{"k": 1, "v": 9.0}, {"k": 2, "v": 2.0}], DECLARED)
    seen: list[Any] = []
    result = house.publish(slow, DECLARED, lambda branch: seen.append(house.rows(branch=branch)[-2:]))
    assert seen == [[(1, 1.0), (2, 2.0)]]
    assert (slow["inserted"], result["inserted"], result["updated"], result["unchanged"]) == (2, 0, 1, 1)
    assert house.rows()[-2:] == [(1, 1.0), (2, 2.0)]
    assert house.published()[-2:] == ["fast", "slow"]


def test_an_audit_after_main_moved_can_veto(house: House) -> None:
    slow = house.land(house.stage("slow", [{"k": 1, "v": 1.0}]))
    house.run("fast", [{"k": 2, "v": 2.0}])

    def veto(branch: str) -> None:
        raise QualityCheckError(f"two rows are too many on {branch}")

    with pytest.raises(QualityCheckError, match="phlo_slow"):
        house.publish(slow, audit=veto)
    assert house.rows() == [(2, 2.0)]
    assert house.rows(branch="phlo_slow") == [(1, 1.0), (2, 2.0)]
    assert find_published_result(house.catalog.load_table(TABLE), "slow") is None


def test_unchanged_rows_are_compared_again_when_main_moved(house: House) -> None:
    house.run("zero", [{"k": 1, "v": 1.0}])
    slow = house.land(house.stage("slow", [{"k": 1, "v": 1.0}]))
    expect(slow, unchanged=1, snapshot_id=None)
    house.run("fast", [{"k": 1, "v": 2.0}])
    assert house.publish(slow)["updated"] == 1
    assert house.rows() == [(1, 1.0)]


def test_another_attempt_of_the_run_publishes_first(house: House) -> None:
    batch = house.stage("one", [{"k": 1, "v": 1.0}], APPEND)
    mine = house.land(batch, APPEND)
    theirs = house.land(batch, APPEND)  # the branch is now the other attempt's

    def other_attempt(branch: str) -> None:
        house.publish(theirs, APPEND)

    # mine meets a branch it did not audit, merges again, and finds during the audit that it is published
    house.publish(mine, APPEND, other_attempt)
    assert house.rows() == [(1, 1.0)]
    assert set(house.catalog.load_table(TABLE).refs()) == {"main"}


def test_a_branch_that_was_never_published_stays_for_inspection(house: House) -> None:
    house.land(house.stage("failed", [{"k": 1, "v": 1.0}]))
    house.run("next", [{"k": 2, "v": 2.0}])
    assert house.rows() == [(2, 2.0)]
    assert house.rows(branch="phlo_failed") == [(1, 1.0)]


def test_dlts_state_advances_with_publication_only(house: House) -> None:
    landed = house.land(house.stage("one", [{"k": 1, "v": 1.0}], state='{"s": {"cursor": 1}}'))
    assert preparation.table_state(house.catalog.load_table(TABLE)) == ""
    house.publish(landed)
    assert preparation.table_state(house.catalog.load_table(TABLE)) == '{"s": {"cursor": 1}}'
    house.publish(house.land(house.stage("two", [{"k": 1, "v": 1.0}], state='{"s": {"cursor": 2}}')))
    house.run("three", [{"k": 3, "v": 1.0}])  # a source without state leaves it alone
    assert preparation.table_state(house.catalog.load_table(TABLE)) == '{"s": {"cursor": 2}}'
    assert preparation.table_state(None) == ""


def test_empty_batches(house: House) -> None:
    assert landing.land(house.catalog, house.root, house.stage("one", []), MERGE) is None
    assert not house.catalog.table_exists(TABLE)
    result = house.run("two", [], DECLARED)
    expect(result, rows=0, snapshot_id=None)
    house.run("three", [{"k": 1, "v": 1.0}], DECLARED)
    assert house.run("four", [])["snapshot_id"] is None
    assert house.published() == ["three"]


def test_the_table_comes_from_the_declared_schema(house: House) -> None:
    house.run("one", [{"k": 1, "v": 1.0, "more": "x"}], DECLARED)
    schema = house.catalog.load_table(TABLE).schema()
    assert [item.name for item in schema.fields][:3] == ["k", "v", "_dlt_load_id"]
    assert schema.find_field("k").required
    assert str(schema.find_field("more").field_type) == "string"
    types = preparation.table_types(house.catalog.load_table(TABLE))
    assert types["v"] == pa.float64()
    assert preparation.table_types(None) == {}


def test_a_table_knows_its_key_and_its_pii_columns(house: House) -> None:
    class Person(PhloSchema):
        k: int
        email: str = Field(nullable=True, metadata={"pii": True})

    plan, declared = MergePlan(key=("k",)), model_columns(Person)
    house.run("one", [{"k": 1, "email": "x"}], TableDefinition(TABLE, plan, declared))
    assert declared_columns(house.catalog.load_table(TABLE)) == (("k",), frozenset({"email"}))
    house.run("two", [{"k": 1, "email": "y"}], TableDefinition(TABLE, MergePlan(key=("k", "email"))))
    assert declared_columns(house.catalog.load_table(TABLE)) == (("k", "email"), frozenset({"email"}))


def test_options_of_the_definition_reach_a_new_table(house: House) -> None:
    definition = TableDefinition(
        TABLE,
        MergePlan(key=("k",)),
        metadata_columns=False,
        partition_by=("bucket(2, k)",),
        sort_by=("v desc",),
        properties={"owner": "me"},
    )
    house.run("one", [{"k": 1, "v": 1.0}], definition)
    table = house.catalog.load_table(TABLE)
    assert [item.name for item in table.schema().fields] == ["k", "v"]
    assert [item.name for item in table.spec().fields] == ["k_bucket"]
    assert (len(table.sort_order().fields), table.properties["owner"]) == (1, "me")
    plain = TableDefinition("raw.plain", MergePlan(key=("k",)), metadata_columns=False)
    house.run("one", [{"k": 1}], plain)
    assert house.catalog.load_table("raw.plain").spec().is_unpartitioned()


def test_rows_that_do_not_fit_leave_no_trace(house: House) -> None:
    house.run("one", [{"k": 1, "v": 1.0}])
    location = house.catalog.load_table(TABLE).metadata_location
    batch = house.stage("two", [{"k": 2, "v": "text", "new": 1}])
    with pytest.raises(SchemaError, match=r"raw\.t: column 'v' is double in the table and string in the batch"):
        house.land(batch)
    assert house.catalog.load_table(TABLE).metadata_location == location


def test_an_adopted_table_that_requires_more_is_a_clear_error(house: House) -> None:
    house.catalog.create_namespace("raw")
    schema = Schema(NestedField(1, "k", LongType(), required=True), NestedField(2, "must", StringType(), required=True))
    location = house.catalog.create_table(TABLE, schema).metadata_location
    batch = house.stage("one", [{"k": 1, "v": 1.0}])
    with pytest.raises(SchemaError, match=r"raw\.t: required column 'must' has 1 NULL\(s\) in a batch of 1 rows"):
        house.land(batch)
    assert house.catalog.load_table(TABLE).metadata_location == location
    house.run("two", [{"k": 1, "v": 1.0, "must": "x"}])
    assert house.rows("k", "v", "must") == [(1, 1.0, "x")]


def test_bad_rows_are_set_aside_once(house: House) -> None:
    records = [{"k": 1, "v": 1.0}, {"k": 2, "v": -1.0}, {"k": 3, "v": -1.0}, {"k": 2, "v": -1.0}]
    batch = house.stage("one", records, DECLARED)
    landed = house.land(batch, DECLARED)
    expect(landed, read=4, inserted=1, quarantined=3)
    quarantine = quarantine_table(TABLE)
    # there to be looked at before the run is published, and if it never is
    positions = house.rows("source_position", "run_id", table=quarantine)
    assert positions == [(1, "run one"), (2, "run one"), (3, "run one")]
    house.land(batch, DECLARED)
    house.publish(landed, DECLARED)
    house.run("again", records, DECLARED)
    assert house.rows("source_position", "run_id", table=quarantine) == positions
    table = house.catalog.load_table(quarantine)
    assert len(table.metadata.snapshots) == 1
    assert set(table.refs()) == {"main"}
    assert [item.name for item in table.schema().fields] == QUARANTINE_SCHEMA.names
    assert [item.name for item in table.spec().fields] == ["partition_date"]


def test_case_04_a_column_that_another_source_name_has_is_refused_on_any_day(house: House) -> None:
    house.run("one", [{"k": 1, "名前": "Ann"}])
    assert house.rows("k", "x") == [(1, "Ann")]
    house.run("two", [{"k": 2, "名前": "Bo", "größe": 7}])
    for token, name in [("three", "住所"), ("four", "x")]:
        with pytest.raises(SchemaError, match=f"'名前' and '{name}' are both named 'x'"):
            house.run(token, [{"k": 3, name: "Rome"}])
    with pytest.raises(SchemaError, match="'größe' and 'grüße'"):
        house.run("five", [{"k": 3, "grüße": 8}])
    house.run("six", [{"k": 3, "名前": "Cy", "größe": 9}])
    assert house.rows("k", "x", "gr_e") == [(1, "Ann", None), (2, "Bo", 7), (3, "Cy", 9)]


def test_replace_needs_the_partition_column() -> None:
    plan = MergePlan("replace")
    assert TableDefinition(TABLE, plan).plan is plan
    with pytest.raises(
        ConfigurationError, match="merge_strategy='replace' needs the metadata column _phlo_partition_date"
    ):
        TableDefinition(TABLE, plan, metadata_columns=False)


def test_main_that_never_stands_still_is_a_retryable_error(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PUBLISH_ROUNDS", 3)
    house.run("zero", [{"k": 0, "v": 0.0}])
    slow = house.land(house.stage("slow", [{"k": 1, "v": 1.0}]))
    house.run("fast", [{"k": 2, "v": 0.0}])
    audits: list[str] = []

    def audit(branch: str) -> None:
        audits.append(branch)
        house.run(f"faster{len(audits)}", [{"k": 2, "v": float(len(audits))}])

    with pytest.raises(CommitConflictError, match=r"raw\.t: other writers were faster 3 times; nothing was published"):
        house.publish(slow, audit=audit)
    assert len(audits) == 2
    assert house.rows() == [(0, 0.0), (2, 2.0)]


KEYS = 20


def work(home: Path, worker: int, rounds: int, barrier: Any, outcome: Any) -> None:
    """Land and publish batches that overlap with those of other workers; bad rows are the same for all."""
    try:
        house = House(home)
        barrier.wait()
        for number in range(rounds):
            version = float(worker * 100 + number)
            keys = range(number, number + KEYS)
            records = [{"k": key, "v": version, f"w{worker}": "x"} for key in keys]
            if number in (0, rounds - 1):
                records.append({"k": 1000 + number, "v": -1.0})
            house.run(f"w{worker}n{number}", records, DECLARED)
    except Exception as error:  # noqa: BLE001  # reported to the test
        outcome.put(repr(error))
    else:
        outcome.put("ok")


@pytest.fixture
def outcomes(tmp_path: Path) -> Iterator[list[str]]:
    barrier, outcome = PROCESSES.Barrier(4, timeout=PATIENCE), PROCESSES.Queue()
    processes = [PROCESSES.Process(target=work, args=(tmp_path, worker, 5, barrier, outcome)) for worker in range(4)]
    for process in processes:
        process.start()
    yield [outcome.get(timeout=PATIENCE) for _ in processes]
    for process in processes:
        process.join()


def test_concurrent_runs_all_land_as_if_one_after_the_other(outcomes: list[str], tmp_path: Path) -> None:
    assert outcomes == ["ok"] * 4
    house = House(tmp_path)
    tokens = house.published()
    assert sorted(tokens) == sorted(f"w{worker}n{number}" for worker in range(4) for number in range(5))
    serial: dict[int, float] = {}
    for token in tokens:
        worker, number = (int(part) for part in token[1:].split("n"))
        serial |= dict.fromkeys(range(number, number + KEYS), float(worker * 100 + number))
    assert house.rows() == sorted(serial.items(), key=repr)
    # each worker published its own runs in order
    for worker in range(4):
        own = [token for token in tokens if token.startswith(f"w{worker}")]
        assert own == sorted(own)
    table = house.catalog.load_table(TABLE)
    assert set(table.refs()) == {"main"}
    for token, snapshot in zip(tokens, table.history(), strict=True):
        result = find_published_result(table, token)
        assert result is not None
        assert result["snapshot_id"] == snapshot.snapshot_id
        assert result["rows"] == result["inserted"] + result["updated"] + result["unchanged"] + result["duplicates"]
    bad = house.rows("source_position", "column_name", table=quarantine_table(TABLE))
    assert bad == [(KEYS, "v")] * 2


def test_readers_meanwhile_see_whole_snapshots_only(house: House) -> None:
    def batch(version: int) -> list[dict[str, Any]]:
        return [{"k": key, "v": float(version)} for key in range(KEYS)]

    house.run("v0", batch(0))
    done = threading.Event()
    seen: list[set[tuple[int, float]]] = []

    def read() -> None:
        reader: Catalog = open_lake(house.home)
        while not done.is_set():
            rows = reader.load_table(TABLE).scan().to_arrow()
            seen.append({(len(rows), value) for value in rows["v"].to_pylist()})

    thread = threading.Thread(target=read)
    thread.start()
    for version in range(1, 5):
        house.run(f"v{version}", batch(version))
    done.set()
    thread.join()
    assert {len(state) for state in seen} == {1}
    versions = [next(iter(state))[1] for state in seen]
    assert versions == sorted(versions)
    assert {length for state in seen for length, _ in state} == {KEYS}


@pytest.mark.long
@pytest.mark.parametrize("key", [("k",), ("k", "v"), ("v", "k")])
@pytest.mark.parametrize("change", ["rename", "drop", "other key"])
def test_case_07_rows_without_the_key_column_are_not_merged_by_it(
    house: House, key: tuple[str, ...], change: str
) -> None:
    """Every row of the batch would be inserted beside the one that it is to replace."""
    definition = TableDefinition(TABLE, MergePlan(key=key))
    rows = [{"k": number, "v": f"{number}"} for number in range(3)]
    house.run("one", rows, definition)
    with house.catalog.load_table(TABLE).update_schema() as update:
        if change == "rename":
            update.rename_column("k", "id")
        elif change == "drop":
            update.delete_column("k")
    if change == "other key":
        definition = TableDefinition(TABLE, MergePlan(key=(*key, "part")))
        rows = [{**row, "part": "a"} for row in rows]
    before = house.catalog.load_table(TABLE).metadata
    with pytest.raises(
        ConfigurationError, match=r"raw\.t has rows, but no column\(s\) (k|part), which unique_key names"
    ):
        house.run("two", rows, definition)
    assert house.catalog.load_table(TABLE).metadata.schemas == before.schemas
    # one that only adds rows may, and so may the first rows of a table
    house.run("three", rows, TableDefinition(TABLE, MergePlan("append", deduplication=False)))
    assert len(house.rows("v")) == 6


def test_case_07_a_table_without_rows_takes_another_key(house: House) -> None:
    gone = TableDefinition(TABLE, MergePlan(key=("k",), hard_delete="gone"))
    house.run("one", [{"k": 1, "v": "a", "gone": False}], gone)
    house.run("two", [{"k": 1, "v": "a", "gone": True}], gone)
    house.run("three", [{"id": 1, "v": "b"}], TableDefinition(TABLE, MergePlan(key=("id",))))
    assert house.rows("id", "v") == [(1, "b")]


@pytest.mark.parametrize("config", [None, "gone"])
def test_a_dlt_hint_removes_keys_unless_the_author_says_another_column(house: House, config: str | None) -> None:
    @dlt.resource(name="readings", columns={"isGone": {"hard_delete": True}})
    def readings(records: list[dict[str, Any]]) -> Any:
        yield from records

    definition = TableDefinition(TABLE, MergePlan(key=("k",), hard_delete=config))

    def run(token: str, records: list[dict[str, Any]]) -> dict[str, Any]:
        plan = StagingPlan(TABLE, key=("k",))
        batch = stage(
            lambda: readings(records),
            plan,
            root=house.root,
            token=token,
            partition_date=DAY,
            run_id=token,
            pipelines_dir=house.home / "dlt",
        )
        assert batch is not None
        assert batch.hard_delete == "is_gone"
        return house.publish(house.land(batch, definition), definition)

    run("one", [{"k": key, "isGone": False, "gone": False} for key in range(3)])
    result = run("two", [{"k": 0, "isGone": True, "gone": False}, {"k": 1, "isGone": False, "gone": True}])
    expect(result, deleted=1, updated=1)
    assert [k for (k,) in house.rows("k")] == ([1, 2] if config is None else [0, 2])
