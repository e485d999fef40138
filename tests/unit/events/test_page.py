"""docs/events.md says what the code does: counts, tables, names of files, and an example that loads."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import duckdb
import pytest

from airflow_provider_phlo.events.loading import load_events
from airflow_provider_phlo.events.paths import event_paths
from airflow_provider_phlo.files.results import LoadResult
from airflow_provider_phlo.files.scanning import SUFFIXES

PAGE = (Path(__file__).parents[3] / "docs" / "events.md").read_text()
ROWS = {
    name: said
    for names, said in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|(.+)\|$", PAGE, re.MULTILINE)
    for name in re.findall(r"\w+", names)
}


@pytest.fixture
def loaded(tmp_path):
    """Return a load of the page's example of CSV."""
    (example,) = re.findall(r"^```\n(event_id,.+?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "example.csv").write_text(example)
    return load_events(tmp_path, tmp_path / "events.duckdb")


def test_each_count_of_a_load_is_there(loaded):
    assert {field.name for field in fields(LoadResult)} <= set(ROWS)


def test_the_example_loads(loaded):
    assert (loaded.inserted_events, loaded.rejected_lines) == (1, 0)


def test_each_table_has_its_columns(loaded):
    with duckdb.connect(loaded.db_path) as connection:
        found = connection.execute("SELECT table_name, column_name FROM information_schema.columns").fetchall()
    assert {table for table, _ in found} == {"events", "loaded_files", "replaced_files", "rejected_lines"}
    for table, column in found:
        said = ROWS["loaded_files"] + ROWS[table] if table == "replaced_files" else ROWS.get(table, PAGE)
        assert f"`{column}`" in said, (table, column)


def test_each_name_of_a_file_that_is_loaded_is_there():
    assert all(f"`{suffix}`" in PAGE for suffix in SUFFIXES)


def test_the_variables_are_those_that_are_read(tmp_path):
    for name in ("DATA_DIR", "RAW_DIR", "DUCKDB_PATH"):
        assert event_paths(tmp_path, {name: "/elsewhere"}) != event_paths(tmp_path, {}), name
        assert name in ROWS
