"""Where batches and the database are, and what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_phlo.events.paths import event_paths
from airflow_provider_phlo.exceptions import ConfigurationError


def test_all_is_below_home_unless_said_otherwise(tmp_path: Path) -> None:
    paths = event_paths(tmp_path, {})
    assert (paths.raw, paths.database) == (str(tmp_path / "events/raw"), tmp_path / "events/github_events.duckdb")
    moved = event_paths(tmp_path, {"DATA_DIR": "/data", "RAW_DIR": "s3://bucket/raw", "DUCKDB_PATH": "/db/e.duckdb"})
    assert (moved.raw, moved.published) == ("s3://bucket/raw", Path("/db/e.published"))


@pytest.mark.parametrize(
    "variables",
    [
        {"DATA_DIR": "data"},
        {"RAW_DIR": "raw"},
        {"DATA_DIR": "/data", "RAW_DIR": "/data"},
        {"DATA_DIR": "/data", "RAW_DIR": "/data/x/.."},
        {"RAW_DIR": "/data", "DUCKDB_PATH": "/data/below/e.duckdb"},
    ],
    ids=str,
)
def test_what_would_load_itself_or_depends_on_the_folder_is_refused(tmp_path: Path, variables: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"absolute|of its own"):
        event_paths(tmp_path, variables)
