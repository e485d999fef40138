"""
Loads of a stage into PostgreSQL: statements and seconds against the number of files, and what Snowflake would execute.

Run with ``python -m benchmarks.warehouse`` (starts the bundled PostgreSQL in a folder of its own).
"""

from __future__ import annotations

import datetime
import sys
import tempfile
import time
from pathlib import Path

import psycopg
import pyarrow as pa
from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from airflow_provider_phlo.warehouse.postgres import PostgresDialect
from airflow_provider_phlo.warehouse.snowflake import SnowflakeDialect
from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse
from airflow_provider_phlo.warehouse.stage import Stage
from airflow_provider_phlo.warehouse.stage_batches import StageBatch
from airflow_provider_phlo.warehouse.statements import load_statements, table_statements
from airflow_provider_phlo.warehouse.tables import StageTable

DATE = "2026-11-28"


class Row(PhloSchema):
    """A row with a key, an order and some content."""

    row_key: str = Field(unique=True)
    updated_at: datetime.datetime = Field()
    title: str = Field()
    number: int = Field()


TABLE = StageTable("rows", "raw.rows", ("row_key",), Row, order_by="updated_at")


def staged(stage: Stage, rows: int, files: int, token: str) -> StageBatch:
    """Stage rows in a number of files."""
    moment = datetime.datetime(2026, 11, 28, tzinfo=datetime.UTC)
    with stage.writer("octo-org", DATE, token) as writer:
        for part in range(files):
            numbers = range(part * rows // files, (part + 1) * rows // files)
            writer.write(
                "rows",
                pa.table(
                    {
                        "row_key": [f"{number:032x}" for number in numbers],
                        "updated_at": pa.array([moment] * len(numbers), pa.timestamp("us", "UTC")),
                        "title": [f"title {number}" for number in numbers],
                        "number": pa.array(numbers, pa.int64()),
                    }
                ),
            )
    assert writer.batch is not None
    return writer.batch


def main(rows: int) -> None:
    """Print a line per number of files."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server = ensure_postgres(home)
        try:
            measure(home, server.uri, rows)
        finally:
            stop_postgres(home)


def measure(home: Path, uri: str, rows: int) -> None:
    """Load the same rows from more and more files, into an empty table and again."""
    stage = Stage(home / "stage", "bench")
    warehouse = SqlWarehouse(PostgresDialect(), lambda: psycopg.connect(uri, autocommit=True))
    print(f"{rows} rows | files | statements Postgres, Snowflake | s, empty table | s, again (unchanged)")
    for files in (1, 10, 100, 1000, 2000):
        batch = staged(stage, rows, files, f"t{files}")
        seconds = []
        for attempt in range(2):
            started = time.perf_counter()
            warehouse.load(stage, [TABLE], [batch], f"{files}-{attempt}", run_id="r", partition_date=DATE)
            seconds.append(time.perf_counter() - started)
        counts = [
            len(load_statements(dialect, [table_statements(dialect, TABLE, batch.files["rows"])], "t"))
            for dialect in (PostgresDialect(), SnowflakeDialect("STAGE"))
        ]
        print(f"| {files} | {counts[0]}, {counts[1]} | {seconds[0]:.2f} | {seconds[1]:.2f} |", flush=True)
        with psycopg.connect(uri, autocommit=True) as connection:
            connection.execute("DROP SCHEMA raw CASCADE")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200_000)
