"""What Airflow's OpenLineage provider writes of a real run, by its file transport."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.canary import CANARY, has_canary
from tests.openlineage_events import checked_facets

pytestmark = pytest.mark.xdist_group("airflow")
DAG, TABLE = "with_checks_behind", ("iceberg://phlo", "raw.ingested")


@pytest.fixture(scope="module")
def events(airflow):
    """Return the events of the tasks of one run."""
    rows = [{"id": CANARY, "number": 10**6, "value": 123.0}]
    (airflow.home / "sources" / "ingested.json").write_text(json.dumps(rows))
    run_id = airflow.trigger(DAG, conf={"partition_date": "2024-01-15"})
    assert set(airflow.finished(DAG, run_id).values()) == {"success"}
    path = airflow.home / "openlineage.jsonl"

    def of_run():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [
            event
            for event in lines
            if event["job"]["name"].startswith(f"{DAG}.")
            and event["run"]["facets"]["airflow"]["dagRun"]["run_id"] == run_id
        ]

    def are_complete():
        found = of_run()
        ended = {event["job"]["name"] for event in found if event["eventType"] == "COMPLETE"}
        return found if len(ended) == 5 else None

    return airflow.wait(are_complete)


def test_every_task_reports_what_it_did(events):
    counts = Counter()
    for event in events:
        counts.update(checked_facets(event))
    assert set(counts) == {
        "columnLineage",
        "dataQualityAssertions",
        "nominalTime",
        "outputStatistics",
        "schema",
        "storage",
        "symlinks",
        "tags",
        "version",
    }
    ended = {event["job"]["name"].rpartition(".")[2]: event for event in events if event["eventType"] == "COMPLETE"}
    written = {name: [(each["namespace"], each["name"]) for each in event["outputs"]] for name, event in ended.items()}
    loading = ("ingest", "merge", "publish")
    assert written == {name: [TABLE] if name in loading else [] for name in (*loading, "audit", "ingested_quality")}
    (published,) = ended["publish"]["outputs"]
    assert published["outputFacets"]["outputStatistics"]["rowCount"] == 1
    for name in ("audit", "ingested_quality"):
        (checked,) = ended[name]["inputs"]
        assert (checked["namespace"], checked["name"]) == TABLE
        assertions = checked["inputFacets"]["dataQualityAssertions"]["assertions"]
        assert {each["success"] for each in assertions} == {True}
    assert {event["run"]["facets"]["tags"]["tags"][0]["value"] for event in ended.values()} == {"2024-01-15"}


def test_names_are_known_from_the_start(events):
    begun = {event["job"]["name"].rpartition(".")[2]: event for event in events if event["eventType"] == "START"}
    assert [(each["namespace"], each["name"]) for each in begun["publish"]["outputs"]] == [TABLE]


def test_no_value_of_a_row_is_in_an_event(events):
    assert not has_canary(json.dumps(events))
