"""What a SQL statement does, as DuckDB's own parser sees it: the tables that it reads, and that it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sql import open_parser, quote
from airflow_provider_phlo.sql_errors import in_plain_words

# functions that run SQL out of a string, or write outside the database
_REFUSED_FUNCTIONS = frozenset({"query", "json_execute_serialized_sql", "enable_logging", "enable_profiling"})
# table functions that make rows out of what they are given; all others read files, the network or the engine itself
_HARMLESS_SOURCES = frozenset({"unnest", "range", "generate_series", "json_each", "json_tree"})
_OF_THE_PROCESS = frozenset({"getenv", "current_setting", "getvariable", "nextval", "currval", "query_table"})
_FILE = re.compile(r"[/\\*?:]|\.(parquet|csv|json|db)$")
# a table whose name has to be quoted and is not: shop.order-lines, raw.2024_orders
_ODD_NAME = re.compile(r"\b([A-Za-z_]\w*)\.((?:\d\w*|\w+(?=[-$@]))[\w$@-]*)", re.ASCII)


def referenced_tables(sql: str) -> set[str]:
    """
    Return the names of the tables that one statement reads, as ``schema.table``.

    The name of a CTE stands for a table where the CTE is not in scope, as in its own query.

    :raises ConfigurationError: ``sql`` is not one statement that reads, or does not parse.
    """
    paths = set(_read_paths(syntax_tree(sql)))
    for *outer, name in paths:
        if len(outer) > 1:  # DuckDB takes the first for a database
            raise ConfigurationError(
                f"Cannot read {'.'.join(outer)}.{name}: write {quote('.'.join(outer) + '.' + name)} for a table in a "
                "namespace of several levels, and leave the catalog's name out."
            )
    return set(map(".".join, paths))


def assert_read_only(sql: str) -> None:
    """
    Refuse any SQL but one SELECT, EXPLAIN, DESCRIBE, SUMMARIZE or SHOW.

    :raises ConfigurationError: the SQL is something else, is empty, or does not parse.
    """
    for node in nodes_of(syntax_tree(sql)):
        # DuckDB takes COPY, INSERT, UPDATE and DELETE as the body of a CTE and calls the whole a SELECT
        kind = str(node.get("type", ""))
        if kind.endswith("_QUERY_NODE"):
            raise ConfigurationError(f"Only reading is allowed here, and this contains {kind.partition('_')[0]}.")
        if kind == "FUNCTION" and node["function_name"].casefold() in _REFUSED_FUNCTIONS:
            raise ConfigurationError(f"The function {node['function_name']} is not allowed here.")


def syntax_tree(sql: str) -> Any:
    """
    Parse one reading statement; of EXPLAIN (whose ANALYZE runs it) return what it explains.

    :raises ConfigurationError: as of :func:`referenced_tables`.
    """
    try:
        with open_parser() as parser:
            statements = parser.extract_statements(sql)
            if len(statements) != 1:
                raise ConfigurationError(f"Give one SQL statement, not {len(statements)}.")
            if statements[0].type == duckdb.StatementType.EXPLAIN:
                return syntax_tree(_explained(statements[0].query))
            if statements[0].type != duckdb.StatementType.SELECT:
                kind = statements[0].type
                # of PIVOT without IN, DuckDB makes several statements
                name = "PIVOT without IN" if kind == duckdb.StatementType.MULTI else kind.name
                raise ConfigurationError(f"Only reading is allowed here, not {name}: use SELECT, DESCRIBE or SHOW.")
            rows = parser.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
        return json.loads(rows[0][0])
    except duckdb.Error as error:
        raise ConfigurationError(f"Cannot read the SQL: {in_plain_words(str(error))}.{_unquoted(sql)}") from error
    except UnicodeEncodeError:
        raise ConfigurationError("Cannot read the SQL: it is not valid UTF-8.") from None
    except RecursionError:
        raise ConfigurationError("Cannot read the SQL: it is nested too deeply.") from None


def _unquoted(sql: str) -> str:
    """Return how to write the first name with a character that SQL takes for something else."""
    found = _ODD_NAME.search(sql)
    return f'\nIf {found[0]} is a table, write {found[1]}."{found[2]}".' if found else ""


def _explained(sql: str) -> str:
    """Return what an EXPLAIN explains: without EXPLAIN, ANALYZE and options in parentheses, whatever stands between."""
    tokens = [start for start, kind in duckdb.tokenize(sql) if kind != duckdb.token_type.comment]
    encoded = sql.encode()  # offsets count bytes
    words = [
        encoded[start:end].decode().split("--")[0].split("/*")[0].strip().upper()
        for start, end in zip(tokens, [*tokens[1:], len(encoded)], strict=True)
    ]
    at = words.index("EXPLAIN") + 1
    if words[at : at + 1] in (["ANALYZE"], ["ANALYSE"]):
        at += 1
    # a parenthesis may also open a SELECT
    if words[at : at + 1] == ["("] and words[at + 1] in ("FORMAT", "ANALYZE", "ANALYSE", "VERBOSE"):
        at = words.index(")", at) + 1
    return encoded[tokens[at] :].decode()


def read_tables(tree: Any) -> Iterator[str]:
    """Yield the tables that are read below a node, as ``schema.table``; databases are left out."""
    for path in _read_paths(tree):
        yield ".".join(path[-2:])


def _read_paths(tree: Any, ctes: frozenset[str] = frozenset()) -> Iterator[tuple[str, ...]]:
    """Yield the tables that are read below a node, where the names ``ctes`` stand for something else."""
    if isinstance(tree, list):
        for child in tree:
            yield from _read_paths(child, ctes)
    if not isinstance(tree, dict):
        return
    if tree.get("type") == "BASE_TABLE":
        path = tree["qualified_name"]["path"]
        if len(path) > 1 or path[0].casefold() not in ctes:
            yield tuple(path)
    if tree.get("type") == "RECURSIVE_CTE_NODE":
        ctes |= {tree["cte_name"].casefold()}
    for entry in (tree.get("cte_map") or {}).get("map", ()):
        yield from _read_paths(entry["value"], ctes)  # which does not see itself: the name is that of a table there
        ctes |= {entry["key"].casefold()}
    for name, child in tree.items():
        if name != "cte_map":
            yield from _read_paths(child, ctes)


def beyond_tables(tree: Any) -> str | None:
    """
    Return what a statement reads beside the tables that it names, None if nothing: it fails when it is run.

    :param tree: of :func:`syntax_tree`.
    """
    for node in nodes_of(tree):
        kind, name = node.get("type"), str(node.get("function_name", "")).casefold()
        if kind == "TABLE_FUNCTION":
            name = str(node.get("function", {}).get("function_name", "")).casefold()
            if name not in _HARMLESS_SOURCES:
                return f"it reads {name}(…): only tables may be read"
        if name in _OF_THE_PROCESS:
            return f"the function {name} is not allowed"
        if kind == "BASE_TABLE" and _FILE.search(str(node.get("table_name", ""))):
            return f"it reads the file {node['table_name']}: only tables may be read"
    return None


def nodes_of(tree: Any) -> Iterator[dict[str, Any]]:
    """Yield every node of a syntax tree."""
    left = [tree]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield node
        if isinstance(node, dict | list):
            left.extend(node.values() if isinstance(node, dict) else node)
