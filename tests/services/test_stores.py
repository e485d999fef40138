"""What the engine promises, on every catalog and store that it says it runs on."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import re
from collections import Counter
from typing import Any

import dlt
import duckdb
import pyarrow as pa
import pytest
from pandera.pandas import Field

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.cli.lake.query import run as query
from airflow_provider_phlo.exceptions import QualityCheckError
from airflow_provider_phlo.hooks.dlt import DltHook
from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.files.partition_days import has_partition
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.ingestion.quarantine import quarantine_table
from airflow_provider_phlo.ingestion.staged_batches import BatchWriter, remove_expired
from airflow_provider_phlo.quality import RangeCheck
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.sources.github_pulls import working_files
from airflow_provider_phlo.sources.github_pulls.progress import Progress
from tests.expect import expect
from tests.patience import PATIENCE
from tests.services.stores import DAY, Store

# one worker starts Nessie, S3 and Postgres
pytestmark = pytest.mark.xdist_group("stores")

# children are forked from a process that has imported the libraries and has no threads
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.services.stores", "airflow_provider_phlo.ingestion.landing", "pyiceberg.catalog.sql"]
)
APPEND = MergePlan("append", deduplication=False)
REPLACE = MergePlan("replace", key=("k",))


class Reading(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0)


def test_merge_updates_inserts_and_leaves_the_rest(store: Store) -> None:
    definition = store.definition()
    first = store.run("one", [{"k": 1, "v": 1.0}, {"k": 2, "v": 2.0}], definition)
    expect(first, inserted=2, updated=0)
    second = store.run("two", [{"k": 2, "v": 2.5}, {"k": 3, "v": 3.0}], definition)
    expect(second, inserted=1, updated=1, unchanged=0)
    third = store.run("three", [{"k": 2, "v": 2.5}, {"k": 3, "v": 3.0}], definition)
    expect(third, unchanged=2, snapshot_id=None)
    assert store.rows() == [(1, 1.0), (2, 2.5), (3, 3.0)]
    assert sorted(store.arrow()["k"].to_pylist()) == [1, 2, 3]


def test_working_files_of_a_run_lie_beside_its_batches(store: Store) -> None:
    root, folder = DltHook().staging_root, working_files.run_folder(dt.date(2024, 1, 15), store.namespace)
    place = root / folder / "progress" / "0001"
    progress = Progress(place)
    progress.keep({"repository_id": 7, "number": 1, "title": "cut \ud83d"})
    progress.flush()
    progress.keep_pages([{"key": [7, 2], "pages": 3}])

    again = Progress(place)
    assert [reading["title"] for reading in again.recall()] == ["cut \ud83d"]
    assert again.recall_pages() == {(7, 2): {"key": [7, 2], "pages": 3}}
    assert working_files.read_if_whole(place / "nothing.gz") is None
    assert working_files.names(root / folder / "nothing") == []
    again.forget()
    assert working_files.names(place) == []
    working_files.write(root / folder / "chunks" / "0000.gz", [{"a": 1}])
    assert list(working_files.read(root / folder / "chunks" / "0000.gz")) == [{"a": 1}]
    working_files.remove_expired(root, dt.date(2024, 2, 1), 7)
    assert working_files.names(root / working_files.ROOM) == []


def test_append_and_replace(store: Store) -> None:
    appended, replaced = store.definition("a", plan=APPEND), store.definition("r", plan=REPLACE)
    for token in ("one", "two"):
        store.run(token, [{"k": 1, "v": 1.0}], appended)
    assert store.rows("a") == [(1, 1.0), (1, 1.0)]
    store.run("one", [{"k": 1, "v": 1.0}, {"k": 2, "v": 2.0}], replaced)
    store.run("other_day", [{"k": 3, "v": 3.0}], replaced, day="2024-01-16")
    result = store.run("two", [{"k": 4, "v": 4.0}], replaced)
    expect(result, inserted=1, replaced=2)
    assert store.rows("r") == [(3, 3.0), (4, 4.0)]


def test_new_columns_come_and_old_rows_lack_them(store: Store) -> None:
    definition = store.definition()
    store.run("one", [{"k": 1, "v": 1.0}], definition)
    store.run("two", [{"k": 2, "v": 2.0, "note": "new"}], definition)
    assert store.rows(columns="k, v, note") == [(1, 1.0, None), (2, 2.0, "new")]


def test_a_failing_audit_leaves_main_and_keeps_the_branch(store: Store) -> None:
    definition, check = store.definition(), RangeCheck("v", max_value=10)
    store.run("good", [{"k": 1, "v": 1.0}], definition)
    landed = store.land(store.stage("bad", [{"k": 1, "v": 99.0}, {"k": 2, "v": 2.0}], definition), definition)
    assert store.rows() == [(1, 1.0)]
    assert store.rows(branch=landed["branch"]) == [(1, 99.0), (2, 2.0)]
    with pytest.raises(QualityCheckError):
        store.audit(definition.table, [check])(landed["branch"])
    store.audit(definition.table, [check])("main")
    assert store.rows() == [(1, 1.0)]
    assert store.rows(branch=landed["branch"]) == [(1, 99.0), (2, 2.0)]


def test_the_same_run_again_changes_nothing(store: Store) -> None:
    definition = store.definition(plan=APPEND)
    batch = store.stage("one", [{"k": 1, "v": 1.0}], definition)
    results = []
    for _ in range(2):
        landed = store.land(batch, definition)
        store.land(batch, definition)  # killed after the merge, and retried
        results.append(store.publish(landed, definition))
    assert results[0] == results[1]
    assert store.rows() == [(1, 1.0)]


def test_a_merge_on_top_of_what_others_published_is_audited_again(store: Store) -> None:
    definition = store.definition()
    store.run("zero", [{"k": 0, "v": 0.0}], definition)
    late = store.land(store.stage("late", [{"k": 1, "v": 1.0}], definition), definition)
    store.run("early", [{"k": 2, "v": 2.0}], definition)
    store.publish(late, definition, [RangeCheck("v", max_value=10)])
    assert store.rows() == [(0, 0.0), (1, 1.0), (2, 2.0)]
    also_late = store.land(store.stage("also_late", [{"k": 3, "v": 3.0}], definition), definition)
    store.run("another", [{"k": 4, "v": 99.0}], definition)
    with pytest.raises(QualityCheckError):
        store.publish(also_late, definition, [RangeCheck("v", max_value=10)])
    assert 3 not in [key for key, _ in store.rows()]


def test_two_processes_write_at_once(store: Store) -> None:
    """The table is new: both try to make it."""
    runs = 4
    writers = [PROCESSES.Process(target=Store.append, args=(store, name, runs)) for name in "ab"]
    for process in writers:
        process.start()
    for process in writers:
        process.join(PATIENCE)
    assert [process.exitcode for process in writers] == [0, 0]
    expected = Counter((number, float(ord(name))) for number in range(runs) for name in "ab")
    assert Counter(store.rows()) == expected


def test_partition_transforms(store: Store) -> None:
    when = [dt.datetime(2024, month, 3, 4, 5, tzinfo=dt.UTC) for month in (1, 2, 3)]
    records = [{"k": number, "v": 1.0, "at": at, "name": f"name {number}"} for number, at in enumerate(when)]
    definition = store.definition(partition_by=("month(at)", "bucket(4, k)", "truncate(5, name)"))
    store.run("one", records, definition)
    store.run("two", [{**records[1], "v": 2.0}], definition)
    assert store.rows() == [(0, 1.0), (1, 2.0), (2, 1.0)]
    spec = store.catalog.load_table(definition.table).spec()
    assert [str(item.transform) for item in spec.fields] == ["month", "bucket[4]", "truncate[5]"]


def test_sql_sees_the_tables_it_names_and_nothing_else(store: Store) -> None:
    for name in ("t", "secret"):
        store.run(name, [{"k": 1, "v": 1.0}], store.definition(name))
    table, catalog = f"{store.namespace}.t", store.catalog
    assert query(catalog, f"SELECT k, v FROM {table}").rows == [(1, 1.0)]
    [secret] = catalog.load_table(f"{store.namespace}.secret").scan().plan_files()
    path = secret.file.file_path
    with connect(catalog, tables=[table], locked=True) as connection:
        [(sql,)] = connection.sql("SELECT sql FROM duckdb_views() WHERE view_name = 't'").fetchall()
        [mine] = re.findall(r"'([^']*\.parquet)'", sql)
        assert connection.sql(f"SELECT k FROM read_parquet('{mine}')").fetchall() == [(1,)]
        scheme = f"{mine.partition('://')[0]}://" if "://" in mine else ""
        beside = f"{mine.rpartition('/')[0]}/../../{'/'.join(path.split('/')[-3:])}"
        for wanted in (path, f"{scheme}{path.partition('://')[2]}", beside, f"{scheme}*", "/etc/passwd"):
            with pytest.raises(duckdb.Error, match=r"disabled by configuration|is not a file of|No files found"):
                connection.sql(f"SELECT * FROM read_parquet('{wanted}')").fetchall()


def test_pruned_columns_and_many_threads_read_right(store: Store) -> None:
    definition = store.definition(plan=APPEND)
    for token in ("one", "two"):
        store.run(
            token, [{"k": number, "v": number / 2, "s": f"text {number % 7}"} for number in range(30_000)], definition
        )
    with connect(store.catalog, tables=[definition.table]) as connection:
        connection.execute("SET threads = 4")
        sums = connection.sql(f"SELECT sum(k), sum(v), count(DISTINCT s) FROM {definition.table}").fetchall()
        assert sums == [(2 * 449985000, 449985000.0, 7)]
        assert connection.sql(f"SELECT s FROM {definition.table} WHERE k = 20000").fetchall() == [("text 1",)] * 2


def test_partitions_are_known(store: Store) -> None:
    definition = store.definition()
    assert not has_partition(store.catalog, definition.table, "_phlo_partition_date", DAY)
    store.run("one", [{"k": 1, "v": 1.0}], definition)
    assert has_partition(store.catalog, definition.table, "_phlo_partition_date", DAY)
    assert not has_partition(store.catalog, definition.table, "_phlo_partition_date", "2024-01-16")


def test_a_model_is_replaced_on_a_branch_and_published(store: Store) -> None:
    catalog, table = store.catalog, f"{store.namespace}.model"

    def build(rows: dict[str, list[Any]], branch: str) -> Any:
        return overwrite_if_changed(catalog, table, pa.table(rows), branch=branch)

    for number, rows in enumerate(({"k": [1, 2], "v": [1.0, 2.0]}, {"k": [1], "v": [3.0], "w": ["new"]}, {"k": [1]})):
        branch = f"phlo_{store.namespace}_{number}"
        written = build(rows, branch)
        assert written.changed
        assert written.branch == branch
        assert store.rows("model", columns="k", branch=branch) == [(key,) for key in rows["k"]]
        publication = Publication(table, expected_head=written.snapshot_id, settlement=written.settlement)
        assert run_branch(catalog, branch).publish(publication)
        assert store.arrow("model").to_pydict() == rows
        assert not build(rows, f"{branch}_again").changed


def test_the_tasks_of_an_ingestion(store: Store, run_ingestion: Any) -> None:
    @phlo_ingestion(
        table_name=f"{store.namespace}.readings",
        unique_key="k",
        validation_schema=Reading,
        group="test",
        strict_validation=False,
        audit=[RangeCheck("v", max_value=10)],
    )
    def readings() -> Any:
        yield [{"k": 1, "v": 1.0}, {"k": 2, "v": -1.0}]

    results = run_ingestion(readings)
    assert results["audit"]["passed"]
    assert results["publish"]["inserted"] == 1
    assert store.rows("readings") == [(1, 1.0)]
    quarantined = quarantine_table("readings")
    assert len(store.rows(quarantined, columns="quarantine_id")) == 1


def test_what_a_source_remembers_is_published_from_the_first_run_on(store: Store, run_ingestion: Any) -> None:
    seen = []

    @phlo_ingestion(table_name=f"{store.namespace}.readings", unique_key="k", validation_schema=Reading, group="test")
    def readings() -> Any:
        @dlt.resource(name="readings")
        def newer(at=dlt.sources.incremental("k", initial_value=0)):  # noqa: B008 - as dlt has it
            seen.append(at.start_value)
            yield [{"k": at.start_value + 1, "v": 1.0}]

        return newer()

    for number in range(3):
        run_ingestion(readings, run_id=f"run {number}")
    assert seen == [0, 1, 2]
    assert store.rows("readings") == [(1, 1.0), (2, 1.0), (3, 1.0)]


def test_staged_batches_expire(store: Store) -> None:
    definition = store.definition()
    batch = store.stage("one", [{"k": 1, "v": 1.0}], definition)
    root = DltHook().staging_root
    # an attempt that has only begun has no manifest yet
    BatchWriter(root, definition.table, DAY, "begun").write(pa.table({"k": [1]}))
    assert remove_expired(root, definition.table, batch.staged_at - 60) == 0
    assert remove_expired(root, definition.table, batch.staged_at + 60) == 2
