"""Dbt's command line: ``dbt clone``, names with dots, and several commands in one process."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from dbt.cli.main import dbtRunner

from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import write_project
from tests.lake import open_lake, open_views

FILES = {
    "dbt_project.yml": "name: s\nprofile: s\nmodels: {+materialized: table}\n",
    "profiles.yml": "s: {target: prod, outputs: {prod: {type: phlo, schema: prod}, dev: {type: phlo, schema: dev}}}\n",
    "models/orders.sql": "select 1 as id",
    "models/by_view.sql": "{{ config(materialized='view') }} select 2 as id",
    "seeds/rates.csv": "id\n3\n",
}


def test_a_name_with_a_dot_is_refused_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = write_project(
        tmp_path / "shop", {**FILES, "models/a.b.sql": "select 1 as id", "tests/t.u.sql": "select 1 where false"}
    )
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    PhloConnectionManager.close_all_connections()
    folders = [f"--project-dir={project}", f"--profiles-dir={project}", "--log-level=none", f"--log-path={tmp_path}"]
    done = dbtRunner().invoke(["build", "--select", "a.b", "t.u", *folders, f"--target-path={tmp_path}/target"])
    found = {result.node.name: result for result in done.result.results}  # type: ignore[union-attr]
    assert "a.b: a table's name has no dots in the catalog, and 'a.b' has: give it" in str(found["a.b"].message)
    assert str(found["t.u"].status) == "pass"


def test_what_is_cloned_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was green, and a model that is not a view was nowhere."""
    project, home = write_project(tmp_path / "shop", FILES), tmp_path / "home"
    monkeypatch.setenv("PHLO_HOME", str(home))
    folders = [f"--project-dir={project}", f"--profiles-dir={project}", "--log-level=none", f"--log-path={tmp_path}"]
    for command in (["build"], ["clone", "--target=dev", f"--state={tmp_path}/prod"]):
        PhloConnectionManager.close_all_connections()
        target = tmp_path / ("prod" if command == ["build"] else "dev")
        assert dbtRunner().invoke([*command, *folders, f"--target-path={target}"]).success
    with open_views(open_lake(home)) as connection:
        found = {
            name: connection.sql(f"SELECT id FROM dev.{name}").fetchall() for name in ("orders", "by_view", "rates")
        }
    assert found == {"orders": [(1,)], "by_view": [(2,)], "rates": [(3,)]}


def test_a_command_knows_nothing_of_what_another_in_this_process_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that changed nothing gave the next one the head of an earlier run, and that failed as overtaken."""
    days = [dt.datetime.now(dt.UTC).date() - dt.timedelta(days=ago) for ago in (3, 2, 1, 0)]
    events = ", ".join(f"(timestamp '{day}', 1)" for day in days)
    model = (
        "{{ config(materialized='incremental', incremental_strategy='microbatch', event_time='moment', lookback=2, "
        f"batch_size='day', begin='{days[0]}') }}}} select * from (values {events}) as t(moment, v)"
    )
    project, home = write_project(tmp_path / "shop", {**FILES, "models/daily.sql": model}), tmp_path / "home"
    monkeypatch.setenv("PHLO_HOME", str(home))
    folders = [f"--project-dir={project}", f"--profiles-dir={project}", "--log-level=none", f"--log-path={tmp_path}"]
    catalog = open_lake(home)
    for count in (4, 5):
        PhloConnectionManager.close_all_connections()
        done = dbtRunner().invoke(["run", "--select", "daily", *folders, f"--target-path={tmp_path}/target"])
        assert done.success, count
        table = catalog.load_table("prod.daily").scan().to_arrow()
        assert len(table) == count
        # another writer's row, of a day that is in no batch any more
        long_ago = pa.table({"moment": [dt.datetime(2024, 1, 1)], "v": [0]}).cast(table.schema)
        overwrite_if_changed(catalog, "prod.daily", pa.concat_tables([table, long_ago]))
