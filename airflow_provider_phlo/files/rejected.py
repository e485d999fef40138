"""The table of lines that are not rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import duckdb
import pyarrow as pa

from airflow_provider_phlo.files.database import registered
from airflow_provider_phlo.files.lines import Rejected


def insert_rejected(
    connection: duckdb.DuckDBPyConnection, lines: Sequence[Rejected], source_file: str, sha256: str, moment: datetime
) -> None:
    """Insert lines of one file into ``rejected_lines``."""
    table = pa.table(
        {
            "line_number": pa.array([line.line_number for line in lines], pa.int64()),
            "byte_offset": pa.array([line.byte_offset for line in lines], pa.int64()),
            "reason": pa.array([line.reason for line in lines], pa.large_string()),
            "raw": pa.array([line.raw for line in lines], pa.large_string()),
        }
    )
    with registered(connection, "rejected", table):
        connection.execute(
            "INSERT OR REPLACE INTO rejected_lines BY NAME "  # the same bytes may have been read in another format
            "SELECT $source_file AS source_file, $sha256 AS file_sha256, *, $moment AS rejected_at FROM rejected",
            {"source_file": source_file, "sha256": sha256, "moment": moment},
        )
