"""
What a small task costs: on the LocalExecutor, on a Celery worker that starts warm, and on one that does not.

A chain of tasks, each of which uses what the provider's tasks use (PyArrow, DuckDB, Pandera, PyIceberg, dlt), runs
under a real scheduler with each of the three. The figure is the time from one task's end to the next one's, medians
over the chain; the first tasks, which may meet a worker that is still warming up, are left out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_provider_phlo.services.demo.run import Demo
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.postgres import metadata
from airflow_provider_phlo.services.supervising import airflow_processes
from benchmarks.report import versions, write_section
from tests.services.redis import running_redis
from tests.services.scaled import Scaled

DAG = "steps"
LEFT_OUT = 2
SOURCE = """
from airflow.sdk import chain, dag, task

@dag(schedule=None)
def {dag}():
    @task
    def work():
        import dlt, duckdb, pandas, pandera.pandas, pyarrow, pyiceberg.catalog.sql
        return duckdb.sql("SELECT count(*) FROM range(100000)").fetchall()[0][0]

    chain(*[work.override(task_id=f"t{{number:02}}")() for number in range({tasks})])

{dag}()
"""


def measure(tasks: int) -> dict[str, float]:
    """Return the median seconds of a task, end to end, of each kind."""
    found = {}
    for kind in ("local", "celery_warm", "celery_cold"):
        with tempfile.TemporaryDirectory(prefix="phlo-scale-") as folder, running(kind, Path(folder), tasks) as demo:
            demo.run({DAG: {}}, 600)
            (run,) = demo.api.call("GET", f"/dags/{DAG}/dagRuns")["dag_runs"]
            found[kind] = seconds_of_a_task(demo.api.task_instances(DAG, run["dag_run_id"]))
    return found


@contextmanager
def running(kind: str, folder: Path, tasks: int) -> Iterator[Demo]:
    """Run Airflow with an executor on a folder of Dag files for the time of the block."""
    home, root = folder / "home", folder / "project"
    (root / "dags").mkdir(parents=True)
    (root / "dags" / "chain.py").write_text(SOURCE.format(dag=DAG, tasks=tasks + LEFT_OUT))
    (root / "phlo.yaml").write_text("name: chain\n")
    embedded.prepare(home)
    metadata.choose(home, metadata.MetadataDatabase.POSTGRES)
    (folder / "redis").mkdir()
    with running_redis(folder / "redis") as broker:
        demo = Demo(home, root, {}) if kind == "local" else Scaled(home, root, broker, {}, warm=kind == "celery_warm")
        demo.recorded = True  # nothing is live here either: no pause for other sources
        try:
            airflow_processes.set_up(home, demo.environment)
            if isinstance(demo, Scaled):
                demo.start_workers()
            demo.start_airflow()
            demo.wait_for_dags({DAG})
            if isinstance(demo, Scaled):
                demo.wait_for_workers()
            yield demo
        finally:
            demo.stop()


def seconds_of_a_task(instances: list[dict[str, Any]]) -> float:
    """Return the median time from a task's end to the next one's."""
    ends = sorted(datetime.fromisoformat(each["end_date"]) for each in instances)[LEFT_OUT - 1 :]
    steps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(ends)]
    return statistics.median(steps)


def report(found: dict[str, float]) -> str:
    """Return the figures as a table, each with its difference to the LocalExecutor's."""
    titles = {"local": "LocalExecutor", "celery_warm": "Celery, warm worker", "celery_cold": "Celery, cold worker"}
    lines = ["| tasks run on | a task | more than LocalExecutor |", "|---|--:|--:|"]
    for kind, title in titles.items():
        lines.append(f"| {title} | {found[kind]:.2f} s | {found[kind] - found['local']:+.2f} s |")
    return "\n".join(lines)


def main() -> None:
    """Print the figures; ``--keep`` writes them into docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    found = measure(arguments.tasks)
    print(json.dumps(found))
    print(report(found))
    if arguments.keep:
        used = versions("apache-airflow", "apache-airflow-providers-celery", "celery", "redis")
        write_section("Tasks on Celery workers", "python -m benchmarks.scale", report(found), used)


if __name__ == "__main__":
    main()
