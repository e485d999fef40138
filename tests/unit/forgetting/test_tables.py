"""Rows of a person in a table: gone from every snapshot, branch, file and manifest; all other rows are as before."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from moto.server import ThreadedMotoServer
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import DataFileContent
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.forgetting import everywhere
from airflow_provider_phlo.forgetting.keys import Key, parse_key
from airflow_provider_phlo.forgetting.tables import TablePlace
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.declared import declare_columns
from airflow_provider_phlo.iceberg.branches.expiry import Retention, expire
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.catalogs.retries import retry_conflicts
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake
from tests.unit.forgetting.remains import remains
from tests.unit.position_deletes import commit_deletes, delete_file

TABLE = "raw.users"
SCHEMA = pa.schema([("id", pa.string()), ("mail", pa.string()), ("day", pa.string())])
# longer than what bounds keep would hide that they have its beginning
THEIRS, MAIL = "person-4711", "ann@example"
KEY = Key({"id": THEIRS})


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA), partition_by=("day",))
    return catalog


def row(number: int, day: str = "d0", mail: str = "") -> dict[str, str]:
    return {"id": f"other-{number}", "mail": mail or f"mail-{number}", "day": day}


def theirs(day: str = "d0", mail: str = MAIL) -> dict[str, str]:
    return {"id": THEIRS, "mail": mail, "day": day}


def write(catalog: Catalog, token: str, *rows: dict[str, str], publish: bool = True) -> None:
    batch = pa.Table.from_pylist(list(rows), SCHEMA)
    head = merge(catalog, TABLE, batch, MergePlan(key=("id",)), token=token).head
    if publish:
        branches.move_main(catalog, TABLE, f"phlo_{token}", token=token, result={"n": token}, expected_head=head)


def rows(catalog: Catalog, branch: str = "main") -> list[dict[str, str]]:
    table = catalog.load_table(TABLE)
    found = table.scan(snapshot_id=branch_head(table, branch)).to_arrow().to_pylist()
    return sorted(found, key=lambda each: each["id"])


def folder(catalog: Catalog) -> Path:
    return Path(catalog.load_table(TABLE).location().removeprefix("file://"))


def place(catalog: Catalog, **options: object) -> TablePlace:
    return TablePlace(catalog, TABLE, KEY, **options)  # type: ignore[arg-type]


def forget(catalog: Catalog, **options: object) -> None:
    """Erase, and require that nothing is left and a second search finds nothing."""
    there = place(catalog, **options)
    assert there.find()
    there.erase()
    assert not there.find()
    assert not place(catalog, **options).find()
    assert remains(folder(catalog), THEIRS, MAIL) == []


def test_a_row_goes_from_main_and_from_history(catalog: Catalog) -> None:
    write(catalog, "a", row(1), row(2))
    clean = branch_head(catalog.load_table(TABLE))
    write(catalog, "b", theirs(), row(3))
    write(catalog, "c", row(4, "d1"))
    # in rows, in bounds of manifests: what is looked at is seen
    assert {each.rpartition(": ")[2] for each in remains(folder(catalog), THEIRS)} >= {"its rows", "its blocks"}
    found = place(catalog).find()
    assert (found.amounts["rows"], found.amounts["snapshots"]) == (1, 2)
    forget(catalog)
    assert [each["id"] for each in rows(catalog)] == ["other-1", "other-2", "other-3", "other-4"]
    table = catalog.load_table(TABLE)
    # a snapshot that never had the row stays, for time travel
    assert {item.snapshot_id for item in table.metadata.snapshots} == {clean, branch_head(table)}
    assert len(table.scan(snapshot_id=clean).to_arrow()) == 2
    assert [find_published_result(table, token) for token in "abc"] == [{"n": token} for token in "abc"]


def test_a_search_changes_nothing(catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs())
    before = catalog.load_table(TABLE).metadata_location
    files = {path: path.stat().st_mtime_ns for path in folder(catalog).rglob("*")}
    assert place(catalog).find()
    assert catalog.load_table(TABLE).metadata_location == before
    assert {path: path.stat().st_mtime_ns for path in folder(catalog).rglob("*")} == files


def test_nothing_is_found_of_somebody_else(catalog: Catalog) -> None:
    write(catalog, "a", row(1), row(5))
    write(catalog, "b", row(1, mail="new"))
    there = TablePlace(catalog, TABLE, Key({"id": "other-3"}))
    before = catalog.load_table(TABLE).metadata_location
    assert not there.find()
    there.erase()
    assert catalog.load_table(TABLE).metadata_location == before


def test_what_was_deleted_before_is_gone_too(catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs())
    catalog.load_table(TABLE).delete("id = 'person-4711'")
    assert [each["id"] for each in rows(catalog)] == ["other-1"]
    forget(catalog)
    assert [each["id"] for each in rows(catalog)] == ["other-1"]


def test_what_has_expired_is_gone_too(catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs())
    catalog.load_table(TABLE).delete("id = 'person-4711'")
    now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
    expire(catalog, TABLE, Retention(snapshot_days=0, keep_last=1, branch_days=0), now)
    assert remains(folder(catalog), THEIRS)
    forget(catalog)


def test_rows_that_position_deletes_hide(catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs(), row(2))
    table = catalog.load_table(TABLE)
    [task] = table.scan().plan_files()
    at = table.scan().to_arrow()["id"].to_pylist().index(THEIRS)
    commit_deletes(catalog, TABLE, delete_file(table, {task.file: [at]}))
    assert THEIRS not in {each["id"] for each in rows(catalog)}
    forget(catalog)
    assert [each["id"] for each in rows(catalog)] == ["other-1", "other-2"]


def test_equality_deletes_are_refused_before_anything_is_written(catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs())
    table = catalog.load_table(TABLE)
    [task] = table.scan().plan_files()
    commit_deletes(catalog, TABLE, delete_file(table, {task.file: [0]}, content=DataFileContent.EQUALITY_DELETES))
    before = catalog.load_table(TABLE).metadata_location
    with pytest.raises(SchemaError, match="equality deletes"):
        place(catalog).find()
    assert catalog.load_table(TABLE).metadata_location == before


def test_branches_keep_their_other_rows(catalog: Catalog) -> None:
    write(catalog, "a", row(1))
    write(catalog, "b", theirs("d1"), row(2, "d1"), publish=False)
    write(catalog, "c", row(3))
    forget(catalog)
    assert [each["id"] for each in rows(catalog)] == ["other-1", "other-3"]
    assert [each["id"] for each in rows(catalog, "phlo_b")] == ["other-1", "other-2"]


def test_a_tag_is_refused_unless_it_may_be_dropped(catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs())
    table = catalog.load_table(TABLE)
    table.manage_snapshots().create_tag(branch_head(table) or 0, "audit_2024").commit()
    write(catalog, "b", row(2))
    before = catalog.load_table(TABLE).metadata_location
    with pytest.raises(ConfigurationError, match="audit_2024") as refused:
        place(catalog).find()
    assert THEIRS not in str(refused.value)
    assert catalog.load_table(TABLE).metadata_location == before
    forget(catalog, drop_tags=True)
    assert set(catalog.load_table(TABLE).refs()) == {"main"}


@pytest.mark.parametrize("where", ["nessie", "gc", "neighbour"])
def test_what_is_not_safe_is_refused(catalog: Catalog, where: str) -> None:
    write(catalog, "a", row(1), theirs())
    if where == "nessie":
        catalog.properties["nessie.is-nessie-catalog"] = "true"
    elif where == "gc":
        with catalog.load_table(TABLE).transaction() as change:
            change.set_properties({"gc.enabled": "false"})
    else:
        catalog.create_table(
            "raw.inside", arrow_to_iceberg(SCHEMA), location=f"{catalog.load_table(TABLE).location()}/in"
        )
    before = catalog.load_table(TABLE).metadata_location
    messages = {"nessie": "nessie-gc", "gc": "gc.enabled=false", "neighbour": "share a location"}
    for attempt in (place(catalog).find, place(catalog).erase):
        with pytest.raises(ConfigurationError, match=messages[where]):
            attempt()
    assert catalog.load_table(TABLE).metadata_location == before


def test_a_partition_of_their_own(catalog: Catalog) -> None:
    """The value is in names of folders, in partitions of manifests, and in bounds of manifest lists."""
    ensure_table(catalog, "raw.by_id", arrow_to_iceberg(SCHEMA), partition_by=("id",))
    for number in range(3):
        catalog.load_table("raw.by_id").append(pa.Table.from_pylist([row(number), theirs()], SCHEMA))
    root = Path(catalog.load_table("raw.by_id").location().removeprefix("file://"))
    assert any("its name" in each for each in remains(root, THEIRS))
    there = TablePlace(catalog, "raw.by_id", KEY)
    there.erase()
    assert not there.find()
    assert remains(root, THEIRS, MAIL) == []
    assert len(catalog.load_table("raw.by_id").scan().to_arrow()) == 3


def test_after_compaction_and_a_column_that_came_again(catalog: Catalog) -> None:
    write(catalog, "a", theirs(), row(1))
    write(catalog, "b", row(2))
    compact(catalog, TABLE)
    with catalog.load_table(TABLE).update_schema(allow_incompatible_changes=True) as change:
        change.delete_column("id")
    with catalog.load_table(TABLE).update_schema() as change:
        change.add_column("id", arrow_to_iceberg(pa.schema([("x", pa.int64())])).fields[0].field_type)
    there = place(catalog)
    there.erase()
    assert not there.find()
    assert remains(folder(catalog), THEIRS, MAIL) == []
    assert len(catalog.load_table(TABLE).scan().to_arrow()) == 2


def test_files_of_killed_writers(catalog: Catalog) -> None:
    write(catalog, "a", row(1))
    write(catalog, "b", theirs("d1"), publish=False)
    [task] = (
        catalog.load_table(TABLE)
        .scan(snapshot_id=branch_head(catalog.load_table(TABLE), "phlo_b"), row_filter="day = 'd1'")
        .plan_files()
    )
    stray = folder(catalog) / "data" / "00000-stray.parquet"
    stray.write_bytes(Path(task.file.file_path.removeprefix("file://")).read_bytes())
    torn = folder(catalog) / "data" / "00000-torn.parquet"
    torn.write_bytes(stray.read_bytes()[:-20])
    there = place(catalog)
    there.erase()
    found = there.find()
    assert "run it again after" in found.waits
    assert stray.exists()
    for path in (stray, torn):
        os.utime(path, (0, 0))
    forget(catalog)
    assert not stray.exists()
    assert not torn.exists()


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (["4"], {"id": "4"}),
        (["id=4"], {"id": "4"}),
        (["a=b"], {"id": "a=b"}),
        (["id=a", "day=b"], {"id": "a", "day": "b"}),
    ],
)
def test_a_key_as_people_give_it(catalog: Catalog, given: list[str], values: dict[str, str]) -> None:
    declare_columns(catalog, catalog.load_table(TABLE), ["id"], None)
    assert parse_key(catalog.load_table(TABLE), given).values == values


def test_a_key_that_is_not_known(catalog: Catalog) -> None:
    table: Table = catalog.load_table(TABLE)
    with pytest.raises(ConfigurationError, match="column=value") as refused:
        parse_key(table, ["secret"])
    assert "secret" not in str(refused.value)
    ensure_table(catalog, "raw.n", arrow_to_iceberg(pa.schema([("n", pa.int64())])), partition_by=())
    with pytest.raises(ConfigurationError, match="n is not of the column's type, long") as refused:
        TablePlace(catalog, "raw.n", Key({"n": "secret"})).find()
    assert "secret" not in str(refused.value)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def test_on_an_object_store(tmp_path: Path, s3: str) -> None:
    import boto3

    bucket = "lake"
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s", "region_name": "us-east-1"}
    store = boto3.client("s3", endpoint_url=s3, **keys)
    store.create_bucket(Bucket=bucket)
    options = {"s3.endpoint": s3, "s3.access-key-id": "k", "s3.secret-access-key": "s", "s3.region": "us-east-1"}
    catalog = open_catalog("phlo", {**embedded_properties(tmp_path), **options, "warehouse": f"s3://{bucket}/house"})
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA), partition_by=("id",))
    write(catalog, "a", row(1), theirs())
    write(catalog, "b", row(2), theirs(mail=f"{MAIL}-2"))
    there = place(catalog)
    assert there.find().amounts["rows"] == 1
    there.erase()
    assert not there.find()
    copies = tmp_path / "copies"
    for item in store.list_objects_v2(Bucket=bucket)["Contents"]:
        path = copies / item["Key"]
        if item["Key"].endswith("/"):  # Arrow marks folders
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get_object(Bucket=bucket, Key=item["Key"])["Body"].read())
    assert remains(copies, THEIRS, MAIL) == []
    assert [each["id"] for each in rows(catalog)] == ["other-1", "other-2"]


def test_writers_at_the_same_time_lose_nothing(home: Path, catalog: Catalog) -> None:
    write(catalog, "a", row(1), theirs(), row(2))

    def publish(number: int) -> None:
        def attempt() -> None:
            write(
                open_lake(Path(catalog.properties["uri"].removeprefix("sqlite:///")).parent), f"w{number}", row(number)
            )

        retry_conflicts(attempt, TABLE)

    with ThreadPoolExecutor(3) as pool:
        writers = [pool.submit(publish, number) for number in range(10, 16)]
        left = pool.submit(lambda: everywhere.forget([place(catalog)])).result()
        for writer in writers:
            writer.result()
    assert not any(each.found for each in left)
    assert not place(catalog).find()
    assert {each["id"] for each in rows(catalog)} == {f"other-{number}" for number in (1, 2, *range(10, 16))}
    assert remains(folder(catalog), THEIRS, MAIL) == []
