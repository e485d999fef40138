"""``phlo services`` where nothing needs to run: what is refused, stale files, compose."""

from __future__ import annotations

import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import Project, find_project
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.machine.log_rotation import LogRotation, part_of
from airflow_provider_phlo.services.supervising import compose, control
from airflow_provider_phlo.services.supervising.state import (
    PartState,
    SupervisorState,
    Wanted,
    read_state,
    read_wanted,
    want,
    write_state,
)
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[4]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path)


def make_project(folder: Path, text: str = "name: shop\n") -> Project:
    (folder / "phlo.yaml").write_text(text)
    found = find_project(folder, {})
    embedded.prepare(found.home)
    return found


def phlo(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PHLO"))}
    return subprocess.run(
        [sys.executable, "-c", "from airflow_provider_phlo.cli.main import main; main()", "services", *arguments],
        cwd=folder,
        env={**clean, **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def this_process(root: Path, **fields: Any) -> SupervisorState:
    this = psutil.Process()
    return SupervisorState(this.pid, this.create_time(), str(root), **{"phase": "running", **fields})


def say(line: str) -> None:
    pass


@pytest.mark.long
def test_a_folder_that_is_not_a_project(tmp_path: Path) -> None:
    for verb in ("start", "stop", "restart", "status", "logs"):
        done = phlo(tmp_path, verb)
        assert done.returncode == 2
        assert done.stderr.startswith(f"phlo services {verb}: {tmp_path} is not in a project")
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_status_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "phlo.yaml").touch()
    done = phlo(tmp_path, "status", "--output", "json")
    assert done.returncode == 1
    assert {service["state"] for service in json.loads(done.stdout)} == {"stopped"}
    assert [path.name for path in tmp_path.iterdir()] == ["phlo.yaml"]
    done = phlo(tmp_path, "stop")
    assert (done.returncode, done.stderr) == (0, f"{tmp_path / '.phlo'}: nothing was running.\n")


def test_a_name_that_is_not_a_service(project: Project) -> None:
    done = phlo(project.root, "restart", "schduler")
    assert done.returncode == 2
    assert "'schduler' is not a service. Did you mean scheduler?" in done.stderr


def test_status_imports_no_airflow(project: Project) -> None:
    code = (
        "import sys; from airflow_provider_phlo.cli.main import main\n"
        "try: main(['services', 'status'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'airflow', 'dlt', 'pyarrow', 'pandas', 'pyiceberg'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project.root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        project = make_project(tmp_path, f"infrastructure: {{services: {{api-server: {{port: {port}}}}}}}\n")
        with pytest.raises(TransientError, match=rf"^Port {port} of api-server .* is taken by another program"):
            control.start(project, (), say)
    assert processes.find_marked(embedded.secret(project.home, "mark")) == []
    assert phlo(project.root, "status").returncode == 1


def test_a_home_in_which_a_demo_runs_is_refused(project: Project) -> None:
    with (
        processes.hold_lock(project.home / "demo.lock"),
        pytest.raises(TransientError, match="in use by a running demo"),
    ):
        control.start(project, (), say)


def test_a_home_of_another_project_is_refused(project: Project, tmp_path: Path) -> None:
    write_state(project.home, this_process(tmp_path / "other"))
    with pytest.raises(ConfigurationError, match=r"in use by the services of .*other\. Give this project a folder"):
        control.start(project, (), say)
    with pytest.raises(ConfigurationError, match="in use by the services of"):
        control.stop(project, ["triggerer"])


@pytest.mark.long
@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}', '{"parts": {"scheduler": 1}}'])
def test_a_state_that_cannot_be_read_does_not_count(project: Project, content: str) -> None:
    write_state(project.home, this_process(project.root))
    (project.home / "services" / "state.json").write_text(content)
    assert read_state(project.home) is None
    assert phlo(project.root, "status").returncode == 1


def test_a_number_that_has_changed_hands_is_not_the_supervisor(project: Project) -> None:
    this = psutil.Process()
    write_state(project.home, SupervisorState(this.pid, this.create_time() - 5, str(project.root), "running"))
    state = read_state(project.home)
    assert state is not None
    assert not state.is_alive
    with pytest.raises(ConfigurationError, match="No services run"):
        control.restart(project, ["scheduler"], say)


def test_a_process_that_is_older_than_what_is_installed_is_named(project: Project) -> None:
    this = psutil.Process().pid
    part = PartState("running", this, time.time(), 0, "", "log", "3.0.1")
    write_state(project.home, this_process(project.root, url="http://127.0.0.1:9", parts={"scheduler": part}))
    done = phlo(project.root, "status", "scheduler", "--output", "json")
    (scheduler,) = json.loads(done.stdout)
    installed = importlib.metadata.version("apache-airflow-core")
    assert (scheduler["version"], scheduler["installed_version"]) == ("3.0.1", installed)
    assert f"scheduler: version 3.0.1 runs, {installed} is installed.\nphlo services restart" in done.stderr


def test_state_is_its_owners_only_and_leaves_no_part(project: Project) -> None:
    write_state(project.home, this_process(project.root))
    want(project.home, ["scheduler"], run=False)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (project.home / "services").iterdir()}
    assert modes == {"state.json": 0o600, "wanted.json": 0o600, "wanted.lock": 0o600}


def test_wishes_are_counted(project: Project) -> None:
    assert read_wanted(project.home) == {}
    want(project.home, ["a", "b"], run=True)
    assert read_wanted(project.home) == {}
    want(project.home, ["a"], run=False)
    want(project.home, ["a", "b"], run=True, again=True)
    assert read_wanted(project.home) == {"a": Wanted(run=True, generation=2), "b": Wanted(run=True, generation=1)}


# --- compose ---------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_compose_without_an_engine_is_one_line(project: Project) -> None:
    (project.root / "docker-compose.yaml").write_text("services: {}\n")
    for verb in ("start", "stop", "restart", "status", "logs"):
        done = phlo(project.root, verb, "--mode", "compose", PATH="/nowhere")
        expected = "No Docker engine answers. Start one, or use --mode embedded, which needs none.\n"
        assert (done.returncode, done.stderr) == (2, f"phlo services {verb}: {expected}")


def test_compose_without_its_file(project: Project) -> None:
    with pytest.raises(ConfigurationError, match=r"has no docker-compose\.yaml"):
        compose.start(project, ())


def overridden(project: Project, declared: dict[str, Any]) -> dict[str, Any]:
    text = compose.override(project, declared)
    return dict(yaml.safe_load(text.replace("!override ", "")))


def test_compose_gets_ports_and_names_of_phlo_yaml(tmp_path: Path) -> None:
    project = make_project(
        tmp_path,
        "name: shop\ninfrastructure:\n  container_naming_pattern: '{project}.{service}'\n  services:\n"
        "    db: {service_name: postgres, port: 15432, container_name: the-db}\n    trino: {}\n",
    )
    declared = {"services": {"postgres": {"ports": ["127.0.0.1:5432:5432"]}, "trino": {}, "s3": {}}}
    assert "ports: !override [" in compose.override(project, declared)
    assert overridden(project, declared) == {
        "services": {
            "postgres": {"ports": ["127.0.0.1:15432:5432"], "container_name": "the-db"},
            "trino": {"container_name": "shop.trino"},
            "s3": {"container_name": "shop.s3"},
        }
    }
    with pytest.raises(ConfigurationError, match=r"db has a port in phlo\.yaml, and 0 in docker-compose\.yaml"):
        compose.override(project, {"services": {"postgres": {}}})


def test_compose_of_this_project_is_changed_by_its_environment_only_where_it_differs() -> None:
    declared = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    assert overridden(find_project(ROOT, {}), declared) == {"services": {}}
    scale = overridden(find_project(ROOT, {"PHLO_ENVIRONMENT": "scale"}), declared)["services"]
    assert {name: service["ports"] for name, service in scale.items()} == {
        name: service["ports"] for name, service in declared["services"].items() if "ports" in service
    }


# --- logs ------------------------------------------------------------------------------------------------------


def test_logs_are_followed_until_the_reader_goes(project: Project) -> None:
    log = control.supervisor_log(project)
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(30)))
    code = "from airflow_provider_phlo.cli.main import main; main()"
    arguments = ["services", "logs", "supervisor", "--follow", "--lines", "2", "--output", "json"]
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=project.root, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with log.open("a") as out:
            said = [process.stdout.readline() for _ in range(2)]
            out.write("half")
            out.flush()
            out.write(" and whole\n")
            out.flush()
            said.append(process.stdout.readline())
            out.write("before the cut\n")
            out.flush()
            LogRotation(max_bytes=1).look([log, log])
            out.write("after it\n")
            out.flush()
            said += [process.stdout.readline() for _ in range(2)]
            process.stdout.close()
            deadline = time.monotonic() + PATIENCE
            while process.poll() is None and time.monotonic() < deadline:
                out.write("more\n")
                out.flush()
                time.sleep(0.1)
        assert process.poll() == 0
    assert [json.loads(line)["line"] for line in said] == [
        "line 28",
        "line 29",
        "half and whole",
        "before the cut",
        "after it",
    ]


def test_the_last_lines_are_there_after_a_rotation(project: Project) -> None:
    log = control.supervisor_log(project)
    log.parent.mkdir(parents=True)
    part_of(log, 1).write_text("".join(f"line {number}\n" for number in range(30)))
    log.write_text("new\n")
    done = phlo(project.root, "logs", "supervisor", "--lines", "3")
    assert done.stdout.splitlines() == ["line 28", "line 29", "new"]


def test_init_in_a_home_with_a_demo_is_refused(project: Project) -> None:
    with processes.hold_lock(project.home / "demo.lock"):
        done = phlo(project.root, "init")
    assert done.returncode == 2
    assert "in use by a running demo" in done.stderr
