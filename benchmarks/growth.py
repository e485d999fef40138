"""
What a run costs as a table grows: by column, file, partition, snapshot, branch, and by the number of runs before it.

Each line draws one of them: everything else stays as it is, one thing becomes four (or ten) times as many, and a run
(stage, merge, audit nothing, publish) is measured at each size. What is compared is CPU time of the process, so that
what else the machine does is not in it; the least of ``--repeat`` runs counts. The exponent is that of the last step:
1 is linear, 2 quadratic; n log n shows as some 1.1.

Runs are those of a table that is loaded every few minutes: 100 rows into 5,000 keys, again and again, without anybody
calling maintenance. Tables with 10, 100, 1,000 and 10,000 runs behind them are measured in turn, a run of each, in a
process of its own each: what else the machine does slows all of them alike. (Measured as they grow, hours apart, the
same run has differed by a factor of two.) ``--lakes`` keeps the grown tables for the next time.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import secrets
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import _dataframe_to_data_files

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.upkeep import UPKEEP_PROPERTY
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.duckdb import views
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from benchmarks.report import versions, write_section

TABLE = "raw.growing"
GENERATOR = np.random.default_rng()
KEYS = 5_000
ROWS = 100
# sizes of each line
SIZES = {
    "columns": (250, 1_000, 4_000),
    "files": (10, 100, 1_000),
    "partitions": (10, 100, 1_000),
    "snapshots": (10, 100, 1_000),
    "branches": (10, 100, 1_000),
}
RUNS = (10, 100, 1_000, 10_000)
# of each table, in turn with the others
ROUNDS = 40
WARM_UP = 5
LINES_HEAD = """\
CPU seconds of one run (stage, merge, publish), and of a count through the DuckDB view, as one thing grows; exponent \
of the last step (1: linear).

| of | sizes | a run | exponent | a read | exponent |
|---|---|---|--:|---|--:|
"""


_lake: Lake


class Lake:
    """One table in an embedded catalog, and runs that load it."""

    def __init__(self, home: Path, *, upkeep: bool = True, partition_by: str | None = None) -> None:
        self.home = home
        self.catalog: Catalog = open_catalog("phlo", embedded_properties(home))
        self.catalog.properties[UPKEEP_PROPERTY] = str(upkeep).lower()
        self.partition_by = (partition_by,) if partition_by else ()
        self.runs = 0

    def run(self, rows: pa.Table) -> float:
        """Load ``rows`` as one run, and return its seconds of CPU."""
        self.runs += 1
        definition = TableDefinition(TABLE, MergePlan(key=("k",)), partition_by=self.partition_by)
        root = self.home / "staging"
        started = time.process_time()
        batch = stage(
            lambda: iter([rows]),
            StagingPlan(TABLE, ("k",), identity=("k",)),
            root=root,
            token=secrets.token_hex(8),  # as those of real runs: marks are packed
            partition_date="2024-01-15",
            run_id=f"run-{self.runs}",
            pipelines_dir=self.home / "dlt",
        )
        assert batch is not None
        landed = landing.land(self.catalog, root, batch, definition)
        assert landed is not None
        publication.publish(self.catalog, root, landed, definition, lambda branch: None)
        return time.process_time() - started

    def read(self) -> float:
        """Count the rows through the DuckDB view, and return the seconds of CPU."""
        started = time.process_time()
        connection = views.connect(self.catalog, tables=[TABLE])
        connection.execute(f"SELECT count(*) FROM {TABLE}").fetchall()
        connection.close()
        return time.process_time() - started


def keyed(keys: np.ndarray, value: int) -> pa.Table:
    """Return a row per key."""
    return pa.table({"k": keys, "v": np.full(len(keys), value, dtype="int64")})


def by_columns(lake: Lake, size: int) -> Callable[[int], float]:
    """Runs of two rows with many columns."""
    names = [f"c{number}" for number in range(size)]
    lake.run(pa.table({"k": [1, 2], **{name: [0.5, None] for name in names}}))
    return lambda turn: lake.run(pa.table({"k": [1, 2], **{name: [float(turn), None] for name in names}}))


def by_files(lake: Lake, size: int) -> Callable[[int], float]:
    """Runs that touch one file among many; each file has keys of its own."""
    lake.run(keyed(np.arange(ROWS), 0))
    table = lake.catalog.load_table(TABLE)
    blank = table.scan().to_arrow().schema
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for number in range(1, size):
            keys = np.arange(number * ROWS, (number + 1) * ROWS)
            for file in _data_files(table, _as_written(keyed(keys, 0), blank)):
                append.append_data_file(file)
    return lambda turn: lake.run(keyed(np.arange(ROWS), turn + 1))


def _as_written(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return rows with all columns of the table; those that say where they came from are NULL."""
    columns = {name: rows[name] if name in rows.column_names else None for name in schema.names}
    kinds = {item.name: item.type for item in schema}
    return pa.table({name: pa.nulls(len(rows), kinds[name]) if c is None else c for name, c in columns.items()})


def _data_files(table: Any, rows: pa.Table) -> Iterator[Any]:
    yield from _dataframe_to_data_files(table.metadata, rows, table.io)


def by_partitions(lake: Lake, size: int) -> Callable[[int], float]:
    """Runs that write into each of many partitions."""
    lake.run(keyed(np.arange(size), 0))
    return lambda turn: lake.run(keyed(np.arange(size), turn + 1))


def by_snapshots(lake: Lake, size: int) -> Callable[[int], float]:
    """Runs after many others, none of whose snapshots has expired."""
    for number in range(size):
        lake.run(keyed(np.arange(ROWS), number))
    return lambda turn: lake.run(keyed(np.arange(ROWS), size + turn))


def by_branches(lake: Lake, size: int) -> Callable[[int], float]:
    """Runs beside branches that failed runs have left."""
    lake.run(keyed(np.arange(ROWS), 0))
    for number in range(size):
        branches.create(lake.catalog, TABLE, branches.branch_name(f"failed{number}"))
    return lambda turn: lake.run(keyed(np.arange(ROWS), turn + 1))


LINES: dict[str, tuple[Callable[[Lake, int], Callable[[int], float]], dict[str, Any]]] = {
    "columns": (by_columns, {}),
    "files": (by_files, {}),
    "partitions": (by_partitions, {"partition_by": "k"}),
    "snapshots": (by_snapshots, {"upkeep": False}),
    "branches": (by_branches, {"upkeep": False}),
}


@contextmanager
def lake_of(**options: Any) -> Iterator[Lake]:
    """Yield a lake in a folder that is removed."""
    with tempfile.TemporaryDirectory(prefix="phlo-growth-") as folder:
        lake = Lake(Path(folder), **options)
        try:
            yield lake
        finally:
            lake.catalog.close()


def measure_line(name: str, repeat: int) -> dict[int, dict[str, float]]:
    """Return the seconds of a run, and of a count through the view, at each size of a line."""
    grow, options = LINES[name]
    found = {}
    for size in SIZES[name]:
        with lake_of(**options) as lake:
            run = grow(lake, size)
            found[size] = {"run": min(map(run, range(repeat))), "read": min(lake.read() for _ in range(repeat))}
    return found


def grow(home: Path, runs: int) -> None:
    """Make a table that ``runs`` runs have loaded; it is copied from where it was grown before, if it was."""
    kept = home.with_name(f"{home.name}-grown")
    shutil.rmtree(home, ignore_errors=True)
    if not kept.exists():
        home.mkdir(parents=True)
        lake = Lake(home)
        lake.run(keyed(np.arange(KEYS), 0))
        for _ in range(runs - 1):
            lake.run(some_keys())
        lake.catalog.close()
        home.rename(kept)
    # metadata names the place where the table was made
    shutil.copytree(kept, home)


def some_keys() -> pa.Table:
    """Return the rows of one run."""
    return keyed(GENERATOR.choice(KEYS, ROWS, replace=False), int(GENERATOR.integers(2**40)))


def open_lake(home: Path) -> None:
    """Open the lake that this process measures."""
    global _lake
    logging.disable(logging.CRITICAL)
    _lake = Lake(home)


def run_once() -> float:
    """Load some rows into this process' lake, and return the seconds of CPU."""
    return _lake.run(some_keys())


def measure_runs(sizes: Sequence[int], folder: Path, rounds: int) -> dict[int, float]:
    """Return the seconds of a run of tables that have had as many before, measured in turn."""
    with ExitStack() as stack:
        workers = {}
        for size in sizes:
            home = folder / str(size)
            grow(home, size)
            pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=open_lake, initargs=(home,))
            workers[size] = stack.enter_context(pool)
        taken: dict[int, list[float]] = {size: [] for size in sizes}
        for number in range(WARM_UP + rounds):
            for size in sizes if number % 2 else reversed(sizes):
                taken[size].append(workers[size].submit(run_once).result())
    return {size: statistics.median(seconds[WARM_UP:]) for size, seconds in taken.items()}


def exponent(found: dict[int, float]) -> float:
    """Return by which power of the size the last step grows."""
    (small, before), (large, after) = list(found.items())[-2:]
    return math.log(after / before) / math.log(large / small)


def table(lines: dict[str, dict[int, dict[str, float]]], runs: dict[int, float]) -> str:
    """Return the results as Markdown."""
    text = LINES_HEAD.splitlines() if lines else []
    for name, found in lines.items():
        cells = [f"| {name} | {' · '.join(f'{size:,}' for size in found)} "]
        for what in ("run", "read"):
            seconds = {size: of[what] for size, of in found.items()}
            cells.append(f"| {' · '.join(f'{value:.3f}' for value in seconds.values())} | {exponent(seconds):.2f} ")
        text.append("".join(cells) + "|")
    first = next(iter(runs.values()))
    text += [
        "",
        "Runs of 100 rows into 5,000 keys, nobody calls maintenance: one more run of tables that have had that many, "
        "measured in turn; median.",
        "",
        "| runs before | CPU seconds | ratio |",
        "|--:|--:|--:|",
        *(f"| {number:,} | {seconds:.3f} | {seconds / first:.2f} |" for number, seconds in runs.items()),
    ]
    return "\n".join(text)


def main() -> None:
    """Measure, print, and with ``--keep`` write the section of ``docs/benchmarks.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("lines", nargs="*", help=f"of {', '.join(LINES)}; all by default")
    parser.add_argument("--runs", type=int, default=RUNS[-1], help="the most runs behind a table (10,000)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs of each table that are measured in turn")
    parser.add_argument("--lakes", type=Path, help="where grown tables are, and are kept")
    parser.add_argument("--runs-only", action="store_true", help="no lines, only runs by their number")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    names = [] if arguments.runs_only else arguments.lines or LINES
    lines = {name: measure_line(name, arguments.repeat) for name in names}
    sizes = [size for size in RUNS if size <= arguments.runs]
    with tempfile.TemporaryDirectory(prefix="phlo-growth-") as folder:
        runs = measure_runs(sizes, (arguments.lakes or Path(folder)).resolve(), arguments.rounds)
    text = table(lines, runs)
    print(json.dumps({"lines": lines, "runs": runs}, indent=2) if arguments.output == "json" else text)
    if arguments.keep:
        used = versions("pyiceberg", "pyarrow", "duckdb")
        write_section("Growth", "python -m benchmarks.growth --keep", text, used)


if __name__ == "__main__":
    main()
