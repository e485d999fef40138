"""SQL rules that are one aggregate over the table: the scan of all the other rules answers them too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# what ignores NULL, so that rows that a condition leaves out can be given as NULL
_AGGREGATES = frozenset({"count", "sum", "min", "max", "avg"})
_LEFT_EMPTY = ("group_expressions", "group_sets", "having", "sample", "qualify", "modifiers")
_CLASSES = frozenset({"COLUMN_REF", "CONSTANT", "FUNCTION", "COMPARISON", "CONJUNCTION", "OPERATOR", "CASE", "CAST"})
_CLASSES |= {"BETWEEN"}
Node = dict[str, Any]


@lru_cache(maxsize=1000)
def shared_aggregate(query: str, tables: frozenset[str], columns: frozenset[str]) -> str | None:
    """
    Return a query as an aggregate over the rows that it reads: ``count(CASE WHEN total < 0 THEN 1 END)``.

    :param query: as DuckDB reads it.
    :param tables: the names that stand for the rows, in lower case.
    :param columns: of the rows, in lower case.
    :returns: None for anything but one aggregate over the table, with or without a condition.
    """
    from airflow_provider_phlo.iceberg.duckdb.statements import syntax_tree

    (statement, *more) = syntax_tree(query)["statements"]
    node = statement["node"]
    if more or not _is_plain(node, tables):
        return None
    (chosen,) = node["select_list"]
    where = node["where_clause"]
    if not _is_aggregate(chosen):
        return None
    names = tables | {node["from_table"]["alias"].casefold()}
    inside = [*_arguments(chosen), *([where] if where else [])]
    if not all(_is_of_rows(each, names, columns) for each in inside):
        return None
    argument = _text(_arguments(chosen)[0]) if _arguments(chosen) else "1"
    name = "count" if chosen["function_name"] == "count_star" else chosen["function_name"].lower()
    if where is None:
        return "count(*)" if argument == "1" and name == "count" else f"{name}({argument})"
    return f"{name}(CASE WHEN {_text(where)} THEN {argument} END)"


def named_columns(query: str) -> list[str]:
    """Return the last parts of the names that a query takes for columns, once each."""
    from airflow_provider_phlo.iceberg.duckdb.statements import nodes_of, syntax_tree

    names = [node["column_names"][-1] for node in nodes_of(syntax_tree(query)) if node.get("class") == "COLUMN_REF"]
    return list(dict.fromkeys(reversed(names)))


def _is_plain(node: Node, tables: frozenset[str]) -> bool:
    """Return whether a query selects one thing from the table itself."""
    source = node.get("from_table") or {}
    path = (source.get("qualified_name") or {}).get("path") or []
    return (
        node["type"] == "SELECT_NODE"
        and not any(node.get(name) for name in _LEFT_EMPTY)
        and not (node.get("cte_map") or {}).get("map")
        and len(node["select_list"]) == 1
        and source.get("type") == "BASE_TABLE"
        and not (source.get("sample") or source.get("at_clause") or source.get("column_name_alias"))
        and len(path) == 1
        and path[0].casefold() in tables
    )


def _is_aggregate(chosen: Node) -> bool:
    name = str(chosen.get("function_name", "")).casefold()
    return (
        chosen["class"] == "FUNCTION"
        and (name == "count_star" or (name in _AGGREGATES and len(_arguments(chosen)) == 1))
        and not chosen["filter"]
        and not chosen["distinct"]
        and not chosen["order_bys"]["orders"]
    )


def _arguments(function: Node) -> list[Node]:
    return [each["expression"] for each in function["arguments"]]


def _is_of_rows(expression: Node, tables: frozenset[str], columns: frozenset[str]) -> bool:
    """Return whether an expression is about values of one row; names of the table before columns are taken away."""
    for node in _expressions(expression):
        if node["class"] not in _CLASSES or str(node.get("function_name", "")).casefold() in _AGGREGATES:
            return False
        if node["class"] == "COLUMN_REF":
            path = node["column_names"]
            if len(path) == 2 and path[0].casefold() in tables and path[0].casefold() not in columns:
                path = node["column_names"] = path[1:]
            if len(path) != 1 or path[0].casefold() not in columns:
                return False
    return True


def _expressions(node: Any) -> Iterator[Node]:
    if isinstance(node, dict):
        if "class" in node:
            yield node
        for child in node.values():
            yield from _expressions(child)
    elif isinstance(node, list):
        for child in node:
            yield from _expressions(child)


def _text(expression: Node) -> str:
    """Return an expression as DuckDB itself writes it."""
    from airflow_provider_phlo.iceberg.duckdb.statements import syntax_tree
    from airflow_provider_phlo.sql import open_parser

    tree = syntax_tree("SELECT 1")
    tree["statements"][0]["node"]["select_list"] = [{**expression, "alias": ""}]
    with open_parser() as parser:
        rows = parser.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
    return str(rows[0][0]).removeprefix("SELECT ")
