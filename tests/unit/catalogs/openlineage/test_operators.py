"""What operators report to Airflow's OpenLineage provider, in events that OpenLineage's own schemas accept."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from datetime import UTC, datetime

import pytest
from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde
from pandera.pandas import Field

from airflow_provider_phlo.assets.iceberg import iceberg_asset
from airflow_provider_phlo.assets.postgres import postgres_asset
from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest, rendered_path
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.rendering.operators import DbtModelOperator, DbtTestOperator
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.operators.file_load import FileLoadOperator
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.maintenance import MaintenanceOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.publish_branch import PublishBranchOperator
from airflow_provider_phlo.operators.publish_duckdb import PublishDuckDBOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.operators.reconcile import ReconcileOperator
from airflow_provider_phlo.quality import NullCheck, RangeCheck
from airflow_provider_phlo.schemas import PhloSchema
from tests.canary import CANARY, has_canary
from tests.dbt.own_project import make_project
from tests.lake import create_table
from tests.openlineage_events import checked_facets

# one worker parses the project
pytestmark = pytest.mark.xdist_group("openlineage of operators")
LAKE = "iceberg://phlo"
TABLE = {"table": "people", "unique_key": "id"}


class Person(PhloSchema):
    id: str = Field(unique=True)
    age: int = Field(ge=0, description="in years")
    note: str | None = Field(nullable=True)


ROWS = [{"id": "a", "age": 30, "note": CANARY}, {"id": CANARY, "age": 40, "note": None}]


def event_of(report, state=RunState.COMPLETE):
    """Return the event as Airflow's provider would emit it; all of it is checked."""
    event = RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        producer="test",
        eventType=state,
        run=Run(str(uuid.uuid4()), report.run_facets),
        job=Job("test", "task"),
        inputs=report.inputs,
        outputs=report.outputs,
    )
    found = json.loads(Serde.to_json(event))
    assert not has_canary(json.dumps(found))
    return found, checked_facets(found)


@pytest.fixture
def run(make_context):
    """Return a function that runs a task and gives its result and the event that Airflow would emit of it."""

    def execute(task, run_id="one"):
        started, facets = event_of(task.get_openlineage_facets_on_start(), RunState.START)
        assert facets == {}
        context = make_context(task, run_id=run_id, conf={"partition_date": "2024-01-15"})
        result = json.loads(json.dumps(task.execute(context)))
        event, _ = event_of(task.get_openlineage_facets_on_complete(context["ti"]))
        for side in ("inputs", "outputs"):
            assert names(started, side) <= names(event, side)
        return result, event

    return execute


@pytest.fixture
def loaded(run, catalog):
    """Return the events of the tasks that load the table."""
    staged, ingested = run(
        IngestOperator(task_id="ingest", source=lambda: iter(ROWS), validation_schema=Person, **TABLE)
    )
    merge = MergeOperator(task_id="merge", staged=staged, publish=False, validation_schema=Person, **TABLE)
    merged, on_branch = run(merge)
    _, published = run(PublishBranchOperator(task_id="publish", merged=merged, validation_schema=Person, **TABLE))
    return {"ingest": ingested, "merge": on_branch, "publish": published}


def names(event, side):
    return {(each["namespace"], each["name"]) for each in event[side]}


def only(event, side):
    (dataset,) = event[side]
    return dataset


def identity(namespace, name, field):
    return [
        {
            **{"namespace": namespace, "name": name, "field": field},
            "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}],
        }
    ]


def test_a_table_is_loaded(loaded, catalog):
    ingested = loaded["ingest"]
    assert names(ingested, "inputs") == {("airflow://connections", "<lambda>()")}
    table = only(ingested, "outputs")
    assert (table["namespace"], table["name"]) == (LAKE, "raw.people")
    assert ("age", "int") in [(each["name"], each["type"]) for each in table["facets"]["schema"]["fields"]]
    assert table["facets"]["columnLineage"]["fields"]["age"]["inputFields"] == identity(
        "airflow://connections", "<lambda>()", "raw.people.age"
    )
    assert not table["outputFacets"]  # staged is not written
    assert not only(loaded["merge"], "outputs")["outputFacets"]  # nor is a branch

    published = only(loaded["publish"], "outputs")
    statistics = published["outputFacets"]["outputStatistics"]
    assert statistics["rowCount"] == 2
    assert statistics["size"] > 0
    head = catalog.load_table("raw.people")
    assert published["facets"]["version"]["datasetVersion"] == str(head.current_snapshot().snapshot_id)
    (place,) = published["facets"]["symlinks"]["identifiers"]
    assert (place["namespace"], place["type"]) == ("file", "LOCATION")
    assert head.location() == f"file://{place['name']}"
    fields = {each["name"]: each for each in published["facets"]["schema"]["fields"]}
    assert (fields["age"]["type"], fields["age"]["description"]) == ("long", "in years")
    assert list(fields) == [field.name for field in head.schema().fields]


def test_the_day_of_the_run_is_a_tag_and_its_nominal_time(loaded):
    for event in loaded.values():
        facets = event["run"]["facets"]
        (tag,) = facets["tags"]["tags"]
        assert (tag["key"], tag["value"]) == ("partition_date", "2024-01-15")
        assert facets["nominalTime"]["nominalStartTime"] == "2024-01-15T00:00:00+00:00"
        assert facets["nominalTime"]["nominalEndTime"] == "2024-01-16T00:00:00+00:00"


def test_checks_are_assertions(loaded, run):
    checks = [NullCheck("id"), RangeCheck("age", max_value=35, severity="warn")]
    _, event = run(QualityCheckOperator(task_id="checks", table="people", checks=checks))
    table = only(event, "inputs")
    found = table["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(each["assertion"], each["success"], each["column"], each["severity"]) for each in found] == [
        ("not_null", True, "id", "error"),
        ("range", False, "age", "warn"),
    ]
    assert found[1]["params"] == {"failed": 1, "row_count": 2}
    assert "schema" in table["facets"]
    assert not event["outputs"]


def test_a_failed_check_is_reported_too(loaded, make_context):
    task = QualityCheckOperator(task_id="checks", table="people", checks=[RangeCheck("age", max_value=35)])
    context = make_context(task, conf={"partition_date": "2024-01-15"})
    with pytest.raises(Exception, match="RangeCheck"):
        task.execute(context)
    event, _ = event_of(task.get_openlineage_facets_on_failure(context["ti"]), RunState.FAIL)
    (assertion,) = only(event, "inputs")["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert assertion["success"] is False


def test_reconciliations_read_both_sides(loaded, run, catalog):
    create_table(catalog, "silver.people", catalog.load_table("raw.people").scan().to_arrow())
    _, event = run(ReconcileOperator(task_id="reconcile", target="silver.people", source="people"))
    assert names(event, "inputs") == {(LAKE, "raw.people"), (LAKE, "silver.people")}
    checked = {each["name"]: each["inputFacets"] for each in event["inputs"]}
    assert not checked["raw.people"]
    (assertion,) = checked["silver.people"]["dataQualityAssertions"]["assertions"]
    assert assertion["success"] is True


def test_a_duckdb_file_is_a_copy(loaded, run, tmp_path):
    task = PublishDuckDBOperator(task_id="export", path=str(tmp_path / "m.duckdb"), tables={"people": "raw.people"})
    _, event = run(task)
    assert names(event, "inputs") == {(LAKE, "raw.people")}
    mart = only(event, "outputs")
    assert (mart["namespace"], mart["name"]) == ("duckdb", "m.duckdb.main.people")
    assert mart["outputFacets"]["outputStatistics"]["rowCount"] == 2
    assert mart["facets"]["columnLineage"]["fields"]["age"]["inputFields"] == identity(LAKE, "raw.people", "age")


def test_marts_are_called_as_their_assets(loaded):
    task = PublishOperator(task_id="publish", tables={"daily": "raw.people"})
    task.result = {"tables": {"daily": {"inserted": 2, "rows": 2}}}
    mart = only(event_of(task._lineage_event(day=None, is_done=True))[0], "outputs")
    assert (mart["namespace"], mart["name"]) == ("postgres://postgres_default:5432", "phlo.marts.daily")
    assert postgres_asset("daily").uri == "postgres://postgres_default:5432/phlo/marts/daily"
    assert mart["facets"]["columnLineage"]["fields"]["note"]["inputFields"] == identity(LAKE, "raw.people", "note")


def test_a_folder_of_files_is_named_without_its_connection():
    task = FileLoadOperator(task_id="load", folder="s3://aws@bucket/raw", database="/data/events.duckdb")
    event, _ = event_of(task.get_openlineage_facets_on_start(), RunState.START)
    assert names(event, "inputs") == {("s3://bucket", "raw")}
    assert names(event, "outputs") == {("file", "/data/events.duckdb")}


def test_other_tasks_report_their_inlets_and_outlets():
    task = MaintenanceOperator(
        task_id="m", tables="raw.*", inlets=[iceberg_asset("a.b")], outlets=[postgres_asset("t")]
    )
    event, _ = event_of(task.get_openlineage_facets_on_start(), RunState.START)
    assert names(event, "inputs") == {(LAKE, "a.b")}
    assert names(event, "outputs") == {("postgres://postgres_default:5432", "phlo.marts.t")}


# --- dbt


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    return make_project(
        folder,
        {
            "models/sources.yml": "sources: [{name: lake, schema: raw, tables: [{name: people}]}]\n",
            "models/ages.sql": (
                "{{ config(materialized='ephemeral') }} select id, age from {{ source('lake', 'people') }}"
            ),
            "models/adults.sql": "select id as person, age + 1 as next from {{ ref('ages') }} where age > 18",
            "models/adults.yml": (
                "models: [{name: adults, columns: [{name: person, data_tests: [not_null]}, "
                "{name: next, data_tests: [{accepted_values: {arguments: {values: [31], quote: false}, "
                "config: {severity: warn}}}]}]}]\n"
            ),
        },
    )


@pytest.mark.long
def test_a_dbt_model_has_the_lineage_of_its_sql(loaded, run, project):
    def task():
        return DbtModelOperator(task_id="a", project_dir=str(project), model="model.phlo.adults", table="silver.adults")

    _, event = run(task())
    assert names(event, "inputs") == {(LAKE, "raw.people"), (LAKE, "silver.adults")}
    table = only(event, "outputs")
    lineage = table["facets"]["columnLineage"]
    people = {"namespace": LAKE, "name": "raw.people"}
    assert lineage["fields"]["person"]["inputFields"] == identity(LAKE, "raw.people", "id")
    assert lineage["fields"]["next"]["inputFields"] == [
        {**people, "field": "age", "transformations": [{"type": "DIRECT", "subtype": "TRANSFORMATION"}]}
    ]
    assert lineage["dataset"] == [
        {**people, "field": "age", "transformations": [{"type": "INDIRECT", "subtype": "FILTER"}]}
    ]
    assert table["outputFacets"]["outputStatistics"]["rowCount"] == 2
    tested = next(each for each in event["inputs"] if each["name"] == "silver.adults")
    assertions = tested["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(each["assertion"], each["column"], each["success"], each["severity"]) for each in assertions] == [
        ("accepted_values", "next", False, "warn"),
        ("not_null", "person", True, "error"),
    ]

    _, again = run(task(), "two")
    assert not only(again, "outputs")["outputFacets"]  # its rows are as they were


@pytest.mark.long
def test_dbt_tests_alone_are_assertions(loaded, run, project, home):
    run(DbtModelOperator(task_id="a", project_dir=str(project), model="model.phlo.adults", table="silver.adults"))
    tests = read_manifest(rendered_path(ensure_manifest(Project(project, home))))["tests"]
    name = next(each for each in tests if "not_null" in each)
    _, event = run(DbtTestOperator(task_id="tests", project_dir=str(project), tests=[name]))
    assert names(event, "inputs") == {(LAKE, "silver.adults")}
    (assertion,) = only(event, "inputs")["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert (assertion["assertion"], assertion["column"]) == ("not_null", "person")


# --- what goes wrong


def test_an_error_costs_the_facets_and_leaves_one_warning(loaded, make_context, caplog, monkeypatch):
    task = QualityCheckOperator(task_id="checks", table="people", checks=[NullCheck("id")])
    context = make_context(task, conf={"partition_date": "2024-01-15"})
    task.execute(context)
    task.iceberg_conn_id = "nowhere"
    caplog.clear()
    assert task.get_openlineage_facets_on_complete(context["ti"]) is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "Connection 'nowhere' is not set" in record.message


def test_a_value_in_an_error_stays_out_of_the_log(make_context, caplog):
    class Broken(PhloOperator):
        def run(self, context):
            raise ConfigurationError("refused")

        def work(self):
            raise ValueError(CANARY)

    task = Broken(task_id="broken")
    assert task.get_openlineage_facets_on_start() is None
    assert task.get_openlineage_facets_on_failure(make_context(task)["ti"]) is None
    assert len([each for each in caplog.records if each.levelname == "WARNING"]) == 1
    assert not has_canary(caplog.text)


@pytest.mark.long
def test_nothing_of_it_is_imported_where_the_provider_is_absent(tmp_path):
    """A fresh interpreter without the provider runs a task."""
    code = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        # Airflow asks every provider that pip knows for its name
        if name.startswith("airflow.providers.openlineage.") and not name.endswith("get_provider_info"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Absent())
from airflow.sdk import DAG
import airflow_provider_phlo.dbt.rendering.operators, airflow_provider_phlo.operators.ingest
from airflow_provider_phlo.operators.base import PhloOperator
class Counts(PhloOperator):
    def run(self, context):
        return {"rows": 1}
with DAG("a", schedule=None):
    assert Counts(task_id="a").execute({}) == {"rows": 1}
ours = [name for name in sys.modules if name.startswith("airflow_provider_phlo.catalogs")]
theirs = [name for name in sys.modules if name.startswith("openlineage")]
assert not ours and not theirs, (ours, theirs)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "AIRFLOW_HOME": str(tmp_path), "PHLO_HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr[-2000:]
