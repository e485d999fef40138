"""Databases that files cannot be loaded into: what is wrong is said before anything is changed."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import duckdb
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, FilesFailedError, TransientError
from tests.unit.files.conftest import event, text

GOOD = (
    "event_id VARCHAR PRIMARY KEY, event_type VARCHAR, created_at TIMESTAMPTZ, ingested_at TIMESTAMPTZ, "
    "actor_id BIGINT, actor_login VARCHAR, repo_id BIGINT, repo_name VARCHAR, payload JSON, raw JSON, "
    "source_file VARCHAR NOT NULL, loaded_at TIMESTAMPTZ NOT NULL"
)
SHAPES = {
    "a table of one's own": (
        "CREATE TABLE events (a INT)",
        "events has no column event_id; events has no column event_type",
    ),
    "a view": ("CREATE VIEW Events AS SELECT 1 AS event_id", "events is a view"),
    "files of one's own": ("CREATE TABLE loaded_files (path VARCHAR)", "loaded_files has no column file_path"),
    "ids that are numbers": (
        f"CREATE TABLE events ({GOOD.replace('event_id VARCHAR', 'event_id BIGINT')})",
        "events.event_id is BIGINT instead of VARCHAR",
    ),
    "no key": (
        f"CREATE TABLE events ({GOOD.replace(' PRIMARY KEY', '')})",
        "the primary key of events is missing instead of (event_id)",
    ),
    "times without a zone": (
        f"CREATE TABLE events ({GOOD.replace('created_at TIMESTAMPTZ', 'created_at TIMESTAMP')})",
        "events.created_at is TIMESTAMP instead of TIMESTAMP WITH TIME ZONE",
    ),
    "a column that nobody fills": (
        f"CREATE TABLE events ({GOOD}, mine INT NOT NULL)",
        "events.mine may not be NULL, and is not always filled",
    ),
    "a column that is not always filled": (
        f"CREATE TABLE events ({GOOD.replace('actor_id BIGINT', 'actor_id BIGINT NOT NULL')})",
        "events.actor_id may not be NULL, and is not always filled",
    ),
}

READ = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
print("ready", flush=True)
sys.stdin.read()
"""


def make(lake, sql):
    lake.database.parent.mkdir(exist_ok=True)
    with duckdb.connect(lake.database) as connection:
        connection.execute(sql)


@pytest.mark.long
@pytest.mark.parametrize("kind", SHAPES)
def test_tables_of_another_shape_are_refused_and_left_as_they_are(lake, kind):
    sql, difference = SHAPES[kind]
    make(lake, sql)
    lake.write("a.jsonl", text(event(1)))
    with pytest.raises(ConfigurationError) as caught:
        lake.load()
    assert f"differ from those that files are loaded into: {difference}" in str(caught.value)
    names = "SELECT table_name FROM information_schema.tables UNION ALL SELECT index_name FROM duckdb_indexes()"
    assert len(lake.query(names)) == 1


def test_a_table_that_was_dropped_is_not_made_anew_and_left_empty(lake, counts):
    """Nor is the table of another target: its files would be known, and skipped."""
    lake.write("a.jsonl", text(event(1)))
    lake.load()
    make(lake, "DROP TABLE events")
    with pytest.raises(ConfigurationError, match=r"has no table events, but 1 loaded files.*drop loaded_files"):
        lake.load()
    make(lake, "DROP TABLE loaded_files; DROP TABLE replaced_files")
    assert counts(lake.load()) == (1, 1, 0, 1, 0)


def test_what_else_is_in_the_database_is_in_nobodys_way(lake, counts):
    make(
        lake,
        f"CREATE TABLE EVENTS (mine INT, other INT NOT NULL DEFAULT 7, {GOOD}); CREATE TABLE elsewhere (a INT);"
        "CREATE SCHEMA own; CREATE TABLE own.loaded_files (a INT); CREATE VIEW own.events AS SELECT 1 AS a",
    )
    lake.write("a.jsonl", text(event("007")))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)
    assert counts(lake.load()) == (1, 0, 1, 0, 0)
    assert lake.query("SELECT event_id, mine, other FROM events") == [("007", None, 7)]


def test_a_constraint_of_ones_own_fails_the_file_that_breaks_it(lake, counts):
    make(lake, f"CREATE TABLE events ({GOOD}, CHECK (event_type <> 'secret'))")
    for number, kind in enumerate(("A", "secret", "B")):
        lake.write(f"{number}.jsonl", text(event(number, type=kind)))
    for loaded in (2, 0):
        with pytest.raises(FilesFailedError, match=r"1\.jsonl: cannot be loaded: Constraint") as caught:
            lake.load()
        assert counts(caught.value.result) == (3, loaded, 2 - loaded, loaded, 0)
        assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["SQLite", "Parquet", "a folder", "a folder that is a file"])
def test_what_is_not_a_database_needs_another_path(lake, kind):
    lake.database.parent.mkdir()
    if kind == "SQLite":
        with sqlite3.connect(lake.database) as connection:
            connection.execute("CREATE TABLE t (x)")
    elif kind == "Parquet":
        lake.database.write_bytes(b"PAR1" * 100)
    elif kind == "a folder":
        lake.database.mkdir()
    else:
        (lake.database.parent / "file").touch()
        lake.database = lake.database.parent / "file" / "events.duckdb"
    expected = r"is not a DuckDB file|is a folder\. Give the path|Not a directory|File exists"
    with pytest.raises(ConfigurationError, match=expected):
        lake.load()


def test_an_empty_file_is_a_new_database(lake, counts):
    lake.database.parent.mkdir()
    lake.database.touch()
    lake.write("a.jsonl", text(event(1)))
    assert counts(lake.load()) == (1, 1, 0, 1, 0)


def test_a_process_that_only_reads_is_named(lake, counts):
    lake.write("a.jsonl", text(event(1)))
    lake.load()
    command = [sys.executable, "-c", READ, str(lake.database)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        with pytest.raises(TransientError, match=rf"is held by .*python.*, process {process.pid}, and was for 0 s"):
            lake.load(wait_seconds=0.2)
        process.stdin.close()
    assert counts(lake.load()) == (1, 0, 1, 0, 0)
