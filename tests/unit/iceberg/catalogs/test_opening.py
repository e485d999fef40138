from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy.exc import OperationalError

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.iceberg.catalogs import opening as module
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from tests.patience import PATIENCE

# children are forked from a process that has imported the libraries and has no threads
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["airflow_provider_phlo.ingestion.landing", "pyiceberg.catalog.sql", "pytest"])


def test_the_embedded_catalog_needs_only_a_folder(tmp_path: Path) -> None:
    properties = embedded_properties(tmp_path / "new" / "home")
    assert properties["type"] == "sql"
    catalog = open_catalog("phlo", properties)
    ensure_namespace(catalog, "raw")
    table = catalog.create_table("raw.t", pa.schema([("a", pa.int64())]))
    assert table.location().startswith(f"file://{tmp_path / 'new' / 'home' / 'warehouse'}")
    assert (tmp_path / "new" / "home" / "catalog.db").is_file()
    assert open_catalog("phlo", properties).table_exists("raw.t")


def test_a_relative_home_means_the_same_from_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    relative = embedded_properties(Path("home"))
    assert relative == embedded_properties(tmp_path / "home")


def test_a_namespace_is_made_once(tmp_path: Path) -> None:
    catalog = open_catalog("phlo", embedded_properties(tmp_path))
    for _ in range(2):
        ensure_namespace(catalog, "raw")
    assert catalog.list_namespaces() == [("raw",)]


def open_and_create(home: Path, barrier: Any, outcome: Any) -> None:
    barrier.wait()
    try:
        catalog = open_catalog("phlo", embedded_properties(home))
        barrier.wait()
        ensure_namespace(catalog, "raw")
    except Exception as error:  # noqa: BLE001  # reported to the test
        outcome.put(repr(error))
    else:
        outcome.put("ok")


def test_processes_that_start_at_once_share_a_new_catalog(tmp_path: Path) -> None:
    for attempt in range(3):
        barrier, outcome = PROCESSES.Barrier(4, timeout=PATIENCE), PROCESSES.Queue()
        arguments = (tmp_path / str(attempt), barrier, outcome)
        processes = [PROCESSES.Process(target=open_and_create, args=arguments) for _ in range(4)]
        for process in processes:
            process.start()
        assert [outcome.get(timeout=PATIENCE) for _ in processes] == ["ok"] * 4
        for process in processes:
            process.join()


def test_slower_first_openings_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = module.CachingSqlCatalog, []

    def slower(name: str, **properties: str) -> Any:
        calls.append(name)
        if len(calls) < 3:  # what SQLite says to the process that comes late
            raise OperationalError("CREATE TABLE", {}, Exception("table iceberg_tables already exists"))
        return real(name, **properties)

    monkeypatch.setattr(module, "CachingSqlCatalog", slower)
    assert open_catalog("phlo", embedded_properties(tmp_path)).list_namespaces() == []
    assert len(calls) == 3


@pytest.mark.parametrize(
    "properties",
    [
        {"type": "sql", "uri": "sqlite:////nowhere/at/all/catalog.db", "warehouse": "file:///nowhere"},
        {"type": "rest", "uri": "http://127.0.0.1:9"},
    ],
    ids=["no folder", "no server"],
)
def test_a_catalog_that_is_down_is_named(properties: dict[str, str]) -> None:
    with pytest.raises(TransientError, match=r"Catalog 'far' cannot be reached .* is it up"):
        open_catalog("far", properties)


@pytest.mark.parametrize(
    ("properties", "problem"),
    [
        ({"type": "sql", "uri": "postgresql+psycopg2://u:CANARY@host:port/db"}, "not the address of a database"),
        ({"type": "sql", "uri": "nosuch://u:CANARY@host/db"}, r"not the address of a database, or the driver"),
        ({"type": "sql", "uri": "postgresql+pg8000x://u:CANARY@host/db"}, "driver of it is not installed"),
        ({"type": "sql", "uri": "CANARY"}, "not the address of a database"),
        ({"type": "sql"}, "not the address of a database"),
        ({"type": "CANARY", "uri": "x://y"}, "there is no such type; write one of rest, hive, glue"),
    ],
)
def test_case_55_an_address_of_no_catalog_is_named(properties: dict[str, str], problem: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"Catalog 'lake': .*{problem}.* in the connection iceberg_default"
    ) as said:
        open_catalog("lake", {"warehouse": "file:///nowhere", **properties})
    assert "CANARY" not in str(said.value)
