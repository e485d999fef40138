"""A folder of batches and the database that they are loaded into."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pytest

from airflow_provider_phlo.events.loading import load_events


def event(number: int | str, **changes: Any) -> dict[str, Any]:
    """Return an event as GitHub sends them."""
    document = {
        "id": str(number),
        "type": "PushEvent",
        "actor": {"id": 583231, "login": "octocat", "url": "https://api.github.com/users/octocat"},
        "repo": {"id": 1296269, "name": "octocat/hello", "url": "https://api.github.com/repos/octocat/hello"},
        "payload": {"size": 1, "commits": [{"message": "fix"}]},
        "public": True,
        "created_at": "2024-01-15T10:00:00Z",
        "ingested_at": "2024-01-15T10:05:00Z",
    }
    return {**document, **changes}


def text(*lines: Mapping[str, Any] | str | bytes) -> bytes:
    """Return lines of a file: documents as JSON, the others as they are."""
    encoded = (
        line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
        for line in lines
    )
    return b"".join(line + b"\n" for line in encoded)


class Lake:
    """A folder, a database, and what is in it."""

    def __init__(self, root: Path) -> None:
        self.folder, self.database = root / "raw", root / "db" / "events.duckdb"
        self.folder.mkdir(parents=True)

    def write(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return path

    def load(self, **options: Any) -> Any:
        return load_events(self.folder, self.database, **options)

    def query(self, sql: str, parameters: Iterable[Any] = ()) -> list[tuple[Any, ...]]:
        with duckdb.connect(self.database, read_only=True) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.execute(sql, list(parameters)).fetchall()

    def rejected(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT line_number, byte_offset, reason, raw FROM rejected_lines ORDER BY ALL")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


Counts = Callable[..., tuple[int, int, int, int, int]]


@pytest.fixture
def counts() -> Counts:
    """Return a function: scanned, loaded, skipped, inserted, rejected of a result."""

    def counts(result: Any) -> tuple[int, int, int, int, int]:
        return (
            result.scanned_files,
            result.loaded_files,
            result.skipped_files,
            result.inserted_events,
            result.rejected_lines,
        )

    return counts
