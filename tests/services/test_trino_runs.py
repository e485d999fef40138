"""Whole runs with ``engine="trino"``: the tasks of a DAG, the audit before the merge, and several writers at once."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from airflow.sdk.exceptions import AirflowFailException
from pandera.pandas import Field
from pyiceberg.catalog import Catalog

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TransientError
from airflow_provider_phlo.hooks.trino import connect_to
from airflow_provider_phlo.iceberg.branches import move_main
from airflow_provider_phlo.iceberg.duckdb.views import all_tables
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.trino import TrinoEngine, staged_merge
from airflow_provider_phlo.iceberg.trino import engine as engine_module
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.quality import CountCheck, CustomSQLCheck, RangeCheck, UniqueCheck
from airflow_provider_phlo.schemas import PhloSchema
from tests.expect import expect
from tests.patience import PATIENCE
from tests.services.batches import batch, content, create, publish, run
from tests.services.trino import Trino

# in one worker: the groups "trino" and "trino checks" at once are enough for Trino
pytestmark = pytest.mark.xdist_group("trino")


class Reading(PhloSchema):
    id: int = Field(unique=True)
    value: float


def ingestion(table: str, records: list[dict[str, Any]], **options: Any) -> Any:
    declared = {"unique_key": "id", "validation_schema": Reading, "group": "test", "max_retries": 0, **options}

    @phlo_ingestion(table_name=table, **declared)
    def readings(partition_date: str) -> Any:
        return iter(records)

    return readings


def values(lake: Any, name: str) -> dict[int, float]:
    return {dict(row)["id"]: dict(row)["value"] for row in content(lake, name)}


@pytest.mark.parametrize("by_setting", [False, True])
def test_the_tasks_of_a_dag(on_trino, lake, table_name, run_ingestion, monkeypatch, by_setting):
    if by_setting:
        monkeypatch.setenv("AIRFLOW__PHLO__ENGINE", "trino")
    options = {
        "engine": None if by_setting else "trino",
        "audit": [UniqueCheck(columns=["id"]), CountCheck(min_count=2)],
    }
    first = run_ingestion(ingestion(table_name, [{"id": 1, "value": 1.0}, {"id": 2, "value": 2.0}], **options))
    assert first["merge"]["inserted"] == 2
    assert first["merge"]["snapshot_id"] is None  # nothing was visible yet
    table = lake.load_table(table_name)
    assert first["publish"]["snapshot_id"] == table.current_snapshot().snapshot_id
    assert table.current_snapshot().summary["engine-name"] == "trino"
    changed = [{"id": 2, "value": 5.0}, {"id": 3, "value": 3.0}]
    second = run_ingestion(ingestion(table_name, changed, **options), run_id="manual__two")
    expect(second["publish"], updated=1, inserted=1)
    assert values(lake, table_name) == {1: 1.0, 2: 5.0, 3: 3.0}
    same = run_ingestion(ingestion(table_name, changed, **options), run_id="manual__three")
    assert same["publish"]["unchanged"] == 2
    assert len(lake.load_table(table_name).snapshots()) == 2


def test_a_failed_audit_leaves_main_untouched(on_trino, lake, table_name, run_ingestion):
    run_ingestion(ingestion(table_name, [{"id": 1, "value": 1.0}], engine="trino"))
    before = lake.load_table(table_name).metadata_location
    join = f"SELECT count(*) FROM {table_name} a JOIN {table_name} b ON a.id = b.id"
    checks = [RangeCheck(column="value", max_value=10), CustomSQLCheck(join, 3, "all rows are seen")]
    bad = ingestion(table_name, [{"id": 2, "value": 2.0}, {"id": 3, "value": 99.0}], engine="trino", audit=checks)
    with pytest.raises(AirflowFailException, match="value") as caught:
        run_ingestion(bad, run_id="manual__two")
    assert "all rows are seen" not in str(caught.value)
    assert lake.load_table(table_name).metadata_location == before
    (staged,) = staged_merge.find_all(lake, table_name)
    inspected = content(lake, table_name, f"phlo_{staged.intent.token}")
    assert {dict(row)["id"] for row in inspected} == {1, 2, 3}
    assert not [name for name in all_tables(lake) if name.startswith(f"{table_name}__staging")]


def test_a_declaration_without_metadata_columns_is_refused():
    with pytest.raises(ConfigurationError, match="engine='trino' needs add_metadata_columns=True"):
        ingestion("raw.t", [], engine="trino", add_metadata_columns=False)


def test_connections_say_what_they_lack(monkeypatch):
    with pytest.raises(ConfigurationError, match="'trino_missing' is not set"):
        connect_to("trino_missing")()
    monkeypatch.setenv("AIRFLOW_CONN_TRINO_BARE", "trino://user@127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="names no catalog"):
        connect_to("trino_bare")()


def test_an_unknown_engine_of_the_setting_is_refused(monkeypatch):
    monkeypatch.setenv("AIRFLOW__PHLO__ENGINE", "spark")
    with pytest.raises(ConfigurationError, match="engine='spark' is not available"):
        MergeOperator(task_id="merge", staged={}, table="t", unique_key="id").merge_engine()


TYPES = {"id": pa.int64(), "value": pa.float64()}
PLAN = MergePlan(key=("id",))


def test_main_that_moved_after_the_audit_is_not_published(trino, lake, table_name):
    create(lake, table_name, TYPES)
    engine, rows = TrinoEngine(trino.connect), batch([{"id": 1, "value": 1.0}], TYPES)
    merged = engine.merge(lake, table_name, rows, PLAN, token="late")
    run(EMBEDDED, lake, table_name, batch([{"id": 1, "value": 2.0}], TYPES), PLAN)
    with pytest.raises(CommitConflictError, match="main moved"):
        publish(engine, lake, table_name, "late", merged)
    assert values(lake, table_name) == {1: 2.0}
    again = engine.merge(lake, table_name, rows, PLAN, token="late")
    expect(again, updated=1, inserted=0)
    publish(engine, lake, table_name, "late", again)
    assert values(lake, table_name) == {1: 1.0}


def test_a_snapshot_that_never_was_main_is_not_merged_into(trino, lake, table_name):
    """What is on another run's branch is not seen."""
    create(lake, table_name, TYPES)
    EMBEDDED.merge(lake, table_name, batch([{"id": 1, "value": 9.0}], TYPES), PLAN, token="open")
    result, _ = run(TrinoEngine(trino.connect), lake, table_name, batch([{"id": 1, "value": 1.0}], TYPES), PLAN)
    assert result.inserted == 1
    assert values(lake, table_name) == {1: 1.0}
    assert branch_head(lake.load_table(table_name), "phlo_open") is not None


def slowly(guard: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a guard that holds when ``guard`` does, and keeps Trino busy for a while."""
    busy = "(SELECT sum(a.x * b.x) FROM UNNEST(sequence(1, 2000)) a(x) CROSS JOIN UNNEST(sequence(1, 2000)) b(x)) > 0"
    return lambda staged: f"{guard(staged)} AND {busy}"


def publish_meanwhile(server: Trino, name: str, token: str, branch: str) -> threading.Thread:
    """Make another writer's branch main while Trino runs the MERGE of a run."""

    def runs(catalog: Catalog) -> bool:
        staged = staged_merge.find(catalog, name, token)
        if staged is None or staged.claim is None:
            return False
        state = f"SELECT state FROM system.runtime.queries WHERE query_id = '{staged.claim.query}'"
        return server.query(state) == [["RUNNING"]]

    def work() -> None:
        catalog, deadline = server.catalog(), time.monotonic() + PATIENCE
        while not runs(catalog) and time.monotonic() < deadline:
            time.sleep(0.02)
        move_main(catalog, name, branch)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("plan", "goes_on"),
    [(PLAN, False), (PLAN, True), (MergePlan("append", method="hash"), False)],
    ids=["merge", "merge, and main goes on", "append"],
)
def test_a_commit_to_another_partition_while_the_merge_runs(trino, lake, table_name, monkeypatch, plan, goes_on):
    """Trino looks for conflicts in the partitions that it writes only, and the same key comes to another one."""
    create(lake, table_name, TYPES)
    run(EMBEDDED, lake, table_name, batch([{"id": 0, "value": 0.0}], TYPES), PLAN)
    engine, rows = TrinoEngine(trino.connect), batch([{"id": 1, "value": 1.0}], TYPES, "2024-01-16")
    merged = engine.merge(lake, table_name, rows, plan, token="one")
    EMBEDDED.merge(lake, table_name, batch([{"id": 1, "value": 1.0}], TYPES), plan, token="two")
    theirs = branch_head(lake.load_table(table_name), "phlo_two")
    find = engine_module._find_accepted

    def find_later(*args: Any) -> Any:
        assert lake.load_table(table_name).current_snapshot().parent_snapshot_id == theirs  # Trino has committed it
        if goes_on:
            run(EMBEDDED, lake, table_name, batch([{"id": 7, "value": 7.0}], TYPES), PLAN)
        return find(*args)

    monkeypatch.setattr(engine_module, "_find_accepted", find_later)
    with monkeypatch.context() as slow:
        slow.setattr(engine_module, "_guard", slowly(engine_module._guard))
        other = publish_meanwhile(trino, table_name, "one", "phlo_two")
        with pytest.raises(CommitConflictError, match="main moved"):
            publish(engine, lake, table_name, "one", merged)
        other.join()
    assert goes_on or branch_head(lake.load_table(table_name)) == theirs
    monkeypatch.setattr(engine_module, "_find_accepted", find)
    again, _ = run(engine, lake, table_name, rows, plan, token="one")
    expect(again, inserted=0, updated=0, deleted_duplicates=int(goes_on))
    assert sorted(dict(row)["id"] for row in content(lake, table_name)) == ([0, 1, 7] if goes_on else [0, 1])


def write(server: Trino, name: str, writer: int) -> None:
    """Publish three runs, as landing does: a conflict is merged again."""
    catalog = server.catalog()
    engine = TrinoEngine(server.connect) if writer % 2 else EMBEDDED
    for number in range(3):
        rows = batch([{"id": writer * 10 + number, "value": 1.0}, {"id": 99, "value": float(writer)}], TYPES)
        token = uuid.uuid4().hex[:16]
        for _ in range(40):
            try:
                run(engine, catalog, name, rows, MergePlan("append", deduplication=False), token=token)
                break
            except CommitConflictError:
                continue
        else:
            raise AssertionError("never got through")


def test_writers_of_both_engines_lose_nothing(trino, lake, table_name):
    create(lake, table_name, TYPES)
    run(EMBEDDED, lake, table_name, batch([{"id": 0, "value": 0.0}], TYPES), PLAN)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda writer: write(trino, table_name, writer), range(1, 5)))
    found = [dict(row)["id"] for row in content(lake, table_name)]
    assert sorted(found) == sorted([0, *(writer * 10 + n for writer in range(1, 5) for n in range(3)), *[99] * 12])
    assert len(lake.load_table(table_name).history()) == 1 + 12


def test_a_trino_that_does_not_answer_is_an_error_that_a_retry_may_cure(lake, table_name):
    from trino.dbapi import connect

    create(lake, table_name, TYPES)
    engine = TrinoEngine(lambda: connect(host="127.0.0.1", port=1, user="phlo", catalog="lake", max_attempts=1))
    with pytest.raises(TransientError, match="does not answer"):
        engine.merge(lake, table_name, batch([{"id": 1}], TYPES), PLAN, token="down")


def test_an_error_of_trino_names_no_value(trino, lake, table_name):
    create(lake, table_name, TYPES)

    def elsewhere() -> Any:
        connection = trino.connect()
        connection._client_session._catalog = "nowhere"
        return connection

    with pytest.raises(ConfigurationError, match="CATALOG_NOT_FOUND"):
        TrinoEngine(elsewhere).merge(lake, table_name, batch([{"id": 1}], TYPES), PLAN, token="elsewhere")
