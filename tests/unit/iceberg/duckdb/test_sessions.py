"""Where DuckDB spills to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from airflow_provider_phlo.iceberg.duckdb.sessions import spill_privately


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_what_duckdb_spills_is_private_and_goes_with_the_connection(
    tmp_path: Path, temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    connection = duckdb.connect()
    for _ in range(2):  # a connection may get views more than once
        spill_privately(connection)
    (owner,) = temporary.iterdir()
    assert owner.stat().st_mode & 0o777 == 0o700
    assert list(owner.iterdir()) == []  # a task that ends here leaves nothing
    connection.execute("SET memory_limit = '40MB'; SET threads = 1")
    connection.execute("CREATE TABLE t AS SELECT hash(range)::VARCHAR || repeat('x', 50) FROM range(1500000)")
    (folder,) = owner.iterdir()
    assert list(folder.iterdir()) != []
    assert list(work.iterdir()) == []
    connection.close()
    del connection
    assert list(owner.iterdir()) == []


@pytest.mark.parametrize(
    "take",
    [
        lambda place: (place.mkdir(), place.chmod(0o755)),
        lambda place: place.write_text(""),
        lambda place: place.symlink_to(place.parent, target_is_directory=True),
    ],
    ids=["readable by others", "a file", "a link"],
)
def test_a_name_that_somebody_has_taken_is_not_used(temporary: Path, take: Callable[[Path], object]) -> None:
    taken = temporary / f"phlo-duckdb-{os.getuid()}"
    take(taken)
    connection = duckdb.connect()
    spill_privately(connection)
    place = Path(str(connection.execute("SELECT current_setting('temp_directory')").fetchone()[0]))
    assert taken not in place.parents
    assert place.parent.stat().st_mode & 0o777 == 0o700


def test_what_killed_processes_left_is_removed_once_it_is_old(temporary: Path) -> None:
    owner = temporary / f"phlo-duckdb-{os.getuid()}"
    owner.mkdir(mode=0o700)
    for name, modified in (("1-old", 0), ("1-new", None)):
        (owner / name).mkdir()
        (owner / name / "storage.tmp").write_text("rows")
        if modified is not None:
            os.utime(owner / name, (modified, modified))
    spill_privately(duckdb.connect())
    assert [left.name for left in owner.iterdir()] == ["1-new"]
