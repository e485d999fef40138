"""
12 checks on an Iceberg table of 10M rows and 10 columns (zstd Parquet), uniqueness among them.

Against hand-written DuckDB SQL over the table's own files, which knows everything beforehand: all 12 as aggregates of
one scan, and one query a check. The checks plan the table from its catalog, see which columns there are, and say which
rows fail; nothing fails here. Ways run in turn, ``--repeat`` times after one run that warms up; medians count, and
ratios are of one run.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import duckdb
import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalog import embedded_properties, ensure_namespace, open_catalog
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

TABLE = "raw.readings"
FILE_ROWS = 1_000_000
KINDS = ("alpha", "beta", "gamma", "delta")
LIMIT = 1.2

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
    "value below threshold": "CASE WHEN count(CASE WHEN value > 400 THEN 1 END) > 0.01 * count(value) THEN 1 ELSE 0 END",
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
            "taken_at": pa.array(chance.integers(10**15, 1.7 * 10**15, number), pa.timestamp("us", "UTC")),
            "flag": pa.array(ids % 3 == 0),
            "day": pa.array(np.datetime64("2024-01-01") + ids % 365, pa.date32()),
        }
    )


def create(home: Path, size: int) -> Catalog:
    """Return a catalog with a table of so many rows."""
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


def medians(ways: Mapping[str, Callable[[], float]], repeat: int) -> dict[str, float]:
    """Run all ways in turn, once to warm up, and return the median seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeat + 1):
        for name, way in ways.items():
            seconds = way()
            if turn:
                taken[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def case(catalog: Catalog, repeat: int) -> dict[str, float]:
    """Return the seconds of each way."""
    paths, single = files(catalog), list(BY_HAND.values())
    return medians(
        {
            "phlo": partial(checks, catalog),
            "one scan by hand": partial(by_hand, paths, [single]),
            "a query a check by hand": partial(by_hand, paths, [[each] for each in single]),
        },
        repeat,
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        catalog = create(Path(folder), int(sys.argv[1]))
        print(case(catalog, 3))
