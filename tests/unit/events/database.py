"""A database as the loader makes it, and the same in plain Python."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources

import duckdb
import pyarrow as pa

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
_loads = itertools.count()


@dataclass(frozen=True)
class Event:
    """A row of ``events``, as far as queries see it."""

    event_id: str
    event_type: str = "PushEvent"
    created_at: datetime | None = NOW - timedelta(hours=1)
    actor: int | None = 1
    repo: int | None = 1

    @property
    def actor_login(self) -> str | None:
        return None if self.actor is None else f"user{self.actor}"

    @property
    def repo_name(self) -> str | None:
        return None if self.repo is None else f"org/repo{self.repo}"


def open_database(path=":memory:"):
    """Return a connection to a database with the loader's tables."""
    connection = duckdb.connect(str(path))
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(resources.files("airflow_provider_phlo.events").joinpath("sql", "schema.sql").read_text())
    return connection


def load(connection, events):
    """Insert the rows of one file."""
    loaded_at = NOW + timedelta(microseconds=next(_loads))
    rows = [
        (
            event.event_id,
            event.event_type,
            event.created_at,
            event.actor,
            event.actor_login,
            event.repo,
            event.repo_name,
            "file.jsonl",
            loaded_at,
        )
        for event in events
    ]
    names = "event_id, event_type, created_at, actor_id, actor_login, repo_id, repo_name, source_file, loaded_at"
    if rows:
        columns = pa.table(list(map(pa.array, zip(*rows, strict=True))), names.split(", "))
        # one statement: DuckDB prepares anew for every row of executemany
        connection.register("loaded", columns)
        connection.execute(f"INSERT INTO events ({names}) SELECT {names} FROM loaded")
        connection.unregister("loaded")
