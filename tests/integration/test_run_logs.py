"""``phlo logs`` and ``phlo metrics`` beside a real Airflow, which is asked through its API."""

from __future__ import annotations

import datetime as dt
import json
import shutil

import pytest

from airflow_provider_phlo.run_logs.server import ServerLogs
from airflow_provider_phlo.run_logs.source import Wanted
from airflow_provider_phlo.run_logs.stream import followed
from tests.patience import PATIENCE

pytestmark = pytest.mark.xdist_group("airflow")
LAST = "the last word"


@pytest.fixture(scope="module")
def run_id(airflow):
    """Return a run, which was followed from before its start to its last line."""
    begun = dt.datetime.now(dt.UTC)
    wanted = Wanted(begun, dag_id="talkative")
    stream = followed(ServerLogs(airflow.api), wanted, pytest.fail)
    assert next(stream) is None
    run_id = airflow.trigger("talkative")
    live = []
    for entry in stream:
        assert dt.datetime.now(dt.UTC) - begun < dt.timedelta(seconds=PATIENCE), [entry.text for entry in live]
        if entry is not None:
            live.append(entry)
            if entry.text == LAST:
                break
    airflow.finished("talkative", run_id)
    said = [(entry.key.task_id, entry.key.map_index, entry.key.number, entry.text) for entry in live]
    assert [text for *_, text in said if text.startswith("second")] == ["second 0", "second 1", "second 2"]
    assert ("each", 0, 1, "mapped 1") in said
    assert said.index(("odd", -1, 2, "two\nlines")) > next(
        number for number, (_, _, _, text) in enumerate(said) if text.endswith("ValueError: the first try fails")
    )
    # while a task runs its last line comes at once, not when the task has ended
    assert said[-1] == ("each", 1, 1, LAST)
    return run_id


@pytest.fixture
def phlo(airflow, run_phlo, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(airflow.home))
    return run_phlo


def test_a_run_as_one_stream(phlo, run_id):
    code, out, err = phlo("logs", "--run", run_id, "--output", "json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    # the lines of one log stay in its order: Airflow writes some of them a millisecond late
    latest: dict[tuple[str, int, int], str] = {}
    placed = []
    for line in lines:
        log = (line["task_id"], line["map_index"], line["try_number"])
        latest[log] = max(latest.get(log, ""), line["at"])
        placed.append(latest[log])
    assert placed == sorted(placed)
    assert {(line["task_id"], line["map_index"], line["try_number"]) for line in lines} == {
        ("odd", -1, 1),
        ("odd", -1, 2),
        ("each", 0, 1),
        ("each", 1, 1),
    }
    texts = [line["text"] for line in lines]
    assert "bytes \ufffd\ufffd" in texts
    assert not [text for text in texts if "::group::" in text]
    failed = next(line for line in lines if line["level"] == "error")
    assert (failed["try_number"], failed["text"].splitlines()[0]) == (1, "Task failed with exception")
    assert failed["text"].endswith("ValueError: the first try fails")


def test_lines_for_people(phlo, run_id):
    code, out, _ = phlo("logs", "--run", run_id, "--dag", "talkative", "--level", "warning")
    assert code == 0
    assert "ERROR    talkative/odd Task failed with exception\n    Traceback (most recent call last):\n" in out
    assert "WARNING  talkative/odd #2 red, a bell · and half a letter" in out
    assert out.rstrip().endswith(f"ERROR    talkative/each[1] {LAST}")
    code, out, _ = phlo("logs", "--run", run_id, "--grep", "^mapped [0-9]$")
    assert sorted(line.partition("talkative/")[2] for line in out.splitlines()) == [
        "each[0] mapped 1",
        "each[1] mapped 2",
    ]


def test_nothing_that_fits_is_said(phlo, run_id):
    code, out, err = phlo("logs", "--dag", "talkative", "--since", "2999-01-01")
    assert (code, out) == (0, "")
    assert err.startswith("Nothing was logged that fits since 2999-01-01 00:00 UTC")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("--dag", "talkativ"), "Airflow has no DAG talkativ. Did you mean talkative?"),
        (("--run", "manual__no"), "Airflow has no run manual__no."),
        (("--dag", "talkative", "--run", "manual__no"), "DAG talkative has no run manual__no."),
        (("--asset", "raw.ingeste"), "Airflow knows no asset raw.ingeste. Did you mean raw.ingested"),
        (("--asset", "ingested", "--dag", "talkative"), "DAG talkative does not make ingested. It is made by ingested"),
    ],
)
def test_names_that_are_not_known(phlo, arguments, answer):
    code, out, err = phlo("logs", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"phlo logs: {answer}")


@pytest.fixture(scope="module")
def alone(airflow):
    """Return a run that fills raw.alone."""
    (airflow.home / "sources" / "alone.json").write_text('[{"id": "a"}]')
    run_id = airflow.trigger("operators_alone", conf={"partition_date": "2024-01-15"})
    airflow.finished("operators_alone", run_id)
    return run_id


def test_an_asset_is_its_task_group(phlo, alone):
    code, out, _ = phlo("logs", "--asset", "raw.alone", "--output", "json")
    found = {(line["dag_id"], line["asset"]) for line in map(json.loads, out.splitlines())}
    assert code == 0
    assert found == {("operators_alone", "raw.alone")}


def test_figures_are_those_of_airflow_and_of_the_tables(airflow, phlo, run_id, alone):
    """The same facts, asked of Airflow and of the tables themselves."""
    code, out, _ = phlo("metrics", "--period", "1h", "--output", "json")
    found = json.loads(out)
    until = dt.datetime.fromisoformat(found["until"])
    runs = [
        run
        for run in airflow.api.pages("/dags/~/dagRuns", "dag_runs")
        if run["end_date"] and dt.datetime.fromisoformat(run["end_date"]) < until
    ]
    assert (code, found["airflow"]) == (0, None)
    # runs for some of the tasks of a DAG, which Airflow judges by the others (test_backfill has one)
    failed = "/dags/~/dagRuns/~/taskInstances?state=failed&run_id_prefix_pattern=phlo_"
    misjudged = len({task["dag_run_id"] for task in airflow.api.pages(failed, "task_instances")})
    assert found["runs"]["succeeded"] == sum(run["state"] == "success" for run in runs) - misjudged
    assert found["runs"]["failed"] == sum(run["state"] == "failed" for run in runs) + misjudged
    seconds = [run["duration"] for run in runs]
    assert found["runs"]["average_seconds"] == pytest.approx(sum(seconds) / len(seconds), abs=0.01)
    _, answer, _ = phlo(
        "query", f"SELECT quantile_cont(s, 0.95) FROM (SELECT unnest({seconds}::DOUBLE[]) AS s)", "-o", "json"
    )
    assert list(json.loads(answer)[0].values()) == [pytest.approx(found["runs"]["p95_seconds"], abs=0.01)]
    _, answer, _ = phlo("query", "SELECT count(*) AS n FROM raw.alone", "--output", "json")
    [table] = [each for each in found["tables"] if each["table"] == "raw.alone"]
    assert table["total_rows"] == json.loads(answer)[0]["n"]


def test_figures_of_an_asset_that_is_not_a_table_are_those_of_its_events(phlo, run_id):
    code, out, _ = phlo("metrics", "asset", "talked", "--output", "json")
    table, [dag] = json.loads(out)["table"], json.loads(out)["dags"]
    assert code == 0
    assert (table["loads"], table["counts"], table["total_rows"]) == (1, {"inserted": 2}, 5)
    assert (table["partition_date"], dag["dag_id"], dag["succeeded"]) == ("2024-01-15", "talkative", 1)


def test_figures_for_people(phlo, run_id, alone):
    code, out, err = phlo("metrics", "asset", "raw.alone")
    assert (code, err) == (0, "")
    assert out.startswith("raw.alone, the last 24 hours, until ")
    assert "\noperators_alone" in out.replace("\n ", "\n")
    code, out, _ = phlo("metrics", "summary", "--period", "7d")
    assert code == 0
    assert "\ntalkative " in out
    assert "\nall DAGs " in out
    assert "NULL" not in out
    code, _, err = phlo("metrics", "asset", "raw.alon")
    assert (code, "raw.alon does not exist" in err) == (2, True)


def test_a_log_that_was_removed_is_said(airflow, phlo, run_id):
    shutil.rmtree(airflow.home / "logs" / "dag_id=talkative" / f"run_id={run_id}" / "task_id=odd")
    code, out, _ = phlo("logs", "--run", run_id, "--level", "warning")
    assert code == 0
    assert "WARNING  talkative/odd The log of this try is empty, or was removed." in out
    assert "WARNING  talkative/odd #2 The log of this try is empty, or was removed." in out
