"""
How long ``phlo logs`` takes to its first line, and to its last, over many task logs of a real Airflow.

The metadata database has ``--logs`` task instances of runs of one DAG, a log file each, as the scheduler and workers
would have left them; the api-server is a process of its own and answers over HTTP. Beside it: reading the first log
alone through the API, and ``cat`` of all files.

    python -m benchmarks.cli_logs [--logs N] [--rounds N] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import ports, processes
from benchmarks.report import versions, write_section

PHLO = str(Path(sys.executable).parent / "phlo")
LINES = 20
DAG = """
from airflow.sdk import dag, task
@dag(schedule=None, dag_id="logged")
def logged():
    @task
    def t(): pass
    t()
logged()
"""
# run by Airflow's own Python, in the project's environment: rows as the scheduler makes them
FILL = """
import sys, uuid
from datetime import datetime, timedelta, timezone
from airflow.models import DagRun, TaskInstance
from airflow.models.dag_version import DagVersion
from airflow.models.serialized_dag import SerializedDagModel
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
count, begun = int(sys.argv[1]), datetime.fromisoformat(sys.argv[2])
with create_session() as session:
    dag = SerializedDagModel.get_dag("logged")
    version = DagVersion.get_latest_version("logged", session=session)
    for number in range(count):
        start = begun + timedelta(seconds=number)
        run = DagRun(dag_id="logged", run_id=f"manual__{number}", run_type=DagRunType.MANUAL, run_after=start,
            start_date=start, state=DagRunState.SUCCESS, triggered_by=DagRunTriggeredByType.TEST)
        run.end_date = start + timedelta(seconds=2)
        session.add(run)
        session.flush()
        ti = TaskInstance(dag.get_task("t"), run_id=run.run_id, dag_version_id=version.id)
        ti.start_date, ti.end_date, ti.state, ti.try_number = start, run.end_date, TaskInstanceState.SUCCESS, 1
        session.add(ti)
"""


def main() -> None:
    """Measure, print, and with ``--keep`` write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, airflow(Path(folder), options.logs) as environment:
        root = Path(folder)
        files = sorted((root / ".phlo" / "logs").glob("dag_id=*/run_id=*/task_id=*/*.log"))
        found = {
            f"`phlo logs` over {options.logs:,} task logs": [stream(root, environment) for _ in range(options.rounds)],
            "`phlo logs --run` of one": [
                stream(root, environment, "--run", "manual__7") for _ in range(options.rounds)
            ],
            "`cat` of all files": [cat(files) for _ in range(options.rounds)],
        }
    lines = ["| command | lines | first line, s | last line, s | asked, s |", "|---|--:|--:|--:|--:|"]
    for name, times in found.items():
        first, last, count = (statistics.median(each) for each in zip(*times, strict=True))
        asked = "2.00 to the first" if "over" in name else ""
        lines.append(f"| {name} | {count:,.0f} | {first:.2f} | {last:.2f} | {asked} |")
    body = "\n".join(lines)
    print(body)
    if options.keep:
        write_section(
            "Task logs in a terminal", "python -m benchmarks.cli_logs --keep", body, versions("apache-airflow")
        )


@contextmanager
def airflow(root: Path, count: int) -> Iterator[dict[str, str]]:
    """Start an api-server whose database and folder have the logs; yield the variables of a shell."""
    home = root / ".phlo"
    (root / "dags").mkdir()
    (root / "dags" / "logged.py").write_text(DAG)
    (root / "phlo.yaml").write_text("name: measured\n")
    embedded.prepare(home)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    environment = {**inherited, **embedded.airflow_environment(home, root)}
    embedded.migrate(home, environment)
    begun = datetime.now(UTC) - timedelta(seconds=count + 60)
    run_python(environment, "-m", "airflow", "dags", "reserialize")
    run_python(environment, "-c", FILL, str(count), begun.isoformat())
    for number in range(count):
        write_log(home / "logs", number, begun + timedelta(seconds=number))
    mark = embedded.secret(home, "mark")
    command = [sys.executable, "-m", "airflow", "api-server"]
    server = processes.start(command, mark=mark, environment=environment, log=home / "logs" / "api-server.log")
    api = AirflowApi(f"http://{ports.HOST}:{embedded.ui_port(home)}", "", "")
    try:
        deadline = time.monotonic() + 120
        while not api.health():
            assert time.monotonic() < deadline, "the api-server does not answer"
            time.sleep(0.5)
        yield {**inherited, "PHLO_HOME": str(home)}
    finally:
        processes.stop(mark)
        server.wait()


def run_python(environment: dict[str, str], *arguments: str) -> None:
    """Run Python with the variables of the project."""
    subprocess.run([sys.executable, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)


def write_log(folder: Path, number: int, begun: datetime) -> None:
    """Write the log of one task, as a worker does."""
    path = folder / f"dag_id=logged/run_id=manual__{number}/task_id=t/attempt=1.log"
    path.parent.mkdir(parents=True)
    messages = [
        {
            "timestamp": (begun + timedelta(seconds=line / LINES)).isoformat(),
            "level": "info",
            "event": f"line {line} of run {number}",
            "logger": "measured",
        }
        for line in range(LINES)
    ]
    path.write_text("".join(f"{json.dumps(message)}\n" for message in messages))


def stream(root: Path, environment: dict[str, str], *arguments: str) -> tuple[float, float, int]:
    """Return the seconds to the first line and to the last of ``phlo logs``, and the number of lines."""
    command = [PHLO, "logs", "--since", "1d", *arguments]
    started = time.perf_counter()
    with subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, bufsize=0) as process:
        assert process.stdout is not None
        content = process.stdout.read(1)
        first = time.perf_counter() - started
        while part := process.stdout.read(1 << 20):
            content += part
    assert process.returncode == 0
    return first, time.perf_counter() - started, content.count(b"\n")


def cat(files: list[Path]) -> tuple[float, float, int]:
    """Return the same for ``cat``."""
    started = time.perf_counter()
    done = subprocess.run(["cat", *map(str, files)], capture_output=True, check=True)
    seconds = time.perf_counter() - started
    return seconds, seconds, done.stdout.count(b"\n")


if __name__ == "__main__":
    main()
