"""
Publishing marts of 10 columns to the bundled PostgreSQL: against a bare COPY, ADBC's ingest and COPY of CSV, and a
publication of what has changed against one of all rows.

A bare COPY loads the same rows, encoded the same way, into a table that is empty and has no index. The first
publication of a mart is compared with it, and one that replaces all rows: it also deletes the old ones, which readers
go on seeing. Changes are merged by this package's merge into a table with a partition per day: 1,000 rows of the last
three days, and 1,000 rows scattered over all days, for which every file is written again. The mart has a key, and so
an index on it, for those.

Ways run in turn, ``--repeat`` times; medians count, and ratios are of one run. CPU seconds are those of this process
and of its server process together, so that what else the machine does is not in them. ``--rows`` sets the size of the
large table; ADBC comes with ``make benchmark``, without it its line is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv as pc
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.publishing.postgres import Declaration, PublishResult, binary_copy, publish
from airflow_provider_phlo.publishing.postgres.tables import target_of
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from benchmarks.measuring import in_own_process, peak
from benchmarks.report import versions, write_section

SMALL = 1_000_000
CHANGED = 1_000
PER_DAY = 33_334
FIRST_DAY = np.datetime64("2020-01-01")
MART = "marts.mart"
KEY = {"mart": Declaration(key=("id",))}
HAS_ADBC = find_spec("adbc_driver_postgresql") is not None
TOKENS = count()

Work = Callable[[psycopg.Connection], Any]


def rows(ids: np.ndarray, seed: int) -> pa.Table:
    """Return rows of 10 columns for these ids; another seed gives other values."""
    chance, size = np.random.default_rng(seed), len(ids)
    cents = pa.array(chance.integers(0, 10**7, size)).cast(pa.decimal128(19, 0)).cast(pa.decimal128(21, 2))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "day": pa.array((FIRST_DAY + ids // PER_DAY).astype("datetime64[D]"), pa.date32()),
            "device": pa.array(np.char.add("device-", (ids % 1000).astype(str))),
            "value": pa.array(chance.normal(120, 40, size)),
            "ratio": pa.array(chance.random(size).astype("float32")),
            "amount": cents.cast(pa.decimal128(14, 2)),
            "readings": pa.array(chance.integers(0, 1000, size), pa.int32()),
            "complete": pa.array(chance.random(size) < 0.5),
            "note": pa.array(np.char.add("some text of note ", chance.integers(0, 10**9, size).astype(str))),
            "taken_at": pa.array(chance.integers(0, 10**15, size), pa.timestamp("us", "UTC")),
        }
    )


def cpu_seconds(connection: psycopg.Connection) -> float:
    """Return the CPU seconds of this process and of the server process of a connection."""
    fields = Path(f"/proc/{connection.info.backend_pid}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / 100


def empty(connection: psycopg.Connection, table: str, content: pa.Table) -> None:
    """Make an empty table for these rows."""
    connection.execute(f"DROP TABLE IF EXISTS marts.{table}")
    connection.execute(f"CREATE TABLE marts.{table} ({target_of('marts', table, content.schema).definitions})")


def bare_copy(content: pa.Table, connection: psycopg.Connection) -> None:
    """COPY rows, and nothing else."""
    types = target_of("marts", "bare", content.schema).types
    with connection.cursor() as cursor, cursor.copy("COPY marts.bare FROM STDIN (FORMAT binary)") as copy:
        for part in binary_copy.encode(content.to_batches(20_000), types):
            copy.write(part)


def copy_csv(content: pa.Table, connection: psycopg.Connection) -> None:
    """COPY rows as text, written by Arrow."""
    with connection.cursor() as cursor, cursor.copy("COPY marts.csv FROM STDIN (FORMAT csv)") as copy:
        for batch in content.to_batches(20_000):
            sink = pa.BufferOutputStream()
            pc.write_csv(batch, sink, pc.WriteOptions(include_header=False))
            copy.write(sink.getvalue())


def ingest(content: pa.Table, uri: str, connection: psycopg.Connection) -> None:
    """Let ADBC load the rows; its server process is another one, whose CPU seconds are not counted."""
    from adbc_driver_postgresql import dbapi

    with dbapi.connect(uri) as other, other.cursor() as cursor:
        cursor.adbc_ingest("adbc", content, mode="replace", db_schema_name="marts")
        other.commit()


def loading(connection: psycopg.Connection, uri: str, size: int, repeat: int) -> dict[str, Any]:
    """Compare publications of all rows with what else loads them; making and dropping tables is not timed."""
    content = rows(np.arange(size), 1)
    found: dict[str, list[tuple[float, float]]] = {}

    def measure(name: str, work: Work) -> None:
        used, started = cpu_seconds(connection), time.perf_counter()
        work(connection)
        found.setdefault(name, []).append((time.perf_counter() - started, cpu_seconds(connection) - used))

    for _ in range(repeat):
        for table in ("bare", "csv"):
            empty(connection, table, content)
        connection.execute("DROP TABLE IF EXISTS marts.first")
        measure("bare COPY", partial(bare_copy, content))
        measure("COPY of CSV", partial(copy_csv, content))
        if HAS_ADBC:
            measure("ADBC ingest", partial(ingest, content, uri))
        measure("first publication", lambda each: publish(content, each, "first"))
        measure("all rows again", lambda each: publish(content, each, "first"))
    started = time.process_time()
    for _ in binary_copy.encode(content.to_batches(20_000), target_of("marts", "x", content.schema).types):
        pass
    encoding = time.process_time() - started
    return {"ways": {name: _medians(each) for name, each in found.items()}, "encoding": encoding}


def _medians(taken: list[tuple[float, float]]) -> dict[str, float]:
    return {"s": statistics.median(s for s, _ in taken), "cpu": statistics.median(c for _, c in taken)}


class Lake:
    """A mart's source."""

    def __init__(self, home: Path, size: int) -> None:
        self.catalog: Catalog = open_catalog("phlo", embedded_properties(home))
        self.size = size
        month = 30 * PER_DAY
        for first in range(0, size, month):
            content = rows(np.arange(first, min(size, first + month)), first)
            tables.ensure_table(self.catalog, MART, arrow_to_iceberg(content.schema), partition_by="day")
            self.merge(content, MergePlan("append", deduplication=False))

    def merge(self, batch: pa.Table, plan: MergePlan) -> None:
        token = f"t{next(TOKENS)}"
        merge(self.catalog, MART, batch, plan, token=token)
        branches.move_main(self.catalog, MART, branches.branch_name(token))

    def change(self, pool: np.ndarray, seed: int) -> None:
        """Change some rows among those with the ids of ``pool``."""
        ids = np.sort(np.random.default_rng(seed).choice(pool, CHANGED, replace=False))
        self.merge(rows(ids, seed), MergePlan(key=("id",)))

    def publish(self, connection: psycopg.Connection) -> PublishResult:
        return publish_marts_to_postgres(None, None, connection, {"mart": MART}, catalog=self.catalog, declared=KEY)[
            "mart"
        ]


def changing(connection: psycopg.Connection, lake: Lake, repeat: int) -> dict[str, Any]:
    """Compare publications of what has changed with those of all rows, in turn."""
    found: dict[str, list[tuple[float, float]]] = {}
    written = {}

    def measure(name: str, mode: str) -> None:
        used, started = cpu_seconds(connection), time.perf_counter()
        result = lake.publish(connection)
        found.setdefault(name, []).append((time.perf_counter() - started, cpu_seconds(connection) - used))
        if result.mode != mode:
            raise SystemExit(f"{name}: {result.mode}, since {result.reason}")
        written[name] = result.inserted

    measure("all rows, new mart", "full")
    recent, every = np.arange(lake.size - 3 * PER_DAY, lake.size), np.arange(lake.size)
    for turn in range(repeat):
        connection.execute('DELETE FROM marts."_phlo_published"')
        measure("all rows", "full")
        lake.change(recent, turn * 2)
        measure("1,000 changes, last 3 days", "incremental")
        lake.change(every, turn * 2 + 1)
        measure("1,000 changes, scattered", "incremental")
        measure("nothing new", "unchanged")
    return {name: {**_medians(each), "written": written[name]} for name, each in found.items()}


def _publish_and_measure(home: Path, uri: str, sender: Any) -> None:
    catalog = open_catalog("phlo", embedded_properties(home))
    with psycopg.connect(uri, autocommit=True) as connection:
        before = peak()
        publish_marts_to_postgres(None, None, connection, {"peak": MART}, catalog=catalog)
        sender.send(peak() - before)


def measure(home: Path, size: int, repeat: int) -> dict[str, Any]:
    server = ensure_postgres(home)
    try:
        with psycopg.connect(server.uri, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS marts")
            found: dict[str, Any] = {"loading": loading(connection, server.uri, SMALL, repeat)}
            lake = Lake(home, size)
            found["changing"] = changing(connection, lake, repeat)
            found["memory"] = in_own_process(_publish_and_measure, home, server.uri)
            return found
    finally:
        stop_postgres(home)


def table(found: Mapping[str, Any], size: int) -> str:
    """Return the results as Markdown."""
    ways, changes = found["loading"]["ways"], found["changing"]
    lines = ["| 1M rows, 10 columns | s | CPU s | beside a bare COPY |", "|---|--:|--:|--:|"]
    lines += [_line(name, each, ways["bare COPY"]) for name, each in ways.items()]
    lines += ["", f"| {size:,} rows, a key | s | CPU s | beside all rows | rows written |", "|---|--:|--:|--:|--:|"]
    lines += [f"{_line(name, each, changes['all rows'])} {each['written']:,} |" for name, each in changes.items()]
    lines += [
        "",
        f"- Encoding 1M rows alone: {found['loading']['encoding']:.2f} CPU s.",
        f"- Memory over the interpreter and its libraries, all {size:,} rows: {found['memory'] / 2**20:,.0f} MB.",
    ]
    return "\n".join(lines)


def _line(name: str, each: Mapping[str, float], base: Mapping[str, float]) -> str:
    if "ADBC" in name:  # its server process is another one
        return f"| {name} | {each['s']:.2f} | | {each['s'] / base['s']:.3f} |"
    ratio = f"{each['s'] / base['s']:.3f} ({each['cpu'] / base['cpu']:.3f} of CPU)"
    return f"| {name} | {each['s']:.2f} | {each['cpu']:.2f} | {ratio} |"


def main() -> None:
    """Measure, print, and with ``--keep`` write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000, help="of the large table")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--keep", action="store_true", help="write the results to docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="write them here, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="phlo-publish-") as folder:
        found = measure(Path(folder), arguments.rows, arguments.repeat)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2))
    text = table(found, arguments.rows)
    print(text)
    if arguments.keep:
        used = versions("pgpq", "psycopg", "duckdb", "pyarrow")
        write_section("Publishing", "python benchmarks/publish.py", text, used)


if __name__ == "__main__":
    main()
