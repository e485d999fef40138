"""One model at a time: written on a branch, tested there, published."""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt import runner
from airflow_provider_phlo.dbt.adapter import lakehouse
from airflow_provider_phlo.dbt.runner import REBUILDS, ModelRun, build_model
from airflow_provider_phlo.exceptions import (
    CommitConflictError,
    ConfigurationError,
    QualityCheckError,
    SchemaError,
    TransientError,
)
from airflow_provider_phlo.iceberg import overwrite
from airflow_provider_phlo.iceberg.catalogs import retries
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.layout import TableLayout
from tests.dbt.own_project import make_project
from tests.expect import expect
from tests.unit import raw_tables

# one worker parses the project
pytestmark = pytest.mark.xdist_group("dbt project")

Build = Callable[..., ModelRun]
TABLE = "bronze.stg_glucose_entries"


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    catalog = raw_tables.make_home(tmp_path)
    raw_tables.write(catalog, "raw.glucose_entries", raw_tables.glucose()[:100])
    return catalog


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def build(model: str = "stg_glucose_entries", token: str | None = "run1") -> ModelRun:
        environment = {"PHLO_RUN_TOKEN": token} if token else {}
        return build_model(raw_tables.PROJECT, f"model.phlo.{model}", home=tmp_path, environment=environment)

    return build


def count(catalog: Catalog, branch: str | None = None) -> int:
    rows = connect(catalog, tables=[TABLE], branch=branch).execute(f"SELECT count(*) FROM {TABLE}").fetchall()
    return int(rows[0][0])


def test_a_model_is_published_when_its_tests_pass(catalog: Catalog, build: Build) -> None:
    done = build()
    table = catalog.load_table(TABLE)
    expect(done, table=TABLE, rows=100, changed=True, snapshot_id=table.current_snapshot().snapshot_id, tests=5)
    assert [outcome.passed for outcome in done.outcomes] == [True] * 5
    assert done.reads == {"raw.glucose_entries": "raw.glucose_entries"}
    assert list(table.refs()) == ["main"]
    again = build(token="run2")
    expect(again, changed=False, snapshot_id=done.snapshot_id)
    assert "PHLO_RUN_TOKEN" not in os.environ


def test_a_failing_test_leaves_main_as_it_was(catalog: Catalog, build: Build) -> None:
    build()
    at = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    rows = raw_tables.glucose()[:100]
    raw_tables.write(catalog, "raw.glucose_entries", [*rows, raw_tables.entry("x", at, 1500)])
    for _ in range(2):  # and Airflow's retry finds the same
        with pytest.raises(QualityCheckError, match=r"accepted_range.*glucose_mg_dl.* \(1 rows\)") as caught:
            build(token="run2")
        assert "1500" not in str(caught.value)
        assert (count(catalog), count(catalog, "phlo_run2")) == (100, 101)
    # the record is corrected, the run cleared
    raw_tables.write(catalog, "raw.glucose_entries", [*rows, raw_tables.entry("x", at, 150)])
    assert build(token="run3").rows == 101
    assert count(catalog) == 101


def test_a_first_run_that_fails_shows_nobody_anything(catalog: Catalog, build: Build) -> None:
    raw_tables.write(catalog, "raw.glucose_entries", [raw_tables.entry("x", raw_tables.INGESTED, 1500)])
    with pytest.raises(QualityCheckError):
        build()
    assert count(catalog) == 0


def test_without_a_token_main_is_written(catalog: Catalog, build: Build) -> None:
    done = build(token=None)
    assert (done.changed, count(catalog)) == (True, 100)


KILLED = """
import os, signal, sys
from pathlib import Path
from airflow_provider_phlo.dbt import runner
runner._publish = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
project, home = map(Path, sys.argv[1:])
runner.build_model(project, "model.phlo.stg_glucose_entries", home=home, environment={"PHLO_RUN_TOKEN": "run1"})
"""


def test_a_retry_after_a_kill_before_publication(catalog: Catalog, build: Build, tmp_path: Path) -> None:
    task = subprocess.run([sys.executable, "-c", KILLED, str(raw_tables.PROJECT), str(tmp_path)])
    assert task.returncode == -signal.SIGKILL
    assert (count(catalog), count(catalog, "phlo_run1")) == (0, 100)
    assert build().changed is True
    assert count(catalog) == 100
    assert list(catalog.load_table(TABLE).refs()) == ["main"]


def test_columns_that_left_the_sql_go_with_publication(catalog: Catalog, build: Build) -> None:
    build()
    table = catalog.load_table(TABLE)
    with table.update_schema() as update:
        from pyiceberg.types import StringType

        update.add_column("was_here", StringType())
    old = connect(catalog).sql(f"SELECT * REPLACE ('x' AS was_here) FROM {TABLE}").to_arrow_table()
    overwrite_if_changed(catalog, TABLE, old)
    assert build(token="run2").changed is True
    assert "was_here" not in catalog.load_table(TABLE).schema().column_names


def test_a_type_that_cannot_change_keeps_its_own_error(catalog: Catalog, build: Build) -> None:
    by_text = TableLayout(partition_by=("glucose_mg_dl",))
    overwrite_if_changed(catalog, TABLE, pa.table({"entry_id": ["a"], "glucose_mg_dl": ["text"]}), layout=by_text)
    with pytest.raises(SchemaError, match="glucose_mg_dl"):
        build()


def test_a_missing_source_is_not_retried(tmp_path: Path, build: Build) -> None:
    raw_tables.make_home(tmp_path)
    with pytest.raises(ConfigurationError, match=r"raw\.glucose_entries does not exist.*ingestion"):
        build()


def test_a_model_that_is_gone(catalog: Catalog, build: Build) -> None:
    with pytest.raises(ConfigurationError, match="no model"):
        build("nobody")


MODELS = {
    "new_rows": "{{ config(materialized='ephemeral') }} select id, body from {{ source('raw', 'notes') }}",
    "notes": "{{ config(materialized='incremental', unique_key='id') }} select * from {{ ref('new_rows') }}"
    "{% if is_incremental() %} where id >= (select max(id) from {{ this }}){% endif %}",
    "seen": "{{ config(materialized='incremental') }} select 1 as a",
    "runs": "{{ config(materialized='incremental') }} select '{{ env_var('PHLO_RUN_TOKEN', '') }}' as run",
    "a_view": "{{ config(materialized='view') }} select 1 as a",
    "unknown_column": "select nothing from {{ source('raw', 'notes') }}",
    "bad_cast": "select cast(body as integer) as b from {{ source('raw', 'notes') }}",
    # a folder and a test with the name of the model; a NULL in the key of an incremental one
    "orders": "{{ config(materialized='incremental', unique_key='id') }} select null::int as id, 1 as v",
    "nested": "{{ config(materialized='incremental', unique_key='id', schema='silver.eu') }} "
    "select * from {{ source('sales.eu', 'orders') }}",
    "of_nested": "select count(*) as n from {{ ref('nested') }}",
    "orders/late": "select * from {{ source('raw', 'nowhere') }}",
}


@pytest.fixture(scope="module")
def own_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a small project with the real one's macros: one for all models, so that it is parsed once."""
    files = {f"models/{name}.sql": sql for name, sql in MODELS.items()}
    files["models/s.yml"] = (
        "sources: [{name: raw, tables: [{name: notes}, {name: nowhere}]}, {name: sales.eu, tables: [{name: orders}]}]"
    )
    files["tests/orders.sql"] = MODELS["orders/late"]
    return make_project(tmp_path_factory.mktemp("dbt"), files)


@pytest.fixture
def own_catalog(own_project: Path, tmp_path: Path) -> Catalog:
    return raw_tables.make_home(tmp_path, own_project)


@pytest.fixture
def build_own(own_project: Path, tmp_path: Path) -> Build:
    def build(name: str, token: str = "t") -> ModelRun:
        return build_model(own_project, f"model.phlo.{name}", home=tmp_path, environment={"PHLO_RUN_TOKEN": token})

    return build


def test_incremental_ephemeral_and_broken_models(own_catalog: Catalog, build_own: Build) -> None:
    def notes() -> list[tuple[object, ...]]:
        return connect(own_catalog).execute("SELECT id, body FROM silver.notes ORDER BY id").fetchall()

    overwrite_if_changed(own_catalog, "raw.notes", pa.table({"id": [1, 2], "body": ["a", "secret"]}))
    build_own("notes")
    # the first is edited too, but the model only looks at the newest
    overwrite_if_changed(own_catalog, "raw.notes", pa.table({"id": [1, 2, 3], "body": ["x", "B", "c"]}))
    assert build_own("notes", "u").rows == 3
    assert notes() == [(1, "a"), (2, "B"), (3, "c")]
    assert build_own("notes", "v").changed is False

    assert [build_own("seen", token).rows for token in "ab"] == [1, 2]

    assert build_own("a_view").rows == 1
    with pytest.raises(ConfigurationError, match=r"(?s)silver\.unknown_column was not built.*nothing"):
        build_own("unknown_column")
    with pytest.raises(ConfigurationError, match=r"Conversion Error: .* The same rows fail again: correct") as caught:
        build_own("bad_cast")
    assert "'x'" not in str(caught.value)


def test_a_namespace_inside_another(own_catalog: Catalog, build_own: Build) -> None:
    """The first run makes both namespaces, as REST catalogs want it."""
    overwrite_if_changed(own_catalog, "sales.eu.orders", pa.table({"id": [1, 2], "v": ["a", "b"]}))
    assert build_own("nested").rows == 2
    overwrite_if_changed(own_catalog, "sales.eu.orders", pa.table({"id": [1, 2], "v": ["a", "c"]}))
    assert build_own("nested", "u").rows == 2
    assert build_own("nested", "v").changed is False
    assert connect(own_catalog).execute('FROM "silver.eu".nested ORDER BY id').fetchall() == [(1, "a"), (2, "c")]
    assert build_own("of_nested").rows == 1


def test_case_54_what_is_published_while_an_incremental_model_reads_is_not_undone(
    own_catalog: Catalog, build_own: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run adds its rows after this one has read the table, and before it writes."""
    build_own("runs", "first")
    write = lakehouse.replace_rows

    def write_second(*arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(lakehouse, "replace_rows", write)
        both = pa.table({"run": ["first", "meanwhile"]})
        overwrite_if_changed(own_catalog, "silver.runs", both)
        return write(*arguments, **options)

    monkeypatch.setattr(lakehouse, "replace_rows", write_second)
    build_own("runs", "second")
    assert connect(own_catalog).execute("SELECT run FROM silver.runs ORDER BY run").fetchall() == [
        ("first",),
        ("meanwhile",),
        ("second",),
    ]


def test_case_54_what_a_failed_attempt_left_is_not_taken_for_the_tables_rows(
    own_catalog: Catalog, build_own: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_own("seen", "first")

    def lose_power(*_: object) -> int:
        raise TransientError("lost")

    with monkeypatch.context() as patched:
        patched.setattr(runner, "_publish", lose_power)
        with pytest.raises(TransientError, match="lost"):
            build_own("seen", "second")
    assert "phlo_second" in own_catalog.load_table("silver.seen").metadata.refs
    assert build_own("seen", "second").rows == 2


def test_one_model_is_built_whatever_is_called_like_it(own_catalog: Catalog, build_own: Build) -> None:
    for token in "ab":
        done = build_own("orders", token)
        assert (done.rows, done.tests) == (1, 0)
    assert done.changed is False


@pytest.mark.parametrize("conflicts", [1, REBUILDS - 1])
def test_case_54_a_model_that_meets_a_newer_main_is_built_again_on_it(
    catalog: Catalog,
    build: Build,
    monkeypatch: pytest.MonkeyPatch,
    conflicts: int,
) -> None:
    build()
    raw_tables.write(catalog, "raw.glucose_entries", raw_tables.glucose()[:50])
    compete(catalog, monkeypatch, conflicts)
    waits: list[int] = []
    monkeypatch.setattr(retries, "pause", waits.append)
    done = build(token="run2")
    assert (done.changed, count(catalog)) == (True, 50)
    assert waits == [*range(conflicts)]


def test_case_54_a_conflict_without_end_is_one_that_a_retry_can_cure(
    catalog: Catalog, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    build()
    raw_tables.write(catalog, "raw.glucose_entries", raw_tables.glucose()[:50])
    compete(catalog, monkeypatch, REBUILDS)
    with pytest.raises(CommitConflictError, match=f"were faster {REBUILDS} times; nothing was published, retry"):
        build(token="run2")
    assert build(token="run2").rows == count(catalog) == 50


def compete(catalog: Catalog, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let another writer come first, this many times."""
    compare, left = overwrite.is_held, iter(range(times))

    def another_writer(*arguments: object) -> bool:
        turn = next(left, None)
        if turn is not None:
            rows = connect(catalog).sql(f"SELECT * FROM {TABLE} LIMIT {20 - turn}").to_arrow_table()
            monkeypatch.setattr(overwrite, "is_held", compare)
            overwrite_if_changed(catalog, TABLE, rows)
            monkeypatch.setattr(overwrite, "is_held", another_writer)
        return compare(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(overwrite, "is_held", another_writer)
