"""
The glucose models and their tests under a running scheduler, beside the same models in one ``dbt build`` process.

Each way has a catalog of its own with the same raw rows, and gets one more day before each turn:

- ours: ``phlo_dbt_task_group``, from the trigger to the end of the run; once more when there is nothing new;
- ``dbt build`` of the same selection and catalog, as a process;
- ``dbt build`` of the same SQL by plain dbt-duckdb into native tables of a file, as a process;
- Cosmos' modes LOCAL and WATCHER, on the same scheduler (whose preloaded libraries they share).
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt.manifest import ensure_manifest
from airflow_provider_phlo.dbt.project import Project
from benchmarks.measuring import medians, timed
from benchmarks.report import versions, write_section
from tests.lake import open_lake
from tests.real_airflow import FINAL, RunningAirflow, running_airflow
from tests.unit import raw_tables

PROJECT = raw_tables.PROJECT
SELECT = "path:models/glucose"
RAW = "raw.glucose_entries"
FIRST_DAY = dt.datetime(2024, 3, 1, tzinfo=dt.UTC)
PEERS = ("dbt build", "plain dbt-duckdb", "cosmos local", "cosmos watcher")
PLAIN_PROFILE = """
phlo:
  target: duckdb
  outputs:
    duckdb: {type: duckdb, path: "{{ env_var('PLAIN_DUCKDB') }}", schema: bronze, threads: 1}
"""


class Lake:
    """One way's catalog, or file of native tables, with raw readings every five minutes."""

    def __init__(self, home: Path, days: int) -> None:
        home.mkdir(parents=True)
        self.home = home
        self.days = 0
        self.add_days(days)

    def add_days(self, days: int) -> None:
        """Write all readings anew, these many days more."""
        self.days += days
        chance = random.Random(7)
        moments = [FIRST_DAY + dt.timedelta(minutes=5 * number) for number in range(288 * self.days)]
        self.write(
            raw_tables.entry(f"{number:024}", at, chance.randint(40, 330), direction="Flat")
            for number, at in enumerate(moments)
        )

    def write(self, rows: Iterator[dict[str, Any]]) -> None:
        raw_tables.write(self.catalog(), RAW, rows)

    def catalog(self) -> Catalog:
        return open_lake(self.home)


class NativeTables(Lake):
    """The same rows in a file of DuckDB."""

    def write(self, rows: Iterator[dict[str, Any]]) -> None:
        iceberg = open_lake(self.home / "rows")
        raw_tables.write(iceberg, RAW, rows)
        arrow = iceberg.load_table(RAW).scan().to_arrow()
        with duckdb.connect(str(self.file)) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS raw")
            connection.register("arrow", arrow)
            connection.execute(f"CREATE OR REPLACE TABLE {RAW} AS FROM arrow")

    @property
    def file(self) -> Path:
        return self.home / "native.duckdb"


def measure(days: int, repeat: int, ways: frozenset[str]) -> dict[str, Any]:
    """Return the median seconds of each way."""
    with tempfile.TemporaryDirectory(prefix="phlo-dbt-") as folder, ExitStack() as stack:
        homes = Path(folder)
        running = stack.enter_context(airflow(homes)) if ways & {"ours", "cosmos local", "cosmos watcher"} else None
        found = {name: made for name, made in all_ways(homes, days, running) if name in ways or name == "nothing new"}
        if "ours" not in ways:
            del found["nothing new"]
        return {"seconds": medians(found, repeat), "versions": versions("apache-airflow", "astronomer-cosmos")}


def all_ways(homes: Path, days: int, running: RunningAirflow | None) -> Iterator[tuple[str, Callable[[], float]]]:
    """Yield each way: one more day, and what it then takes."""
    if running:
        own = Lake(homes / "phlo" / "lake", 0)
        own.home = running.home
        own.add_days(days)
        yield "ours", one_more_day(own, lambda: run(running, "phlo_models"))
        yield "nothing new", lambda: run(running, "phlo_models")
        for mode in ("local", "watcher"):
            lake = Lake(homes / mode, days)
            yield f"cosmos {mode}", one_more_day(lake, partial(run, running, f"cosmos_{mode}"))
    lake = Lake(homes / "build", days)
    yield "dbt build", one_more_day(lake, lambda: timed(lambda: build(PROJECT, homes, {"PHLO_HOME": str(lake.home)})))
    native = NativeTables(homes / "plain", days)
    plain = plain_project(homes / "plain")
    variables = {"PLAIN_DUCKDB": str(native.file)}
    yield "plain dbt-duckdb", one_more_day(native, lambda: timed(lambda: build(plain, homes, variables)))


def one_more_day(lake: Lake, work: Callable[[], float]) -> Callable[[], float]:
    """Return the way that brings a day, which does not count, and does the work."""

    def way() -> float:
        lake.add_days(1)
        return work()

    return way


@contextmanager
def airflow(homes: Path) -> Iterator[RunningAirflow]:
    """Start Airflow with the Dags of this benchmark; the project is parsed before, as ``make demo`` does."""
    home = homes / "phlo"
    manifest = ensure_manifest(Project(PROJECT, home))
    variables = {
        "BENCHMARK_PROJECT": str(PROJECT),
        "BENCHMARK_SELECT": SELECT,
        "BENCHMARK_HOMES": str(homes),
        "BENCHMARK_MANIFEST": str(manifest),
    }
    dags = {"phlo_models", "cosmos_local", "cosmos_watcher"}
    with running_airflow(home, Path(__file__).parent / "peers", dags, variables) as running:
        assert running.start is not None
        running.start("triggerer", "--skip-serve-logs")  # where Cosmos' watching sensors wait
        yield running


def run(running: RunningAirflow, dag_id: str) -> float:
    """Return the seconds from a trigger to the end of its run, by Airflow's own records."""
    run_id = running.trigger(dag_id)
    running.wait(lambda: running.api.run_state(dag_id, run_id) in FINAL)
    done = running.api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")
    if done["state"] != "success":
        states = running.finished(dag_id, run_id)
        logs = [running.log(dag_id, run_id, task)[-3000:] for task, state in states.items() if state == "failed"]
        raise SystemExit("\n".join([f"{dag_id}: {states}", *logs]))
    if "BENCHMARK_TASKS" in os.environ:
        for task in running.api.task_instances(dag_id, run_id):
            print(f"  {task['task_id']:60} {task['start_date'][14:23]} {task['duration']:.2f}", file=sys.stderr)
    times = [dt.datetime.fromisoformat(done[name]) for name in ("queued_at", "end_date")]
    return (times[1] - times[0]).total_seconds()


def build(project: Path, homes: Path, variables: dict[str, str]) -> None:
    """Build the models and run their tests as ``dbt build`` does."""
    target = homes / f"target-{project.name}"
    command = [sys.executable, "-m", "dbt.cli.main", "build", f"--select={SELECT}", "--quiet"]
    folders = {"project-dir": project, "profiles-dir": project, "target-path": target, "log-path": target}
    environment = {**os.environ, "DBT_SEND_ANONYMOUS_USAGE_STATS": "False", "PHLO_PARTITION_DATE": "2024-01-01"}
    done = subprocess.run(
        [*command, *(f"--{name}={value}" for name, value in folders.items())],
        env={**environment, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout[-2000:])


def plain_project(folder: Path) -> Path:
    """Return a copy of the project that plain dbt-duckdb builds."""
    project = folder / "plain_project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("materializations", "target", "logs"))
    (project / "profiles.yml").write_text(PLAIN_PROFILE)
    return project


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    seconds = result["seconds"]
    ours = seconds.get("ours")
    lines = ["| way | seconds | ours / it |", "|---|--:|--:|"]
    for name, value in seconds.items():
        ratio = f"{ours / value:.2f}" if ours and name in PEERS else ""
        lines.append(f"| {name} | {value:.2f} | {ratio} |")
    if ours:
        lines += ["", f"A run with nothing new takes {seconds['nothing new'] / ours:.2f} of one with one more day."]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the section of ``docs/benchmarks.md``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--days", type=int, default=26)
    parser.add_argument("--ways", nargs="+", default=["ours", *PEERS], choices=["ours", *PEERS])
    parser.add_argument("--keep", action="store_true", help="write the section of docs/benchmarks.md")
    parser.add_argument("--output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    result = measure(arguments.days, arguments.repeat, frozenset(arguments.ways))
    print(json.dumps(result, indent=2) if arguments.output == "json" else table(result))
    if arguments.keep:
        write_section("dbt models", "python -m benchmarks.dbt --keep", table(result), result["versions"])


if __name__ == "__main__":
    main()
