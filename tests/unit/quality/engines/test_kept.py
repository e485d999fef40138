"""The DuckDB that a process keeps for checks is as good as a new one."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import duckdb
import pyarrow as pa
import pytest

from airflow_provider_phlo.quality.engines import open_duckdb
from airflow_provider_phlo.quality.engines.kept import _close, _kept
from tests.patience import PATIENCE

CHECK = """
from airflow_provider_phlo.quality import CountCheck
print(CountCheck(1).execute([{"id": 1}]).passed)
"""


@pytest.fixture(autouse=True)
def _none_kept() -> None:
    _close()


def state(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, ...]]:
    """Return the names of what there is, and every setting that a statement can change."""
    there = " UNION ALL ".join(
        f"SELECT {kind}_name FROM duckdb_{kind}s() WHERE NOT internal"
        for kind in ("schema", "view", "table", "function")
    )
    settings = "SELECT name, value FROM duckdb_settings()"
    return sorted(connection.execute(there).fetchall()) + sorted(connection.execute(settings).fetchall())


def use(connection: duckdb.DuckDBPyConnection) -> None:
    """Leave all that engines create, register and set."""
    connection.execute("CREATE SCHEMA raw; CREATE VIEW raw.readings AS SELECT 1 AS id; CREATE TABLE positions (n INT)")
    connection.execute("CREATE TEMP TABLE deleted (n INT); CREATE MACRO twice(n) AS 2 * n")
    connection.register("df", pa.table({"id": [1]}))
    connection.execute("SET search_path = 'raw'; SET TimeZone = 'Asia/Tokyo'")
    connection.execute("BEGIN; INSERT INTO positions VALUES (1)")


def test_the_next_finds_it_as_the_first_did() -> None:
    with open_duckdb() as connection:
        before = state(connection)
        use(connection)
    (kept,) = _kept.values()
    with open_duckdb() as connection:
        assert not _kept
        assert state(connection) == before
        use(connection)
    assert list(_kept.values()) == [kept]


def test_two_at_a_time_know_nothing_of_each_other() -> None:
    with open_duckdb() as one, open_duckdb() as other:
        use(one)
        with pytest.raises(duckdb.CatalogException):
            other.execute("SELECT * FROM raw.readings")
        use(other)
    assert len(_kept) == 1


def test_after_an_error_it_is_not_kept() -> None:
    with pytest.raises(duckdb.Error), open_duckdb() as connection:
        connection.execute("SELECT * FROM nothing")
    assert not _kept


def test_it_has_what_checks_rely_on() -> None:
    unrelated = pa.table({"id": [1]})  # noqa: F841  # a variable is not a table
    for _ in range(2):
        with open_duckdb() as connection:
            assert connection.execute("SELECT current_setting('TimeZone'), xxhash64('')").fetchone() == (
                "UTC",
                -1205034819632174695,
            )
            with pytest.raises(duckdb.CatalogException):
                connection.execute("SELECT * FROM unrelated")


def test_it_uses_threads_only_while_it_is_used() -> None:
    with duckdb.connect() as connection:
        (usual,) = connection.execute("SELECT current_setting('threads'), current_setting('async_threads')").fetchall()
    with open_duckdb() as connection:
        busy = len(os.listdir("/proc/self/task"))
        assert connection.execute("SELECT current_setting('threads'), current_setting('async_threads')").fetchall() == [
            usual
        ]
    assert len(os.listdir("/proc/self/task")) <= busy - (usual[0] - 1) - usual[1]


def test_a_fork_opens_its_own_and_ends_as_its_parent_does() -> None:
    with open_duckdb() as connection:
        connection.execute("SELECT 1")
    (folder,) = _kept[os.getpid()].execute("SELECT current_setting('temp_directory')").fetchone()
    os.mkdir(folder)  # as DuckDB does when it spills
    process = multiprocessing.get_context("fork").Process(target=check_and_end)
    process.start()
    process.join(PATIENCE)
    if process.exitcode is None:
        process.kill()
    assert process.exitcode == 0
    assert os.path.isdir(folder)
    os.rmdir(folder)


def check_and_end() -> None:
    with open_duckdb() as connection:
        assert connection.execute("SELECT 2").fetchall() == [(2,)]
    assert len(_kept) == 2
    _kept.clear()  # that of the parent too


@pytest.mark.long
def test_the_end_of_a_process_is_silent() -> None:
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout, done.stderr, done.returncode) == ("True\n", "", 0)
