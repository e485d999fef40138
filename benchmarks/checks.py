"""
12 checks on an Iceberg table of 10M rows and 10 columns (zstd Parquet), uniqueness among them.

Against hand-written DuckDB SQL over the table's own files, which knows everything beforehand: all 12 as aggregates of
one scan, and one query per check. The checks plan the table from its catalog, see which columns there are, and say
which rows fail; nothing fails here. Ways run in turn after one run that warms up; medians count, and
ratios are of one run. Beside them Airflow's common-sql check operators on a DuckDB with the same files, and Great
Expectations in an environment of its own, by pandas, on the first million rows.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.quality import (
    CountCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    RangeCheck,
    ThresholdCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.scan import run_checks
from benchmarks.measuring import Way, medians
from benchmarks.report import Section

TABLE = "raw.readings"
FILE_ROWS = 1_000_000
KINDS = ("alpha", "beta", "gamma", "delta")
LIMIT = 1.2
GX, GX_ROWS = "great-expectations==1.24.1", 1_000_000
HAND_WRITTEN = ("one scan by hand", "one query per check by hand")

CHECKS: dict[str, QualityCheck] = {
    "count": CountCheck(min_count=1),
    "id not null": NullCheck("id"),
    "device and number not null": NullCheck(["device", "number"]),
    "note not null": NullCheck("note"),
    "value in range": RangeCheck("value", -1e4, 1e4),
    "score in range": RangeCheck("score", -50, 50),
    "number in range": RangeCheck("number", 0),
    "kind matches": PatternCheck("kind", "^(alpha|beta|gamma|delta)$"),
    "device matches": PatternCheck("device", r"^device-\d+$"),
    "fresh": FreshnessCheck("taken_at", 24 * 365 * 100),
    "value below threshold": ThresholdCheck("value", 400, tolerance=0.01),
    "id unique": UniqueCheck("id"),
}
# the same by hand; each gives what must be 0
BY_HAND: dict[str, str] = {
    "count": "CASE WHEN count(*) < 1 THEN 1 ELSE 0 END",
    "id not null": "count(*) - count(id)",
    "device and number not null": "count(CASE WHEN device IS NULL OR number IS NULL THEN 1 END)",
    "note not null": "count(*) - count(note)",
    "value in range": "count(CASE WHEN NOT (value >= -1e4 AND value <= 1e4) THEN 1 END)",
    "score in range": "count(CASE WHEN NOT (score >= -50 AND score <= 50) THEN 1 END)",
    "number in range": "count(CASE WHEN NOT number >= 0 THEN 1 END)",
    "kind matches": "count(CASE WHEN NOT regexp_matches(kind, '^(alpha|beta|gamma|delta)$') THEN 1 END)",
    "device matches": r"count(CASE WHEN NOT regexp_matches(device, '^device-\d+$') THEN 1 END)",
    "fresh": "CASE WHEN max(taken_at) < now() - INTERVAL 100 YEAR THEN 1 ELSE 0 END",
    "value below threshold": "CAST(count(CASE WHEN value > 400 THEN 1 END) > 0.01 * count(value) AS INTEGER)",
    "id unique": "count(id) - count(DISTINCT id)",
}


def rows(first: int, number: int) -> pa.Table:
    """Return rows of 10 columns that pass all checks."""
    chance, ids = np.random.default_rng(first), np.arange(first, first + number)
    return pa.table(
        {
            "id": pa.array(ids),
            "device": pa.array(np.char.add("device-", (ids % 1000).astype(str))),
            "number": pa.array(ids // 1000),
            "value": pa.array(chance.normal(120, 40, number)),
            "score": pa.array(chance.normal(0, 1, number)),
            "kind": pa.array(np.array(KINDS)[ids % 4]),
            "note": pa.array(np.char.add("note ", chance.integers(0, 10**9, number).astype(str))),
            "taken_at": pa.array(chance.integers(10**15, 17 * 10**14, number), pa.timestamp("us", "UTC")),
            "flag": pa.array(ids % 3 == 0),
            "day": pa.array(np.datetime64("2024-01-01") + ids % 365, pa.date32()),
        }
    )


def create(home: Path, size: int) -> Catalog:
    """Return a catalog with a table of this many rows."""
    catalog = open_catalog("phlo", embedded_properties(home))
    ensure_namespace(catalog, "raw")
    properties = {"write.parquet.compression-codec": "zstd"}
    table = catalog.create_table(TABLE, rows(0, 1).schema, properties=properties)
    for first in range(0, size, FILE_ROWS):
        table.append(rows(first, min(FILE_ROWS, size - first)))
    return catalog


def files(catalog: Catalog) -> list[str]:
    """Return the table's data files, as a path each."""
    tasks = catalog.load_table(TABLE).scan().plan_files()
    return [task.file.file_path.removeprefix("file://") for task in tasks]


def checks(catalog: Catalog) -> float:
    """Run the 12 checks; return the seconds."""
    started = time.perf_counter()
    results = run_checks(catalog, TABLE, list(CHECKS.values()))
    seconds = time.perf_counter() - started
    assert all(result.passed for result in results), results
    return seconds


def by_hand(paths: list[str], queries: list[list[str]]) -> float:
    """Run each list of aggregates as one query over the files; return the seconds."""
    started = time.perf_counter()
    with duckdb.connect() as connection:
        for aggregates in queries:
            sql = f"SELECT {', '.join(aggregates)} FROM read_parquet({paths})"
            assert not any(connection.execute(sql).fetchone())
    return time.perf_counter() - started


def case(catalog: Catalog, repeat: int) -> dict[str, float]:
    """Return the seconds of each way."""
    paths, single = files(catalog), list(BY_HAND.values())
    ways: dict[str, Way] = {
        "phlo": partial(checks, catalog),
        "one scan by hand": partial(by_hand, paths, [single]),
        "one query per check by hand": partial(by_hand, paths, [[each] for each in single]),
        "common-sql": partial(by_common_sql, paths),
    }
    return medians(ways, repeat)


def by_common_sql(paths: list[str]) -> float:
    """
    Run the 12 checks by the check operators of Airflow's common-sql provider, on a DuckDB that has the files as a view.

    They know no row-wise patterns: what is not a null, unique, min or max check is SQL of our own in the table check.
    """
    from airflow.providers.common.sql.hooks.sql import DbApiHook
    from airflow.providers.common.sql.operators.sql import SQLColumnCheckOperator, SQLTableCheckOperator

    with duckdb.connect() as connection:
        connection.execute(f"CREATE VIEW readings AS SELECT * FROM read_parquet({paths})")

        class DuckDBHook(DbApiHook):
            conn_name_attr = "unused"

            def get_conn(self) -> Any:
                return connection.cursor()

            def _log_params(self) -> bool:
                return False

        columns: dict[str, dict[str, Any]] = {
            **{name: {"null_check": {"equal_to": 0}} for name in ("device", "note")},
            "id": {"null_check": {"equal_to": 0}, "unique_check": {"equal_to": 0}},
            "number": {"null_check": {"equal_to": 0}, "min": {"geq_to": 0}},
            "value": {"min": {"geq_to": -1e4}, "max": {"leq_to": 1e4}},
            "score": {"min": {"geq_to": -50}, "max": {"leq_to": 50}},
        }
        by_table = ("count", "kind matches", "device matches", "fresh", "value below threshold")
        statements = {name.replace(" ", "_"): {"check_statement": f"{BY_HAND[name]} = 0"} for name in by_table}
        tasks = [
            SQLColumnCheckOperator(task_id="columns", table="readings", column_mapping=columns),
            SQLTableCheckOperator(task_id="table", table="readings", checks=statements),
        ]
        started = time.perf_counter()
        for task in tasks:
            task.get_db_hook = DuckDBHook  # type: ignore[method-assign]
            task.execute({})
        return time.perf_counter() - started


def by_great_expectations(home: Path, size: int, repeat: int) -> dict[str, Any]:
    """Validate the first rows by Great Expectations, in an environment made for it; return its version and seconds."""
    data, environment = home / "gx.parquet", home / "gx"
    pq.write_table(rows(0, size), data, compression="zstd")
    uv, python = Path(sys.executable).with_name("uv"), environment / "bin" / "python"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", python, GX, "pyarrow"], check=True)
    script = Path(__file__).with_name("checks_gx.py")
    done = subprocess.run([python, script, data, str(repeat)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {"version": found["version"], "rows": size, "seconds": statistics.median(found["seconds"])}


def measure(home: Path, size: int, repeat: int) -> dict[str, Any]:
    catalog = create(home, size)
    with contextlib.redirect_stdout(sys.stderr):  # common-sql's operators print their SQL
        seconds = case(catalog, repeat)
    beside = by_great_expectations(home, min(size, GX_ROWS), max(1, repeat // 3))
    return {"rows": size, "seconds": seconds, "great expectations": beside}


def table(found: Mapping[str, Any]) -> str:
    seconds = found["seconds"]
    ours, size = seconds["phlo"], found["rows"]
    better = min(seconds[way] for way in HAND_WRITTEN)
    lines = ["| way | seconds | phlo = 1 |", "|---|--:|--:|"]
    lines += [f"| {way} | {taken:.2f} | {taken / ours:.2f} |" for way, taken in seconds.items()]
    gx = found["great expectations"]
    scaled = gx["seconds"] * size / gx["rows"]
    times = f"{gx['seconds']:.2f} s for {gx['rows']:,} rows, times {size / gx['rows']:g}"
    lines.append(f"| Great Expectations {gx['version']}, pandas: {times} | {scaled:.1f} | {scaled / ours:.0f} |")
    verdict = "within" if ours <= LIMIT * better else "ABOVE"
    lines += ["", f"{ours / better:.2f}x the better of the two ways by hand: {verdict} {LIMIT}."]
    return "\n".join(lines)


SECTION = Section(
    "Checks",
    10_000_000,
    measure,
    table,
    lambda rows, repeat: f"12 checks over {rows:,} rows of 10 columns; median of {repeat}.",
    ("duckdb", "pyiceberg", "apache-airflow-providers-common-sql"),
)
