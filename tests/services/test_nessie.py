"""Branches of the whole catalog: what only Nessie can do, and what it must not be asked to do."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
import requests
from airflow.sdk import DAG

from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError, TransientError
from airflow_provider_phlo.hooks.dlt import DltHook
from airflow_provider_phlo.iceberg import branches, overwrite
from airflow_provider_phlo.iceberg.branches import publication
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.merge import MergePlan, copy_on_write
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.ingestion import LandedBatch, LandedTable, publish_together
from airflow_provider_phlo.ingestion.preparation import table_state
from airflow_provider_phlo.operators.ingest import IngestOperator
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.publish_branch import PublishTogetherOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import RangeCheck
from tests.patience import PATIENCE
from tests.services.killed import run_killed_at
from tests.services.losing_proxy import losing_proxy
from tests.services.nessie import NessieServer
from tests.services.stores import Store

# one worker starts Nessie, S3 and Postgres
pytestmark = pytest.mark.xdist_group("stores")

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["tests.services.stores", "airflow_provider_phlo.ingestion.landing", "pyiceberg.catalog.rest"]
)
ONE, TWO = [{"k": 1, "v": 1.0}], [{"k": 2, "v": 2.0}]


@pytest.fixture
def store(nessie_store: Store) -> Store:
    return nessie_store


@pytest.fixture
def history(nessie: NessieServer) -> Callable[[], list[tuple[str, list[str]]]]:
    """Return a function that gives main's commits, newest first, each with its message and the keys it changed."""

    def read() -> list[tuple[str, list[str]]]:
        log = requests.get(f"{nessie.api}/trees/main/history", params={"fetch": "ALL"}, timeout=PATIENCE).json()
        return [
            (
                entry["commitMeta"]["message"],
                [".".join(operation["key"]["elements"]) for operation in entry["operations"]],
            )
            for entry in log["logEntries"]
        ]

    return read


def test_a_branch_of_one_table_is_refused(store: Store) -> None:
    definition, catalog = store.definition(), store.catalog
    store.run("one", ONE, definition)
    with pytest.raises(ConfigurationError, match="would replace main: use a branch of the whole catalog"):
        branches.create(catalog, definition.table, "phlo_x")
    with pytest.raises(ConfigurationError, match="would replace main"):
        copy_on_write.merge(catalog, definition.table, pa.table({"k": [2]}), definition.plan, token="x")
    assert store.rows() == [(1, 1.0)]


def test_nothing_of_a_run_shows_before_it_is_published(store: Store) -> None:
    """Not even the table, or a new column: branches have columns of their own."""
    definition = store.definition()
    landed = store.land(store.stage("first", ONE, definition), definition)
    assert not store.catalog.table_exists(definition.table)
    assert store.rows(branch=landed["branch"]) == [(1, 1.0)]
    assert nessie.run_branches(store.catalog)["phlo_first"] == nessie.head_commit(store.catalog, "phlo_first")
    store.publish(landed, definition)
    assert "phlo_first" not in nessie.run_branches(store.catalog)
    wider = store.land(store.stage("wider", [{"k": 1, "v": 1.0, "w": "new"}], definition), definition)
    assert "w" not in store.arrow().column_names
    store.publish(wider, definition)
    assert store.arrow()["w"].to_pylist() == ["new"]


def test_mark_and_state_come_with_the_rows(store: Store) -> None:
    definition = store.definition()
    batch = store.stage("stateful", ONE, definition)
    landed = store.land(batch, definition)
    with_state = publication.Publication(
        definition.table, "stateful", landed, {branches.STATE_PROPERTY: "state"}, landed["head"]
    )
    branch = publication.run_branch(store.catalog, landed["branch"])
    assert branch.publish(with_state) == landed["head"]
    table = store.catalog.load_table(definition.table)
    assert find_published_result(table, "stateful") == landed
    assert table_state(table) == "state"
    assert branch.publish(with_state) == landed["head"]  # a retry
    assert store.rows() == [(1, 1.0)]


def together(store: Store, *names: str, records: Any = ONE, token: str = "t") -> list[LandedTable]:
    """Land the tables, each on a branch of its own."""
    tables = []
    for name in names:
        definition = store.definition(name)
        landed = store.land(store.stage(f"{store.namespace}{token}{name}", records, definition), definition)
        audit = store.audit(definition.table, [RangeCheck("v", max_value=10)])
        tables.append(LandedTable(LandedBatch.from_json(landed), definition, audit))
    return tables


def test_two_tables_are_published_in_one_commit(store: Store, history: Any) -> None:
    tables = together(store, "orders", "lines")
    assert store.rows("orders") == store.rows("lines") == []
    results = publish_together(store.catalog, DltHook().staging_root, tables)
    assert [result.merged.inserted for result in results] == [1, 1]
    assert store.rows("orders") == store.rows("lines") == [(1, 1.0)]
    message, keys = history()[0]
    assert sorted(keys) == [f"{store.namespace}.lines", f"{store.namespace}.orders"]
    assert message.startswith(f"phlo: publish {store.namespace}.orders, ")
    commits = len(history())
    assert publish_together(store.catalog, DltHook().staging_root, tables) == results
    assert len(history()) == commits
    assert not [name for name in nessie.run_branches(store.catalog) if store.namespace in name]


def test_both_are_merged_again_when_one_has_moved(store: Store, history: Any) -> None:
    publish_together(store.catalog, DltHook().staging_root, together(store, "orders", "lines"))
    tables = together(store, "orders", "lines", records=TWO, token="late")
    store.run(f"{store.namespace}early", [{"k": 3, "v": 3.0}], store.definition("lines"))
    publish_together(store.catalog, DltHook().staging_root, tables)
    assert store.rows("orders") == [(1, 1.0), (2, 2.0)]
    assert store.rows("lines") == [(1, 1.0), (2, 2.0), (3, 3.0)]
    assert len(history()[0][1]) == 2


def test_an_audit_that_fails_on_top_of_others_publishes_neither(store: Store) -> None:
    tables = together(store, "orders", "lines")
    store.run(f"{store.namespace}early", [{"k": 9, "v": 99.0}], store.definition("lines"))
    with pytest.raises(QualityCheckError):
        publish_together(store.catalog, DltHook().staging_root, tables)
    assert store.rows("orders") == []
    assert store.rows("lines") == [(9, 99.0)]


def test_other_catalogs_cannot_publish_together(store: Store, tmp_path: Any, catalog: Any) -> None:
    with pytest.raises(ConfigurationError, match="not a Nessie catalog"):
        publication.publish_together(catalog, [("phlo_x", publication.Publication("raw.t"))])


def test_the_tasks_of_two_tables(store: Store, make_context: Any) -> None:
    def task_of(task: Any) -> Any:
        return json.loads(json.dumps(task.execute(make_context(task))))

    dag, merges, audits = DAG("pair", schedule=None), [], {}
    for name in ("orders", "lines"):
        table = f"{store.namespace}.{name}"
        ingest = IngestOperator(task_id=f"ingest_{name}", source=lambda: ONE, table=table, unique_key="k", dag=dag)
        merging = MergeOperator(
            task_id=name, staged=task_of(ingest), table=table, unique_key="k", publish=False, dag=dag
        )
        merges.append(merging)
        audits[table] = [RangeCheck("v", max_value=10)]
    publish = PublishTogetherOperator(task_id="publish", merges=merges, audits=audits, dag=dag)
    assert publish.upstream_task_ids == {"orders", "lines"}
    publish.merged = [task_of(merging) for merging in merges]
    branch = publish.merged[0]["branch"]
    check = QualityCheckOperator(task_id="audit", table=merges[0].table, checks=audits[merges[0].table], branch=branch)
    assert task_of(check)["passed"]
    assert store.rows("orders") == []
    context = make_context(publish)
    publish.execute(context)
    assert store.rows("orders") == store.rows("lines") == [(1, 1.0)]
    events = [context["outlet_events"][outlet].extra for outlet in publish.outlets]
    assert [event["inserted"] for event in events] == [1, 1]


def test_what_cannot_be_published_together_is_refused_in_the_dag_file() -> None:
    dag = DAG("pair", schedule=None)
    merges = [
        MergeOperator(task_id=name, staged={}, table=f"raw.{name}", unique_key="k", iceberg_conn_id=name, dag=dag)
        for name in "ab"
    ]
    with pytest.raises(ConfigurationError, match="merges of one catalog"):
        PublishTogetherOperator(task_id="other_catalogs", merges=merges, dag=dag)
    with pytest.raises(ConfigurationError, match=r"audits of raw\.c, which no merge writes"):
        PublishTogetherOperator(task_id="other_tables", merges=merges[:1], audits={"raw.c": []}, dag=dag)


def test_runs_of_different_tables_do_not_wait_for_each_other(store: Store) -> None:
    writers = [PROCESSES.Process(target=Store.append, args=(store, store.namespace, 5, name)) for name in ("a", "b")]
    for process in writers:
        process.start()
    for process in writers:
        process.join(PATIENCE)
    assert [process.exitcode for process in writers] == [0, 0]
    expected = [(number, float(ord("n"))) for number in range(5)]
    assert store.rows("a") == store.rows("b") == expected


@pytest.mark.parametrize("point", ["started", "merged", "sealed", "published", "collected"])
def test_killed_and_retried(store: Store, point: str) -> None:
    pair = point == "collected"
    for number, expected in ((0, -signal.SIGKILL), (1, 0)):
        process = PROCESSES.Process(target=run_killed_at, args=(store, point if number == 0 else None, pair))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode == expected, number
    for table in ("t", "u") if pair else ("t",):
        assert store.rows(table) == [(1, 1.0)]
        loaded = store.catalog.load_table(f"{store.namespace}.{table}")
        result = find_published_result(loaded, f"{store.namespace}{table}")
        assert result is not None
        assert result["snapshot_id"] == loaded.current_snapshot().snapshot_id
    assert not [name for name in nessie.run_branches(store.catalog) if store.namespace in name]


def test_an_answer_that_is_lost_is_looked_up(
    store: Store, nessie: NessieServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    definition = store.definition(plan=MergePlan("append", deduplication=False))
    token = f"{store.namespace}lost"
    landed = store.land(store.stage(token, ONE, definition), definition)
    with losing_proxy(nessie.url, "/history/merge") as proxy, monkeypatch.context() as through_it:
        connection = json.loads(store.variables["AIRFLOW_CONN_ICEBERG_DEFAULT"])
        connection["host"] = f"{proxy.url}/iceberg"
        through_it.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", json.dumps(connection))
        result = store.publish(landed, definition)
        assert proxy.lost == 1
    assert result["inserted"] == 1
    assert store.publish(landed, definition) == result
    assert store.rows() == [(1, 1.0)]


def test_a_server_that_is_gone_is_a_reason_to_retry(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    catalog = store.catalog
    catalog.properties["nessie.core-base-uri"] = "http://127.0.0.1:9/api/"
    with pytest.raises(TransientError, match="Nessie does not answer"):
        nessie.head_commit(catalog, "main")


def test_two_attempts_of_one_run_publish_once(store: Store) -> None:
    """One has checked its branch, the other starts it anew; the first merges what it checked, the other finds it."""
    definition = store.definition(plan=MergePlan("append", deduplication=False))
    token = f"{store.namespace}a"
    batch = store.stage(token, ONE, definition)
    first = store.land(batch, definition)
    what = publication.Publication(definition.table, token, first, expected_head=first["head"])
    commit = publication.CatalogBranch(store.catalog, first["branch"]).seal(what)
    second = store.land(batch, definition)
    nessie.merge(store.catalog, first["branch"], commit, message="the slower attempt")
    assert store.rows() == [(1, 1.0)]
    assert store.publish(second, definition) == first
    assert store.rows() == [(1, 1.0)]
    assert nessie.head_commit(store.catalog, first["branch"]) is None


def test_another_branch_may_be_the_main_of_a_connection(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = store.definition()
    store.run(f"{store.namespace}one", ONE, definition)
    nessie.create(store.catalog, f"dev_{store.namespace}")
    connection = json.loads(store.variables["AIRFLOW_CONN_ICEBERG_DEFAULT"])
    connection["host"] += f"/dev_{store.namespace}"
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("AIRFLOW_CONN_ICEBERG_DEFAULT", json.dumps(connection))
        store.run(f"{store.namespace}two", TWO, definition)
        assert store.rows() == [(1, 1.0), (2, 2.0)]
    assert store.rows() == [(1, 1.0)]


def test_nested_columns_are_added(store: Store) -> None:
    """Nessie wants to know the highest column id, of nested fields too."""
    definition = store.definition()
    store.run(f"{store.namespace}one", ONE, definition)
    store.run(f"{store.namespace}two", [{"k": 2, "v": 2.0, "tags": ["a"], "more": 1}], definition)
    store.run(f"{store.namespace}three", [{"k": 3, "v": 3.0, "again": True}], definition)
    assert store.rows(columns="k, more, again") == [(1, None, None), (2, 1, None), (3, None, True)]


def test_a_model_leaves_no_branch_when_nothing_changed(store: Store) -> None:
    table, branch = f"{store.namespace}.m", f"phlo_{store.namespace}"
    ensure_namespace(store.catalog, store.namespace)
    written = overwrite.overwrite_if_changed(store.catalog, table, pa.table({"k": [1]}), branch=branch)
    run = publication.run_branch(store.catalog, branch)
    run.publish(publication.Publication(table, expected_head=written.snapshot_id))
    assert not overwrite.overwrite_if_changed(store.catalog, table, pa.table({"k": [1]}), branch=branch).changed
    assert nessie.head_commit(store.catalog, branch) is None
