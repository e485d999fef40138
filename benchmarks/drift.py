"""
Drift checks of the newest of 29 days of a 10M-row table, beside hand-written DuckDB queries for the same numbers.

Three cases: numbers of the days (mean, quantiles, NULL rate, estimated distinct values, rows: five checks, one scan),
distributions (histogram of a number, categories), and both in one run. The peer reads the same Parquet files by
``read_parquet``, computes the same aggregates and counts the same buckets. Ways run in turn; medians count.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.quality import (
    CategoryDriftCheck,
    DistinctCountDriftCheck,
    HistogramDriftCheck,
    MeanDriftCheck,
    NullRateDriftCheck,
    QualityCheck,
    QuantileDriftCheck,
    RowCountAnomalyCheck,
)
from airflow_provider_phlo.quality.scan import run_checks
from benchmarks.measuring import medians, timed
from benchmarks.report import Section

TABLE = "raw.t"
DAYS = 29
FIRST = np.datetime64("2024-01-01")
NUMBERS: list[QualityCheck] = [
    RowCountAnomalyCheck(history=28, seasonality=None),
    MeanDriftCheck("v"),
    QuantileDriftCheck("v"),
    NullRateDriftCheck("w"),
    DistinctCountDriftCheck("k"),
]
DISTRIBUTIONS: list[QualityCheck] = [HistogramDriftCheck("v"), CategoryDriftCheck("kind")]
NUMBERS_SQL = """
SELECT _phlo_partition_date, count(*), avg(v), quantile_cont(v, {fractions}),
    (count(*) - count(w)) / count(*), approx_count_distinct(k)
FROM {files} GROUP BY 1
"""
BOUNDS_SQL = "SELECT _phlo_partition_date, quantile_cont(v, {fractions}) FROM {files} GROUP BY 1"
THREE, NINE = [0.05, 0.5, 0.95], [position / 10 for position in range(1, 10)]
HISTOGRAM_SQL = """
SELECT _phlo_partition_date, CASE WHEN v IS NULL THEN -2 WHEN isnan(v) THEN -1 ELSE {bins} END, count(*)
FROM {files} GROUP BY 1, 2
"""
KINDS_SQL = "SELECT _phlo_partition_date, kind, count(*) FROM {files} GROUP BY 1, 2"


def day(number: int, rows: int) -> pa.Table:
    """Return the rows of one day, ten columns."""
    chance = np.random.default_rng(number)
    return pa.table(
        {
            "_phlo_partition_date": pa.array(np.full(rows, FIRST + number), pa.date32()),
            "id": np.arange(rows) + number * rows,
            "v": chance.normal(120, 30, rows),
            "w": pa.array(chance.normal(size=rows), mask=chance.random(rows) < 0.02),
            "k": chance.integers(0, 1_000_000, rows),
            "kind": pa.array(chance.choice(["PushEvent", "WatchEvent", "ForkEvent", "IssuesEvent"], rows)),
            **{f"c{column}": chance.integers(0, 1000, rows) for column in range(4)},
        }
    )


def create(catalog: Catalog, rows: int) -> str:
    """Create the table, and return its files as DuckDB reads them."""
    ensure_namespace(catalog, "raw")
    table = catalog.create_table(TABLE, day(0, 1).schema)
    for number in range(DAYS):
        table.append(day(number, rows // DAYS))
    files = ", ".join(f"'{task.file.file_path.removeprefix('file://')}'" for task in table.scan().plan_files())
    return f"read_parquet([{files}])"


def checked(catalog: Catalog, checks: list[QualityCheck]) -> None:
    partition = str(FIRST + DAYS - 1)
    results = run_checks(catalog, TABLE, checks, partition=partition)
    assert all(result.passed and result.metrics["history_days"] == DAYS - 1 for result in results)


def queried(files: str, fractions: list[float], *queries: str) -> None:
    bounds = [81.6, 94.8, 104.3, 112.4, 120.0, 127.6, 135.7, 145.2, 158.4]
    bins = f"CASE {' '.join(f'WHEN v <= {bound} THEN {position}' for position, bound in enumerate(bounds))} ELSE 9 END"
    with duckdb.connect() as connection:
        for query in queries:
            connection.execute(query.format(files=files, bins=bins, fractions=fractions)).fetchall()


def measure(home: Path, rows: int, repeat: int) -> dict[str, Any]:
    catalog = open_catalog("phlo", embedded_properties(home))
    files = create(catalog, rows)
    every = sorted({*THREE, *NINE})
    cases: dict[str, tuple[list[QualityCheck], list[float], tuple[str, ...]]] = {
        "numbers": (NUMBERS, THREE, (NUMBERS_SQL,)),
        "distributions": (DISTRIBUTIONS, NINE, (BOUNDS_SQL, HISTOGRAM_SQL, KINDS_SQL)),
        "both": ([*NUMBERS, *DISTRIBUTIONS], every, (NUMBERS_SQL, HISTOGRAM_SQL, KINDS_SQL)),
    }
    return {
        name: medians(
            {
                "phlo": partial(timed, partial(checked, catalog, checks)),
                "DuckDB": partial(timed, partial(queried, files, fractions, *queries)),
            },
            repeat,
        )
        for name, (checks, fractions, queries) in cases.items()
    }


def table(found: Mapping[str, Any]) -> str:
    lines = ["| checks | phlo s | DuckDB s | phlo / DuckDB |", "|---|--:|--:|--:|"]
    for name, seconds in found.items():
        ours, theirs = seconds["phlo"], seconds["DuckDB"]
        lines.append(f"| {name} | {ours:.2f} | {theirs:.2f} | {ours / theirs:.2f} |")
    return "\n".join(lines)


SECTION = Section(
    "Drift",
    10_000_000,
    measure,
    table,
    lambda rows, repeat: (
        f"The newest of {DAYS} days of {rows:,} rows, against the same queries written by hand; median of {repeat}."
    ),
    ("duckdb", "pyiceberg", "pyarrow"),
)
