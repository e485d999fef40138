"""A model whose inputs are what its table was made of is not built again, and every other one is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from airflow_provider_phlo.dbt import runner
from airflow_provider_phlo.dbt.inputs import PROPERTY, VARYING
from airflow_provider_phlo.dbt.runner import ModelRun, build_model
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import make_project
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("dbt project")

RAW = "raw.notes"
FILES = {
    "models/plain.sql": 'select id, upper(body) as body, \'{{ env_var("NOTES_KIND", "") }}\' as kind,'
    " current_timestamp as _transformed_at from {{ ref('passed_on') }}",
    "models/passed_on.sql": "{{ config(materialized='ephemeral') }} select * from {{ source('raw', 'notes') }}",
    "models/of_today.sql": "select *, current_date as day from {{ source('raw', 'notes') }}",
    "models/by_chance.sql": "select * from {{ source('raw', 'notes') }} where random() >= 0",
    "models/of_now.sql": "with n as (select now() as moment) select notes.* from {{ source('raw', 'notes') }} notes, n"
    " where moment > timestamp '2000-01-01'",
    "models/of_the_run.sql": "select *, '{{ run_started_at }}' as at from {{ source('raw', 'notes') }}",
    "models/of_a_file.sql": "select a.* from {{ source('raw', 'notes') }} a, read_text('{{ project_root }}/none*')",
    "models/of_others.sql": "select n.* from {{ source('raw', 'notes') }} n, information_schema.tables limit 1",
    "models/hooked.sql": "{{ config(post_hook='select 1') }} select * from {{ source('raw', 'notes') }}",
    "models/grows.sql": "{{ config(materialized='incremental') }} select * from {{ source('raw', 'notes') }}",
    "models/sampled.sql": "select * from {{ source('raw', 'notes') }} using sample 100%",
    "models/warns.sql": "select * from {{ source('raw', 'notes') }}",
    "models/recent.sql": "select * from {{ source('raw', 'notes') }}",
    "tests/is_recent.sql": "select * from {{ ref('recent') }} where current_date < date '2000-01-01'",
    "models/models.yml": """
sources: [{name: raw, tables: [{name: notes}]}]
models:
  - name: plain
    columns: [{name: id, data_tests: [not_null, unique]}]
  - name: warns
    columns: [{name: id, data_tests: [accepted_values: {arguments: {values: [9]}, config: {severity: warn}}]}]
""",
}
CHANGING = sorted(
    name.removeprefix("models/").removesuffix(".sql")
    for name in FILES
    if name.endswith(".sql") and name.startswith("models/") and name not in ("models/plain.sql", "models/passed_on.sql")
)

Build = Callable[..., ModelRun]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("own"), FILES)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def build(project: Path, home: Path) -> Build:
    write(home, ["a", "b"])
    runs = iter(range(100))

    def build(model: str, environment: dict[str, str] | None = None, full_refresh: bool = False) -> ModelRun:
        token = f"{model}{next(runs)}"
        environment = {"PHLO_RUN_TOKEN": token, "PHLO_RUN_ID": token, **(environment or {})}
        return build_model(
            project, f"model.phlo.{model}", home=home, environment=environment, full_refresh=full_refresh
        )

    return build


def write(home: Path, bodies: list[str]) -> None:
    overwrite_if_changed(open_lake(home), RAW, pa.table({"id": [*range(len(bodies))], "body": bodies}))


def test_nothing_is_done_where_nothing_is_new(build: Build, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build("plain", {"NOTES_KIND": "x"})
    assert (first.changed, first.tests, first.nothing_new) == (True, 2, False)
    before = open_lake(home).load_table("silver.plain").metadata_location
    with monkeypatch.context() as patched:
        patched.delattr(runner, "invoke")
        again = build("plain", {"NOTES_KIND": "x", "PHLO_PARTITION_DATE": "2031-01-01"})
    assert again == ModelRun("silver.plain", 2, False, first.snapshot_id, nothing_new=True, reads={RAW: RAW})
    assert open_lake(home).load_table("silver.plain").metadata_location == before

    assert build("plain", {"NOTES_KIND": "y"}).changed is True
    assert build("plain", {"NOTES_KIND": "y"}).nothing_new
    assert not build("plain", {"NOTES_KIND": "y"}, full_refresh=True).nothing_new
    write(home, ["a", "b", "c"])
    assert build("plain", {"NOTES_KIND": "y"}).rows == 3
    assert build("plain", {"NOTES_KIND": "y"}).nothing_new
    with open_lake(home).load_table(RAW).update_schema() as update:
        update.add_column("more", StringType())
    assert not build("plain", {"NOTES_KIND": "y"}).nothing_new


def test_what_another_writer_did_is_made_good(build: Build, home: Path) -> None:
    build("plain", {"NOTES_KIND": "w"})
    table = open_lake(home).load_table("silver.plain")
    table.delete("id = 0")
    assert (build("plain", {"NOTES_KIND": "w"}).changed, len(table.refresh().scan().to_arrow())) == (True, 2)


def test_an_edited_project_is_built(build: Build, home: Path, project: Path) -> None:
    build("plain", {"NOTES_KIND": "v"})
    edited = project / "models" / "plain.sql"
    text = edited.read_text()
    try:
        edited.write_text(text.replace("upper", "lower"))
        assert build("plain", {"NOTES_KIND": "v"}).changed is True
    finally:
        edited.write_text(text)


@pytest.mark.parametrize("model", CHANGING)
def test_what_depends_on_more_than_tables_is_built_each_time(build: Build, home: Path, model: str) -> None:
    build(model)
    assert PROPERTY not in open_lake(home).load_table(f"silver.{model}").properties
    assert not build(model).nothing_new


def test_duckdbs_functions_that_vary_are_known() -> None:
    with duckdb.connect() as connection:
        varying = connection.sql(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
            " OR (function_type = 'macro' AND regexp_matches(macro_definition, 'now\\(|current_|random|today|uuid'))"
        ).fetchall()
    operators = {name for (name,) in varying if not name.isidentifier()}
    assert {name for (name,) in varying} - operators - VARYING == set()
