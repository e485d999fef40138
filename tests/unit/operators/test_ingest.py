"""IngestOperator and ``@task.phlo_ingest``: what is staged, when it is extracted again, and what is refused."""

from __future__ import annotations

import json
import shutil

import dlt
import pyarrow.parquet as pq
import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_phlo.exceptions import ConfigurationError, SourceUnavailableError
from airflow_provider_phlo.operators.ingest import IngestOperator, phlo_ingest_task
from airflow_provider_phlo.operators.merge import MergeOperator
from tests.expect import expect

DAY = {"partition_date": "2025-01-15"}


@pytest.fixture
def calls():
    return []


@pytest.fixture
def source(calls):
    def readings(partition_date):
        calls.append(partition_date)
        return [{"id": str(number), "value": number} for number in range(3)]

    return readings


def operator(source, **arguments):
    return IngestOperator(task_id="ingest", source=source, table="readings", unique_key="id", **arguments)


def staged_files(home, result):
    return sorted((home / "staging" / result["folder"]).rglob("*.parquet"))


def test_it_stages_and_says_what(home, make_context, source):
    ingest = operator(source)
    result = ingest.execute(make_context(ingest, conf=DAY))
    assert {name: result[name] for name in ("table", "partition_date", "read", "staged", "quarantined")} == {
        "table": "raw.readings", "partition_date": "2025-01-15", "read": 3, "staged": 3, "quarantined": 0,
    }  # fmt: skip
    assert result["folder"] == f"raw.readings/2025-01-15/{result['token']}"
    assert len(json.dumps(result)) < 500
    (file,) = staged_files(home, result)
    assert pq.read_table(file)["_phlo_run_id"].unique().to_pylist() == ["manual__one"]


def test_a_retry_does_not_extract_again(home, make_context, source, calls):
    ingest = operator(source)
    first = ingest.execute(make_context(ingest, conf=DAY))
    assert ingest.execute(make_context(ingest, conf=DAY, try_number=2)) == first
    assert calls == ["2025-01-15"]


def test_a_run_that_is_cleared_extracts_again(home, make_context, source, calls):
    ingest = operator(source)
    first = ingest.execute(make_context(ingest, conf=DAY))
    second = ingest.execute(make_context(ingest, conf=DAY, clear_number=1))
    assert len(calls) == 2
    assert first["folder"] != second["folder"]


def test_refresh_extracts_again(home, make_context, source, calls):
    for _ in range(2):
        ingest = operator(source, refresh=True)
        result = ingest.execute(make_context(ingest, conf=DAY))
    assert len(calls) == 2
    assert result["staged"] == 3


def test_an_attempt_that_failed_is_not_taken_for_a_batch(home, make_context, calls):
    def readings():
        yield {"id": "a"}
        calls.append(1)
        if len(calls) == 1:
            raise SourceUnavailableError("the line went dead")
        yield {"id": "b"}

    ingest = operator(readings)
    with pytest.raises(SourceUnavailableError):  # not AirflowFailException: Airflow retries
        ingest.execute(make_context(ingest))
    assert ingest.execute(make_context(ingest, try_number=2))["staged"] == 2


@pytest.mark.parametrize("given", ["2024-02-29", "{{ conf_day }}"])
def test_the_partition_date_can_be_given(home, make_context, source, calls, given):
    ingest = operator(source, partition_date=given)
    context = make_context(ingest, conf=DAY)
    ingest.render_template_fields({**context, "conf_day": "2024-02-29"})
    assert ingest.execute(context)["partition_date"] == "2024-02-29"
    assert calls == ["2024-02-29"]


def test_a_given_partition_date_that_is_not_a_date_is_refused_before_extraction(home, make_context, source, calls):
    ingest = operator(source, partition_date="29.2.2024")
    with pytest.raises(AirflowFailException, match=r"'29\.2\.2024' in the task's arguments is not a date"):
        ingest.execute(make_context(ingest))
    assert calls == []


def test_arguments_are_keywords_only():
    with pytest.raises(TypeError):
        IngestOperator("ingest", print, "readings")
    with pytest.raises(TypeError, match="missing keyword argument 'table'"):
        IngestOperator(task_id="ingest", source=lambda: None)
    with pytest.raises(ConfigurationError, match="nothing fills the parameter 'day'"):
        operator(lambda day: None)


def test_a_schema_by_name(home, make_context):
    rows = [{"_id": "x", "sgv": 100, "date": 1736899200000}]
    ingest = IngestOperator(
        task_id="ingest", source=lambda: rows, table="glucose", unique_key="_id",
        validation_schema="include.schemas.glucose:RawGlucoseEntries",
    )  # fmt: skip
    assert ingest.execute(make_context(ingest))["staged"] == 1


@pytest.mark.parametrize("name", ["include.schemas.glucose:Nothing", "include.nothing:RawGlucoseEntries", "nonsense"])
def test_a_schema_that_does_not_exist(home, make_context, name):
    ingest = operator(lambda: [{"id": "a"}], validation_schema=name)
    with pytest.raises(AirflowFailException, match=name.rpartition(":")[2]):
        ingest.execute(make_context(ingest))


def test_a_full_source_with_two_resources_is_refused(home, make_context):
    @dlt.source
    def two():
        return [dlt.resource([{"id": 1}], name="one"), dlt.resource([{"id": 2}], name="other")]

    ingest = operator(two)
    with pytest.raises(AirflowFailException, match=r"return source\.with_resources"):
        ingest.execute(make_context(ingest))


# --- incremental sources ------------------------------------------------------------------------------------


@pytest.fixture
def incremental(calls):
    """Return a source of the numbers 1 … n that remembers how far it came; ``calls`` sees from where it starts."""
    upto = [3]

    @dlt.resource(name="numbers")
    def numbers(number=dlt.sources.incremental("number", initial_value=0)):  # noqa: B008 - that is how dlt declares it
        calls.append(number.last_value)
        yield [{"id": str(value), "number": value} for value in range(number.last_value + 1, upto[0] + 1)]

    numbers.upto = upto
    return numbers


def ingest_and_merge(make_context, source, run_id, publish):
    ingest = operator(source)
    staged = ingest.execute(make_context(ingest, run_id=run_id))
    merge = MergeOperator(task_id="merge", staged=staged, table="readings", unique_key="id", publish=publish)
    return merge.execute(make_context(merge, run_id=run_id))


def test_the_cursor_advances_only_with_publication(home, make_context, incremental, calls):
    """Every run is another worker: nothing but the catalog and the staged files is left of the one before."""

    def another_worker():
        shutil.rmtree(home / "dlt", ignore_errors=True)

    ingest_and_merge(make_context, lambda: incremental, "one", publish=True)
    another_worker()
    incremental.upto[0] = 5
    ingest_and_merge(make_context, lambda: incremental, "two", publish=False)  # its audit fails
    another_worker()
    result = ingest_and_merge(make_context, lambda: incremental, "three", publish=True)
    another_worker()
    nothing = ingest_and_merge(make_context, lambda: incremental, "four", publish=True)
    assert calls == [0, 3, 3, 5]
    expect(result, read=2, inserted=2)
    expect(nothing, read=0, snapshot_id=None)


def test_nothing_of_dlt_stays_outside_home(home, make_context, incremental, monkeypatch, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setenv("HOME", str(elsewhere))
    monkeypatch.setenv("DLT_DATA_DIR", str(elsewhere))
    ingest_and_merge(make_context, lambda: incremental, "one", publish=True)
    assert not list(elsewhere.rglob("*numbers*"))
    assert not list((home / "dlt").iterdir())


# --- @task.phlo_ingest --------------------------------------------------------------------------------------

ARGUMENTS = {"table": "readings", "unique_key": "id"}


def run_task(make_context, called):
    ingest = called.operator
    context = make_context(ingest, conf=DAY)
    ingest.render_template_fields(context)
    return ingest.execute(context)


def test_a_function_becomes_an_ingest_task(home, make_context, calls):
    @phlo_ingest_task(**ARGUMENTS, source_resources={"api": lambda: "made"}, retries=2)
    def readings(prefix, partition_date, context, api, limit=2):
        """Fetch."""
        calls.append((prefix, partition_date, context["run_id"], api, limit))
        return [{"id": f"{prefix}{number}"} for number in range(limit)]

    with DAG("a", schedule=None) as dag:
        called = readings("x-{{ dag.dag_id }}-", limit=3)
        MergeOperator(task_id="merge", staged=called, **ARGUMENTS)
    expect(called.operator, task_id="readings", retries=2)
    assert called.operator.task_type == "@task.phlo_ingest" or called.operator.operator_name == "@task.phlo_ingest"
    assert dag.get_task("merge").upstream_task_ids == {"readings"}
    assert run_task(make_context, called)["staged"] == 3
    assert calls == [("x-a-", "2025-01-15", "manual__one", "made", 3)]


def test_a_call_may_give_what_would_be_filled(home, make_context, calls):
    @phlo_ingest_task(**ARGUMENTS)
    def readings(partition_date):
        calls.append(partition_date)

    with DAG("a", schedule=None):
        called = readings("2020-01-01")
    with pytest.raises(AirflowSkipException):
        run_task(make_context, called)
    assert calls == ["2020-01-01"]


def test_a_call_that_does_not_fit_is_refused_when_the_file_is_parsed():
    @phlo_ingest_task(**ARGUMENTS)
    def readings(prefix, partition_date): ...

    with DAG("a", schedule=None):
        with pytest.raises(ConfigurationError, match="nothing fills the parameter 'prefix'"):
            readings()
        with pytest.raises(ConfigurationError, match=r"readings\(\): got an unexpected keyword argument 'suffix'"):
            readings("a", suffix="b")


def test_a_function_twice_in_one_dag():
    @phlo_ingest_task(**ARGUMENTS)
    def readings(prefix): ...

    with DAG("a", schedule=None) as dag:
        readings("a")
        readings.override(task_id="more")("b")
        readings("c")
    assert list(dag.task_dict) == ["readings", "more", "readings__1"]


def test_a_function_can_be_mapped():
    @phlo_ingest_task(**ARGUMENTS)
    def readings(prefix, partition_date): ...

    with DAG("a", schedule=None) as dag:
        readings.expand(prefix=["a", "b"])
    assert dag.get_task("readings").is_mapped


def test_the_decorator_is_registered():
    """Airflow finds ``@task.phlo_ingest`` by the provider's metadata."""

    @task.phlo_ingest(**ARGUMENTS)
    def readings(partition_date): ...

    with DAG("a", schedule=None):
        assert isinstance(readings().operator, IngestOperator)
