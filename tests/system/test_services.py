"""``phlo services`` in a fresh project outside the repository, on real processes, which are killed."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.postgres.server import postgres_pid
from tests.patience import PATIENCE, until
from tests.processes import kill_and_wait

AIRFLOW = ("api-server", "scheduler", "dag-processor", "triggerer")
PHLO = Path(sys.executable).parent / "phlo"
DAG = """
from pathlib import Path
from time import sleep

from airflow.sdk import dag, task
from airflow_provider_phlo.services import get_service_config
from include.rules import RULE


@dag(schedule=None, description=RULE)
def asks():
    @task
    def where():
        return get_service_config("trino")["port"]

    where()


asks()


@dag(schedule=None)
def waits():
    @task
    def wait():
        (folder := Path(__file__).parents[1]).joinpath("waiting").touch()
        while not folder.joinpath("go on").exists():
            sleep(0.1)

    wait()


waits()
"""


class Folder:
    """A project, as somebody at a shell sees it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / ".phlo"
        (root / "dags").mkdir(parents=True)
        for path, text in {
            "dags/asks.py": DAG,
            "include/__init__.py": "",
            "include/rules.py": "RULE = 'old'\n",
            "plugins/ours.py": "",
        }.items():
            (root / path).parent.mkdir(exist_ok=True)
            (root / path).write_text(text)
        (root / "phlo.yaml").write_text("name: shop\ninfrastructure: {services: {trino: {port: 4711}}}\n")

    def launch(self, *arguments: str) -> subprocess.Popen[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PHLO"))}
        return subprocess.Popen(
            [PHLO, "services", *arguments],
            cwd=self.root / "dags",
            env=clean,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def phlo(self, *arguments: str, code: int = 0) -> str:
        process = self.launch(*arguments)
        out, said = process.communicate(timeout=300)
        assert process.returncode == code, (out, said)
        return out

    def status(self) -> dict[str, dict[str, Any]]:
        process = self.launch("status", "--output", "json")
        services = {each["service"]: each for each in json.loads(process.communicate(timeout=PATIENCE)[0])}
        healthy = all(each["health"] == "healthy" for each in services.values())
        assert process.returncode == (0 if healthy else 1)
        return services

    def until(self, condition: Callable[[dict[str, dict[str, Any]]], bool]) -> dict[str, dict[str, Any]]:
        return until(lambda: found if condition(found := self.status()) else {}, every=1, said=self.status)

    def api(self) -> AirflowApi:
        port = (self.home / "airflow" / "port").read_text()
        return AirflowApi(f"http://127.0.0.1:{port}", "admin", embedded.secret(self.home, "ui_password"))

    def running(self) -> list[psutil.Process]:
        return processes.find_marked(embedded.secret(self.home, "mark"))


def healthy(services: dict[str, dict[str, Any]]) -> bool:
    return all(each["health"] == "healthy" for each in services.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    folder = Folder(tmp_path_factory.mktemp("shop") / "my shop")
    yield folder
    folder.phlo("stop")
    assert folder.running() == []


@pytest.fixture(scope="module")
def started(folder: Folder) -> Folder:
    for _ in range(2):  # again changes nothing
        folder.phlo("init")
        secrets = {path.name: path.read_bytes() for path in (folder.home / "secrets").iterdir()}
        assert folder.running() == []
        assert postgres_pid(folder.home) is None
    began = time.monotonic()
    folder.phlo("start", "--dev")
    print(f"phlo services start in a project that was set up: {time.monotonic() - began:.0f} s")
    assert secrets == {path.name: path.read_bytes() for path in (folder.home / "secrets").iterdir()}
    folder.phlo("init")  # also while they run
    return folder


def test_a_fresh_project_runs_its_dags(started: Folder) -> None:
    services = started.status()
    assert healthy(services)
    assert {each["state"] for each in services.values()} == {"running"}
    assert all(each["memory"] > 1_000_000 and Path(each["log"]).exists() for each in services.values())
    assert all(each["version"] == each["installed_version"] for each in services.values())
    assert services["scheduler"]["version"] == importlib.metadata.version("apache-airflow-core")
    assert services["postgres"]["version"].startswith("18.")
    api = started.api()
    until(lambda: "asks" in api.dag_ids(), every=1, said=api.import_errors)
    run = api.trigger("asks", {})
    while api.run_state("asks", run) not in ("success", "failed"):
        time.sleep(0.5)
    value = api.call("GET", f"/dags/asks/dagRuns/{run}/taskInstances/where/xcomEntries/return_value")["value"]
    assert value == 4711
    # again changes nothing
    started.phlo("start")
    assert {name: each["pid"] for name, each in started.status().items()} == {
        name: each["pid"] for name, each in services.items()
    }


def test_changed_code_is_picked_up_and_running_tasks_end_first(started: Folder) -> None:
    api = started.api()
    before = started.status()
    (started.root / "include" / "rules.py").write_text("RULE = 'new'\n")
    until(lambda: api.call("GET", "/dags/asks")["description"] == "new")
    after = started.until(lambda services: services["triggerer"]["pid"] != before["triggerer"]["pid"])
    assert {name for name in after if after[name]["pid"] != before[name]["pid"]} == {"dag-processor", "triggerer"}

    api.call("PATCH", "/dags/waits?update_mask=is_paused", {"is_paused": False})
    run = api.trigger("waits", {})
    until((started.root / "waiting").exists)
    (started.root / "plugins" / "ours.py").write_text("x = 1\n")
    after = started.until(lambda services: services["api-server"]["pid"] != before["api-server"]["pid"])
    assert after["scheduler"]["pid"] == before["scheduler"]["pid"]
    (started.root / "go on").touch()
    after = started.until(lambda services: healthy(services) and not {*pids(before)} & {*pids(services, *AIRFLOW)})
    assert api.run_state("waits", run) == "success"
    assert api.call("GET", f"/dags/waits/dagRuns/{run}/taskInstances/wait")["try_number"] == 1
    assert {each["restarts"] for each in after.values()} == {0}
    assert "changed: plugins/ours.py\n" in (started.home / "logs" / "processes" / "supervisor.log").read_text()


def test_each_that_is_killed_comes_back(started: Folder) -> None:
    before = {name: each["pid"] for name, each in started.status().items()}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)  # all at once
    after = started.until(lambda services: healthy(services) and not {*before.values()} & {*pids(services)})
    assert {each["restarts"] for each in after.values()} == {1}


def pids(services: dict[str, dict[str, Any]], *names: str) -> list[int]:
    return [services[name]["pid"] for name in names or services]


def test_one_is_stopped_and_started_alone(started: Folder) -> None:
    before = started.status()
    started.phlo("stop", "triggerer")
    assert started.status()["triggerer"]["state"] == "stopped"
    started.phlo("start", "triggerer")
    after = started.until(healthy)
    assert [name for name, each in after.items() if each["pid"] != before[name]["pid"]] == ["triggerer"]


def test_a_killed_supervisor_is_succeeded_by_one_of_two(started: Folder) -> None:
    """Meanwhile another program has taken the port."""
    supervisor = json.loads((started.home / "services" / "state.json").read_text())["pid"]
    kill_and_wait(supervisor)
    left = started.status()
    assert {each["state"] for name, each in left.items() if name != "postgres"} == {"unsupervised"}
    old = left["api-server"]
    psutil.Process(old["pid"]).kill()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        wait_for_port(taken, old["port"])
        taken.listen()
        both = [started.launch("start"), started.launch("start")]
        for each in both:
            out, said = each.communicate(timeout=300)
            assert each.returncode == 0, (out, said)
        services = started.status()
        assert healthy(services)
        assert services["api-server"]["port"] != old["port"]
        supervisors = [
            each
            for each in started.running()
            if "airflow_provider_phlo.services.supervising.supervisor" in command(each)
        ]
        assert len(supervisors) == 1
        assert not [each for each in pids(left) if each in pids(services) and each != left["postgres"]["pid"]]


def command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


def wait_for_port(taken: socket.socket, port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return taken.bind(("127.0.0.1", port))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_stop_ends_all_also_without_a_supervisor(started: Folder) -> None:
    kill_and_wait(json.loads((started.home / "services" / "state.json").read_text())["pid"])
    assert started.running()
    started.phlo("stop")
    assert started.running() == []
    assert postgres_pid(started.home) is None
    assert {each["state"] for each in started.status().values()} == {"stopped"}
