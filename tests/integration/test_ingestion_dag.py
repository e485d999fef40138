"""``@phlo_ingestion`` under a real scheduler: extract, merge, audit, publish, and what goes wrong on the way."""

from __future__ import annotations

import itertools
import json
import urllib.parse
import urllib.request

import pytest

from tests.expect import expect

pytestmark = pytest.mark.xdist_group("airflow")
GROUP = ("ingest", "merge", "audit", "publish")
DAY = {"partition_date": "2024-01-15"}
number = itertools.count(1)


@pytest.fixture
def source(airflow):
    """Return a function that says what the source has; a row is (id, value)."""

    def offer(rows, name="ingested"):
        if isinstance(rows, list):
            rows = [{"id": key, "number": next(number), "value": value} for key, value in rows]
        (airflow.home / "sources" / f"{name}.json").write_text(json.dumps(rows))
        (airflow.home / "sources" / f"{name}.calls").write_text("")

    return offer


@pytest.fixture
def run(airflow):
    """Return a function that runs a Dag and gives the states of its tasks, by their last name."""

    def start(dag_id="ingested"):
        run_id = airflow.trigger(dag_id, conf=DAY)
        return run_id, states(airflow, dag_id, run_id)

    return start


def states(airflow, dag_id, run_id):
    found = airflow.finished(dag_id, run_id)
    return {name.rpartition(".")[2]: state for name, state in found.items()}


def calls(airflow, name="ingested"):
    return len((airflow.home / "sources" / f"{name}.calls").read_text().splitlines())


def values(airflow, table="raw.ingested"):
    rows = airflow.catalog.load_table(table).scan().to_arrow().to_pylist()
    return {row["id"]: row["value"] for row in rows}


def all_are(state):
    return dict.fromkeys(GROUP, state)


def test_a_run_publishes_and_reports_what_it_did(airflow, source, run):
    source([("a", 100.0), ("b", 120.0)])
    run_id, found = run()
    assert found == all_are("success")
    assert values(airflow).items() >= {"a": 100.0, "b": 120.0}.items()
    head = airflow.catalog.load_table("raw.ingested").current_snapshot()
    for name in GROUP:
        assert len(json.dumps(airflow.xcom("ingested", run_id, f"ingested.{name}"))) < 3000
    published = airflow.xcom("ingested", run_id, "ingested.publish")
    wanted = {"snapshot_id": head.snapshot_id, "read": 2, "inserted": 2, "partition_date": "2024-01-15"}
    (event,) = airflow.events("ingested", run_id)
    assert wanted.items() <= event.items()
    assert wanted.items() <= published.items()
    assert event["checks"] == {"run": 2, "passed": 2, "failed": []}
    assert head.summary["phlo.run-id"] == run_id
    log = airflow.log("ingested", run_id, "ingested.ingest")
    assert log.count("write_disposition='replace' of the dlt resource has no effect") == 1


def test_checks_are_shown_kept_and_linked(airflow, source, run):
    source([("shown", 100.0)])
    run_id, found = run("with_checks_behind")
    assert set(found.values()) == {"success"}
    assert "outcome  check " in airflow.log("with_checks_behind", run_id, "ingested_quality")
    rows = airflow.catalog.load_table("phlo.check_results").scan(f"run_id = '{run_id}'").to_arrow().to_pylist()
    assert sorted((row["task_id"], row["check_name"]) for row in rows) == [
        ("ingested.audit", "CountCheck()"),
        ("ingested.audit", "RangeCheck(value)"),
        ("ingested_quality", "CountCheck()"),
        ("ingested_quality", "RangeCheck(value)"),
    ]
    assert {row["branch"] == "main" for row in rows if row["task_id"] == "ingested_quality"} == {True}
    place = f"/dags/with_checks_behind/dagRuns/{run_id}/taskInstances/ingested_quality"
    links = airflow.api.call("GET", f"{place}/links")["extra_links"]
    assert links.keys() == {"Check results", "Table"}
    for link in links.values():
        assert link.startswith(airflow.api.url), link
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(link, timeout=30) as page:
            assert page.status == 200
    assert links["Check results"].endswith(f"/runs/{urllib.parse.quote(run_id)}/tasks/ingested_quality/xcom")
    (asset,) = airflow.api.call("GET", f"/assets?{links['Table'].partition('?')[2]}")["assets"]
    assert asset["uri"] == "iceberg://phlo/raw/ingested"


def test_a_failed_audit_stops_the_run_and_the_cursor(airflow, source, run):
    source([("c", 550.0)])
    before = values(airflow) if airflow.catalog.table_exists("raw.ingested") else {}
    run_id, found = run()
    assert found == {"ingest": "success", "merge": "success", "audit": "failed", "publish": "upstream_failed"}
    log = airflow.log("ingested", run_id, "ingested.audit")
    assert "1 of 2 checks failed on raw.ingested: RangeCheck(value)" in log
    assert log.count("main of raw.ingested is as it was. Branch phlo_") == 1  # case 58: once, and no stack
    assert log.count("out of range") == 1
    assert "error_detail" not in log
    assert len([each for each in airflow.api.task_instances("ingested", run_id) if each["try_number"] > 1]) == 0
    assert values(airflow) == before
    path = airflow.home / "sources" / "ingested.json"
    path.write_text(path.read_text().replace("550.0", "140.0"))  # mended at the source, its number is the old one
    run_id, found = run()
    assert found == all_are("success")
    assert airflow.xcom("ingested", run_id, "ingested.ingest")["read"] == 1
    assert values(airflow) == {**before, "c": 140.0}


def test_a_row_that_breaks_the_schema_fails_at_once_without_showing_it(airflow, source, run):
    source([("d", 98765.4321)])
    run_id, found = run()
    assert found == {
        "ingest": "failed",
        "merge": "upstream_failed",
        "audit": "upstream_failed",
        "publish": "upstream_failed",
    }
    log = airflow.log("ingested", run_id, "ingested.ingest")
    assert "value" in log
    assert "98765" not in log
    assert calls(airflow) == 1


def test_a_source_that_is_down_is_tried_again(airflow, source, run):
    source("unavailable")
    run_id, found = run()
    assert found == all_are("success")
    tries = {each["task_id"]: each["try_number"] for each in airflow.api.task_instances("ingested", run_id)}
    assert tries["ingested.ingest"] == 2


def test_none_skips_the_run(airflow, source, run):
    source(None)
    assert run()[1] == all_are("skipped")


def test_a_cleared_run_extracts_again_and_changes_nothing(airflow, source, run):
    source([("e", 160.0)])
    run_id, found = run()
    assert (found, calls(airflow)) == (all_are("success"), 1)
    snapshots = len(airflow.catalog.load_table("raw.ingested").snapshots())
    airflow.api.call("POST", f"/dags/ingested/dagRuns/{run_id}/clear", {"dry_run": False, "only_failed": False})
    airflow.wait(lambda: calls(airflow) == 2)
    assert states(airflow, "ingested", run_id) == all_are("success")
    assert len(airflow.catalog.load_table("raw.ingested").snapshots()) == snapshots


def test_checks_behind_the_group_read_main(airflow, source, run):
    source([("f", 170.0)])
    run_id, found = run("with_checks_behind")
    assert found == {**all_are("success"), "ingested_quality": "success"}
    assert airflow.xcom("with_checks_behind", run_id, "ingested.audit")["branch"].startswith("phlo_")
    assert airflow.xcom("with_checks_behind", run_id, "ingested_quality")["branch"] == "main"


def test_the_operators_alone(airflow, source, run):
    source([("g", 180.0)], "alone")
    run_id, found = run("operators_alone")
    assert found == {"extracted": "success", "merged": "success"}
    (row,) = airflow.catalog.load_table("raw.alone").scan().to_arrow().to_pylist()
    expect(row, id="g", day="2024-01-15")
    assert [event["inserted"] for event in airflow.events("operators_alone", run_id)] == [1]


def test_late_data_deletions_and_maintenance(airflow):
    def run(*rows):
        records = [
            {"id": key, "value": value, "updated_at": f"2024-01-{day:02d}T00:00:00Z", "isGone": gone}
            for key, value, day, gone in rows
        ]
        (airflow.home / "sources" / "versions.json").write_text(json.dumps(records))
        run_id = airflow.trigger("versions_maintained", conf=DAY)
        assert set(airflow.finished("versions_maintained", run_id).values()) == {"success"}
        return airflow.xcom("versions_maintained", run_id, "versions.publish")

    run(("a", 1.0, 5, False), ("b", 1.0, 5, False), ("c", 1.0, 5, False))
    result = run(("a", 2.0, 4, False), ("b", 2.0, 6, False), ("c", None, 6, True), ("d", 2.0, 1, False))
    counts = {name: result[name] for name in ("inserted", "updated", "unchanged", "outdated", "deleted")}
    assert counts == {"inserted": 1, "updated": 1, "unchanged": 1, "outdated": 1, "deleted": 1}
    assert values(airflow, "raw.versions") == {"a": 1.0, "b": 2.0, "d": 2.0}
    table = airflow.catalog.load_table("raw.versions")
    assert str(table.spec().fields[0].transform) == "bucket[4]"
    assert set(table.refs()) == {"main"}
