"""What names mean, walks along lineage, and the trees they are shown as."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.finding import find
from airflow_provider_phlo.lineage.graph import Graph, Kind, Node
from airflow_provider_phlo.lineage.impact import impact
from airflow_provider_phlo.lineage.sql.relations import Effect, How
from airflow_provider_phlo.lineage.tree import name_of, notes_of, quoted, tree_lines
from airflow_provider_phlo.lineage.walking import Direction, around, walk
from airflow_provider_phlo.task_facts import CheckFacts, Facts, IngestionFacts, MartFacts, TaskFacts, TaskLineage


def graph_of(edges: dict[str, list[str]]) -> Graph:
    """Return a graph in which each table has a column ``x``, which is made from those of its parents."""
    graph = Graph()
    for name, parents in edges.items():
        node = graph.add(name, Kind.MODEL)
        node.complete = True
        for parent in parents:
            graph.add(parent, Kind.TABLE).complete = True
            node.add_parent(parent)
            node.add_column("x").origins[parent, "x"] = How.COPIED
    for node in graph.nodes.values():
        node.add_column("x")
    return graph


# --- names


@pytest.fixture
def named() -> Graph:
    graph = graph_of({"silver.a": ["raw.a"], "silver.b": ["silver.a"], 'odd.say "hi"': ["silver.b"]})
    graph.nodes["silver.b"].names = ["the_model", "model.p.the_model"]
    for column in ("Mixed", "who.is", 'q"x', "date_string"):
        graph.nodes["silver.b"].add_column(column)
    mart = graph.add("postgres_default:marts.b", Kind.MART)
    mart.names = ["marts.b", "b"]
    mart.add_parent("silver.b")
    return graph


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("raw.a", ("raw.a", None)),
        ("RAW.A", ("raw.a", None)),
        ("raw.a.x", ("raw.a", "x")),
        ('"raw"."a"', ("raw.a", None)),
        ("the_model", ("silver.b", None)),
        ("model.p.the_model", ("silver.b", None)),
        ("the_model.mixed", ("silver.b", "Mixed")),
        # the table rather than the mart that is filled from it
        ("b", ("silver.b", None)),
        ("marts.b", ("postgres_default:marts.b", None)),
        ("postgres_default:marts.b", ("postgres_default:marts.b", None)),
        ('silver.b."who.is"', ("silver.b", "who.is")),
        ('silver.b."q""x"', ("silver.b", 'q"x')),
        ("silver.b.dateString", ("silver.b", "date_string")),
        ('odd."say ""hi"""', ('odd.say "hi"', None)),
        ('odd."say ""hi""".x', ('odd.say "hi"', "x")),
    ],
)
def test_names(named, text, expected):
    node, column = find(named, text)
    assert (node.id, column) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a", "a may be raw.a or silver.a: name one of them."),
        ("a.x", "a may be raw.a or silver.a"),
        ("silver.bb", "silver.bb is not known here. Near it: silver.b"),
        ("silver.b.Mixd", "silver.b has no column Mixd. Of its columns: Mixed."),
        ("zzzzzz", "zzzzzz is not known here. phlo lineage export lists everything that is."),
        ("", "is not known here"),
        ('"', "is not known here"),
        ("...", "is not known here"),
    ],
)
def test_names_that_are_refused(named, text, said):
    with pytest.raises(ConfigurationError) as error:
        find(named, text)
    assert said in str(error.value)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=10).filter(lambda text: text.strip()))
@settings(max_examples=100, deadline=None, database=None)
@example("X")
def test_a_column_is_found_by_the_name_it_is_shown_with(name):
    graph = graph_of({"silver.a": ["raw.a"]})
    node = Node("silver.a", graph.nodes["silver.a"].kind)
    graph.nodes["silver.a"] = node
    node.add_column(name)
    assert find(graph, f"silver.a.{quoted(name)}") == (node, name)


# --- walks


def drawn(graph, name, direction, depth=None):
    steps = walk(graph, *find(graph, name), direction, depth)
    return [
        f"{before}{name_of(step.node, step.column)}{' ^' if step.seen else ''}" for before, step in tree_lines(steps)
    ]


DIAMOND = {"s.b": ["s.a"], "s.c": ["s.a"], "s.d": ["s.b", "s.c"], "s.e": ["s.d"]}


def test_a_tree():
    assert drawn(graph_of(DIAMOND), "s.a", Direction.DOWNSTREAM) == [
        "├── s.b",
        "│   └── s.d",
        "│       └── s.e",
        "└── s.c",
        "    └── s.d ^",
    ]
    assert drawn(graph_of(DIAMOND), "s.e.x", Direction.UPSTREAM) == [
        "└── s.d.x",
        "    ├── s.b.x",
        "    │   └── s.a.x",
        "    └── s.c.x",
        "        └── s.a.x ^",
    ]
    assert drawn(graph_of(DIAMOND), "s.a", Direction.DOWNSTREAM, 1) == ["├── s.b", "└── s.c"]
    assert drawn(graph_of(DIAMOND), "s.a", Direction.UPSTREAM) == []


def test_rows_end_a_walk_and_not_an_impact():
    graph = graph_of(DIAMOND)
    graph.nodes["s.b"].columns["x"].origins.clear()
    graph.nodes["s.b"].effects["s.a", "x"] = Effect.FILTERED
    steps = walk(graph, *find(graph, "s.a.x"), Direction.DOWNSTREAM)
    (rows,) = [step for step in steps if step.node.id == "s.b"]
    assert notes_of(rows, []) == ["model", "rows filtered"]
    found = {
        each.node.id: (each.depth, each.columns, sorted(each.how))
        for each in impact(graph, *find(graph, "s.a.x")).affected
    }
    assert found["s.b"] == (1, [], ["filtered"])
    assert found["s.c"] == (1, ["x"], ["copied"])
    assert found["s.d"] == (2, ["x"], ["copied", "read"])
    assert found["s.e"] == (3, ["x"], ["copied", "read"])


@given(st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=4), max_size=9))
@settings(max_examples=100, deadline=None, database=None)
def test_any_graph_is_walked_once(edges):
    """Also in circles: every table that can be reached is there, none is gone through twice."""
    graph = graph_of({f"s.t{number}": [f"s.t{other}" for other in others] for number, others in edges.items()})
    for start in list(graph.nodes.values()):
        for direction in Direction:
            steps = walk(graph, start, None, direction)
            near = {node.id: node.parents for node in graph.nodes.values()}
            near = near if direction is Direction.UPSTREAM else graph.children
            reached, todo = set(), [start.id]
            while todo:
                following = [name for name in near[todo.pop()] if name not in reached]
                reached.update(following)
                todo += following
            assert {step.node.id for step in steps} == reached
            gone = [step.node.id for step in steps if not step.seen]
            assert len(gone) == len(set(gone))
            assert len(list(tree_lines(steps))) == len(steps)
        affected = {each.node.id for each in impact(graph, start, "x").affected}
        assert affected == {step.node.id for step in walk(graph, start, "x", Direction.DOWNSTREAM)} - {start.id}
        assert set(around(graph, start).nodes) >= {start.id}


def test_a_chain_of_5000_models_and_a_table_of_5000_columns():
    chain = graph_of({f"s.t{number}": [f"s.t{number - 1}"] for number in range(1, 5_000)})
    started = time.process_time()
    assert len(walk(chain, *find(chain, "s.t0.x"), Direction.DOWNSTREAM)) == 4_999
    assert len(impact(chain, *find(chain, "s.t0")).affected) == 4_999
    names = tuple(f"c{number}" for number in range(5_000))
    wide = Facts(
        (TaskFacts("d", "t", "airflow", lineage=TaskLineage(marts=(MartFacts("duckdb", "f.main.m", "raw.w"),))),),
        tables={"raw.w": names},
    )
    mart, column = find(build(wide, []), "duckdb:f.main.m.c4999")
    assert mart.columns[column].origins == {("raw.w", "c4999"): How.COPIED}
    assert time.process_time() - started < 5


# --- what DAGs say


def facts(*tasks: TaskLineage) -> Facts:
    return Facts(tuple(TaskFacts("d", f"t{number}", "airflow", lineage=task) for number, task in enumerate(tasks)))


def test_a_source_and_its_quarantine():
    ingestion = IngestionFacts("raw.t", ("api",), {"a": "int"}, metadata_columns=True, quarantines=True)
    graph = build(facts(TaskLineage((ingestion,))), [])
    assert graph.nodes["raw.t"].parents == ["source:api"]
    assert graph.nodes["raw.t"].columns["a"].origins == {("source:api", "raw.t.a"): How.COPIED}
    assert graph.nodes["raw.t"].columns["_dlt_id"].origins == {}
    assert graph.nodes["raw.t__quarantine"].parents == ["raw.t"]
    assert graph.nodes["raw.t"].owners == []  # airflow is what Airflow writes where nobody is named


def test_transforms_and_several_sources_leave_columns_unknown():
    transformed = IngestionFacts("raw.t", ("api",), {"a": "int"}, transforms=("uppercase",))
    united = IngestionFacts("raw.u", ("north", "south"), {"a": "int"})
    graph = build(facts(TaskLineage((transformed,)), TaskLineage((united,))), [])
    assert graph.nodes["raw.t"].columns["a"].unknown == "transformed by uppercase, which may use other fields"
    assert graph.nodes["raw.u"].columns["a"].unknown == "it comes from any of north, south"
    assert graph.nodes["raw.u"].parents == ["source:north", "source:south"]


def test_checks_see_the_columns_of_all_tables_they_read():
    query = "SELECT * FROM t JOIN other.u ON t.a = u.k WHERE u.z > 1"
    checks = (
        CheckFacts("q", "raw.t", query=query),
        CheckFacts("r", "silver.v", ("day",), sources=("raw.t",), source_expressions=("CAST(at AS DATE)", "sum(n)")),
        CheckFacts("broken", "raw.t", query="SELECT FROM WHERE"),
    )
    columns = {"raw.t": ("a", "at", "n"), "other.u": ("k", "z"), "silver.v": ("day",)}
    graph = build(Facts(facts(TaskLineage(checks=checks)).tasks, tables=columns), [])
    query_check, reconciliation, broken = (node for node in graph.nodes.values() if node.id.partition(":")[2])
    assert {("raw.t", "a"), ("other.u", "k"), ("other.u", "z")} <= set(query_check.columns["*"].origins)
    assert query_check.parents == ["raw.t", "other.u"]
    assert reconciliation.kind is Kind.RECONCILIATION
    assert set(reconciliation.columns["*"].origins) == {("silver.v", "day"), ("raw.t", "at"), ("raw.t", "n")}
    assert "cannot parse" in broken.columns["*"].unknown
    # it may look at any column
    assert ("check:d.t0.2", None, "unknown") in {
        (step.node.id, step.column, step.how) for step in walk(graph, *find(graph, "raw.t.n"), Direction.DOWNSTREAM)
    }


def test_assets_of_other_tasks():
    tasks = (
        TaskFacts("d", "copy", "Ann", reads=("s3://b/x", "raw.t"), writes=("raw.u", "s3://b/y")),
        TaskFacts("d", "next", "Ann", reads=("s3://b/y",), writes=("raw.w",)),
    )
    graph = build(Facts(tasks, schedules={"later": ("raw.u",)}), [])
    assert graph.nodes["raw.u"].parents == ["s3://b/x", "raw.t"]
    assert graph.nodes["raw.w"].parents == ["s3://b/y"]
    assert graph.nodes["s3://b/x"].kind is Kind.SOURCE
    assert graph.nodes["s3://b/y"].kind is Kind.TABLE
    assert impact(graph, *find(graph, "raw.t")).dags == ["d", "later"]


def test_one_table_of_two_connections_to_one_server_is_one_node():
    marts = [MartFacts(name, "marts.t", "raw.t", "postgres://h:5432/d/marts/t") for name in ("first", "second")]
    graph = build(facts(*(TaskLineage(marts=(mart,)) for mart in marts)), [])
    (mart,) = [node for node in graph.nodes.values() if node.kind is Kind.MART]
    assert (mart.id, mart.tasks) == ("first:marts.t", ["d.t0", "d.t1"])


def test_facts_survive_json():
    said = facts(
        TaskLineage((IngestionFacts("raw.t", ("api",), {"a": "int"}),), (CheckFacts("c", "raw.t", ("a",)),)),
        TaskLineage(marts=(MartFacts("x", "marts.t", "raw.t"),), nodes=("model.p.a",)),
    )
    assert Facts.from_json(said.to_json()) == said
