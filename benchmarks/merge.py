"""
Merging 100,000 rows of 10 columns, day partitions: against PyIceberg's ``upsert``, delta-rs' ``MERGE`` and the limit.

The limit is what copy-on-write cannot go below without knowing more: reading the files that hold rows to change and
writing them again, with pyarrow alone at its defaults and the same codec. Half of a batch changes rows, half is new;
all ways get the same rows, the content hash among their columns. Ways run in turn, ``--repeat`` times; medians count,
and ratios are of one run. A merge is timed until its snapshot is on the run's branch, publication apart (last line).

``--sizes 1`` leaves the 10M tables out. delta-rs comes with ``make benchmark``; without it its column is empty.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from benchmarks.measuring import Way, in_own_process, medians, peak
from benchmarks.report import versions, write_section

BATCH = 100_000
PER_DAY = 33_334
TABLE = "raw.t"
PLAN = MergePlan(key=("id",))
COMPOSITE = MergePlan(key=("device", "number"))
HAS_DELTA = find_spec("deltalake") is not None
FIRST_DAY = np.datetime64("2020-01-01")
TOKENS = count()

REMARK = (
    "Three small files are read and written in a tenth of a second: there the fixed costs of a merge show beside the "
    "limit,\nwhich has none (finding the keys first, manifests, the catalog), and the new half of the batch, which the "
    "limit does not\nwrite."
)


def rows(ids: np.ndarray, days: np.ndarray, seed: int) -> pa.Table:
    """Return rows of 10 columns for these ids; another seed gives other values."""
    chance, size = np.random.default_rng(seed), len(ids)
    hashes = chance.integers(0, 2**63, (size, 2))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "device": pa.array(np.char.add("device-", (ids % 1000).astype(str))),
            "number": pa.array(ids // 1000),
            "value": pa.array(chance.normal(120, 40, size)),
            "score": pa.array(chance.normal(0, 1, size)),
            "kind": pa.array(np.array(["alpha", "beta", "gamma", "delta"])[ids % 4]),
            "note": pa.array(np.char.add("note ", chance.integers(0, 10**9, size).astype(str))),
            "taken_at": pa.array(chance.integers(0, 10**15, size), pa.timestamp("us", "UTC")),
            # the content hash is made when rows are staged; here any 32 digits will do
            "_phlo_row_hash": pa.array([f"{one:016x}{two:016x}" for one, two in hashes.tolist()]),
            "_phlo_partition_date": pa.array((FIRST_DAY + days).astype("datetime64[D]"), pa.date32()),
        }
    )


class Lake:
    """The same rows as an Iceberg table and as a Delta table."""

    def __init__(self, home: Path, size: int) -> None:
        self.home, self.size, self.days = home, size, round(size / PER_DAY)
        self.catalog: Catalog = open_catalog("phlo", embedded_properties(home))
        self._versions = count()
        for first in range(0, self.days, 30):  # one month per commit
            part = np.arange(first * PER_DAY, min(self.days, first + 30) * PER_DAY)
            content = rows(part, part // PER_DAY, seed=first)
            schema = arrow_to_iceberg(content.schema)
            tables.ensure_table(self.catalog, TABLE, schema, partition_by="_phlo_partition_date")
            self.merge(content, MergePlan("append", deduplication=False), publish=True)
            if HAS_DELTA:
                from deltalake import write_deltalake

                write_deltalake(home / "delta", content, mode="append", partition_by=["_phlo_partition_date"])

    def merge(self, batch: pa.Table, plan: MergePlan = PLAN, *, publish: bool = False) -> float:
        """Merge, and drop the branch again unless it is to be published."""
        token = f"t{next(TOKENS)}"
        started = time.perf_counter()
        merge(self.catalog, TABLE, batch, plan, token=token)
        seconds = time.perf_counter() - started
        if publish:
            branches.move_main(self.catalog, TABLE, branches.branch_name(token))
        else:
            branches.drop(self.catalog, TABLE, branches.branch_name(token))
        return seconds

    def upsert(self, batch: pa.Table, key: Sequence[str] = ("id",)) -> float:
        table = self.catalog.load_table(TABLE)
        table.manage_snapshots().create_branch(branch_head(table) or 0, "peer").commit()
        table = self.catalog.load_table(TABLE)
        started = time.perf_counter()
        table.upsert(batch, join_cols=list(key), branch="peer")
        seconds = time.perf_counter() - started
        branches.drop(self.catalog, TABLE, "peer")
        return seconds

    def delta(self, batch: pa.Table, key: Sequence[str] = ("id",)) -> float:
        from deltalake import DeltaTable

        copy = self.home / f"delta-{next(self._versions)}"
        subprocess.run(["cp", "-al", self.home / "delta", copy], check=True)
        table = DeltaTable(copy)
        same = " AND ".join(f"t.{name} = s.{name}" for name in key)
        started = time.perf_counter()
        (
            table.merge(batch, same, source_alias="s", target_alias="t")
            .when_matched_update_all("t._phlo_row_hash <> s._phlo_row_hash")
            .when_not_matched_insert_all()
            .execute()
        )
        return time.perf_counter() - started

    def limit(self, days: Sequence[int]) -> float:
        """Read and write the files of ``days``."""
        wanted = {str(FIRST_DAY + day) for day in days}
        files = [task.file.file_path for task in self.catalog.load_table(TABLE).scan().plan_files()]
        paths = [path.removeprefix("file://") for path in files if path.split("=")[1][:10] in wanted]
        started = time.perf_counter()
        for path in paths:
            pq.write_table(pq.read_table(path), self.home / "limit.parquet", compression="zstd")
        return time.perf_counter() - started

    def append(self, batch: pa.Table) -> float:
        """Append with PyIceberg, and read key and hash of the whole table."""
        table = self.catalog.load_table(TABLE)
        table.manage_snapshots().create_branch(branch_head(table) or 0, "peer").commit()
        table = self.catalog.load_table(TABLE)
        started = time.perf_counter()
        table.append(batch, branch="peer")
        for task in table.scan().plan_files():
            pq.read_table(task.file.file_path.removeprefix("file://"), columns=["id", "_phlo_row_hash"])
        seconds = time.perf_counter() - started
        branches.drop(self.catalog, TABLE, "peer")
        return seconds

    def batch(self, changed_days: Sequence[int], seed: int = 99) -> pa.Table:
        """Return half a batch of changed rows of these days, and half of new ones for them."""
        chance, half = np.random.default_rng(seed), BATCH // 2
        pool = np.concatenate([np.arange(day * PER_DAY, (day + 1) * PER_DAY) for day in changed_days])
        changed = np.sort(chance.choice(pool, half, replace=False))
        new = np.arange(self.days * PER_DAY, self.days * PER_DAY + half)
        new_days = np.array(changed_days)[np.arange(half) * len(changed_days) // half]
        return rows(np.concatenate([changed, new]), np.concatenate([changed // PER_DAY, new_days]), seed)

    def seen_and_new(self) -> pa.Table:
        table = self.catalog.load_table(TABLE)
        seen = table.scan(limit=BATCH).to_arrow()
        new = np.arange(self.days * PER_DAY, self.days * PER_DAY + BATCH)
        return pa.concat_tables([seen, rows(new, new * 0 + self.days - 1, 7).cast(seen.schema)])


def case(lake: Lake, days: Sequence[int], repeat: int, *, upsert: bool) -> dict[str, float]:
    batch = lake.batch(days)
    ways: dict[str, Way] = {"phlo": partial(lake.merge, batch), "limit": partial(lake.limit, days)}
    if HAS_DELTA:
        ways["delta-rs"] = partial(lake.delta, batch)
    found = medians(ways, repeat)
    return {**found, "upsert": lake.upsert(batch)} if upsert else found


def peak_memory(home: Path, batch: Path) -> float:
    """Return by how many bytes a merge raises the peak of a process that has imported its libraries."""
    return in_own_process(_merge_and_measure, home, batch)


def _merge_and_measure(home: Path, batch: Path, sender: Any) -> None:
    catalog = open_catalog("phlo", embedded_properties(home))
    catalog.load_table(TABLE)
    before = peak()
    merge(catalog, TABLE, pq.read_table(batch), PLAN, token="memory")
    sender.send(peak() - before)
    branches.drop(catalog, TABLE, "phlo_memory")


def publication(home: Path, files: int, repeat: int) -> float:
    """Return the median seconds of making a branch main that has this many files more."""
    catalog = open_catalog("phlo", embedded_properties(home))
    schema = pa.schema([("id", pa.int64()), ("part", pa.int64())])
    tables.ensure_table(catalog, TABLE, arrow_to_iceberg(schema), partition_by="part")
    taken = []
    for turn in range(repeat):
        batch = pa.table({"id": range(files), "part": range(turn * files, (turn + 1) * files)}, schema=schema)
        merge(catalog, TABLE, batch, MergePlan("append", deduplication=False), token=f"p{turn}")
        started = time.perf_counter()
        branches.move_main(catalog, TABLE, f"phlo_p{turn}", token=f"p{turn}", result={"rows": files})
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def measure(home: Path, sizes: Sequence[int], repeat: int, *, upsert: bool) -> dict[str, Any]:
    small = Lake(home / "1m", 1_000_000)
    last, every = range(small.days - 3, small.days), range(small.days)
    found: dict[str, Any] = {
        "1M, last 3 of 30 partitions": case(small, last, repeat, upsert=upsert),
        "1M, scattered": case(small, every, repeat, upsert=upsert),
    }
    recent = small.batch(last)
    keys = medians(
        {"single": partial(small.merge, recent), "composite": partial(small.merge, recent, COMPOSITE)}, repeat
    )
    both = small.seen_and_new()
    by_hash = MergePlan("append", method="hash")
    append = medians({"phlo": partial(small.merge, both, by_hash), "plain": partial(small.append, both)}, repeat)
    found |= {"composite key": keys, "append by hash": append}
    if 10 in sizes:
        large = Lake(home / "10m", 10_000_000)
        last, every = range(large.days - 3, large.days), range(large.days)
        found["10M, last 3 of 300 partitions"] = case(large, last, repeat, upsert=False)
        pair = {"1M": partial(small.merge, recent), "10M": partial(large.merge, large.batch(last))}
        found["10M beside 1M, last 3"] = medians(pair, repeat)
        found["10M, scattered"] = case(large, every, max(1, repeat // 2), upsert=False)
        pq.write_table(large.batch(every), home / "batch.parquet")
        found["10M, scattered: memory"] = {"bytes": peak_memory(home / "10m", home / "batch.parquet")}
    found["publication"] = {
        f"{files} file(s)": publication(home / f"published-{files}", files, 5) for files in (1, 1000)
    }
    return found


def table(found: dict[str, Any]) -> str:
    lines = [
        "| case | phlo s | limit s | delta-rs s | upsert s | / limit | / delta-rs | upsert / phlo |",
        "|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, figures in found.items():
        if "limit" in figures:
            ours, peers = figures["phlo"], [figures.get(peer) for peer in ("limit", "delta-rs", "upsert")]
            seconds = " | ".join("" if value is None else f"{value:.3f}" for value in (ours, *peers))
            ratios = [peers[0] and ours / peers[0], peers[1] and ours / peers[1], peers[2] and peers[2] / ours]
            lines.append(
                f"| {name} | {seconds} | " + " | ".join(f"{each:.2f}" if each else "" for each in ratios) + " |"
            )
    keys, append = found["composite key"], found["append by hash"]
    lines += ["", f"- Composite key: {keys['composite'] / keys['single']:.2f}x the single key."]
    lines.append(
        f"- Append by hash, 100k new and 100k seen: {append['phlo'] / append['plain']:.2f}x a plain append of the same "
        "rows (PyIceberg) and reading key and hash columns."
    )
    if "10M beside 1M, last 3" in found:
        pair = found["10M beside 1M, last 3"]
        lines.append(f"- Last 3 partitions of 10M rows: {pair['10M'] / pair['1M']:.2f}x the same of 1M.")
        lines.append(
            f"- Memory, scattered over 10M rows: {found['10M, scattered: memory']['bytes'] / 2**30:.2f} GiB above the "
            "interpreter with its libraries."
        )
    published = ", ".join(f"{name} {seconds * 1000:.0f} ms" for name, seconds in found["publication"].items())
    lines.append(f"- Publishing a branch (SQLite catalog): {published}.")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1, 10], help="millions of rows: 1 10")
    parser.add_argument("--no-upsert", action="store_true", help="leave PyIceberg's upsert out: a minute each")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--keep", action="store_true", help="write the results to docs/benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), arguments.sizes, arguments.repeat, upsert=not arguments.no_upsert)
    if arguments.output == "json":
        used = {**versions("pyiceberg", "pyarrow"), **({"deltalake": version("deltalake")} if HAS_DELTA else {})}
        print(json.dumps({"versions": used, "seconds": found}, indent=2))
        return
    print(table(found))
    if arguments.keep:
        peers = ["deltalake"] if HAS_DELTA else []
        body = f"100,000 rows of 10 columns, half of them new; median of {arguments.repeat}. {REMARK}\n\n{table(found)}"
        write_section("Merging", "python benchmarks/merge.py --keep", body, versions("pyiceberg", "pyarrow", *peers))


if __name__ == "__main__":
    main()
