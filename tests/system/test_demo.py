"""``make demo`` as a newcomer runs it: a clean clone, nothing set up."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pytest

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.services.environment import embedded
from include.replay.recordings import Recordings
from include.replay.server import ReplayServer
from tests.other_user import open_to_others
from tests.patience import PATIENCE
from tests.real_airflow import RunningAirflow

ROOT = Path(__file__).parents[2]
LAYERS = {"raw", "bronze", "silver", "gold", "marts"}


def clean_environment() -> dict[str, str]:
    """Return the variables of a shell that knows nothing of this project."""
    foreign = ("AIRFLOW", "PHLO", "GITHUB", "NIGHTSCOUT", "MAKE", "MFLAGS", "VIRTUAL_ENV", "PYTHONPATH", "DBT", "DEMO")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
    own = str(Path(sys.executable).parent)
    return {**kept, "PATH": os.pathsep.join(part for part in kept["PATH"].split(os.pathsep) if part != own)}


def make(clone: Path, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments], cwd=clone, env=clean_environment(), capture_output=True, text=True, timeout=timeout
    )


def processes_of(clone: Path) -> list[psutil.Process]:
    """Return the processes that run out of the clone: by command, or by environment."""
    found = []
    for process in psutil.process_iter():
        try:
            texts = [*process.cmdline(), process.environ().get("PHLO_HOME", "")]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(clone) in text for text in texts):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def addresses(processes: list[psutil.Process]) -> set[str]:
    """Return the addresses that the processes listen at."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):  # tasks come and go
            found |= {each.laddr.ip for each in process.net_connections("inet") if each.status == psutil.CONN_LISTEN}
    return found


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    clone = tmp_path_factory.mktemp("clean") / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
    yield clone
    make(clone, "clean")
    shutil.rmtree(clone)


@pytest.fixture(scope="module")
def demo(clone: Path) -> tuple[subprocess.CompletedProcess[str], float]:
    started = time.monotonic()
    return make(clone, "demo", "DEMO_EXIT=1"), time.monotonic() - started


def phlo(clone: Path, sql: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [clone / ".venv" / "bin" / "phlo", "query", sql, "--output", "json"],
        cwd=clone,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_succeeds_and_says_what_it_built(demo: tuple[subprocess.CompletedProcess[str], float]) -> None:
    done, seconds = demo
    print(f"make demo in a clean clone: {seconds:.0f} s\n{done.stdout}")
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "raw.glucose_entries",
        "marts.mrt_glucose_overview",
        "raw.user_events",
        "raw.public_events",
        "marts.mrt_public_top_repos",
        "raw.pull_requests",
        "marts.mrt_review_turnaround",
        "Public events (DuckDB)",
        "Glucose overview",
        "Airflow  ",
        # a broken contract, whom it concerns, and its end
        "| [error] contract: glucose_readings sgv range of raw.glucose_entries",
        "| Relied on by: glucose_overview, stg_glucose_entries",
        "| [error] resolved: contract: glucose_readings sgv range of raw.glucose_entries",
    ):
        assert part in done.stdout
    assert re.search(r"http://127\.0\.0\.1:\d+", done.stdout)


def test_leaves_no_process(demo: Any, clone: Path) -> None:
    assert processes_of(clone) == []


def test_keeps_its_state_in_one_ignored_folder(demo: Any, clone: Path) -> None:
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == ""
    assert {"airflow", "logs", "postgres", "secrets", "warehouse"} <= {
        path.name for path in (clone / ".phlo").iterdir()
    }


def test_no_secret_is_in_a_log(demo: Any, clone: Path) -> None:
    secrets = [path.read_text() for path in (clone / ".phlo" / "secrets").iterdir() if path.name != "mark"]
    secrets.append(json.loads((clone / ".phlo" / "postgres" / "server.json").read_text())["password"])
    for log in (clone / ".phlo" / "logs").rglob("*.log"):
        text = log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in text], log


def test_case_33_all_that_the_demo_wrote_is_its_owners_only(demo: Any, clone: Path) -> None:
    assert open_to_others(clone / ".phlo") == {}


def test_every_layer_has_rows(demo: Any, clone: Path) -> None:
    tables = phlo(clone, "SELECT table_schema AS s, table_name AS t FROM information_schema.tables")
    assert {table["s"] for table in tables} >= LAYERS
    names = [f'{table["s"]}."{table["t"]}"' for table in tables if "__quarantine" not in table["t"]]
    counts = phlo(clone, " UNION ALL ".join(f"SELECT '{name}' AS name, count(*) AS n FROM {name}" for name in names))
    assert sorted(row["name"] for row in counts if row["n"] > 0) == sorted(names)


def test_each_reading_is_there_once_over_thirty_days(demo: Any, clone: Path) -> None:
    (row,) = phlo(
        clone,
        "SELECT count(*) AS n, count(DISTINCT _id) AS keys, "
        "count(DISTINCT date_trunc('day', epoch_ms(date))) AS days FROM raw.glucose_entries",
    )
    assert row["n"] == row["keys"] > 0
    assert row["days"] == 30
    (marts,) = phlo(clone, "SELECT count(*) AS days, sum(reading_count) AS n FROM marts.mrt_glucose_overview")
    assert marts["days"] == 30
    assert int(marts["n"]) == row["n"]


def test_bad_records_are_in_quarantine(demo: Any, clone: Path) -> None:
    (row,) = phlo(clone, "SELECT count(*) AS n FROM raw.glucose_entries__quarantine")
    assert row["n"] > 0


def test_public_events_are_on_disk_in_duckdb_and_in_iceberg(demo: Any, clone: Path) -> None:
    events = clone / ".phlo" / "events"
    batches = sorted((events / "raw").iterdir())
    lines = [line for batch in batches for line in batch.read_text().splitlines()]
    assert [
        batch.name for batch in batches if not re.fullmatch(r"events_\d{8}_\d{6}_batch_\d{3}\.jsonl", batch.name)
    ] == []
    ids = {event["id"] for event in map(json.loads, lines) if "id" in event}
    with duckdb.connect(events / "github_events.duckdb", read_only=True) as connection:
        assert {key for (key,) in connection.execute("SELECT event_id FROM events").fetchall()} == ids
        assert connection.execute("SELECT count(*) FROM rejected_lines").fetchall() == [(len(lines) - len(ids),)]
    assert phlo(clone, "SELECT count(*) AS n, count(DISTINCT event_id) AS ids FROM raw.public_events") == [
        {"n": len(ids), "ids": len(ids)}
    ]
    (sessions,) = phlo(clone, "SELECT sum(events_in_session) AS n FROM gold.fct_public_user_sessions")
    (users,) = phlo(clone, "SELECT sum(total_events) AS n FROM marts.mrt_public_active_users")
    assert 0 < int(sessions["n"]) == int(users["n"]) <= len(ids)


def test_pull_requests_are_staged_loaded_and_counted(demo: Any, clone: Path) -> None:
    staged = list((clone / ".phlo" / "stage" / "github").glob("*/org=phlo-labs/date=*/*.parquet"))
    assert {path.parts[-4] for path in staged} == {"pull_requests", "reviews", "files"}
    (row,) = phlo(
        clone,
        "SELECT count(*) AS n, count(DISTINCT row_key) AS keys, count(*) FILTER (WHERE changed_files > 100) AS large, "
        "count(*) FILTER (WHERE author_login IS NULL) AS ghosts, sum(changed_files) AS files FROM raw.pull_requests",
    )
    assert row["n"] == row["keys"] > 100
    assert min(row["large"], row["ghosts"]) > 0
    (files,) = phlo(clone, "SELECT count(*) AS n FROM raw.pull_request_files")
    assert int(row["files"]) == files["n"]
    (weeks,) = phlo(clone, "SELECT sum(opened) AS n FROM marts.mrt_pull_request_throughput")
    assert int(weeks["n"]) == row["n"]


def test_marts_are_in_postgres(demo: Any, clone: Path) -> None:
    count = "select count(*) from marts.mrt_glucose_overview"
    done = make(clone, "-s", "psql", f"SQL={count}")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\s*30$", done.stdout, re.M)
    make(clone, "stop")
    assert processes_of(clone) == []


# --- what README.md says, line by line as written ------------------------------------------------------------


def block(title: str) -> str:
    """Return the commands of a section of the README."""
    section = (ROOT / "README.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    (commands,) = re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return str(commands)


def typed(clone: Path, commands: str, **variables: str) -> str:
    """Run what somebody types into a shell, one line after the other; each must succeed."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail"],
        input=commands,
        cwd=clone,
        env={**clean_environment(), **variables},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout + done.stderr


def test_case_50_look_at_the_data(demo: Any, clone: Path) -> None:
    output = typed(clone, block("Look at the data"))
    assert "(3 rows)" in output
    assert "state=success" in output
    assert "recorded data" in output
    (row,) = phlo(clone, "SELECT count(*) AS n FROM raw.glucose_entries WHERE date_string LIKE '2024-01-15%'")
    assert row["n"] == 288
    assert not re.search("graphviz|penlineage|null_placement", output)
    make(clone, "stop")
    assert processes_of(clone) == []


def test_case_51_live_data(clone: Path, demo: Any, tmp_path: Path) -> None:
    """The commands as they stand, with a site and a user instead of the placeholders."""
    secret = "the secret of a site"
    recordings = Recordings.open(tmp_path, 40, 11, datetime.now(UTC).date() - timedelta(days=1), "somebody")
    with ReplayServer(recordings, secret) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        commands = block("Live data")
        for placeholder, value in {
            "https://your-site.example.com": f"{server.url}/nightscout",
            "https://api.github.com": f"{server.url}/github",
            "<API secret or token>": secret,
            "<user to watch>": "somebody",
            ',"password":"<token, optional>"': "",
        }.items():
            assert placeholder in commands
            commands = commands.replace(placeholder, value)
        assert commands.rstrip().endswith("make demo LIVE=1")
        output = typed(clone, commands, DEMO_EXIT="1")
        server.shutdown()
    assert secret not in output
    assert "marts.mrt_glucose_overview" in output
    live = {**clean_environment(), "PHLO_HOME": ".phlo-live"}
    asked = [clone / ".venv" / "bin" / "phlo", "query", "-o", "json"]
    sql = "SELECT (SELECT login FROM raw.user_profile) AS who, count(*) AS days FROM marts.mrt_glucose_overview"
    done = subprocess.run([*asked, sql], cwd=clone, env=live, capture_output=True, text=True, timeout=PATIENCE)
    assert json.loads(done.stdout) == [{"who": "somebody", "days": 30}]
    mixed = make(clone, "demo", "DEMO_EXIT=1", "PHLO_HOME=.phlo-live")
    assert mixed.returncode != 0
    assert "hold live data" in mixed.stderr
    make(clone, "clean", "PHLO_HOME=.phlo-live")


# --- a second demo, which stays ----------------------------------------------------------------------------------

CONSUMER = """
from datetime import UTC, datetime
from airflow.sdk import dag
from airflow_provider_phlo.assets.iceberg import iceberg_asset
from airflow_provider_phlo.sensors.partition import PhloPartitionSensor


@dag(schedule=[iceberg_asset("raw.glucose_entries")], start_date=datetime(2020, 1, 1, tzinfo=UTC), catchup=False)
def consumer():
    PhloPartitionSensor(task_id="wait", table="raw.glucose_entries", deferrable=True, poke_interval=1)


consumer()
"""


@contextlib.contextmanager
def starting(clone: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo without DEMO_EXIT, in a process group of its own."""
    with subprocess.Popen(
        ["make", "demo"],
        cwd=clone,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def read_until(process: subprocess.Popen[str], words: str) -> str:
    """Return what it prints up to the line with these words."""
    output = ""
    assert process.stdout is not None
    for line in process.stdout:
        output += line
        if words in line:
            return output
    raise AssertionError(f"it ended without {words!r}:\n{output}")


@dataclass
class Staying:
    """
    A second demo in the folder of the first.

    :param seconds: from its start until all was built.
    :param events: how many rows ``raw.user_events`` had before.
    """

    process: subprocess.Popen[str]
    seconds: float
    events: int


@pytest.fixture(scope="module")
def staying(clone: Path, demo: Any) -> Iterator[Staying]:
    """Run the demo again, with a Dag beside the examples that waits for a table of theirs, until it stays."""
    (clone / "dags" / "consumer.py").write_text(CONSUMER)
    (before,) = phlo(clone, "SELECT count(*) AS n FROM raw.user_events")
    started = time.monotonic()
    with starting(clone) as process:
        output = read_until(process, "Everything took")
        seconds = time.monotonic() - started
        print(f"make demo with its environment there: {seconds:.0f} s\n{output}")
        read_until(process, "Ctrl-C")
        yield Staying(process, seconds, before["n"])


def test_second_demo_is_faster_and_changes_no_count(staying: Staying, clone: Path, demo: Any) -> None:
    assert phlo(clone, "SELECT count(*) - count(DISTINCT _id) AS n FROM raw.glucose_entries") == [{"n": 0}]
    assert phlo(clone, "SELECT count(*) AS n FROM raw.user_events")[0]["n"] >= staying.events
    assert staying.seconds < demo[1]  # it sets no environment up


def test_case_52_the_clock_runs_on_loopback_and_ctrl_c_ends_all(staying: Staying, clone: Path) -> None:
    """Schedules fire, assets start Dags, deferrable tasks defer, the replayed APIs answer for today."""
    home = clone / ".phlo"
    api = AirflowApi(f"http://127.0.0.1:{embedded.ui_port(home)}", "admin", embedded.secret(home, "ui_password"))
    running = RunningAirflow(home, api)
    assert set(api.health().values()) == {"healthy"}
    for dag_id in ("glucose_platform", "github_stats", "github_events", "github_pull_requests"):
        (run, *_) = running.wait(lambda dag_id=dag_id: running.runs(dag_id, "scheduled"))
        states = running.finished(dag_id, run["dag_run_id"])
        # there may be no news of pull requests
        assert {state for task, state in states.items() if task != "read"} == {"success"}, states
    (run, *_) = running.wait(lambda: running.runs("consumer", "asset_triggered"))
    assert running.finished("consumer", run["dag_run_id"]) == {"wait": "success"}

    today = datetime.now(UTC).date().isoformat()
    waiting = running.trigger("consumer", conf={"partition_date": today})
    running.wait(lambda: api.task_instances("consumer", waiting)[0]["state"] == "deferred")
    read = running.trigger("glucose_platform", conf={"partition_date": today})
    assert set(running.finished("glucose_platform", read).values()) == {"success"}
    assert running.xcom("glucose_platform", read, "glucose_entries.ingest")["read"] > 0
    assert running.finished("consumer", waiting) == {"wait": "success"}

    started = processes_of(clone)
    assert len(started) > 5
    assert addresses(started) == {"127.0.0.1"}
    os.killpg(staying.process.pid, signal.SIGINT)  # what a terminal does
    staying.process.wait(timeout=PATIENCE)
    assert processes_of(clone) == []


def test_stop_cleans_up_after_kill_9(demo: Any, clone: Path) -> None:
    """While tasks run: what they are doing, Airflow, Postgres and the replayed APIs are all left behind."""
    make(clone, "stop")  # a test before it that failed has left a demo running
    with starting(clone) as process:
        read_until(process, "✓")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=PATIENCE)
    assert processes_of(clone)
    stopped = make(clone, "stop")
    assert stopped.returncode == 0, stopped.stderr
    assert processes_of(clone) == []


def test_clean_removes_all_state(demo: Any, clone: Path) -> None:
    assert make(clone, "clean").returncode == 0
    assert not (clone / ".phlo").exists()
