"""``@phlo_ingestion`` and ``@phlo_quality``: what they make of a function, and of a bad declaration."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from airflow.sdk import DAG, TaskGroup
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from pandera.pandas import Field

from airflow_provider_phlo import phlo_ingestion, phlo_quality
from airflow_provider_phlo.decorators import Quality
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import CountCheck, NullCheck, QualityCheck, QualityCheckResult, RangeCheck
from airflow_provider_phlo.schemas import PhloSchema
from tests.expect import expect

NOT_NULL = NullCheck(columns=["id"])


class Reading(PhloSchema):
    id: str = Field(unique=True)
    value: float = Field(ge=0, le=600)


def declare(function=None, **declared):
    """Return a declared ingestion of ``raw.readings``."""

    def readings():
        return [{"id": "a", "value": 1.0}]

    if function and function.__name__ == "<lambda>":
        function.__name__ = declared.get("table_name", "readings")
    arguments = {"table_name": "readings", "unique_key": "id", "validation_schema": Reading, "group": "demo"}
    return phlo_ingestion(**{**arguments, **declared})(function or readings)


def edges(dag):
    return {(task.task_id, below) for task in dag.tasks for below in task.downstream_task_ids}


# --- in a Dag -----------------------------------------------------------------------------------------------


def test_in_a_dag_it_is_a_chain_of_four_tasks():
    with DAG("a", schedule=None) as dag:
        group = declare()()
    assert isinstance(group, TaskGroup)
    assert edges(dag) == {
        ("readings.ingest", "readings.merge"),
        ("readings.merge", "readings.audit"),
        ("readings.merge", "readings.publish"),  # reads its result
        ("readings.audit", "readings.publish"),
    }


def test_groups_chain_both_ways_and_with_checks():
    @phlo_quality("raw.readings", [NOT_NULL])
    def readings_quality():
        """Check."""

    with DAG("a", schedule=None) as dag:
        first, second = declare()(), declare(lambda: None, table_name="others")()
        first >> readings_quality() >> second
    found = edges(dag)
    assert {("readings.publish", "readings_quality"), ("readings_quality", "others.ingest")} <= found
    with DAG("b", schedule=None) as dag:
        declare()() << readings_quality()
    assert ("readings_quality", "readings.ingest") in edges(dag)


def test_groups_nest():
    with DAG("a", schedule=None) as dag, TaskGroup("outer"), TaskGroup("inner"):
        declare()()
    assert {task.task_id for task in dag.tasks} == {
        f"outer.inner.readings.{name}" for name in ("ingest", "merge", "audit", "publish")
    }
    assert dag.get_task("outer.inner.readings.audit").branch == (
        "{{ ti.xcom_pull(task_ids='outer.inner.readings.merge')['branch'] }}"
    )


def test_two_tables_in_one_dag():
    def others():
        return None

    with DAG("a", schedule=None) as dag:
        declare()() >> declare(others, table_name="bronze.others")()
    outlets = {task.task_id: [asset.uri for asset in task.outlets] for task in dag.tasks if task.outlets}
    assert outlets == {
        "readings.publish": ["iceberg://phlo/raw/readings"],
        "others.publish": ["iceberg://phlo/bronze/others"],
    }


def test_the_asset_belongs_to_the_group():
    (asset,) = declare().dag().get_task("readings.publish").outlets
    expect(asset, name="raw.readings", group="demo")


def test_the_dag_of_one_table():
    def readings(partition_date):
        """Fetch readings."""

    ingestion = declare(readings, cron="0 6 * * *", group="health")
    dag = ingestion.dag()
    expect(dag, dag_id="readings", schedule="0 6 * * *", catchup=False, tags={"health"})
    assert dag.start_date < datetime(2021, 1, 1, tzinfo=UTC)
    assert dag.doc_md == "Fetch readings."
    assert len(dag.tasks) == 4
    other = ingestion.dag(dag_id="other", schedule=None, catchup=True, params={"days": 3})
    assert (other.dag_id, other.schedule, other.catchup, other.params["days"]) == ("other", None, True, 3)
    assert declare().dag().schedule is None


def test_a_one_table_dag_registers_itself_like_any_other(tmp_path):
    from airflow.dag_processing.dagbag import DagBag

    (tmp_path / "one.py").write_text(
        "from airflow_provider_phlo import phlo_ingestion\n"
        "@phlo_ingestion('readings', 'id', None, 'demo', cron='@daily')\n"
        "def readings(): ...\n"
        "readings.dag()\n"
    )
    bag = DagBag(dag_folder=str(tmp_path))
    assert (bag.import_errors, list(bag.dags)) == ({}, ["readings"])


def test_retries_timeouts_and_pool_are_those_of_every_task():
    settings = {"max_retries": 5, "retry_delay_seconds": 7, "max_runtime_seconds": 99, "pool": "slow"}
    for task in declare(**settings).dag().tasks:
        expect(task, retries=5, retry_delay=timedelta(seconds=7), execution_timeout=timedelta(seconds=99), pool="slow")
    for task in declare().dag().tasks:
        expect(
            task,
            retries=3,
            retry_delay=timedelta(seconds=30),
            execution_timeout=timedelta(seconds=300),
            pool="default_pool",
        )


def test_arguments_in_a_dag_are_refused():
    with DAG("a", schedule=None), pytest.raises(ConfigurationError, match=r"readings\(\) takes no arguments inside"):
        declare()("2025-01-15")


# --- outside a Dag ------------------------------------------------------------------------------------------


def test_outside_a_dag_it_is_the_function():
    def readings(partition_date, api="default"):
        """Fetch."""
        return [{"id": partition_date, "api": api}]

    ingestion = declare(readings, resources={"api": lambda: None})
    assert ingestion("2025-01-15") == [{"id": "2025-01-15", "api": "default"}]
    assert ingestion("2025-01-15", api="x") == ingestion(partition_date="2025-01-15", api="x")
    expect(ingestion, __name__="readings", __doc__="Fetch.")


def test_checks_outside_a_dag_are_the_function():
    @phlo_quality("raw.readings", [NOT_NULL], group="demo")
    def readings_quality(value=1):
        """Check."""
        return value

    assert readings_quality(2) == 2
    expect(readings_quality, table="raw.readings", group="demo")


# --- bad declarations ---------------------------------------------------------------------------------------


@phlo_quality("raw.others", [NOT_NULL])
def others_quality(): ...


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"merge_strategy": "upsert"}, "merge_strategy='upsert': choose one of merge, append, replace"),
        ({"merge_config": {"dedup": True}}, "unknown option.*dedup"),
        ({"merge_config": {"deduplication_method": "newest"}}, "choose one of last, first, hash"),
        ({"merge_strategy": "append", "merge_config": {"hard_delete": "gone"}}, "hard_delete='gone' needs"),
        ({"merge_config": "last"}, "merge_config='last': give a dictionary"),
        ({"merge_config": {"deduplication": "false"}}, "deduplication='false', give True or False"),
        ({"merge_config": {"order_by": ["at"]}}, "order_by=.'at'., give the name of one column"),
        ({"unique_key": ""}, "unique_key is empty"),
        ({"unique_key": []}, "unique_key is empty"),
        ({"table_name": "a..c"}, "not a table name"),
        ({"engine": "spark"}, "engine='spark' is not available"),
        ({"merge_strategy": "replace", "add_metadata_columns": False}, "'replace' needs the metadata column"),
        ({"freshness_hours": 24}, "give .warn, error. in hours"),
        ({"freshness_hours": (48, 24)}, "give .warn, error. in hours"),
        ({"freshness_hours": (0, 24)}, "give .warn, error. in hours"),
        ({"freshness_hours": ("24", "48")}, "give .warn, error. in hours"),
        ({"freshness_hours": (24, 48), "add_metadata_columns": False}, "reads _cascade_ingested_at"),
        ({"audit": others_quality}, "audit=others_quality checks raw.others, not raw.readings"),
        ({"audit": ["not null"]}, "'not null' is a name, not a check"),
        ({"audit": NOT_NULL}, "give a list of checks"),
        ({"audit": print}, "give a list of checks"),
        ({"resources": {"context": "x"}}, "a resource cannot be called 'context'"),
    ],
)
def test_a_declaration_that_does_not_fit_is_refused_when_the_file_is_parsed(declared, message):
    with pytest.raises(ConfigurationError, match=message):
        declare(**declared)


def unfilled(day): ...


def unfilled_keyword(*, day): ...


def positional(partition_date, /): ...


@pytest.mark.parametrize("function", [unfilled, unfilled_keyword, positional])
def test_a_parameter_that_nothing_fills_is_refused_when_the_file_is_parsed(function):
    with pytest.raises(ConfigurationError, match=f"{function.__name__}: nothing fills the parameter"):
        declare(function)


def test_checks_that_are_not_checks_are_refused():
    with pytest.raises(ConfigurationError, match="@phlo_quality on others_quality: 7 is not a QualityCheck"):
        phlo_quality("others", [7])(others_quality.function)


def test_a_single_check_need_not_be_a_list():
    assert Quality(others_quality.function, "others", NOT_NULL).checks == (NOT_NULL,)


# --- what reaches the function ------------------------------------------------------------------------------


@pytest.fixture
def called_with(home, make_context):
    """Return a function that runs an ingestion's first task and gives what its function was called with."""

    def run(make, conf=None, **declared):
        calls = []
        ingestion = declare(make(calls), **declared)
        task = ingestion.dag().get_task(f"{ingestion.name}.ingest")
        with pytest.raises(AirflowSkipException):
            task.execute(make_context(task, conf=conf))
        (call,) = calls
        return call

    return run


CONF = {"partition_date": "2025-01-15"}


def test_parameters_are_filled_by_name(called_with):
    def every(calls):
        def readings(api, context, partition_date="never", limit=100, *rest, plain=None, **more):
            calls.append((partition_date, context["run_id"], api, limit, rest, plain, more))

        return readings

    resources = {"api": lambda: "made", "plain": 7, "unused": 1 / 3}
    assert called_with(every, CONF, resources=resources) == ("2025-01-15", "manual__one", "made", 100, (), 7, {})


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [("", ()), ("partition_date", ("2025-01-15",)), ("*, partition_date", ("2025-01-15",)), ("limit=5", (5,))],
)
def test_any_subset_of_parameters(called_with, parameters, expected):
    def some(calls):
        scope = {"calls": calls}
        names = [part.partition("=")[0].strip() for part in parameters.split(",") if part.strip() not in ("", "*")]
        exec(f"def readings({parameters}): calls.append(({''.join(name + ',' for name in names)}))", scope)
        return scope["readings"]

    assert called_with(some, CONF) == expected


def test_a_resource_that_is_a_connection_id(called_with, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_SITE", '{"conn_type": "http", "host": "https://x.example", "password": "s3cret"}')

    def connected(calls):
        def readings(site):
            calls.append((site.host, site.password))

        return readings

    assert called_with(connected, resources={"site": "site"}) == ("https://x.example", "s3cret")


def test_a_connection_that_is_not_set_names_what_to_set(home, make_context):
    def readings(site): ...

    task = declare(readings, resources={"site": "my_site"}).dag().get_task("readings.ingest")
    with pytest.raises(AirflowFailException, match="Connection 'my_site' is not set: define it"):
        task.execute(make_context(task))


def test_none_skips(home, make_context):
    task = declare(lambda: None).dag().tasks[0]
    with pytest.raises(AirflowSkipException, match=r"raw\.readings: the source has nothing for 2025-03-04"):
        task.execute(make_context(task))


# --- what a run does ----------------------------------------------------------------------------------------


def rows_of(catalog, table="raw.readings"):
    rows = catalog.load_table(table).scan().to_arrow().sort_by("id")
    return rows.select(
        [name for name in rows.column_names if not name.startswith(("_phlo", "_dlt", "_casc"))]
    ).to_pylist()


def test_a_run_publishes_and_returns_small_json(run_ingestion, catalog):
    results = run_ingestion(declare(audit=[NOT_NULL, CountCheck(min_count=1)]), conf=CONF)
    assert rows_of(catalog) == [{"id": "a", "value": 1.0}]
    for result in results.values():
        assert len(json.dumps(result)) < 3000
    table = catalog.load_table("raw.readings")
    published = results["publish"]
    assert published["snapshot_id"] == table.current_snapshot().snapshot_id
    expect(published, read=1, inserted=1, partition_date="2025-01-15")
    assert set(table.refs()) == {"main"}
    assert str(table.spec().fields[0].name) == "_phlo_partition_date"


def test_transforms_change_the_rows(run_ingestion, catalog):
    def doubled(rows: pa.Table) -> pa.Table:
        return rows.set_column(rows.schema.get_field_index("value"), "value", pa.array([2.0] * len(rows)))

    run_ingestion(declare(transforms=[doubled]))
    assert rows_of(catalog) == [{"id": "a", "value": 2.0}]


def test_a_transform_that_is_not_installed():
    with pytest.raises(ConfigurationError, match="There is no transform 'shout'; installed:"):
        declare(transforms=["shout"]).dag()


def test_without_metadata_columns(run_ingestion, catalog):
    ingestion = declare(add_metadata_columns=False)
    for run_id in ("one", "two"):
        results = run_ingestion(ingestion, run_id=run_id)
    table = catalog.load_table("raw.readings")
    assert [item.name for item in table.schema().fields] == ["id", "value"]
    assert table.spec().is_unpartitioned()
    assert (results["publish"]["unchanged"], len(table.snapshots())) == (1, 1)


def test_replace_replaces_the_partition(run_ingestion, catalog):
    rows = [{"id": "a", "value": 1.0}, {"id": "b", "value": 2.0}]
    ingestion = declare(lambda: list(rows), merge_strategy="replace")
    run_ingestion(ingestion, run_id="one", conf=CONF)
    run_ingestion(ingestion, run_id="two", conf={"partition_date": "2025-01-16"})
    rows[:] = [{"id": "c", "value": 3.0}]
    run_ingestion(ingestion, run_id="three", conf=CONF)
    assert [row["id"] for row in rows_of(catalog)] == ["a", "b", "c"]


@pytest.mark.long
@pytest.mark.parametrize(
    ("config", "ids"),
    [
        (None, ["a", "a", "b", "a", "a", "b"]),
        ({"deduplication": True}, ["a", "b", "a", "b"]),
        ({"deduplication": True, "deduplication_method": "hash"}, ["a", "b"]),
    ],
)
def test_append(run_ingestion, catalog, config, ids):
    rows = [{"id": "a", "value": 1.0}, {"id": "a", "value": 1.0}, {"id": "b", "value": 2.0}]
    ingestion = declare(lambda: rows, merge_strategy="append", merge_config=config, validation_schema=None)
    for run_id in ("one", "two"):
        run_ingestion(ingestion, run_id=run_id)
    assert sorted(row["id"] for row in rows_of(catalog)) == sorted(ids)


def test_bad_rows_fail_or_are_set_aside(run_ingestion, catalog):
    rows = [{"id": "a", "value": 987.0}, {"id": "b", "value": 2.0}]
    with pytest.raises(AirflowFailException, match="value") as caught:
        run_ingestion(declare(lambda: rows), run_id="one")
    assert "987" not in str(caught.value)
    results = run_ingestion(declare(lambda: rows, strict_validation=False), run_id="two")
    expect(results["publish"], inserted=1, quarantined=1)
    assert rows_of(catalog) == [{"id": "b", "value": 2.0}]
    run_ingestion(declare(lambda: rows, validate=False), run_id="three")
    assert len(rows_of(catalog)) == 2


# --- audits -------------------------------------------------------------------------------------------------


@phlo_quality("readings", [RangeCheck(column="value", max_value=1)])
def blocking_quality(): ...


@phlo_quality("readings", [RangeCheck(column="value", max_value=1)], blocking=False)
def warning_quality(): ...


@phlo_quality("readings", [RangeCheck(column="value", max_value=1)], partition_column="_phlo_partition_date")
def daily_quality(): ...


@pytest.mark.long
@pytest.mark.parametrize("audit", [[RangeCheck(column="value", max_value=1)], blocking_quality, daily_quality])
def test_a_failed_audit_leaves_main_untouched(run_ingestion, catalog, audit):
    value = [1.0]
    ingestion = declare(lambda: [{"id": "a", "value": value[0]}], audit=audit)
    run_ingestion(ingestion, run_id="one")
    value[0] = 2.0
    with pytest.raises(AirflowFailException, match=r"1 of 1 checks failed on raw\.readings: RangeCheck"):
        run_ingestion(ingestion, run_id="two")
    assert rows_of(catalog) == [{"id": "a", "value": 1.0}]
    kept = [name for name in catalog.load_table("raw.readings").refs() if name != "main"]
    assert len(kept) == 1
    assert kept[0].startswith("phlo_")


def test_an_audit_that_does_not_block_only_warns(run_ingestion, catalog, caplog):
    results = run_ingestion(declare(lambda: [{"id": "a", "value": 2.0}], audit=warning_quality))
    assert rows_of(catalog) == [{"id": "a", "value": 2.0}]
    assert [(check["passed"], check["severity"]) for check in results["audit"]["results"]] == [(False, "warn")]
    assert blocking_quality.checks[0].severity == "error"


def test_an_audit_of_one_partition_sees_no_other(run_ingestion, catalog):
    rows = [{"id": "a", "value": 2.0}]
    run_ingestion(declare(lambda: rows), run_id="one", conf={"partition_date": "2025-01-14"})
    rows[:] = [{"id": "b", "value": 1.0}]
    with pytest.raises(AirflowFailException, match="RangeCheck"):
        run_ingestion(declare(lambda: rows, audit=blocking_quality), run_id="two", conf=CONF)
    results = run_ingestion(declare(lambda: rows, audit=daily_quality), run_id="three", conf=CONF)
    assert results["audit"]["results"][0]["row_count"] == 1
    assert [row["id"] for row in rows_of(catalog)] == ["a", "b"]


@dataclass
class Own(QualityCheck):
    """A check of somebody's own."""

    wanted: int = 1

    def execute(self, df, context=None):
        return QualityCheckResult(passed=len(df) == self.wanted, message=f"{len(df)} rows")


@pytest.mark.parametrize(("severity", "stops"), [("error", True), ("warn", False)])
def test_a_check_of_ones_own_in_an_audit(run_ingestion, severity, stops):
    ingestion = declare(audit=[Own(wanted=2, severity=severity)])
    if stops:
        with pytest.raises(AirflowFailException, match="1 rows"):
            run_ingestion(ingestion)
    else:
        assert run_ingestion(ingestion)["audit"]["passed"] is False


def test_freshness_warns_then_fails(run_ingestion):
    """Rows that do not change get old; the run that finds them too old is not published."""
    run_ingestion(declare(), run_id="one")
    time.sleep(2)  # ages are whole seconds
    second = 1 / 3600
    results = run_ingestion(declare(freshness_hours=(second / 2, 24)), run_id="two")
    assert [(each["severity"], each["passed"]) for each in results["audit"]["results"]] == [
        ("warn", False), ("error", True),
    ]  # fmt: skip
    with pytest.raises(AirflowFailException, match=r"FreshnessCheck\(_cascade_ingested_at\)"):
        run_ingestion(declare(freshness_hours=(second / 4, second / 2)), run_id="three")


def test_freshness_is_the_tables_even_when_the_audit_looks_at_one_partition(run_ingestion):
    ingestion = declare(audit=daily_quality, freshness_hours=(24, 48))
    found = edges(ingestion.dag())
    assert {("readings.merge", "readings.freshness"), ("readings.freshness", "readings.publish")} <= found
    results = run_ingestion(ingestion)
    assert len(results["freshness"]["results"]) == 2
    assert len(results["audit"]["results"]) == 1


# --- @phlo_quality in a Dag ---------------------------------------------------------------------------------


def test_quality_in_a_dag_is_one_task():
    with DAG("a", schedule=None):
        task = daily_quality()
        with pytest.raises(ConfigurationError, match=r"daily_quality\(\) takes no arguments"):
            daily_quality(1)
    assert isinstance(task, QualityCheckOperator)
    expect(task, task_id="daily_quality", table="raw.readings", blocking=True, branch=None)
    assert task.partition_column == "_phlo_partition_date"


def test_a_check_on_main_may_be_trinos_an_audit_is_not():
    checks = phlo_quality("readings", [CountCheck(1)], engine="trino", trino_conn_id="mine")(daily_quality.function)
    with DAG("a", schedule=None):
        task = checks()
    expect(task, engine="trino", trino_conn_id="mine")
    ingestion = declare(audit=checks, engine="trino", trino_conn_id="mine")
    tasks = {task.task_id: task for task in ingestion.dag().tasks}
    assert tasks["readings.audit"].engine == "pyiceberg"
    assert [tasks[f"readings.{name}"].trino_conn_id for name in ("merge", "publish")] == ["mine", "mine"]
    with pytest.raises(ConfigurationError, match="engine='spark'"):
        phlo_quality("readings", [CountCheck(1)], engine="spark")(lambda: None)


def test_the_asset_event_reports_the_audit(run_ingestion, make_context):
    checks = [CountCheck(1), RangeCheck("value", max_value=1, severity="warn")]
    ingestion = declare(lambda: [{"id": "a", "value": 2.0}], audit=checks, freshness_hours=(24, 48))
    publish = {task.task_id: task for task in ingestion.dag().tasks}["readings.publish"]
    assert "audited" in publish.template_fields
    results = run_ingestion(ingestion)
    publish.merged, publish.audited = results["merge"], [results["audit"]]
    context = make_context(publish)
    publish.execute(context)
    (outlet,) = publish.outlets
    assert context["outlet_events"][outlet].extra["checks"] == {"run": 4, "passed": 3, "failed": ["RangeCheck(value)"]}


def test_quality_that_does_not_block_succeeds(run_ingestion, make_context):
    run_ingestion(declare(lambda: [{"id": "a", "value": 2.0}]))
    with DAG("a", schedule=None):
        warning = warning_quality()
    assert warning.execute(make_context(warning))["passed"] is False
