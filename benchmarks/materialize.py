"""
How long one more day of ``glucose_platform`` takes by ``phlo materialize``, beside the DAG's own time.

Both in one project with its services, in turn: a run that is triggered takes from when it was queued to its end; the
command takes from its start to its end. Each is for another day of the recordings. Medians of wall seconds.

    python -m benchmarks.materialize [--rounds N] [--keep]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, datetime, timedelta
from pathlib import Path

from airflow_provider_phlo.airflow_api.client import AirflowApi, run_path
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import ports
from benchmarks.report import versions, write_section

PHLO = Path(sys.executable).parent / "phlo"
DAG = "glucose_platform"
FIRST_DAY = date(2024, 1, 1)
ASKED = 1.15


def main() -> None:
    """Measure, print, and with ``--keep`` write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "lake"
        phlo(Path(folder), "init", "lake", "--example", "glucose")
        phlo(root, "services", "start")
        try:
            own, commands = measure(root, options.rounds)
        finally:
            phlo(root, "services", "stop")
    ratio = statistics.median(commands) / statistics.median(own)
    body = (
        "| one more day of `glucose_platform` | wall, s |\n|---|--:|\n"
        f"| the DAG's own time | {statistics.median(own):.1f} |\n"
        f"| `phlo materialize dag:glucose_platform` | {statistics.median(commands):.1f} |\n\n"
        f"The command takes {ratio:.2f}x the time of the DAG; {ASKED}x was asked for. "
        f"Load at the end: {os.getloadavg()[0]:.1f}."
    )
    print(body)
    if options.keep:
        write_section("phlo materialize", "python -m benchmarks.materialize --keep", body, versions("apache-airflow"))


def measure(root: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Return the seconds of each run of the DAG, and of each command."""
    phlo(root, "materialize", f"dag:{DAG}", "--partition", str(FIRST_DAY))  # sets up tables and warms up
    home = root / ".phlo"
    api = AirflowApi(f"http://{ports.HOST}:{embedded.ui_port(home)}", "admin", embedded.secret(home, "ui_password"))
    days = (str(FIRST_DAY + timedelta(days=number)) for number in range(1, 31))
    own, commands = [], []
    for _ in range(rounds):
        run_id = api.trigger(DAG, {"partition_date": next(days)})
        while (run := api.call("GET", run_path(DAG, run_id)))["state"] not in ("success", "failed"):
            time.sleep(1)
        own.append((datetime.fromisoformat(run["end_date"]) - datetime.fromisoformat(run["queued_at"])).total_seconds())
        started = time.perf_counter()
        phlo(root, "materialize", f"dag:{DAG}", "--partition", next(days))
        commands.append(time.perf_counter() - started)
    return own, commands


def phlo(folder: Path, *arguments: str) -> None:
    """Run a command."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    subprocess.run([PHLO, *arguments], cwd=folder, env=clean, check=True, capture_output=True)


if __name__ == "__main__":
    main()
