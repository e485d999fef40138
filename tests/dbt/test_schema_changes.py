"""``on_schema_change`` of incremental models: columns and members that come, types that change, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.dbt.runner import ModelRun, build_model
from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError, SchemaError
from airflow_provider_phlo.iceberg.duckdb.views import connect
from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
from tests.dbt.own_project import write_project
from tests.lake import open_lake

# one worker parses the project
pytestmark = pytest.mark.xdist_group("schema changes")

# what the model selects first, and then
CHANGES = {
    "member": ("struct_pack(a := 1) as s", "struct_pack(a := 1, b := 'x') as s"),
    "list": ("[struct_pack(a := 1)] as s", "[struct_pack(a := 1, b := 'x')] as s"),
    "type": ("2 as v", "2.5::double as v, 'k' as kind"),
    "wider": ("2 as v", "3::bigint as v"),
    "quoted": ("2 as v", """2 as v, 1 as "a b", 2 as "select", 3 as "Größe.x", 4 as "q""q" """),
}
MODES = ("append_new_columns", "sync_all_columns", "fail", "ignore")
SQL = (
    "{{ config(materialized='incremental', unique_key='id', on_schema_change='MODE') }}\n"
    "select 1 as id, {% if is_incremental() %}AFTER{% else %}BEFORE{% endif %}"
)


# a condition that DuckDB cannot read, for each strategy that takes one
PREDICATES = (
    "{{ config(materialized='incremental', unique_key='id', incremental_strategy='STRATEGY', "
    "incremental_predicates=['nothing > 1 and']) }} select 1 as id, "
    "{% if is_incremental() %}2{% else %}1{% endif %} as v"
)
HISTORY = "{{name: {name}, relation: ref('keys'), config: {{strategy: check, check_cols: all, unique_key: {key}}}}}"
HISTORIES = (
    {"name": "by_part", "key": "part"},
    {"name": "by_both", "key": "[id, part]"},
    {"name": "by_text", "key": """ "id || '-' || part" """},
)
# what an increment, or a table, selects first, and then, and its types; a test fails if a variable says so
GUARDED = {
    "append_new_columns": ("2 as v", "2 as v, 3 as b", {"id": "int", "v": "int", "b": "int"}),
    "sync_all_columns": ("2 as v, 3 as old", "2::bigint as v, 3 as b", {"id": "int", "v": "long", "b": "int"}),
    "table": ("2::bigint as v, 3 as old", "'x' as b, 2::int as v", {"id": "int", "b": "string", "v": "int"}),
}
GUARDED_SQL = (
    "{{ config(materialized='KIND', unique_key='id', on_schema_change='MODE', "
    "persist_docs={'relation': true, 'columns': true}) }}\n"
    "select 1 as id, {% if var('later', false) %}AFTER{% else %}BEFORE{% endif %}"
)
GUARDED_YAML = (
    "{{name: guarded_{mode}, description: \"{{{{ var('about', '') }}}}\", columns: [{{name: b, description: of b}}]}}"
)
ORDERED = {
    "models/ordered.sql": "select {% if var('turned', false) %}1 as b, 2 as a, 3 as c"
    "{% else %}2 as a, 1 as b{% endif %}",
    "models/reads_by_place.sql": "select * from {{ ref('ordered') }} {% if var('turned', false) %}"
    "union all select 1, 2, 3{% else %}union all select 2, 1{% endif %}",
    "models/parted.sql": "{{ config(partition_by=none if var('bare', false) else ['p']) }} "
    "select 1 as a {% if not var('bare', false) %}, 'x' as p{% endif %}",
    **{
        f"models/guarded_{mode}.sql": GUARDED_SQL.replace("KIND", "table" if mode == "table" else "incremental")
        .replace("MODE", "ignore" if mode == "table" else mode)
        .replace("AFTER", after)
        .replace("BEFORE", before)
        for mode, (before, after, _) in GUARDED.items()
    },
    **{
        f"tests/guard_{mode}.sql": f"select 1 from {{{{ ref('guarded_{mode}') }}}} where {{{{ var('fails', false) }}}}"
        for mode in GUARDED
    },
    **{
        f"models/failing_{mode}.sql": "{{ config(materialized='incremental', unique_key='id', "
        f"incremental_strategy='merge', on_schema_change='{mode}') }}}} "
        "{% if not is_incremental() %} select 1 as id, 2::int as v, 'x' as old"
        "{% else %} select unnest({{ var('ids', [1, 1]) }}) as id, 3::bigint as v, 'y' as new {% endif %}"
        for mode in ("append_new_columns", "sync_all_columns")
    },
    "models/guarded.yml": "models:\n" + "".join(f"  - {GUARDED_YAML.format(mode=mode)}\n" for mode in GUARDED),
    "models/keys.sql": "select 1 as id, {{ var('part', 'null::varchar') }} as part",
    "snapshots/all.yml": f"snapshots: [{', '.join(map(HISTORY.format_map, HISTORIES))}]\n",
    **{
        f"models/predicate_{strategy.partition('+')[0]}.sql": PREDICATES.replace("STRATEGY", strategy)
        for strategy in ("merge", "delete+insert")
    },
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = {
        f"models/{name}_{mode}.sql": SQL.replace("MODE", mode).replace("AFTER", after).replace("BEFORE", before)
        for name, (before, after) in CHANGES.items()
        for mode in MODES
    }
    return write_project(
        tmp_path_factory.mktemp("dbt") / "shop",
        {"dbt_project.yml": "name: s\nprofile: s\nmodels: {+materialized: table}\n", **models, **ORDERED},
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def build(project: Path, home: Path, model: str, token: str, **options: Any) -> ModelRun:
    return build_model(project, f"model.s.{model}", home=home, environment={"PHLO_RUN_TOKEN": token}, **options)


def row(home: Path, model: str) -> dict[str, object]:
    [found] = (
        connect(open_lake(home), tables=[f"s.{model}"]).sql(f"SELECT * FROM s.{model}").to_arrow_table().to_pylist()
    )
    return dict(found)


def build_twice(project: Path, home: Path, model: str) -> dict[str, object]:
    build(project, home, model, "one")
    build(project, home, model, "two")
    return row(home, model)


@pytest.mark.parametrize("mode", ["append_new_columns", "sync_all_columns"])
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("member", {"id": 1, "s": {"a": 1, "b": "x"}}),
        ("list", {"id": 1, "s": [{"a": 1, "b": "x"}]}),
        ("quoted", {"id": 1, "v": 2, "a b": 1, "select": 2, "Größe.x": 3, 'q"q': 4}),
    ],
)
def test_what_is_new_is_added(project: Path, home: Path, name: str, mode: str, expected: dict[str, object]) -> None:
    assert build_twice(project, home, f"{name}_{mode}") == expected


def test_a_type_is_widened(project: Path, home: Path) -> None:
    assert build_twice(project, home, "wider_sync_all_columns") == {"id": 1, "v": 3}


def test_a_type_that_iceberg_cannot_change_is_an_error_before_anything_has_changed(project: Path, home: Path) -> None:
    with pytest.raises(SchemaError, match=r"s\.type_sync_all_columns: column 'v' is int .* and double"):
        build_twice(project, home, "type_sync_all_columns")
    assert row(home, "type_sync_all_columns") == {"id": 1, "v": 2}


@pytest.mark.parametrize("name", ["member", "type"])
def test_fail_says_what_has_changed(project: Path, home: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="out of sync"):
        build_twice(project, home, f"{name}_fail")


def test_ignore_leaves_out_what_is_new(project: Path, home: Path) -> None:
    assert build_twice(project, home, "member_ignore") == {"id": 1, "s": {"a": 1}}


def test_columns_come_in_the_order_in_which_the_model_selects_them(project: Path, home: Path) -> None:
    """A model that reads them by their place would take one for another."""
    for token, turned in (("one", False), ("two", True)):
        for model in ("ordered", "reads_by_place"):
            build(project, home, model, token, vars={"turned": turned})
    found = connect(open_lake(home)).sql("SELECT * FROM s.reads_by_place")
    assert (found.columns, found.fetchall()) == (["b", "a", "c"], [(1, 2, 3), (1, 2, 3)])


def test_a_column_that_the_table_is_partitioned_by_does_not_go_unsaid(project: Path, home: Path) -> None:
    build(project, home, "parted", "one")
    with pytest.raises(SchemaError, match=r"s\.parted is partitioned by p, which its new content lacks"):
        build(project, home, "parted", "two", vars={"bare": True})
    assert row(home, "parted") == {"a": 1, "p": "x"}


@pytest.mark.parametrize("mode", GUARDED)
def test_a_run_that_fails_leaves_a_table_as_it_was(project: Path, home: Path, mode: str) -> None:
    """Its columns too: who reads main meets nothing that was not tested."""
    name = f"guarded_{mode}"
    build(project, home, name, "one", vars={"about": "first"})
    before = facts(home, name)
    for token in ("two", "three"):
        with pytest.raises(QualityCheckError):
            build(project, home, name, token, vars={"later": True, "fails": True, "about": "second"})
        assert facts(home, name) == before
    done = build(project, home, name, "three", vars={"later": True, "about": "second"})
    assert done.changed
    columns, text, _, found = facts(home, name)
    assert columns == [(name, kind, "of b" if name == "b" else None) for name, kind in GUARDED[mode][2].items()]
    assert (text, [each["v"] for each in found]) == ("second", [2])
    assert not build(project, home, name, "four", vars={"later": True, "about": "second"}).changed


def facts(home: Path, model: str) -> tuple[Any, ...]:
    """Return what main is: columns with types and comments, the table's comment, its refs, and its rows."""
    table = open_lake(home).load_table(f"s.{model}")
    columns = [(item.name, str(item.field_type), item.doc) for item in table.schema().fields]
    rows = connect(open_lake(home), tables=[f"s.{model}"]).sql(f"SELECT * FROM s.{model}").to_arrow_table().to_pylist()
    return columns, table.properties.get("comment"), table.metadata.refs.get("main"), rows


@pytest.mark.parametrize("token", ["", "run"], ids=["command line", "run"])
def test_a_full_refresh_takes_the_narrower_type(project: Path, home: Path, token: str) -> None:
    name = "guarded_append_new_columns" if token else "wider_ignore"
    wide = pa.table({"id": pa.array([1], pa.int64()), "v": pa.array([2.5])})
    overwrite_if_changed(open_lake(home), f"s.{name}", wide)
    build(project, home, name, token, full_refresh=True)
    assert {str(item.field_type) for item in open_lake(home).load_table(f"s.{name}").schema().fields} == {"int"}


@pytest.mark.parametrize("token", ["", "run"], ids=["command line", "run"])
@pytest.mark.parametrize("mode", ["append_new_columns", "sync_all_columns"])
def test_columns_come_and_go_with_the_rows_of_an_increment(
    project: Path, tmp_path: Path, mode: str, token: str
) -> None:
    """Of an increment that failed, dbt's command line left new columns, and had removed others with their values."""
    name = f"failing_{mode}"
    build(project, tmp_path, name, token)
    before = facts(tmp_path, name)
    with pytest.raises(SchemaError, match="share their unique_key"):
        build(project, tmp_path, name, token)
    assert facts(tmp_path, name) == before
    versions = len(open_lake(tmp_path).load_table(f"s.{name}").metadata.metadata_log)
    build(project, tmp_path, name, token, vars={"ids": [1, 2]})
    table = open_lake(tmp_path).load_table(f"s.{name}")
    assert row_sets(tmp_path, name)[0]["new"] == "y"
    assert ("old" in table.schema().column_names) is (mode == "append_new_columns")
    assert table.current_snapshot().schema_id == table.metadata.current_schema_id
    if not token:
        assert len(table.metadata.metadata_log) == versions + 1


def row_sets(home: Path, model: str) -> list[dict[str, Any]]:
    rows = connect(open_lake(home), tables=[f"s.{model}"]).sql(f"SELECT * FROM s.{model} ORDER BY id")
    return [dict(each) for each in rows.to_arrow_table().to_pylist()]


@pytest.mark.parametrize("name", [history["name"] for history in HISTORIES])
def test_a_snapshot_of_rows_without_a_key_is_refused(project: Path, home: Path, name: str) -> None:
    """dbt would add them again with every run."""

    def take(token: str, part: str) -> None:
        given: dict[str, Any] = {"vars": {"part": part}}
        build(project, home, "keys", token, **given)
        build_model(project, f"snapshot.s.{name}", home=home, environment={"PHLO_RUN_TOKEN": token}, **given)

    with pytest.raises(SchemaError, match=rf"s\.{name}: 1 row\(s\) have NULL in unique_key \("):
        take("one", "null::varchar")
    take("two", "'x'")
    with pytest.raises(SchemaError, match=rf"s\.{name}: 1 row"):
        take("three", "null::varchar")
    take("four", "'x'")
    assert row(home, name)["part"] == "x"


@pytest.mark.parametrize("strategy", ["merge", "delete"])
def test_a_predicate_that_is_wrong_is_said_and_never_tried_again(project: Path, home: Path, strategy: str) -> None:
    with pytest.raises(ConfigurationError, match=f"s.predicate_{strategy} was not built.*Parser Error"):
        build_twice(project, home, f"predicate_{strategy}")
    assert row(home, f"predicate_{strategy}") == {"id": 1, "v": 1}
