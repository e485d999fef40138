"""Files that are missing or damaged: one line each, told apart."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import PhloError, TerminalError, TransientError
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.merge import merge
from airflow_provider_phlo.iceberg.merge.plan import MergePlan
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.library_errors import describe, without_values
from airflow_provider_phlo.quality import NullCheck
from airflow_provider_phlo.quality.scan import run_checks
from tests.lake import create_table, open_lake
from tests.unit.position_deletes import commit_deletes, delete_file

ROWS = pa.table({"id": [2, 3]})
KINDS = {
    "metadata.json": "*.metadata.json",
    "manifest list": "snap-*.avro",
    "manifest": "*-m0.avro",
    "data file": "*.parquet",
}


@pytest.fixture
def lake(home: Path) -> Catalog:
    catalog = open_lake(home)
    create_table(catalog, "raw.t", pa.table({"id": [1, 2]}))
    return catalog


def broken(home: Path, kind: str, how: str) -> Path:
    path = max(home.rglob(KINDS[kind]))
    content = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(content[: len(content) // 2] if how == "cut" else b"canary canary canary")
    return path


def raised(work: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any library's
        work()
    return caught.value


@pytest.mark.long
@pytest.mark.parametrize("how", ["missing", "cut", "garbage"])
@pytest.mark.parametrize("kind", KINDS)
def test_case_55_a_file_of_a_table(lake: Catalog, home: Path, run_phlo: Any, kind: str, how: str) -> None:
    path = broken(home, kind, how)
    state = "is missing" if how == "missing" else "is damaged"
    error = raised(lambda: open_lake(home).load_table("raw.t").scan().to_arrow())
    code, out, err = run_phlo("query", "SELECT * FROM raw.t")
    assert (code, out, err.count("\n")) == (1, "", 1)
    for said in (describe(error), err):
        assert f"Table raw.t: its {kind}" in said
        assert f"{path} {state}." in said
        assert "A retry" in said
        assert "canary" not in said
    assert type(without_values(error)) is (TransientError if how == "missing" else TerminalError)


READERS: dict[str, Callable[[Catalog], Any]] = {
    "scan": lambda lake: lake.load_table("raw.t").scan().to_arrow(),
    "view": lambda lake: connect(lake).execute("FROM raw.t").fetchall(),
    "check": lambda lake: run_checks(lake, "raw.t", [NullCheck(columns=["id"])]),
    "merge": lambda lake: merge(lake, "raw.t", ROWS, MergePlan("merge", key=("id",)), token="t"),
    "append": lambda lake: merge(lake, "raw.t", ROWS, MergePlan("append", method="hash"), token="t"),
    "compaction": lambda lake: compact(lake, "raw.t"),
    "rollback": lambda lake: overwrite_if_changed(lake, "raw.t", ROWS),
}


@pytest.mark.long
@pytest.mark.parametrize("how", ["missing", "cut", "encrypted"])
@pytest.mark.parametrize("reader", READERS)
def test_case_55_every_reader_says_which_data_file(lake: Catalog, home: Path, reader: str, how: str) -> None:
    lake.load_table("raw.t").append(ROWS)  # two files, which compaction reads
    if how == "encrypted":
        path = max(home.rglob("*.parquet"))
        encrypt(path)
    else:
        path = broken(home, "data file", how)
    error = raised(lambda: READERS[reader](lake))
    assert "Table raw.t: its data file " in describe(error)
    assert f"{path} is {'damaged' if how == 'cut' else how}. " in describe(error)
    assert type(without_values(error)) is (TransientError if how == "missing" else TerminalError)


def test_case_41_a_flipped_bit_in_a_page_of_a_table_is_found(tmp_path: Path) -> None:
    """A key that reads as another one would be inserted again."""
    lake, rows = open_lake(tmp_path), pa.table({"id": range(1000, 1040)})
    overwrite_if_changed(lake, "raw.t", rows)
    table = lake.load_table("raw.t")
    [task] = table.scan().plan_files()
    path = Path(task.file.file_path.removeprefix("file://"))
    content, column = path.read_bytes(), pq.read_metadata(path).row_group(0).column(0)
    start = column.dictionary_page_offset or column.data_page_offset
    found = 0
    for at in range(start, start + column.total_compressed_size):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        try:
            read = pa.concat_tables(read_file(table, task, ["id"]))
        except Exception as error:  # noqa: BLE001 - any library's
            found += f"{path} is damaged" in describe(error)
        else:
            assert read["id"].to_pylist() == rows["id"].to_pylist(), f"byte {at}"
    assert found > column.total_compressed_size / 2


@pytest.mark.parametrize("reader", sorted(READERS.keys() - {"check"}))
def test_case_55_a_file_whose_columns_are_encrypted(lake: Catalog, home: Path, reader: str) -> None:
    """Its footer can be read: DuckDB does not say which file it is."""
    encrypt(max(home.rglob("*.parquet")), plaintext_footer=True)
    lake.load_table("raw.t").append(ROWS)
    assert "encrypted" in describe(raised(lambda: READERS[reader](lake)))


def test_case_55_a_damaged_delete_file_is_named_itself(tmp_path: Path) -> None:
    lake = open_lake(tmp_path)
    create_table(lake, "raw.t", ROWS)
    lake.load_table("raw.t").append(ROWS)
    [file, *_] = [task.file for task in lake.load_table("raw.t").scan().plan_files()]
    delete = delete_file(lake.load_table("raw.t"), {file: [0]})
    commit_deletes(lake, "raw.t", delete)
    Path(delete.file_path.removeprefix("file://")).write_bytes(b"canary")
    assert f"{delete.file_path} is damaged" in describe(raised(lambda: READERS["compaction"](lake)))


def test_a_file_of_a_source_that_is_encrypted_or_none(tmp_path: Path) -> None:
    path = tmp_path / "part.parquet"
    pq.write_table(ROWS, path)
    encrypt(path)
    assert "a file is encrypted. Parquet's own encryption is not read" in describe(raised(lambda: pq.read_table(path)))
    path.write_bytes(b"canary" * 9)
    assert describe(raised(lambda: pq.read_table(path))).endswith("a file is not Parquet, or damaged")


def encrypt(path: Path, *, plaintext_footer: bool = False) -> None:
    """Write a Parquet file again as engines write it that encrypt its columns."""
    rows = pq.ParquetFile(path).read()
    how = encryption.EncryptionConfiguration(
        "footer", column_keys={"column": ["id"]}, plaintext_footer=plaintext_footer
    )
    factory = encryption.CryptoFactory(lambda _: KeysAsTheyAre())
    properties = factory.file_encryption_properties(encryption.KmsConnectionConfig(), how)
    with pq.ParquetWriter(path, rows.schema, encryption_properties=properties) as writer:
        writer.write_table(rows)


class KeysAsTheyAre(encryption.KmsClient):
    """A key server that wraps nothing."""

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
        return key_bytes

    def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
        return wrapped_key


@pytest.mark.parametrize("command", [("catalog", "tables"), ("catalog", "describe", "t"), ("maintenance", "plan", "t")])
def test_case_55_every_command_says_it(lake: Catalog, home: Path, run_phlo: Any, command: tuple[str, ...]) -> None:
    broken(home, "metadata.json", "garbage")
    code, _, err = run_phlo(*command)
    assert code == 1
    assert "its metadata.json" in err
    assert "is damaged" in err


def test_case_55_a_damaged_catalog(lake: Catalog, home: Path, run_phlo: Any) -> None:
    (home / "catalog.db").write_bytes(b"canary" * 1000)
    assert isinstance(raised(lambda: open_lake(home)), TerminalError)
    code, _, err = run_phlo("query", "SELECT * FROM raw.t")
    assert code == 1
    assert f"{home / 'catalog.db'} is damaged" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("how", ["missing", "empty"])
def test_case_55_no_catalog_beside_a_full_warehouse(lake: Catalog, home: Path, run_phlo: Any, how: str) -> None:
    (home / "catalog.db").unlink()
    if how == "empty":
        (home / "catalog.db").touch()
    code, _, err = run_phlo("catalog", "tables")
    assert code == 1
    assert f"catalog.db is {how}" in err
    assert "raw/t" in err
    assert how == "empty" or not (home / "catalog.db").exists()


def test_case_55_a_catalog_in_use_is_not_a_damaged_one(lake: Catalog, home: Path) -> None:
    other = sqlite3.connect(home / "catalog.db")
    other.execute("BEGIN EXCLUSIVE")
    properties = {**embedded_properties(home), "uri": f"sqlite:///{home / 'catalog.db'}?timeout=0.05"}
    error = raised(lambda: open_catalog("phlo", properties))
    assert isinstance(error, TransientError)
    assert "in use by another process" in str(error)
    other.rollback()
    opened = open_catalog("phlo", properties)
    other.execute("BEGIN EXCLUSIVE")
    later = without_values(raised(lambda: opened.load_table("raw.t")))
    other.close()
    assert isinstance(later, TransientError)
    assert "another process holds it" in str(later)


def test_an_error_of_a_value_is_not_a_damaged_file(lake: Catalog) -> None:
    error = raised(lambda: lake.load_table("raw.t").scan(row_filter="id = 'canary'").to_arrow())
    assert not isinstance(error, PhloError)
    assert "damaged" not in describe(error)
