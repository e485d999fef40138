"""Expiry, manifests, orphans, and all jobs together."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.update import SetLocationUpdate

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches import expiry
from airflow_provider_phlo.iceberg.branches.expiry import Retention, expire
from airflow_provider_phlo.iceberg.branches.history import kept_branches
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.maintenance import (
    MaintenanceOptions,
    maintain,
    manifests,
    plan,
    planning,
    run,
)
from airflow_provider_phlo.iceberg.maintenance.manifests import rewrite_manifests
from airflow_provider_phlo.iceberg.maintenance.orphans import normalized, plan_orphans, referenced, remove_orphans
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect
from tests.lake import open_lake, point_with_retention

TABLE = "raw.t"
SCHEMA = pa.schema([("k", pa.int64()), ("p", pa.string())])
EAGER = Retention(snapshot_days=0, keep_last=1, branch_days=0)
EVERYTHING = MaintenanceOptions(retention=EAGER, orphan_days=0, force=True)


def later(**delta: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(**delta)


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA), partition_by=("p",))
    return catalog


def write(catalog: Catalog, token: str, *keys: int, publish: bool = True, table: str = TABLE) -> None:
    rows = pa.table({"k": list(keys), "p": [f"p {key % 3}" for key in keys]}, schema=SCHEMA)
    head = merge(catalog, table, rows, MergePlan("append", deduplication=False), token=token).head
    if publish:
        branches.move_main(catalog, table, f"phlo_{token}", token=token, result={}, expected_head=head)


def content(catalog: Catalog, branch: str = "main", table: str = TABLE) -> list[int]:
    loaded = catalog.load_table(table)
    return sorted(loaded.scan(snapshot_id=branch_head(loaded, branch)).to_arrow()["k"].to_pylist())


def ids(table: Table) -> set[int]:
    return {snapshot.snapshot_id for snapshot in table.metadata.snapshots}


def files(catalog: Catalog, table: str = TABLE) -> set[str]:
    root = Path(catalog.load_table(table).location().removeprefix("file://"))
    return {str(path) for path in root.rglob("*") if path.is_file()}


# --- expiry ----------------------------------------------------------------------------------------------------------


def test_old_snapshots_expire_the_last_ones_stay(catalog: Catalog) -> None:
    for number in range(6):
        write(catalog, f"t{number}", number)
    before = catalog.load_table(TABLE)
    order = [entry.snapshot_id for entry in before.history()]
    assert expire(catalog, TABLE, Retention(7, 3), later(days=6)).snapshots == ()
    assert catalog.load_table(TABLE).metadata_location == before.metadata_location
    assert set(expire(catalog, TABLE, Retention(7, 3), later(days=8)).snapshots) == set(order[:3])
    after = catalog.load_table(TABLE)
    assert ids(after) == set(order[3:])
    assert content(catalog) == list(range(6))
    assert find_published_result(after, "t0") == {}  # the mark outlives the snapshot


def test_age_counts_from_when_main_moved_on(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    time.sleep(1.2)
    write(catalog, "t1", 1)
    moved = datetime.datetime.now(datetime.UTC)
    second = 1 / 86_400
    # the first snapshot is older than a second, but was main's head until now
    assert expire(catalog, TABLE, Retention(second, 1), moved).snapshots == ()
    assert len(expire(catalog, TABLE, Retention(second, 1), moved + datetime.timedelta(seconds=2)).snapshots) == 1


def test_branches_of_failed_runs_go_with_time(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    write(catalog, "failed", 1, publish=False)
    catalog.load_table(TABLE).manage_snapshots().create_branch(
        branch_head(catalog.load_table(TABLE)) or 0, "mine"
    ).commit()
    write(catalog, "t1", 2)
    assert expire(catalog, TABLE, Retention(0, 1, 7), later(days=6)).branches == ()
    assert content(catalog, "phlo_failed") == [0, 1]
    plan = expire(catalog, TABLE, Retention(0, 1, 7), later(days=8))
    assert plan.branches == ("phlo_failed",)
    assert set(catalog.load_table(TABLE).refs()) == {"main", "mine"}
    assert (content(catalog), content(catalog, "mine")) == ([0, 2], [0])


def test_a_run_that_has_not_merged_yet_keeps_its_branch(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    branches.create(catalog, TABLE, "phlo_0000000000000be1")
    assert expire(catalog, TABLE, EAGER, later(days=100)).branches == ()


def test_what_lies_between_a_branch_and_main_stays(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    write(catalog, "failed", 1, publish=False)
    table = catalog.load_table(TABLE)
    rows = pa.table({"k": [2], "p": ["p 2"]}, schema=SCHEMA)
    table.append(rows, branch="phlo_failed")
    between = set(lineage(catalog.load_table(TABLE).metadata, branch_head(table.refresh(), "phlo_failed")))
    write(catalog, "t1", 3)
    expire(catalog, TABLE, Retention(0, 1, 1000), later(days=100))
    table = catalog.load_table(TABLE)
    assert ids(table) == between | {branch_head(table)}
    assert set(lineage(table.metadata, branch_head(table, "phlo_failed"))) == between


def test_tags_stay(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    table = catalog.load_table(TABLE)
    table.manage_snapshots().create_tag(branch_head(table) or 0, "phlo_audit").commit()
    write(catalog, "t1", 1)
    assert expire(catalog, TABLE, EAGER, later(days=100)) == expiry.ExpiryPlan()
    assert content(catalog, "phlo_audit") == [0]


@pytest.mark.parametrize("branch", ["main", "dev"])
@pytest.mark.parametrize("kept", [{"min_snapshots_to_keep": 4}, {"max_snapshot_age_ms": 10**13}])
def test_case_22_a_branch_keeps_what_its_retention_says(catalog: Catalog, branch: str, kept: dict[str, int]) -> None:
    for number in range(6):
        write(catalog, f"t{number}", number)
    table = catalog.load_table(TABLE)
    order = [entry.snapshot_id for entry in table.history()]
    head = order[-1] if branch == "main" else order[4]
    point_with_retention(catalog, TABLE, branch, head, **kept)
    expire(catalog, TABLE, EAGER, later(days=100))
    least = kept.get("min_snapshots_to_keep", 6)
    first = max(0, order.index(head) + 1 - least)
    assert ids(catalog.load_table(TABLE)) == {*order[first:], order[-1]}


def test_case_22_a_tables_own_retention_holds_unless_another_is_given(catalog: Catalog) -> None:
    for number in range(15):
        write(catalog, f"t{number}", number)
    table = catalog.load_table(TABLE)
    with table.transaction() as transaction:
        transaction.set_properties(**{expiry.AGE_PROPERTY: str(30 * expiry.DAY_MS), expiry.KEEP_PROPERTY: "2"})

    def planned(days: float, retention: Retention | None = None) -> int:
        return len(expiry.plan_expiry(catalog.load_table(TABLE), retention or Retention(), later(days=days)).snapshots)

    assert [planned(29), planned(31)] == [0, 13]
    assert [planned(29, Retention(7)), planned(31, Retention(keep_last=10))] == [13, 5]
    with table.refresh().transaction() as transaction:
        transaction.remove_properties(expiry.AGE_PROPERTY, expiry.KEEP_PROPERTY)
    assert [planned(6), planned(8)] == [0, 5]
    with table.refresh().transaction() as transaction:
        transaction.set_properties(**{expiry.AGE_PROPERTY: "0", expiry.KEEP_PROPERTY: "nonsense"})
    # a query may take an hour
    assert [planned(0), planned(0.1)] == [0, 5]


def test_case_22_a_branch_of_another_that_begins_like_a_runs_stays(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    table = catalog.load_table(TABLE)
    for name in ("phlo_dev", "phlo_0123456789abcdef", "phlo_0123456789abcdef_quarantine"):
        table.refresh().manage_snapshots().create_branch(branch_head(table) or 0, name).commit()
    write(catalog, "t1", 1)
    catalog.load_table(TABLE).append(pa.table({"k": [9], "p": ["p"]}, schema=SCHEMA), branch="phlo_dev")
    expire(catalog, TABLE, EAGER, later(days=100))
    assert set(catalog.load_table(TABLE).refs()) == {"main", "phlo_dev"}
    assert [branch.name for branch in kept_branches(catalog.load_table(TABLE))] == []


def test_a_branch_that_moves_meanwhile_is_looked_at_again(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    write(catalog, "t0", 0)
    write(catalog, "run", 1, publish=False)
    planned, left = expiry.plan_expiry, [1]

    def plan_expiry(*args: Any) -> Any:
        found = planned(*args)
        if left:
            left.pop()
            branches.move_main(catalog, TABLE, "phlo_run", token="run", result={})
        return found

    monkeypatch.setattr(expiry, "plan_expiry", plan_expiry)
    done = expire(catalog, TABLE, EAGER, later(days=100))
    assert (done.branches, len(done.snapshots), content(catalog)) == ((), 1, [0, 1])


@pytest.mark.parametrize("values", [(7, 0, 7), (-1, 1, 7), (7, 1, -1)])
def test_senseless_retention_is_refused(values: tuple[float, int, float]) -> None:
    with pytest.raises(ConfigurationError, match="keep_last"):
        Retention(*values)


# --- manifests -------------------------------------------------------------------------------------------------------


def test_manifests_become_few_and_clustered(catalog: Catalog) -> None:
    for number in range(9):
        write(catalog, f"t{number}", number)
    before = catalog.load_table(TABLE)
    done = rewrite_manifests(catalog, TABLE)
    after = catalog.load_table(TABLE)
    snapshot = after.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    expect(done, manifests=9, manifests_after=1, snapshot_id=snapshot.snapshot_id)
    assert (snapshot.summary.operation.value, snapshot.summary["total-records"]) == ("replace", "9")
    (manifest,) = snapshot.manifests(after.io)
    entries = manifest.fetch_manifest_entry(after.io)
    assert [entry.data_file.partition[0] for entry in entries] == ["p 0"] * 3 + ["p 1"] * 3 + ["p 2"] * 3
    old = {
        entry.data_file.file_path: entry
        for m in before.current_snapshot().manifests(before.io)
        for entry in m.fetch_manifest_entry(before.io)
    }  # type: ignore[union-attr]
    assert all(old[e.data_file.file_path].sequence_number == e.sequence_number for e in entries)
    assert all(old[e.data_file.file_path].snapshot_id == e.snapshot_id for e in entries)
    assert content(catalog) == list(range(9))
    assert rewrite_manifests(catalog, TABLE) == manifests.ManifestPlan()


def test_manifests_of_several_specs(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    write(catalog, "t1", 1)
    with catalog.load_table(TABLE).update_spec() as update:
        update.remove_field("p")
    write(catalog, "t2", 2)
    write(catalog, "t3", 3)
    assert rewrite_manifests(catalog, TABLE).manifests_after == 2
    assert content(catalog) == [0, 1, 2, 3]


def test_main_that_moves_all_the_time_ends_with_an_error(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write(catalog, f"t{number}", number)
    monkeypatch.setattr(manifests, "COMMIT_ROUNDS", 2)
    commit, numbers = manifests.commit_changes, iter(range(100))

    def commit_changes(*args: Any, **options: Any) -> Any:
        number = next(numbers)
        write(catalog, f"other{number}", 10 + number)
        return commit(*args, **options)

    monkeypatch.setattr(manifests, "commit_changes", commit_changes)
    with pytest.raises(CommitConflictError, match="other writers were faster 2 times"):
        rewrite_manifests(catalog, TABLE)
    assert content(catalog) == [0, 1, 2, 10, 11]


# --- orphans ---------------------------------------------------------------------------------------------------------


def test_unknown_old_files_go_and_nothing_else(catalog: Catalog) -> None:
    for number in range(3):
        write(catalog, f"t{number}", number)
    write(catalog, "failed", 7, publish=False)
    known = files(catalog)
    root = Path(catalog.load_table(TABLE).location().removeprefix("file://"))
    strangers = [root / "data" / "p=a%20b" / "left.parquet", root / "metadata" / "lost.metadata.json", root / "x"]
    for path in strangers:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"12345")
    assert plan_orphans(catalog, TABLE, days=3, now=later(days=2)).files == ()
    removed = remove_orphans(catalog, TABLE, days=3, now=later(days=4))
    assert removed.totals() == {"files": 3, "bytes": 15}
    assert files(catalog) == known
    assert (content(catalog), content(catalog, "phlo_failed")) == ([0, 1, 2], [0, 1, 2, 7])


def test_young_files_are_protected_one_by_one(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    root = Path(catalog.load_table(TABLE).location().removeprefix("file://"))
    (root / "old").write_text("")
    (root / "young").write_text("")
    os.utime(root / "old", (time.time() - 4 * 86_400,) * 2)
    remove_orphans(catalog, TABLE, days=3, now=later())
    assert (not (root / "old").exists(), (root / "young").exists()) == (True, True)


@pytest.mark.parametrize("of_partitions", [False, True])
def test_files_of_expired_snapshots_go_statistics_stay(catalog: Catalog, of_partitions: bool) -> None:
    for number in range(3):
        write(catalog, f"t{number}", number)
    table = catalog.load_table(TABLE)
    from pyiceberg.table.statistics import PartitionStatisticsFile, StatisticsFile
    from pyiceberg.table.update import SetPartitionStatisticsUpdate

    for snapshot_id in ids(table):
        path = f"{table.location()}/metadata/{snapshot_id}.stats"
        table.io.new_output(path).create().close()
        if of_partitions:
            rows = PartitionStatisticsFile(snapshot_id=snapshot_id, statistics_path=path, file_size_in_bytes=0)
            catalog.commit_table(table, (), (SetPartitionStatisticsUpdate(partition_statistics=rows),))
            continue
        sizes = {"file_size_in_bytes": 0, "file_footer_size_in_bytes": 0}
        statistics = StatisticsFile(snapshot_id=snapshot_id, statistics_path=path, blob_metadata=[], **sizes)
        with table.update_statistics() as update:
            update.set_statistics(statistics)
    expire(catalog, TABLE, EAGER, later(days=1))
    remove_orphans(catalog, TABLE, days=1, now=later(days=2))
    table = catalog.load_table(TABLE)
    assert len([name for name in files(catalog) if name.endswith(".stats")]) == 1
    assert len([*table.metadata.statistics, *table.metadata.partition_statistics]) == 1
    assert {normalized(path) for path in files(catalog)} == referenced(table)
    assert content(catalog) == [0, 1, 2]


def test_a_table_that_changes_while_it_is_listed_is_listed_again(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(catalog, "t0", 0)
    from airflow_provider_phlo.iceberg.maintenance import orphans

    listed, left = orphans.stored_files, [1, 2]

    def changing(*args: Any) -> Iterator[Any]:
        if left:
            write(catalog, f"meanwhile{left.pop()}", 5)
        yield from listed(*args)

    monkeypatch.setattr(orphans, "stored_files", changing)
    # everything counts as old, what is written while it is listed, too
    assert remove_orphans(catalog, TABLE, days=0, now=later(hours=1)).files == ()
    assert left == []
    assert content(catalog) == [0, 5, 5]


def refusal(catalog: Catalog, table: str = TABLE, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as refused:
        run(catalog, table, MaintenanceOptions(**options), now=later(days=100))
    return str(refused.value)


def test_what_old_snapshots_hold(catalog: Catalog) -> None:
    for number in range(3):
        write(catalog, f"t{number}", 3 * number)
    before = sum(task.file.file_size_in_bytes for task in catalog.load_table(TABLE).scan().plan_files())
    run(catalog, TABLE, MaintenanceOptions(jobs=["compaction"]))
    held = plan(catalog, TABLE, EVERYTHING, now=later(days=1)).jobs["expiry"]
    expect(held, snapshots=3, files=3, bytes=before)


def test_a_short_retention_is_refused(catalog: Catalog) -> None:
    assert "running query" in refusal(catalog, retention=Retention(snapshot_days=0))
    assert plan(catalog, TABLE, MaintenanceOptions(jobs=["orphans"], retention=Retention(snapshot_days=0))).jobs


def test_a_short_age_guard_is_refused(catalog: Catalog) -> None:
    write(catalog, "t0", 0)
    before = files(catalog)
    assert "running writer" in refusal(catalog, orphan_days=0.04)
    assert files(catalog) == before
    assert plan(catalog, TABLE, MaintenanceOptions(jobs=["expiry"], orphan_days=0)).jobs["expiry"]["snapshots"] == 0


@pytest.mark.parametrize("name", ["raw.other", "raw.deep.other", "far.away.from.other"])
@pytest.mark.parametrize("inside", [True, False])
def test_shared_locations_are_refused(catalog: Catalog, inside: bool, name: str) -> None:
    place = catalog.load_table(TABLE).location()
    other = f"{place}/data/inner" if inside else place.rpartition("/")[0]
    catalog.create_namespace_if_not_exists(name.rpartition(".")[0])
    catalog.create_table(name, SCHEMA, location=other)
    assert f"raw.t and {name} share a location" in refusal(catalog)


def test_equal_locations_are_refused(catalog: Catalog) -> None:
    catalog.create_table("raw.other", SCHEMA, location=catalog.load_table(TABLE).location() + "/")
    assert "share a location" in refusal(catalog)


def test_names_that_begin_alike_share_nothing(catalog: Catalog) -> None:
    catalog.create_table("raw.t2", SCHEMA)
    assert plan(catalog, TABLE).jobs["orphans"] == {"files": 0, "bytes": 0}


def test_case_22_files_by_another_address_are_kept(catalog: Catalog, tmp_path: Path) -> None:
    write(catalog, "t0", 0, 1)
    table = catalog.load_table(TABLE)
    link = tmp_path / "link"
    link.symlink_to(table.location().removeprefix("file://"))
    catalog.commit_table(table, (), (SetLocationUpdate(location=f"file://{link}"),))
    before = files(catalog)
    with pytest.raises(ConfigurationError, match=r"needs files of file:/.*/raw/t, and its location .*/link has files"):
        run(catalog, TABLE, EVERYTHING, now=later(days=100))
    assert files(catalog) >= before
    # what is at one address only is removed
    link.unlink()
    link.mkdir()
    (link / "lost.parquet").touch()
    assert run(catalog, TABLE, EVERYTHING, now=later(days=100)).jobs["orphans"]["files"] == 1
    assert content(catalog) == [0, 1]


def test_the_warehouse_itself_is_refused(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    catalog.create_namespace("raw")
    catalog.create_table(TABLE, SCHEMA, location=catalog.properties["warehouse"])
    assert "warehouse's root" in refusal(catalog)


def test_nessie_is_refused(catalog: Catalog) -> None:
    catalog.properties["nessie.is-nessie-catalog"] = "true"
    assert "nessie-gc" in refusal(catalog)


def test_tables_whose_files_are_not_theirs_alone_are_refused(catalog: Catalog) -> None:
    with catalog.load_table(TABLE).transaction() as transaction:
        transaction.set_properties({"gc.enabled": "false"})
    assert "gc.enabled=false" in refusal(catalog)
    assert plan(catalog, TABLE, MaintenanceOptions(jobs=["compaction", "manifests"])).jobs.keys() == {
        "compaction",
        "manifests",
    }


@pytest.mark.parametrize("options", [{"jobs": ["vacuum"]}, {"jobs": []}, {"min_files": 1}, {"target_file_bytes": 0}])
def test_senseless_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        MaintenanceOptions(**options)


def test_an_unknown_table_is_refused(catalog: Catalog) -> None:
    assert "raw.nope does not exist" in refusal(catalog, "raw.nope")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("file:///a/b", "/a/b"),
        ("file:/a/b/", "file:///a//b"),
        ("s3a://bucket/a", "s3://bucket/a"),
        ("local:///a/b", "file:///a/b"),
    ],
)
def test_one_place_has_one_name(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)
    assert normalized(one) != normalized(other + "c")


# --- object stores -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.mark.long
def test_all_jobs_on_an_object_store(tmp_path: Path, s3: str) -> None:
    import boto3

    name = "lake"
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    store = boto3.client("s3", endpoint_url=s3, **keys)
    store.create_bucket(Bucket=name)
    options = {"s3.endpoint": s3, "s3.access-key-id": "k", "s3.secret-access-key": "s", "s3.region": "us-east-1"}
    catalog = open_catalog("phlo", {**embedded_properties(tmp_path), **options, "warehouse": f"s3://{name}/house"})
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA), partition_by=("p",))
    for number in range(4):
        write(catalog, f"t{number}", 3 * number)
    store.put_object(Bucket=name, Key="house/raw/t/data/stranger", Body=b"1")
    store.put_object(Bucket=name, Key="house/raw/t2/data/neighbour", Body=b"1")
    assert plan(catalog, TABLE).jobs["orphans"]["files"] == 0
    done = run(catalog, TABLE, EVERYTHING, now=later(hours=1)).jobs
    assert (done["compaction"]["files"], done["compaction"]["files_after"], done["expiry"]["snapshots"]) == (4, 1, 4)
    # Arrow marks folders
    left = {item["Key"] for item in store.list_objects_v2(Bucket=name)["Contents"] if not item["Key"].endswith("/")}
    assert "house/raw/t2/data/neighbour" in left
    assert "house/raw/t/data/stranger" not in left
    assert {normalized(f"s3://{name}/{key}") for key in left if "/t/" in key} == referenced(catalog.load_table(TABLE))
    assert content(catalog) == [0, 3, 6, 9]


def test_files_through_fsspec(tmp_path: Path) -> None:
    own = {"py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO"}
    catalog = open_catalog("phlo", {**embedded_properties(tmp_path), **own})
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA), partition_by=("p",))
    for number in range(3):
        write(catalog, f"t{number}", 3 * number)
    stranger = tmp_path / "warehouse" / "raw" / "t" / "data" / "p=p+0" / "stranger"
    stranger.write_text("")
    assert run(catalog, TABLE, EVERYTHING, now=later(hours=-1)).jobs["orphans"]["files"] == 0
    run(catalog, TABLE, EVERYTHING, now=later(hours=1))
    assert not stranger.exists()
    assert {normalized(path) for path in files(catalog)} == referenced(catalog.load_table(TABLE))
    assert content(catalog) == [0, 3, 6]


# --- all jobs ----------------------------------------------------------------------------------------------------


def test_plan_says_what_run_does_and_changes_nothing(catalog: Catalog) -> None:
    for number in range(6):
        write(catalog, f"t{number}", number)
    before, location = files(catalog), catalog.load_table(TABLE).metadata_location
    planned = plan(catalog, TABLE, EVERYTHING, now=later(days=1))
    assert (files(catalog), catalog.load_table(TABLE).metadata_location) == (before, location)
    done = run(catalog, TABLE, EVERYTHING, now=later(days=1))
    assert planned.jobs["compaction"]["files"] == done.jobs["compaction"]["files"] == 6
    assert planned.jobs["compaction"]["bytes"] == done.jobs["compaction"]["bytes"] > 0
    assert planned.jobs["expiry"]["snapshots"] == 5
    assert planned.jobs["expiry"]["files"] == 0  # main needs all of them
    assert done.jobs["expiry"]["snapshots"] == 6  # the one before the compaction came on top
    assert content(catalog) == list(range(6))
    # one more round clears away what the last one wrote, then there is nothing to do
    run(catalog, TABLE, EVERYTHING, now=later(days=2))
    at_rest = plan(catalog, TABLE, EVERYTHING, now=later(days=3)).jobs
    counted = {"compaction": "files", "manifests": "manifests", "expiry": "snapshots", "orphans": "files"}
    assert {job: at_rest[job][what] for job, what in counted.items()} == dict.fromkeys(counted, 0)


def test_many_tables_by_pattern(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw.t2", "raw.other"):
        ensure_table(catalog, name, arrow_to_iceberg(SCHEMA))
    assert [report.table for report in maintain(catalog, ["raw.t*"], dry_run=True)] == ["raw.t", "raw.t2"]
    with pytest.raises(ConfigurationError, match=r"No table is named raw\.x\*"):
        maintain(catalog, ["raw.t*", "raw.x*"])
    works = planning.run

    def busy(catalog: Catalog, table: str, *args: Any, **options: Any) -> Any:
        if table == "raw.t":
            raise CommitConflictError("busy")
        return works(catalog, table, *args, **options)

    monkeypatch.setattr(planning, "run", busy)
    assert [(report.table, report.error) for report in maintain(catalog, ["raw.t*"])] == [
        ("raw.t", "busy"),
        ("raw.t2", ""),
    ]


def test_one_refusal_stops_before_the_first_table(catalog: Catalog) -> None:
    for number in range(2):
        write(catalog, f"t{number}", 3 * number)
    ensure_table(catalog, "raw.z", arrow_to_iceberg(SCHEMA), properties={"gc.enabled": "false"})
    with pytest.raises(ConfigurationError, match=r"raw\.z"):
        maintain(catalog, ["raw.*"])
    table = catalog.load_table(TABLE)
    assert len(list(table.scan().plan_files())) == 2
