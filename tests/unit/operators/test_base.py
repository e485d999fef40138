"""What every operator promises: green means done, and mapped operators know their outlets."""

from __future__ import annotations

import logging

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_phlo.dbt.rendering.task_group import DbtModelOperator
from airflow_provider_phlo.operators.base import PhloOperator
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.publish import PublishOperator
from airflow_provider_phlo.operators.publish_branch import PublishBranchOperator

KEY = {"table": "readings", "unique_key": "id"}


class Returns(PhloOperator):
    """Returns what it is given."""

    def __init__(self, *, result, **kwargs):
        super().__init__(**kwargs)
        self.result = result

    def run(self, context):
        return self.result


@pytest.mark.parametrize(
    "result",
    [
        None,
        {},
        {"rows": None},
        {"table": "marts.m", "rows": None, "snapshot_id": None, "changed": None},
        {"rows": None, "nothing_to_do": ""},
        {"tables": {}},
        {"tables": []},
        {"tables": {"a": {"rows": 3}, "b": {"rows": None, "snapshot_id": None}}},
        {"tables": [{"table": "raw.a", "rows": None}]},
        {"tables": {"a": None}},
    ],
)
def test_case_42_green_without_work_or_reason_fails(make_context, result):
    task = Returns(task_id="model", result=result)
    with pytest.raises(AirflowFailException, match="model ended without an error, but reports no rows"):
        task.execute(make_context(task))


@pytest.mark.parametrize(
    "result",
    [
        {"rows": 0},
        {"rows": None, "snapshot_id": 5},
        {"tables": {"a": {"rows": 0}}},
        {"rows": None, "reason": "Trino wrote it"},
    ],
)
def test_case_42_work_is_green(make_context, result):
    task = Returns(task_id="model", result=result)
    assert task.execute(make_context(task)) == result


@pytest.mark.parametrize("table", [{"rows": 0}, {"rows": None, "reason": "x"}, {"rows": None, "nothing_to_do": "x"}, 7])
def test_case_42_work_on_every_table_is_green(make_context, table):
    task = Returns(task_id="model", result={"tables": {"a": table}})
    assert task.execute(make_context(task))


def test_case_42_a_reason_is_logged(make_context, caplog):
    task = Returns(task_id="model", result={"rows": None, "nothing_to_do": "the day is a holiday"})
    with caplog.at_level(logging.INFO):
        task.execute(make_context(task))
    assert "model has nothing to do: the day is a holiday" in caplog.text


def test_case_42_a_publication_of_nothing_is_refused(make_context):
    task = PublishOperator(task_id="publish", tables={})
    with pytest.raises(AirflowFailException, match="publishes nothing"):
        task.execute(make_context(task))
    task = PublishOperator(task_id="publish", tables="{'a': 'marts.a'}")  # as a template is rendered
    with pytest.raises(AirflowFailException, match=r"tables is a str, not a mapping.*render_template_as_native_obj"):
        task.execute(make_context(task))


# --- mapped operators -----------------------------------------------------------------------------------------


def uris(outlets):
    return [outlet.uri for outlet in outlets]


def mapped_over(operator_class, arguments, mapped):
    with DAG("mapped", schedule=None):
        return operator_class.partial(task_id="mapped", **arguments).expand(**mapped)


@pytest.mark.parametrize(
    ("operator_class", "arguments", "mapped", "wanted"),
    [
        (MergeOperator, KEY, {"staged": [{}, {}]}, ["raw/readings"]),
        (MergeOperator, {**KEY, "publish": False}, {"staged": [{}, {}]}, []),
        (MergeOperator, {**KEY, "outlets": []}, {"staged": [{}, {}]}, []),
        (MergeOperator, {"unique_key": "id", "staged": {}}, {"table": ["a", "gold.b"]}, ["raw/a", "gold/b"]),
        (MergeOperator, {"unique_key": "id", "table": "{{ x }}"}, {"staged": [{}]}, []),
        (PublishBranchOperator, KEY, {"merged": [{}]}, ["raw/readings"]),
        (DbtModelOperator, {"model": "m", "table": "gold.m", "project_dir": "x"}, {"env": [{}, {}]}, ["gold/m"]),
    ],
)
def test_case_47_a_mapped_operator_has_the_outlets_of_one_that_is_not(operator_class, arguments, mapped, wanted):
    found = mapped_over(operator_class, arguments, mapped)
    # Airflow fails every instance of a task that has None
    assert (found.inlets, found.executor_config) == ([], {})
    assert uris(found.outlets) == [f"iceberg://phlo/{name}" for name in wanted]


def test_case_47_over_sets_of_arguments_and_results_of_tasks():
    with DAG("mapped", schedule=None):
        sets = [{"table": "a", "staged": {}}, {"table": "b", "staged": {}}]
        several = MergeOperator.partial(task_id="several", unique_key="id").expand_kwargs(sets)
        ingest = IngestOperator.partial(task_id="ingest", **KEY).expand(source=[dict, list])
        merge = MergeOperator.partial(task_id="merge", **KEY).expand(staged=ingest.output)
    assert uris(several.outlets) == ["iceberg://phlo/raw/a", "iceberg://phlo/raw/b"]
    assert (uris(ingest.outlets), uris(merge.outlets)) == ([], ["iceberg://phlo/raw/readings"])


def test_case_47_each_instance_emits_the_event_of_its_table_only(home, make_context):
    other = Asset(name="report", uri="s3://bucket/report")
    found = {}
    for index, table in enumerate(("a", "b")):
        with DAG("mapped", schedule=None):
            mapped = MergeOperator.partial(task_id="merge", unique_key="id").expand(table=["a", "b"], staged=[{}, {}])
        ingest = IngestOperator(task_id="ingest", source=lambda: [{"id": 1}], table=table, unique_key="id")
        staged = ingest.execute(make_context(ingest))
        task = mapped.unmap({"table": table, "staged": staged})
        task.add_outlets([other])
        context = make_context(task, map_index=index)
        task.execute(context)
        found[table] = [(outlet.uri, context["outlet_events"][outlet].extra.get("inserted")) for outlet in task.outlets]
    assert found == {
        "a": [("iceberg://phlo/raw/a", 1), (other.uri, None)],
        "b": [("iceberg://phlo/raw/b", 1), (other.uri, None)],
    }
