"""``phlo catalog sync`` and ``CatalogSyncOperator``: from a real lake to the server."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.catalogs.openmetadata.reading import lineage_of
from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.iceberg.branches.declared import PII_PROPERTY
from airflow_provider_phlo.lineage.graph import Graph, Kind
from airflow_provider_phlo.lineage.sql.relations import How
from airflow_provider_phlo.operators.catalog_sync import CatalogSyncOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import NullCheck, RangeCheck
from tests.canary import CANARY, has_canary
from tests.lake import create_table
from tests.openmetadata_server import TOKEN

PEOPLE = "phlo.default.raw.people"
CONTRACT = """
name: people
version: 1.0.0
owner: ann
table: raw.people
schema: {required_columns: [{name: id, type: string}]}
sla: {freshness_hours: 2}
"""


@pytest.fixture
def lake(home, catalog, make_context, fake, monkeypatch):
    """A table whose check has failed, a nested one, a contract, and the server's address."""
    rows = pa.table({"id": ["a", CANARY], "age": [30, 400]})
    people = create_table(catalog, "raw.people", rows)
    with people.transaction() as changes:
        changes.set_properties({PII_PROPERTY: json.dumps(["id"]), "comment": "Who there is."})
    inner = pa.struct([("x", pa.decimal128(9, 2)), ("tags", pa.list_(pa.string()))])
    create_table(
        catalog, "gold.odd", pa.table({"s": pa.array([None], inner), "m": pa.array([None], pa.map_("string", "int64"))})
    )
    checks = [NullCheck("id"), RangeCheck("age", max_value=100, severity="warn")]
    task = QualityCheckOperator(task_id="checks", table="people", checks=checks)
    task.execute(make_context(task, conf={"partition_date": "2024-01-15"}))
    (home / "include" / "contracts").mkdir(parents=True)
    (home / "include" / "contracts" / "people.yaml").write_text(CONTRACT)
    monkeypatch.setenv("OPENMETADATA_HOST", fake.url)
    monkeypatch.setenv("AIRFLOW_CONN_OPENMETADATA_DEFAULT", json.dumps({"conn_type": "http", "password": TOKEN}))
    monkeypatch.chdir(home)
    return catalog


@pytest.fixture
def sync(make_context, home):
    def run(**arguments):
        task = CatalogSyncOperator(task_id="sync", folder=str(home), **arguments)
        return json.loads(json.dumps(task.execute(make_context(task))))

    return run


def test_the_operator_sends_what_the_lake_has(lake, fake, sync):
    fake.users["ann"] = "users"
    done = sync(quality_checks=True, contracts=True)
    assert sorted(done["created"]) == ["gold.odd", "phlo.check_results", "raw.people"]
    people = fake.table(PEOPLE)
    assert people["description"] == "Who there is."
    assert [
        (each["name"], each["dataType"], [tag["tagFQN"] for tag in each.get("tags", [])]) for each in people["columns"]
    ] == [
        ("id", "STRING", ["PII.Sensitive"]),
        ("age", "BIGINT", []),
    ]
    nested, mapped = fake.table("phlo.default.gold.odd")["columns"]
    assert [(each["name"], each["dataType"]) for each in nested["children"]] == [("x", "DECIMAL"), ("tags", "ARRAY")]
    assert nested["children"][1]["arrayDataType"] == "STRING"
    assert mapped["dataTypeDisplay"] == "map<string, long>"
    assert fake.profiles[PEOPLE]["tableProfile"]["rowCount"] == 2
    assert fake.results[f"{PEOPLE}.age.RangeCheck(age)"][0]["failedRows"] == 1
    assert next(iter(fake.entities["dataContracts"].values()))["owners"][0]["type"] == "user"
    assert not has_canary(json.dumps(fake.bodies))
    again = sync(quality_checks=True, contracts=True)
    assert (again["unchanged"], again["created"], again["updated"]) == (3, [], {})


def test_a_run_that_is_cut_off_is_tried_again_by_airflow(lake, fake, sync):
    fake.answers = [None, None, *[(503, {"Retry-After": "600"})]]
    with pytest.raises(TransientError, match="answered 503"):
        sync(tables="raw.*")
    assert sync(tables="raw.*")["tables"] == 1


def test_a_wrong_token_fails_the_task_at_once(lake, sync, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_OPENMETADATA_DEFAULT", json.dumps({"conn_type": "http", "password": "secret-x"}))
    with pytest.raises(AirflowFailException, match="The token is not accepted") as caught:
        sync()
    assert "secret-x" not in str(caught.value)


def test_without_a_server_it_says_what_to_set(lake, sync, monkeypatch):
    monkeypatch.delenv("OPENMETADATA_HOST")
    with pytest.raises(AirflowFailException, match="set OPENMETADATA_HOST"):
        sync()


def test_the_command(lake, fake, run_phlo):
    wanted = ("--tables", "raw.*", "--quality-checks", "--contracts", "--dry-run")
    code, out, err = run_phlo("catalog", "sync", *wanted)
    assert (code, err) == (0, "")
    assert "would be created  raw.people" in out
    assert not fake.entities["tables"]
    _, out, _ = run_phlo("catalog", "sync", "--schema", "raw", "--output", "json")
    assert json.loads(out)["created"] == ["raw.people"]
    code, _, err = run_phlo("catalog", "sync", "--tables", "raw.peple")
    assert code == 2
    assert "No table is named raw.peple" in err
    fake.table(PEOPLE)["description"] = "by hand"
    code, out, _ = run_phlo("catalog", "sync", "--schema", "raw")
    assert code == 0
    assert "kept as it is in OpenMetadata  raw.people: its description" in out
    assert "1 table: 0 created, 0 updated, 1 as they were" in out


def test_lineage_goes_through_ephemeral_models():
    graph = Graph()
    graph.add("raw.a", Kind.TABLE)
    graph.add("model.p.e", Kind.MODEL).add_parent("raw.a")
    made = graph.add("gold.b", Kind.MODEL)
    made.add_parent("model.p.e")
    made.add_column("x").origins["raw.a", "y"] = How.COPIED
    parents, origins = lineage_of(graph, ["raw.a", "gold.b"])
    assert parents == {"gold.b": ("raw.a",)}
    assert origins["gold.b"] == {"x": (("raw.a", "y"),)}
