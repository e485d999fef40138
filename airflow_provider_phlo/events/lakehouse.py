"""The loaded events on their way into Iceberg: those that no published run has taken yet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dlt
import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from dlt.extract.resource import DltResource

from airflow_provider_phlo.files.database import open_database
from airflow_provider_phlo.sql import literal

_FIRST = "-infinity"
_ROWS = 20_000


def loaded_events(database: Path, *, wait_seconds: float = 60.0) -> DltResource | None:
    """
    Return the events that were loaded since the last published run, each once.

    Files are loaded one after the other, each at a later time than all before it; the time of the last one that is
    taken is kept in the resource's dlt state, which is published with the rows. A database in which no file was loaded
    at that very time is not the one that was read then, and all of it is taken: it may have been loaded earlier.

    :param database: the DuckDB file; None is returned where nothing was loaded yet.
    :param wait_seconds: how long to wait for others who have it open.
    """
    if not database.exists():
        return None

    def rows() -> Iterator[pa.Table]:
        state = dlt.current.resource_state("public_events")
        # others may load while the rows are staged: the database is open only until they are copied
        with tempfile.TemporaryDirectory(prefix=".taken-", dir=database.parent) as folder:
            part = Path(folder) / "events.parquet"
            until = _copy(database, state.get("loaded_until", _FIRST), part, wait_seconds)
            if until is None:
                return
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(_ROWS):
                    yield pa.Table.from_batches([batch])
        state["loaded_until"] = until

    return dlt.resource(rows, name="public_events")


def _copy(database: Path, after: str, part: Path, wait_seconds: float) -> str | None:
    """Copy what was loaded after a time; return the time of the last file among it, None where there is none."""
    with open_database(database, wait_seconds) as connection:
        if not _is_known(connection, after):
            after = _FIRST
        newest = "SELECT strftime(max(loaded_at), '%Y-%m-%dT%H:%M:%S.%fZ') FROM loaded_files WHERE loaded_at > ?"
        ((until,),) = connection.execute(newest, [after]).fetchall()
        if until is not None:
            connection.execute(
                f"""
                COPY (
                    SELECT event_id, event_type, created_at, ingested_at, actor_id, actor_login, repo_id, repo_name,
                           payload::VARCHAR AS payload, raw::VARCHAR AS raw, source_file
                    FROM events WHERE loaded_at > {literal(after)} ORDER BY loaded_at
                ) TO {literal(str(part))} (FORMAT parquet, COMPRESSION zstd)
                """  # noqa: S608 - quoted
            )
    return str(until) if until is not None else None


def _is_known(connection: duckdb.DuckDBPyConnection, moment: str) -> bool:
    """Return whether a file was loaded at that time, of whatever version."""
    versions = "SELECT loaded_at FROM loaded_files UNION ALL SELECT loaded_at FROM replaced_files"
    query = f"SELECT count(*) > 0 FROM ({versions}) WHERE loaded_at = ?"  # noqa: S608 - our own names
    ((known,),) = connection.execute(query, [moment]).fetchall()
    return bool(known)
