"""MergeOperator alone, and the publication of a branch when main moves."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.publish_branch import PublishBranchOperator
from airflow_provider_phlo.quality import CountCheck
from tests.expect import expect

KEY = {"table": "readings", "unique_key": "id"}


@pytest.fixture
def stage(home, make_context):
    """Return a function that stages rows in a run and gives the result that Airflow hands on."""

    def run(rows, run_id="one", **arguments):
        ingest = IngestOperator(task_id="ingest", source=lambda: rows, **{**KEY, **arguments})
        return json.loads(json.dumps(ingest.execute(make_context(ingest, run_id=run_id))))

    return run


@pytest.fixture
def execute(make_context):
    def run(operator_class, run_id="one", **arguments):
        task = operator_class(task_id="task", **{**KEY, **arguments})
        context = make_context(task, run_id=run_id)
        result = json.loads(json.dumps(task.execute(context)))
        events = [context["outlet_events"][outlet].extra for outlet in task.outlets]
        return result, events

    return run


def rows_of(catalog):
    rows = catalog.load_table("raw.readings").scan().to_arrow().select(["id", "value"])
    return sorted(map(tuple, (row.values() for row in rows.to_pylist())))


def test_alone_it_publishes_and_reports_in_the_asset_event(stage, execute, catalog):
    staged = stage([{"id": "a", "value": 1}, {"id": "a", "value": 2}])
    result, (event,) = execute(MergeOperator, staged=staged)
    assert rows_of(catalog) == [("a", 2)]
    head = catalog.load_table("raw.readings").current_snapshot().snapshot_id
    wanted = {"snapshot_id": head, "read": 2, "inserted": 1, "duplicates": 1, "partition_date": "2025-03-04"}
    assert wanted.items() <= event.items()
    assert wanted.items() <= result.items()
    json.dumps(event)
    assert not {"folder", "token", "branch"} & set(event)  # Airflow masks the value of what is called a token
    assert not any(isinstance(value, dict) for value in event.values())


def test_a_retry_gives_the_first_result_again(stage, execute, catalog):
    staged = stage([{"id": "a", "value": 1}])
    first = execute(MergeOperator, staged=staged)
    execute(MergeOperator, "two", staged=stage([{"id": "a", "value": 2}], "two"))
    assert execute(MergeOperator, staged=staged) == first
    assert rows_of(catalog) == [("a", 2)]


def test_it_knows_its_outlet_by_itself():
    alone = MergeOperator(task_id="a", staged={}, table="bronze.readings", unique_key="id")
    assert [asset.uri for asset in alone.outlets] == ["iceberg://phlo/bronze/readings"]
    assert MergeOperator(task_id="b", staged={}, publish=False, **KEY).outlets == []
    own = PublishBranchOperator(task_id="c", merged={}, outlets=[], **KEY)
    assert own.outlets == []
    templated = MergeOperator(task_id="d", staged={}, table="{{ params.table }}", unique_key="id")
    assert templated.outlets == []


def test_a_templated_table(stage, make_context, catalog):
    merge = MergeOperator(task_id="merge", staged=stage([{"id": "a", "value": 1}]), table="{{ name }}", unique_key="id")
    context = make_context(merge)
    merge.render_template_fields({**context, "name": "readings"})
    merge.execute(context)
    assert rows_of(catalog) == [("a", 1)]


def test_missing_and_bad_arguments_are_refused_when_the_file_is_parsed():
    with pytest.raises(TypeError, match="missing keyword argument 'table'"):
        MergeOperator(task_id="merge", staged={})
    with pytest.raises(TypeError, match="missing keyword argument 'staged'"):
        MergeOperator(task_id="merge", **KEY)
    with pytest.raises(ConfigurationError, match="engine='spark'"):
        MergeOperator(task_id="merge", staged={}, engine="spark", **KEY)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"merge_strategy": "upsert"}, "choose one of merge, append, replace"),
        ({"merge_config": {"deduplication_method": "newest"}}, "choose one of last, first, hash"),
        ({"merge_config": {"typo": 1}}, "unknown option.*typo"),
        ({"unique_key": ()}, "needs a unique_key"),
        ({"merge_strategy": "replace", "add_metadata_columns": False}, "keep add_metadata_columns=True"),
    ],
)
def test_what_does_not_fit_together_fails_before_anything_is_written(stage, execute, catalog, arguments, message):
    staged = stage([{"id": "a", "value": 1}])
    with pytest.raises((AirflowFailException, ConfigurationError), match=message):
        execute(MergeOperator, staged=staged, **arguments)
    assert not catalog.table_exists("raw.readings")


def test_staged_files_that_are_gone_say_what_to_clear(stage, execute, home):
    staged = stage([{"id": "a", "value": 1}])
    shutil.rmtree(home / "staging" / staged["folder"])
    with pytest.raises(AirflowFailException, match="clear the ingest task too"):
        execute(MergeOperator, staged=staged)


def test_no_rows_and_no_schema_skips(stage, execute):
    with pytest.raises(AirflowSkipException, match="no rows and no schema"):
        execute(MergeOperator, staged=stage([]))


def test_no_rows_with_a_schema_make_an_empty_table(stage, execute, catalog):
    schema = {"table": "glucose", "unique_key": "_id", "validation_schema": "include.schemas.glucose:RawGlucoseEntries"}
    result, _ = execute(MergeOperator, staged=stage([], **schema), **schema)
    expect(result, read=0, snapshot_id=None)
    assert len(catalog.load_table("raw.glucose").scan().to_arrow()) == 0


def test_tables_are_made_as_declared(stage, execute, catalog):
    definition = {"partition_by": "day(taken_at)", "sort_by": ["id desc"], "table_properties": {"owner": "me"}}
    rows = pa.table({"id": ["a"], "taken_at": pa.array([0], pa.timestamp("us", "UTC"))})
    execute(MergeOperator, staged=stage(rows), **definition)
    table = catalog.load_table("raw.readings")
    assert [str(field.transform) for field in table.spec().fields] == ["day"]
    assert "DESC" in str(table.sort_order().fields[0])
    assert table.properties["owner"] == "me"


# --- publication --------------------------------------------------------------------------------------------


def branch(execute, stage, rows, run_id):
    return execute(MergeOperator, run_id, staged=stage(rows, run_id), publish=False)[0]


def test_main_is_untouched_until_the_branch_is_published(stage, execute, catalog):
    merged = branch(execute, stage, [{"id": "a", "value": 1}], "one")
    assert catalog.load_table("raw.readings").current_snapshot() is None
    published, (event,) = execute(PublishBranchOperator, merged=merged)
    assert rows_of(catalog) == [("a", 1)]
    assert published["snapshot_id"] == event["snapshot_id"] == merged["snapshot_id"]


def test_when_main_moves_the_batch_is_merged_and_audited_again(stage, execute, catalog):
    first = branch(execute, stage, [{"id": "a", "value": 1}], "one")
    second = branch(execute, stage, [{"id": "a", "value": 2}, {"id": "b", "value": 2}], "two")
    execute(PublishBranchOperator, "one", merged=first)
    published, _ = execute(PublishBranchOperator, "two", merged=second, audit=[CountCheck(min_count=2, max_count=2)])
    assert rows_of(catalog) == [("a", 2), ("b", 2)]
    expect(published, inserted=1, updated=1)


def test_an_audit_that_fails_on_top_of_the_new_main_stops_publication(stage, execute, catalog):
    first = branch(execute, stage, [{"id": "a", "value": 1}], "one")
    second = branch(execute, stage, [{"id": "b", "value": 2}], "two")
    execute(PublishBranchOperator, "one", merged=first)
    with pytest.raises(AirflowFailException, match="CountCheck"):
        execute(PublishBranchOperator, "two", merged=second, audit=[CountCheck(max_count=1)])
    assert rows_of(catalog) == [("a", 1)]


def test_that_audit_can_look_at_one_partition(stage, execute, catalog):
    first = branch(execute, stage, [{"id": "a", "value": 1}], "one")
    second = branch(execute, stage, [{"id": "b", "value": 2}], "two")
    second["partition_date"] = "2025-03-03"  # a day that no row is of
    execute(PublishBranchOperator, "one", merged=first)
    audit = {"audit": [CountCheck(max_count=0)], "partition_column": "_phlo_partition_date"}
    execute(PublishBranchOperator, "two", merged=second, **audit)
    assert rows_of(catalog) == [("a", 1), ("b", 2)]
