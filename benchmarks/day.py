"""
One more day of ``glucose_platform`` under a running scheduler: how long, and where each second goes.

Brings up the demo's processes in a temporary ``PHLO_HOME``, loads 26 days, then triggers ``--repeat`` more days, one
by one, and shows what each task took by Airflow's own records. The limit to compare with is the sum of the tasks on the
longest path: what would be left if Airflow took no time.
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from airflow_provider_phlo.services.demo.run import Demo
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import processes
from benchmarks.report import versions, write_section

DAG = "glucose_platform"


def measure(repeat: int) -> dict[str, Any]:
    """Return wall times of ``repeat`` days and the median seconds of each task."""
    with tempfile.TemporaryDirectory(prefix="phlo-day-") as folder:
        home = Path(folder)
        embedded.prepare(home)
        with processes.hold_lock(home / "demo.lock"):
            demo = Demo(home, Path.cwd())
            try:
                demo.prepare()
                demo.start_airflow()
                demo.wait_for_dags({DAG, "github_stats"})
                last = datetime.date.fromisoformat(demo.last_day())
                first = last - datetime.timedelta(days=repeat)
                demo.run({DAG: {"partition_date": first.isoformat(), "lookback_days": 25}})
                days = [first + datetime.timedelta(days=offset + 1) for offset in range(repeat)]
                return summarize([one_day(demo, day) for day in days])
            finally:
                demo.stop()


def one_day(demo: Demo, day: datetime.date) -> dict[str, Any]:
    """Run one day and return its wall time and its tasks' times."""
    run_id = demo.api.trigger(DAG, {"partition_date": day.isoformat()})
    while demo.api.run_state(DAG, run_id) not in ("success", "failed"):
        demo._check()
        time.sleep(0.5)  # each question costs the api-server work that tasks wait for; the times are Airflow's own
    run = demo.api.call("GET", f"/dags/{DAG}/dagRuns/{run_id}")
    tasks = demo.api.task_instances(DAG, run_id)
    if run["state"] != "success":
        raise SystemExit(
            f"{DAG} failed for {day}: " + ", ".join(t["task_id"] for t in tasks if t["state"] != "success")
        )
    wall = seconds(run["queued_at"], run["end_date"])
    return {"wall": wall, "tasks": {task["task_id"]: float(task["duration"] or 0) for task in tasks}}


def seconds(start: str, end: str) -> float:
    """Return the seconds between two of Airflow's date-times."""
    return (datetime.datetime.fromisoformat(end) - datetime.datetime.fromisoformat(start)).total_seconds()


def summarize(days: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians over the days."""
    names = days[0]["tasks"]
    tasks = {name: statistics.median(day["tasks"][name] for day in days) for name in names}
    walls = [day["wall"] for day in days]
    return {
        "wall_seconds": [round(wall, 1) for wall in walls],
        "median_wall": round(statistics.median(walls), 1),
        "tasks": {name: round(value, 2) for name, value in tasks.items()},
        "in_tasks": round(sum(tasks.values()), 1),
        "versions": versions("apache-airflow", "astronomer-cosmos", "dbt-core", "pyiceberg"),
    }


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        f"One day, triggered to published marts: median **{result['median_wall']} s** of "
        f"{', '.join(map(str, result['wall_seconds']))} s; {result['in_tasks']} s of task time "
        "(models of one layer run side by side).",
        "",
        "| task | seconds |",
        "|---|---|",
        *(f"| `{name}` | {value} |" for name, value in result["tasks"].items()),
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write the section of ``docs/benchmarks.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    arguments = parser.parse_args()
    result = measure(arguments.repeat)
    print(json.dumps(result, indent=2) if arguments.output == "json" else table(result))
    write_section("One more day of glucose_platform", "python -m benchmarks.day", table(result), result["versions"])


if __name__ == "__main__":
    main()
