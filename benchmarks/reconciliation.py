"""
Reconciling 10M rows of 10 columns with 10M rows: against DuckDB joins of hashes written by hand.

Both tables are Iceberg tables on local disk, in ten files each. The peers read the same files with ``read_parquet``:
the plain one joins the tables and compares ``hash(a…) <> hash(b…)``, the lean one hashes each side before it joins.
Neither names what differs nor compares values. Ways run in turn; medians count. Memory is the peak of a process of its
own above the interpreter with its libraries.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.quality.reconciliation import (
    AggregateSpec,
    ChecksumReconciliationCheck,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    Reconciliation,
    ReconciliationCheck,
)
from airflow_provider_phlo.quality.scan import run_checks
from benchmarks.measuring import Way, in_own_process, medians, peak
from benchmarks.merge import PER_DAY, rows
from benchmarks.report import Section

SOURCE, SAME, CHANGED = "raw.source", "raw.same", "raw.changed"
CHUNK = 1_000_000
DAY = "_phlo_partition_date"
COLUMNS = ("device", "number", "value", "score", "kind", "note", "taken_at", "row_hash", "day")


def build(home: Path, size: int) -> Catalog:
    """Return a catalog with a table, its copy, and a copy in which one cell differs."""
    catalog = open_catalog("phlo", embedded_properties(home))
    ensure_namespace(catalog, "raw")
    for first in range(0, size, CHUNK):
        ids = np.arange(first, min(size, first + CHUNK))
        content = rows(ids, ids // PER_DAY, seed=first)
        # as data of a source: metadata columns are not compared
        content = content.rename_columns(["id", *COLUMNS])
        changed = content
        if first <= size // 2 < first + CHUNK:
            hit = pc.equal(content["id"], size // 2)
            value = pc.if_else(hit, pc.add(content["value"], 1e-9), content["value"])
            changed = content.set_column(content.column_names.index("value"), "value", value)
        for name, part in ((SOURCE, content), (SAME, content), (CHANGED, changed)):
            if first == 0:
                catalog.create_table(name, content.schema)
            catalog.load_table(name).append(part)
    return catalog


def run(catalog: Catalog, target: str, check: Reconciliation, *, passes: bool) -> float:
    started = time.perf_counter()
    (result,) = run_checks(catalog, target, [check])
    seconds = time.perf_counter() - started
    assert result.passed == passes, result.message
    return seconds


def by_hand(catalog: Catalog, target: str, sql: str, expected: int) -> float:
    files = {
        name: [task.file.file_path.removeprefix("file://") for task in catalog.load_table(table).scan().plan_files()]
        for name, table in (("a", SOURCE), ("b", target))
    }
    started = time.perf_counter()
    with duckdb.connect() as connection:
        for name, paths in files.items():
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({paths!r})")
        ((found,),) = connection.execute(sql).fetchall()
    seconds = time.perf_counter() - started
    assert found == expected, found
    return seconds


def plain_join() -> str:
    one, other = (", ".join(f"{side}.{name}" for name in COLUMNS) for side in "ab")
    return f"SELECT count(*) FROM a FULL JOIN b USING (id) WHERE hash({one}) <> hash({other})"


def lean_join() -> str:
    one, other = (f"(SELECT id, hash({', '.join(COLUMNS)}) AS h FROM {side})" for side in "ab")
    return f"SELECT count(*) FROM {one} a FULL JOIN {other} b USING (id) WHERE a.h IS DISTINCT FROM b.h"


def key_join() -> str:
    return "SELECT count(*) FROM a FULL JOIN b ON a.id = b.id WHERE a.id IS NULL OR b.id IS NULL"


def group_join() -> str:
    one, other = (
        f"(SELECT day, count(*) AS n, sum(number) AS s, min(value) AS low FROM {side} GROUP BY day)" for side in "ab"
    )
    return f"SELECT count(*) FROM {one} a FULL JOIN {other} b USING (day) WHERE (a.n, a.s, a.low) <> (b.n, b.s, b.low)"


def checksum(**more: Any) -> ChecksumReconciliationCheck:
    return ChecksumReconciliationCheck(SOURCE, key_columns="id", **more)


def aggregates() -> MultiAggregateConsistencyCheck:
    expressions = {"n": "count(*)", "total": "sum(number)", "low": "min(value)"}
    specs = [AggregateSpec(name, sql, target_expression=sql) for name, sql in expressions.items()]
    return MultiAggregateConsistencyCheck(SOURCE, specs, "day")


def cases(catalog: Catalog) -> dict[str, dict[str, Way]]:
    """Return what is measured: for each case our way first, then its peers."""

    def case(target: str, check: Reconciliation, passes: bool, **peers: str) -> dict[str, Way]:
        hand = {name: partial(by_hand, catalog, target, sql, 0 if target == SAME else 1) for name, sql in peers.items()}
        return {"phlo": partial(run, catalog, target, check, passes=passes), **hand}

    return {
        "checksums, equal": case(SAME, checksum(), True, plain=plain_join(), lean=lean_join()),
        "checksums, one cell changed": case(CHANGED, checksum(), False, plain=plain_join(), lean=lean_join()),
        "keys, equal": case(SAME, KeyParityCheck(SOURCE, "id"), True, plain=key_join()),
        "3 aggregates by day, equal": case(SAME, aggregates(), True, plain=group_join()),
        "row counts by day, equal": case(SAME, ReconciliationCheck(SOURCE, "day"), True),
    }


def peak_memory(home: Path, target: str) -> float:
    """Return by how many bytes checksums raise the peak of a process that has imported its libraries."""
    return in_own_process(_measured, home, target)


def _measured(home: Path, target: str, sender: Any) -> None:
    catalog = open_catalog("phlo", embedded_properties(home))
    catalog.load_table(SOURCE)
    before = peak()
    run(catalog, target, checksum(), passes=target == SAME)
    sender.send(peak() - before)


def measure(home: Path, size: int, repeat: int) -> dict[str, Any]:
    catalog = build(home, size)
    found: dict[str, Any] = {name: medians(ways, repeat) for name, ways in cases(catalog).items()}
    found["memory"] = {target: peak_memory(home, target) for target in (SAME, CHANGED)}
    return found


def table(found: Mapping[str, Any]) -> str:
    lines = ["| case | phlo s | plain s | lean s | / better peer |", "|---|--:|--:|--:|--:|"]
    for name, figures in found.items():
        if name != "memory":
            peers = [figures.get(peer) for peer in ("plain", "lean")]
            seconds = " | ".join("" if value is None else f"{value:.2f}" for value in (figures["phlo"], *peers))
            best = min((value for value in peers if value), default=None)
            ratio = f"{figures['phlo'] / best:.2f}" if best else ""
            lines.append(f"| {name} | {seconds} | {ratio} |")
    most = max(found["memory"].values())
    return "\n".join([*lines, "", f"- Memory of checksums: at most {most / 2**30:.2f} GiB above the interpreter."])


SECTION = Section(
    "Reconciliation",
    10_000_000,
    measure,
    table,
    lambda rows, repeat: (
        f"{rows:,} rows of 10 columns on each side; median of {repeat}. Both peers are DuckDB over the same files:\n"
        '"plain" joins and compares `hash(a…) <> hash(b…)`, "lean" hashes each side before it joins.'
    ),
    ("duckdb", "pyarrow"),
)
