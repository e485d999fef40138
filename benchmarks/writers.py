"""
Writers of one table at once: 16 processes with 50 merges each, against the same 800 merges one after another.

A merge is what a run does without Airflow: stage 12 rows of the same 30 keys, land them on the run's branch, publish.
All of them change rows that the others change as well, so each has to be merged on top of what was published before.
Time counts from when all processes are ready; catalogs are SQLite and the bundled Postgres.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.iceberg.branches.marks import all_marks
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.services.postgres.server import ensure_postgres, stop_postgres
from benchmarks.report import versions, write_section

TABLE, DAY = "raw.t", "2024-01-15"
KEYS, BATCH = 30, 12
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["airflow_provider_phlo.ingestion.publication", "pyiceberg.catalog.sql", "psycopg2"])


def run(root: Path, catalog: Any, token: str) -> None:
    """Stage, land and publish one batch."""
    keys = random.Random(token).sample(range(KEYS), BATCH)
    writer = staged_batches.BatchWriter(root, TABLE, DAY, token)
    days = pa.repeat(pa.scalar(DAY), BATCH).cast(pa.date32())
    writer.write(pa.table({"k": keys, "v": [token] * BATCH, "_phlo_partition_date": days}))
    files = tuple(writer.files)
    batch = staged_batches.StagedBatch(TABLE, token, DAY, token, writer.attempt, files, read=BATCH, rows=BATCH)
    definition = TableDefinition(TABLE, MergePlan(key=("k",)))
    landed = landing.land(catalog, root, writer.finish(batch), definition)
    assert landed is not None
    publication.publish(catalog, root, landed, definition, lambda branch: None)


def write(home: Path, properties: dict[str, str], tokens: Sequence[str], ready: Any, done: Any) -> None:
    """Run all of ``tokens``; send how many were lost to other writers."""
    lost = 0
    ready.wait()
    for token in tokens:
        # as each of Airflow's tasks does
        catalog = open_catalog("phlo", properties)
        try:
            run(home / "staging", catalog, token)
        except TransientError:
            lost += 1
        finally:
            catalog.close()
    done.put(lost)


def seconds(home: Path, properties: dict[str, str], work: Sequence[Sequence[str]]) -> tuple[float, int]:
    """Return how long writers take for their work, and how many of the runs have published."""
    open_catalog("phlo", properties).close()
    ready, done = PROCESSES.Barrier(len(work) + 1), PROCESSES.Queue()
    writers = [PROCESSES.Process(target=write, args=(home, properties, tokens, ready, done)) for tokens in work]
    for each in writers:
        each.start()
    ready.wait()
    started = time.perf_counter()
    lost = sum(done.get() for _ in writers)
    taken = time.perf_counter() - started
    for each in writers:
        each.join()
    catalog = open_catalog("phlo", properties)
    published = len(all_marks(catalog.load_table(TABLE).properties))
    catalog.close()
    assert published == sum(map(len, work)) - lost
    return taken, published


@contextmanager
def catalogs(folder: Path, kind: str) -> Iterator[list[tuple[Path, dict[str, str]]]]:
    """Yield two empty catalogs with their folders."""
    homes = [folder / f"{kind}-{number}" for number in range(2)]
    properties = [embedded_properties(home) for home in homes]
    servers = homes if kind == "postgres" else []
    try:
        for home, each in zip(servers, properties, strict=False):
            each["uri"] = ensure_postgres(home / "server").uri.replace("postgresql://", "postgresql+psycopg2://")
        yield list(zip(homes, properties, strict=True))
    finally:
        for home in servers:
            stop_postgres(home / "server")


def measure(folder: Path, kind: str, writers: int, merges: int) -> dict[str, float]:
    """Return the seconds of all merges one after another and at once, and how many were published."""
    work = [[f"merge-{writer}-{number}" for number in range(merges)] for writer in range(writers)]
    turn_about = [token for tokens in zip(*work, strict=True) for token in tokens]
    with catalogs(folder, kind) as (alone, beside):
        one, _ = seconds(*alone, [turn_about])
        all_at_once, published = seconds(*beside, work)
    return {"alone": one, "at once": all_at_once, "published": published, "runs": writers * merges}


def table(found: dict[str, dict[str, float]]) -> str:
    lines = ["| catalog | one after another s | at once s | ratio | published |", "|---|--:|--:|--:|--:|"]
    for kind, each in found.items():
        ratio = each["at once"] / each["alone"]
        published = f"{each['published']:.0f} of {each['runs']:.0f}"
        lines.append(f"| {kind} | {each['alone']:.1f} | {each['at once']:.1f} | {ratio:.2f} | {published} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--merges", type=int, default=50, help="of each writer")
    parser.add_argument("--catalogs", nargs="*", default=["sqlite", "postgres"], choices=["sqlite", "postgres"])
    parser.add_argument("--beside", default="nothing", help="what else ran on the machine")
    parser.add_argument("--keep", action="store_true", help="write the results to docs/benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = {kind: measure(Path(folder), kind, arguments.writers, arguments.merges) for kind in arguments.catalogs}
    print(table(found))
    if arguments.keep:
        body = (
            f"{arguments.writers} processes with {arguments.merges} merges each into one table, all of the same 30 "
            f"keys, against the same merges one\nafter another. Beside it ran {arguments.beside}.\n\n{table(found)}"
        )
        write_section("Writers of one table", "python -m benchmarks.writers --keep", body, versions("pyiceberg"))


if __name__ == "__main__":
    main()
