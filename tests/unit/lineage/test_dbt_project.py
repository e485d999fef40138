"""A dbt project of every kind of node, compiled by dbt, without a catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_phlo.dbt.compilation import compiled_sql
from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.dbt_project import DbtProject
from airflow_provider_phlo.lineage.finding import find
from airflow_provider_phlo.lineage.graph import Kind
from airflow_provider_phlo.lineage.impact import impact
from airflow_provider_phlo.lineage.tree import name_of
from airflow_provider_phlo.lineage.walking import Direction, walk
from airflow_provider_phlo.task_facts import Facts, IngestionFacts, ProjectFacts, TaskFacts, TaskLineage
from tests.dbt.own_project import make_project

# one worker compiles the project
pytestmark = pytest.mark.xdist_group("lineage of a dbt project")

FILES = {
    "models/sources.yml": """
sources:
  - name: lake
    schema: raw
    tables:
      - name: dlt_readings
      - name: somewhere_else
        config: {meta: {phlo_asset: raw.sites}}
      - name: undeclared
        columns: [{name: known}]
  - name: later
    schema: silver
    tables: [{name: second}]
""",
    "models/staged.sql": "select * from {{ source('lake', 'dlt_readings') }}",
    "models/short.sql": (
        "{{ config(materialized='ephemeral') }} select id, value * 2 as twice, site from {{ ref('staged') }} "
        "where value > 0"
    ),
    "models/named.sql": (
        "select s.id, s.twice, n.label, t.city from {{ ref('short') }} s join {{ ref('names') }} n on n.site = s.site "
        "join {{ source('lake', 'somewhere_else') }} t on t.site = s.site"
    ),
    "models/history.sql": "select id, value from {{ ref('staged') }} union all select id, value from {{ ref('snap') }}",
    "models/fields.sql": 'select payload.person.name as "who.is", payload as "q""x" from {{ ref(\'staged\') }}',
    "models/aliased.sql": "{{ config(alias='Odd_Name') }} select \"WHO.IS\" as who from {{ ref('fields') }}",
    "models/open.sql": "select *, 1 as one from {{ source('lake', 'undeclared') }}",
    "models/of_open.sql": "select surprise, one from {{ ref('open') }}",
    "models/unparsable.sql": "select value from {{ ref('staged') }} where where",
    "models/of_unparsable.sql": "select value as v from {{ ref('unparsable') }}",
    "models/asks.sql": (
        "{% if execute %}{% set found = run_query('select 1').rows %}{% endif %} select 1 as x -- {{ ref('staged') }}"
    ),
    "models/python.py": "def model(dbt, session):\n    return dbt.ref('staged')\n",
    "models/grows.sql": (
        "{{ config(materialized='incremental', unique_key='id') }} select id, max(value) as top from "
        "{{ ref('staged') }} {% if is_incremental() %} where id > (select max(id) from {{ this }}) {% endif %} "
        "group by 1"
    ),
    "models/fixed.sql": "select q.k as seen from raw.not_declared q",
    # what silver.second is made from reads it: dbt sees no cycle, as one side is a source
    "models/first.sql": "select x from {{ source('later', 'second') }}",
    "models/second.sql": "select x from {{ ref('first') }}",
    "seeds/names.csv": "site,label\n1,north\n",
    "snapshots/snap.sql": (
        "{% snapshot snap %}{{ config(schema='silver', unique_key='id', strategy='timestamp', updated_at='at') }}"
        "select id, value, at from {{ ref('staged') }}{% endsnapshot %}"
    ),
    "snapshots/checked.sql": (
        "{% snapshot checked %}{{ config(schema='silver', unique_key='site', strategy='check', check_cols=['label']) }}"
        "select site, label, 1 as one from {{ ref('names') }}{% endsnapshot %}"
    ),
    "snapshots/checked_all.sql": (
        "{% snapshot checked_all %}{{ config(schema='silver', unique_key='site', strategy='check', check_cols='all') }}"
        "select * from {{ ref('names') }}{% endsnapshot %}"
    ),
    "models/unnested.sql": "select unnest(label) from {{ ref('names') }}",
    "models/elements.sql": "select unnest(label) as element from {{ ref('names') }}",
    "tests/none_below.sql": "{{ config(severity='warn') }} select id from {{ ref('named') }} where twice < 0",
    "models/models.yml": """
models:
  - name: named
    config: {meta: {owner: Ann}}
    columns:
      - name: id
        data_tests:
          - not_null
          - relationships: {arguments: {to: ref('staged'), field: id}}
  - name: fields
    columns: [{name: who.is, quote: true, data_tests: [unique]}]
exposures:
  - name: board
    label: The board
    type: dashboard
    url: https://example.com/board
    owner: {name: Bea, email: bea@example.com}
    depends_on: [ref('named'), ref('history')]
""",
}
READINGS = ("id", "value", "site", "payload", "at")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lineage")
    place = make_project(folder, FILES)
    settings = place / "dbt_project.yml"
    settings.write_text(settings.read_text() + "seeds: {+schema: silver}\n")
    home = folder / "home"
    sql = compiled_sql(Project(place, home))
    return DbtProject(place, read_manifest(ensure_manifest(Project(place, home))), sql), home


@pytest.fixture(scope="module")
def graph(project):
    found, home = project
    return build(facts(found.folder), [found], home / "lineage")


def facts(folder: Path) -> Facts:
    return Facts(
        tasks=(
            TaskFacts(
                "daily",
                "readings.ingest",
                "airflow",
                lineage=TaskLineage((IngestionFacts("raw.readings", ("site_api",), dict.fromkeys(READINGS, "int")),)),
            ),
            TaskFacts(
                "daily",
                "silver.named",
                "Cyd",
                lineage=TaskLineage(project=ProjectFacts(str(folder), "duckdb"), nodes=("model.phlo.named",)),
            ),
        ),
        tables={"raw.readings": READINGS, "raw.sites": ("site", "city")},
    )


def origins(graph, name):
    node, column = find(graph, name)
    found = node.columns[column]
    return found.unknown or {".".join(origin): str(how) for origin, how in found.origins.items()}


@pytest.mark.long
def test_every_kind_is_there(graph):
    kinds = {node.kind for node in graph.nodes.values()}
    assert kinds == {*Kind} - {Kind.CHECK, Kind.RECONCILIATION, Kind.MART, Kind.QUARANTINE}
    assert graph.problems == []


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("raw.readings.value", {"source:site_api.raw.readings.value": "copied"}),
        ("staged.value", {"raw.readings.value": "copied"}),
        ("short.twice", {"silver.staged.value": "computed"}),
        ("named.twice", {"model.phlo.short.twice": "copied"}),
        ("named.label", {"silver.names.label": "copied"}),
        ("named.city", {"raw.sites.city": "copied"}),
        ("names.label", {}),
        ("history.value", {"silver.staged.value": "copied", "silver.snap.value": "copied"}),
        ("snap.dbt_valid_from", {"silver.staged.id": "computed", "silver.staged.at": "computed"}),
        ('fields."who.is"', {"silver.staged.payload": "computed"}),
        ('silver.fields."q""x"', {"silver.staged.payload": "copied"}),
        ("Odd_Name.who", {"silver.fields.who.is": "copied"}),
        ("aliased.who", {"silver.fields.who.is": "copied"}),
        ("open.one", {}),
        ("of_open.surprise", {"silver.open.surprise": "copied"}),
        ("of_unparsable.v", {"silver.unparsable.value": "copied"}),
        ("grows.top", {"silver.staged.value": "aggregated"}),
        ("fixed.seen", {"raw.not_declared.k": "copied"}),
        ("second.x", {"silver.first.x": "copied"}),
        ("first.x", {"silver.second.x": "copied"}),
    ],
)
def test_columns(graph, column, expected):
    assert origins(graph, column) == expected


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("unparsable", "sqlglot cannot parse the SQL in line 1"),
        ("asks", "asks the warehouse while it is compiled"),
        ("python", "it is a Python model"),
        ("open", "not all columns of raw.undeclared are known"),
    ],
)
def test_what_is_not_known_says_why_and_keeps_its_tables(graph, model, reason):
    node, _ = find(graph, model)
    assert reason in node.unknown
    assert node.parents == [{"open": "raw.undeclared"}.get(model, "silver.staged")]


def test_an_unknown_column_is_not_guessed(graph):
    assert "sqlglot cannot parse" in origins(graph, "unparsable.value")
    assert "not all columns of raw.undeclared are known" in origins(graph, "open.surprise")


def test_a_column_goes_on_to_whoever_may_use_it(graph):
    node, column = find(graph, "staged.value")
    steps = walk(graph, node, column, Direction.DOWNSTREAM)
    found = {(step.node.id, step.column, step.how) for step in steps if step.depth == 1}
    assert found == {
        ("model.phlo.short", "twice", "computed"),
        ("model.phlo.short", None, "filtered"),
        ("silver.history", "value", "copied"),
        ("silver.snap", "value", "copied"),
        ("silver.grows", "top", "aggregated"),
        ("silver.unparsable", None, "unknown"),
        ("silver.asks", None, "unknown"),
        ("silver.python", None, "unknown"),
    }


def test_impact_of_a_column(graph):
    found = impact(graph, *find(graph, "raw.readings.at"))
    affected = {each.node.id: each for each in found.affected}
    # the snapshot's times come from it; what reads them does not
    assert affected["silver.snap"].columns == ["at", "dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to"]
    assert "silver.history" not in affected
    assert "silver.named" not in affected


@pytest.mark.parametrize("snapshot", ["checked", "checked_all"])
def test_what_a_snapshot_checks_decides_when_its_rows_are_valid(graph, snapshot):
    found = impact(graph, *find(graph, "names.label"))
    (columns,) = [each.columns for each in found.affected if each.node.names[:1] == [snapshot]]
    assert columns == ["label", "dbt_scd_id", "dbt_updated_at", "dbt_valid_from", "dbt_valid_to"]


@pytest.mark.parametrize("model", ["unnested", "elements"])
def test_names_that_are_taken_from_what_is_unnested_are_not_known(graph, model):
    node, _ = find(graph, model)
    assert (node.complete, node.unknown) == (False, "its SQL takes the names of columns from what it unnests")
    assert any(step.node is node for step in walk(graph, *find(graph, "names.label"), Direction.DOWNSTREAM, 1))


def test_impact_of_a_table(graph):
    found = impact(graph, *find(graph, "raw.sites"))
    kinds = {each.node.names[0] if each.node.names else each.node.id: each.node.kind for each in found.affected}
    assert kinds["named"] is Kind.MODEL
    assert kinds["board"] is Kind.DASHBOARD
    assert {name for name, kind in kinds.items() if kind is Kind.TEST} >= {"none_below", "not_null_named_id"}
    assert found.dags == ["daily"]
    assert found.owners == ["Ann", "Cyd", "Bea"]


def test_tests_look_at_columns(graph):
    of_id = {step.node.names[0] for step in walk(graph, *find(graph, "named.id"), Direction.DOWNSTREAM)}
    assert of_id >= {"not_null_named_id", "none_below"}
    of_staged = [step.node.detail for step in walk(graph, *find(graph, "staged.id"), Direction.DOWNSTREAM, 1)]
    assert "relationships(id)" in of_staged


def test_a_test_of_a_quoted_column_looks_at_that_column(graph):
    node, column = find(graph, 'fields."who.is"')
    assert (list(node.columns), column) == (["who.is", 'q"x'], "who.is")
    seen = [step.node.detail for step in walk(graph, node, column, Direction.DOWNSTREAM, 1)]
    assert [detail for detail in seen if detail.startswith("unique")] == ['unique("who.is")']


def test_a_test_that_warns_is_called_by_its_name(graph):
    found = [name_of(node) for node in graph.nodes.values() if "none_below" in node.names]
    assert found == ["none_below, warn"]


def test_cycles_end(graph):
    for name in ("first", "first.x"):
        for direction in Direction:
            steps = walk(graph, *find(graph, name), direction)
            assert [step.node.id for step in steps] == ["silver.second", "silver.first"]
            assert [step.seen for step in steps] == [False, True]


def test_a_second_time_nothing_is_analysed(graph, project, monkeypatch):
    found, home = project
    monkeypatch.setattr("airflow_provider_phlo.lineage.sql.analysis.analyse_sql", None)
    assert build(facts(found.folder), [found], home / "lineage").to_json() == graph.to_json()


def test_a_table_with_another_column_is_analysed_again(graph, project):
    found, home = project
    wider = facts(found.folder)
    wider = Facts(wider.tasks, {}, {**wider.tables, "raw.readings": (*READINGS, "more")})
    again = build(wider, [found], home / "lineage")
    assert origins(again, "staged.more") == {"raw.readings.more": "copied"}
    assert "more" not in find(graph, "staged")[0].columns
