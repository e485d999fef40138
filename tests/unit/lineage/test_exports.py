"""The forms that other programs read, read by them; names may be anything."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pydot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.exports.diagrams import dot, mermaid
from airflow_provider_phlo.lineage.exports.openlineage import openlineage_lines
from airflow_provider_phlo.lineage.exports.plain import to_plain
from airflow_provider_phlo.lineage.graph import Graph, Kind
from airflow_provider_phlo.lineage.sql.relations import Effect, How
from airflow_provider_phlo.task_facts import CheckFacts, Facts, IngestionFacts, MartFacts, TaskFacts, TaskLineage
from tests.openlineage_events import checked_facets
from tests.sizes import SOAK

ODD = [
    *("a.b", 'say "hi"', "two\nlines", "br[ack]ets", "{x|y}", "<b>&amp;", "`code`", "ünï ✓"),
    *("back\\slash\\N", "end;", "#quot;", "--> x", "\t"),
]
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)


MART = MartFacts("postgres_default", "marts.t", "raw.t", "postgres://postgres_default:5432/phlo/marts/t")


@pytest.fixture
def graph() -> Graph:
    tasks = (
        TaskFacts(
            "daily", "in", "Ann", lineage=TaskLineage((IngestionFacts("raw.t", ("api",), {"a": "int", "b": "str"}),))
        ),
        TaskFacts("daily", "check", "Ann", lineage=TaskLineage(checks=(CheckFacts("a is there", "raw.t", ("a",)),))),
        TaskFacts("daily", "out", "Bea", lineage=TaskLineage(marts=(MART,))),
        TaskFacts("other", "files", "Ann", reads=("s3://bucket/x.csv",), writes=("raw.t",)),
    )
    graph = build(Facts(tasks, tables={"raw.t": ("a", "b"), "raw.t__quarantine": ("record",)}), [])
    graph.nodes["postgres_default:marts.t"].effects["raw.t", "b"] = Effect.FILTERED
    return graph


def named(texts) -> Graph:
    """Return a chain of tables with these names."""
    graph = Graph()
    for number, text in enumerate(dict.fromkeys(texts)):
        node = graph.add(f"raw.{text}", Kind.TABLE if number % 2 else Kind.MODEL)
        before = list(graph.nodes)[-2:-1]
        for parent in before:
            node.add_parent(parent)
            node.add_column(text).origins[parent, text] = How.COPIED
        node.add_column(text)
    return graph


# --- Graphviz, read by pydot


def read_dot(graph: Graph) -> tuple[dict[str, str], set[tuple[str, str]]]:
    (read,) = pydot.graph_from_dot_data("\n".join(dot(graph)))
    nodes = {node.get_name(): node.get("label") for node in read.get_nodes()}
    return nodes, {(edge.get_source(), edge.get_destination()) for edge in read.get_edges()}


def of_dot(quoted: str) -> str:
    """Return what Graphviz makes of a quoted text."""
    assert quoted[0] == quoted[-1] == '"'
    return re.sub(r"\\(.)", lambda match: {"n": "\n"}.get(match[1], match[1]), quoted[1:-1], flags=re.DOTALL)


def test_dot(graph):
    nodes, edges = read_dot(graph)
    assert of_dot(nodes['"raw.t"']) == "raw.t (table)"
    assert of_dot(nodes['"check:daily.check.0"']) == "a is there (check)"
    assert ('"raw.t"', '"postgres_default:marts.t"') in edges
    assert len(nodes) == len(graph.nodes)
    assert len(edges) == sum(len(node.parents) for node in graph.nodes.values())


@given(st.lists(names, min_size=1, max_size=4))
@settings(max_examples=300 if SOAK else 30, deadline=None, database=None)
def test_dot_with_any_name(texts):
    check_dot(texts)


def test_dot_with_odd_names():
    check_dot(ODD)


def check_dot(texts):
    graph = named(texts)
    nodes, edges = read_dot(graph)
    expected = {f"{name.replace(chr(13), '')} ({node.kind})" for name, node in graph.nodes.items()}
    assert {of_dot(label) for label in nodes.values()} == expected
    assert len(edges) == len(graph.nodes) - 1


# --- Mermaid, by its own rules for labels

_NODE = re.compile(r'  (n\d+)(\[|\[\(|\[\[|\{\{|\(\[|\[/)"([^"\n]*)"(\]|\)\]|\]\]|\}\}|\]\)|/\]):::(\w+)')
_EDGE = re.compile(r"  (n\d+) --> (n\d+)")


def of_mermaid(label: str) -> str:
    """Return what Mermaid shows of a label: ``#35;`` is a character by its number."""
    assert re.fullmatch(r"(?:[\w .,:()]|#\d+;)*", label, re.ASCII), label
    return re.sub(r"#(\d+);", lambda match: chr(int(match[1])), label)


def check_mermaid(graph: Graph) -> None:
    first, *lines = mermaid(graph)
    assert first == "flowchart LR"
    nodes = [match for line in lines if (match := _NODE.fullmatch(line))]
    edges = [match for line in lines if (match := _EDGE.fullmatch(line))]
    assert len(nodes) + len(edges) == len(lines)
    assert len(nodes) == len(graph.nodes)
    assert {edge[1] for edge in edges} | {edge[2] for edge in edges} <= {node[1] for node in nodes}
    assert len(edges) == sum(len(node.parents) for node in graph.nodes.values())
    for match, node in zip(nodes, graph.nodes.values(), strict=True):
        assert match[5] == node.kind
        assert of_mermaid(match[3]).endswith(f"({node.kind})")
        if node.id.startswith("raw."):
            assert of_mermaid(match[3]) == f"{node.id} ({node.kind})"


def test_mermaid(graph):
    check_mermaid(graph)


@given(st.lists(names, min_size=1, max_size=6))
@settings(max_examples=1_000 if SOAK else 100, deadline=None, database=None)
def test_mermaid_with_any_name(texts):
    check_mermaid(named(texts))


def test_mermaid_with_odd_names():
    check_mermaid(named(ODD))


# --- JSON


def test_json(graph):
    plain = json.loads(json.dumps(to_plain(graph)))
    assert {node["id"] for node in plain["nodes"]} == set(graph.nodes)
    assert {"from": "raw.t", "to": "postgres_default:marts.t"} in plain["edges"]
    edges = {
        (edge["from"]["node"], edge["from"]["column"], edge["to"]["node"], edge["to"]["column"], edge["how"])
        for edge in plain["column_edges"]
    }
    assert ("raw.t", "a", "postgres_default:marts.t", "a", "copied") in edges
    assert ("raw.t", "b", "postgres_default:marts.t", None, "filtered") in edges
    assert ("raw.t", "a", "check:daily.check.0", None, "computed") in edges
    assert Graph.from_json(json.loads(json.dumps(graph.to_json()))).to_json() == graph.to_json()


# --- OpenLineage, by its own JSON schemas


def test_openlineage(graph):
    now = datetime(2026, 1, 2, tzinfo=UTC)
    events = [json.loads(line) for line in openlineage_lines(graph, "phlo", now)]
    assert sum(sum(checked_facets(event).values()) for event in events) > 5
    jobs = {event["job"]["name"]: event for event in events if "job" in event}
    assert set(jobs) == {"daily.in", "daily.out", "quarantine raw.t__quarantine"}
    (mart,) = jobs["daily.out"]["outputs"]
    assert (mart["namespace"], mart["name"]) == ("postgres://postgres_default:5432", "phlo.marts.t")
    lineage = mart["facets"]["columnLineage"]
    source = {"namespace": "iceberg://phlo", "name": "raw.t"}
    identity = {**source, "field": "a", "transformations": [{"type": "DIRECT", "subtype": "IDENTITY"}]}
    assert lineage["fields"]["a"]["inputFields"] == [identity]
    assert lineage["dataset"] == [
        {**source, "field": "b", "transformations": [{"type": "INDIRECT", "subtype": "FILTER"}]}
    ]
    assert [field["name"] for field in mart["facets"]["schema"]["fields"]] == ["a", "b"]
    assert mart["facets"]["ownership"]["owners"] == [{"name": "Bea"}]
    assert {event["dataset"]["name"] for event in events if "dataset" in event} == {"api", "x.csv"}
    assert all(event["eventTime"] == now.isoformat() for event in events)


def test_openlineage_with_odd_names():
    for line in openlineage_lines(named(ODD), "phlo"):
        assert "\n" not in line
        checked_facets(json.loads(line))
