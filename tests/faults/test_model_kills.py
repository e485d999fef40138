"""kill -9 at every step of an incremental dbt model, and two backfills of it at once: the table is the model's."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt import runner
from airflow_provider_phlo.dbt.adapter import increments
from airflow_provider_phlo.dbt.adapter.lakehouse import Lakehouse
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.merge import replacement
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import write_project
from tests.faults.killing import PROCESSES, Wrapper, dying_after, dying_before
from tests.lake import open_lake
from tests.patience import PATIENCE

MODEL, TABLE = "model.shop.daily", "shop_marts.daily"
DAYS, KEYS = 5, 40
FILES = {
    "dbt_project.yml": "name: shop\nprofile: shop\nmodels: {+schema: marts}\n",
    "models/s.yml": "sources: [{name: raw, tables: [{name: events}]}]\n"
    "models: [{name: daily, columns: [{name: id, data_tests: [unique, not_null]}]}]",
    "models/daily.sql": "{{ config(materialized='incremental', unique_key='id', partition_by='day') }} "
    "select id, id % 5 as day, version from {{ source('raw', 'events') }} "
    "{% if is_incremental() %}where id % 5 = {{ env_var('DAY', '0') }} or id % 5 = 0{% endif %}",
}
# where the process dies, and whether main has the run's rows then
STEPS: dict[str, tuple[Any, str, Wrapper, bool]] = {
    "new rows computed": (increments.Increment, "__init__", dying_after, False),
    "rows to replace found": (replacement, "_decide", dying_after, False),
    "files written": (replacement, "commit_files", dying_before, False),
    "metadata written, the catalog does not know": (CachingSqlCatalog, "_write_metadata", dying_after, False),
    "committed to the branch": (replacement, "commit_files", dying_after, False),
    "noted": (Lakehouse, "_note", dying_after, False),
    "tests passed": (runner, "_publish", dying_before, False),
    "published": (branches, "move_main", dying_after, True),
    "result not returned": (runner, "_publish", dying_after, True),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_project(tmp_path_factory.mktemp("dbt") / "shop", FILES)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def catalog(home: Path, project: Path) -> Catalog:
    """Return a catalog with the model's table, built once."""
    catalog = open_lake(home)
    write_events(catalog, 0)
    build(project, home, "first")
    return catalog


def write_events(catalog: Catalog, version: int) -> None:
    rows = {"id": [*range(KEYS)], "version": [version] * KEYS}
    overwrite_if_changed(catalog, "raw.events", pa.table(rows))


def build(project: Path, home: Path, token: str, day: int = 0) -> runner.ModelRun:
    environment = {"PHLO_RUN_TOKEN": token, "PHLO_RUN_ID": token, "DAY": str(day)}
    return runner.build_model(project, MODEL, home=home, environment=environment)


def content(catalog: Catalog) -> list[tuple[int, int, int]]:
    return connect(catalog, tables=[TABLE]).execute(f"SELECT id, day, version FROM {TABLE} ORDER BY id").fetchall()


def with_version(rows: list[tuple[int, int, int]], version: int, *days: int) -> list[tuple[int, int, int]]:
    return [(key, day, version if day in (0, *days) else old) for key, day, old in rows]


def forks(pipe: Any, project: str, home: str) -> None:
    """Run what the pipe names in forks of this process, which has imported dbt as a worker has."""
    for step in iter(pipe.recv, None):
        owner, name, wrapper, _ = STEPS[step]
        child = os.fork()
        if not child:
            setattr(owner, name, wrapper(1, getattr(owner, name)))
            build(Path(project), Path(home), "killed")
            os._exit(0)
        _, status = os.waitpid(child, 0)
        pipe.send(os.waitstatus_to_exitcode(status))


@pytest.fixture(scope="module")
def killed(project: Path, home: Path, catalog: Catalog) -> Iterator[Callable[[str], int]]:
    """Return a function that runs the model in a process that dies at a step, and gives its exit code."""
    ours, theirs = PROCESSES.Pipe()
    process = PROCESSES.Process(target=forks, args=(theirs, str(project), str(home)))
    process.start()

    def run(step: str) -> int:
        ours.send(step)
        assert ours.poll(120), f"it hangs: {step}"
        return int(ours.recv())

    yield run
    ours.send(None)
    process.join(PATIENCE)
    process.kill()


@pytest.mark.parametrize("step", STEPS)
def test_an_increment_that_is_killed_is_done_by_its_retry(
    project: Path, home: Path, catalog: Catalog, killed: Callable[[str], int], step: str
) -> None:
    version = 1 + [*STEPS].index(step)
    before = content(catalog)
    write_events(catalog, version)
    after = with_version(before, version)
    assert before != after
    snapshots = len(catalog.load_table(TABLE).history())
    seen: list[Any] = []
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            seen.append(content(open_lake(home)))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        assert killed(step) == -signal.SIGKILL
        assert content(catalog) == (after if STEPS[step][3] else before)
        build(project, home, "killed")
        assert content(catalog) == after
        assert build(project, home, "killed").changed is False  # and once more, as a cleared task
    finally:
        over.set()
        reader.join()
    assert seen
    assert all(rows in (before, after) for rows in seen)
    table = catalog.load_table(TABLE)
    assert len(table.history()) == snapshots + 1
    assert set(table.refs()) == {"main"}


def backfill(project: str, home: str, day: int) -> None:
    sys.exit(0 if build(Path(project), Path(home), f"backfill{day}", day).table == TABLE else 1)


def test_two_backfills_of_one_model_at_once(project: Path, home: Path, catalog: Catalog) -> None:
    write_events(catalog, 100)
    expected = with_version(content(catalog), 100, *range(1, DAYS))
    processes = [PROCESSES.Process(target=backfill, args=(str(project), str(home), day)) for day in range(1, DAYS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PATIENCE)
    assert [process.exitcode for process in processes] == [0] * (DAYS - 1)
    assert content(catalog) == expected
    assert set(catalog.load_table(TABLE).refs()) == {"main"}
