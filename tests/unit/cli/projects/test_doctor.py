"""``phlo doctor`` on projects with something wrong, in a program of its own: it changes its environment."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import plugins
from tests.patience import PATIENCE

PHLO = Path(sys.executable).parent / "phlo"
ALERTS = """
destinations:
  hook: {arguments: {urll: "http://127.0.0.1:9"}}
  mute: {arguments: {url: "${NO_SUCH_VARIABLE:-}"}}
rules: [{name: stale, kind: freshness, to: [hook]}]
"""
DAG = "from airflow.sdk import dag\n\n\n@dag(schedule=None)\ndef fine():\n    pass\n\n\nfine()\n"


def doctor(root: Path, **variables: str) -> tuple[int, list[dict[str, Any]]]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    command = [PHLO, "doctor", "--output", "json"]
    done = subprocess.run(command, cwd=root, env={**clean, **variables}, capture_output=True, text=True, timeout=240)
    assert "Traceback" not in done.stderr
    return done.returncode, json.loads(done.stdout)


@pytest.mark.long
def test_every_problem_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        (tmp_path / "phlo.yaml").write_text(f"infrastructure: {{services: {{api-server: {{port: {port}}}}}}}\n")
        (tmp_path / "dags").mkdir()
        (tmp_path / "dags" / "fine.py").write_text(DAG)
        (tmp_path / "dags" / "broken.py").write_text("from airflow.sdk import dag\nimport no_such_module\n")
        (tmp_path / "include" / "shop").mkdir(parents=True)
        (tmp_path / "include" / "shop" / "dbt_project.yml").write_text("name: no-such-name\n")
        (tmp_path / "include" / "contracts").mkdir()
        (tmp_path / "include" / "contracts" / "orders.yaml").write_text("name: orders\nversoin: 1.0.0\n")
        (tmp_path / "include" / "alerting").mkdir()
        (tmp_path / "include" / "alerting" / "config.yaml").write_text(ALERTS)
        plugins.install(tmp_path / "site", "acme", {"phlo.sources": {"acme": "acme:x"}}, "import nothing_here")
        code, found = doctor(
            tmp_path,
            PYTHONPATH=str(tmp_path / "site"),
            AIRFLOW_CONN_POSTGRES_DEFAULT="postgresql://me:secret-word@127.0.0.1:1/x",
            AIRFLOW_CONN_GITHUB_DEFAULT="http://octo:secret-word@127.0.0.1:1",
            AIRFLOW_CONN_HTTP_ONE="not a connection secret-word",
            AIRFLOW_CONN_TWO='{"conn_type": "http", secret-word}',
            AIRFLOW_CONN_THREE='{"host": "secret-word"}',
            AIRFLOW_CONN_FOUR="no-such-type://me:secret-word@127.0.0.1:1",
        )
    assert code == 1
    problems = {each["check"]: each for each in found if each["verdict"] == "problem"}
    malformed = {"http_one", "two", "three"}
    refused = {"postgres_default", "github_default"}
    assert set(problems) == {"port", *refused, *malformed, "contracts", "dbt", "DAG files"}
    assert all(each["advice"] for each in problems.values())
    assert all("AIRFLOW_CONN_" + name.upper() in problems[name]["found"] for name in malformed)
    assert all("AIRFLOW_CONN_" + name.upper() in problems[name]["advice"] for name in refused)
    assert [each["verdict"] for each in found if each["check"] == "four"] == ["warning"]
    assert str(port) in problems["port"]["found"]
    assert problems["DAG files"]["found"].startswith("dags/broken.py: ModuleNotFoundError")
    assert problems["dbt"]["found"].startswith("include/shop: ")
    assert "secret-word" not in json.dumps(found)
    assert problems["contracts"]["found"].startswith("include/contracts/orders.yaml, line 2: versoin is not known.")
    alerts = [(each["verdict"], each["found"]) for each in found if each["check"] == "alerts"]
    assert [verdict for verdict, _ in alerts] == ["warning", "skipped"]
    assert alerts[0][1].startswith("Destination hook: ")
    assert alerts[0][1].endswith(", not urll.")
    assert alerts[1][1] == "mute is off: NO_SUCH_VARIABLE is not set."
    (warned,) = (each for each in found if each["check"] == "plugins")
    assert (warned["verdict"], warned["advice"]) == ("warning", "phlo plugin list")
    assert warned["found"].startswith("the source 'acme' of acme 1.0 is broken: ModuleNotFoundError")
    well = {each["check"] for each in found if each["verdict"] == "ok"}
    assert {"Python", "phlo.yaml", "disk", "catalog", "DAG files"} <= well


def test_a_folder_that_is_not_a_project_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([PHLO, "doctor"], cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2
    assert "phlo init" in done.stderr
