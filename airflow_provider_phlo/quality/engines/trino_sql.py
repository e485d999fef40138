"""Read Trino's SQL and its type names: which tables a query reads, and which DuckDB type a column has."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from sqlglot import exp

_DUCKDB_NAMES = {
    "INT": "INTEGER",
    "VARBINARY": "BLOB",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TEXT": "VARCHAR",
    "UNKNOWN": '"NULL"',  # of a column that is NULL throughout
    "NULL": '"NULL"',
}


def with_sources(query: str, source: Callable[[str], str]) -> str:
    """
    Return ``query`` with the name of each table that it reads replaced; everything else stays as it is written.

    :param source: returns the replacement for a table's name, which it gets with its parts joined by dots.
    :raises ConfigurationError: ``query`` is not exactly one statement, or does more than read.
    """
    from sqlglot import exp

    tree = _parsed(query)
    if any(not isinstance(part, exp.Identifier) for table in tree.find_all(exp.Table) for part in table.parts):
        raise ConfigurationError("The query calls a table function: that is not allowed here, read tables.")
    replacements = [
        (parts[0].meta["start"], parts[-1].meta["end"] + 1, source(".".join(part.name for part in parts)))
        for parts in (table.parts for table in _read_tables(tree, frozenset()))
    ]
    for start, end, text in sorted(replacements, reverse=True):
        query = query[:start] + text + query[end:]
    return query


def _read_tables(node: Any, ctes: frozenset[str]) -> Iterator[exp.Table]:
    """Yield the tables that are read at or below a node, where the names ``ctes`` stand for something else."""
    from sqlglot import exp

    if isinstance(node, exp.Table) and (len(node.parts) > 1 or node.name.casefold() not in ctes):
        yield node
    clause = node.args.get("with_") or node.args.get("with")
    for cte in clause.expressions if clause else ():
        name = frozenset({cte.alias.casefold()})
        yield from _read_tables(cte.this, ctes | name if clause.recursive else ctes)
        ctes |= name
    for child in node.iter_expressions():
        if child is not clause:
            yield from _read_tables(child, ctes)


def _parsed(query: str) -> exp.Query:
    import sqlglot
    from sqlglot import exp

    try:
        trees = sqlglot.parse(query, read="trino")
    except sqlglot.errors.SqlglotError as error:
        raise ConfigurationError(f"Cannot parse the SQL as Trino's: {error}") from error
    if len(trees) != 1:
        raise ConfigurationError(f"Give one SQL statement, not {len(trees)}.")
    tree = trees[0]
    writes = tree is None or tree.find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.DDL, exp.Command, exp.Into)
    if writes or not isinstance(tree, exp.Query):
        raise ConfigurationError("Only reading is allowed here: write one SELECT.")
    return tree


def duckdb_type(kind: str) -> str:
    """Return DuckDB's name for a type of Trino."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        return _duckdb_name(exp.DataType.build(kind, dialect="trino"))
    except SqlglotError:
        return kind.upper()


def _duckdb_name(kind: exp.Expression) -> str:
    if not hasattr(kind.this, "value"):  # an interval
        return kind.sql().upper()
    name, inner = kind.this.value, kind.expressions
    if name == "ARRAY":
        return f"{_duckdb_name(inner[0])}[]"
    if name == "MAP":
        return f"MAP({_duckdb_name(inner[0])}, {_duckdb_name(inner[1])})"
    if name == "STRUCT":
        members = (f"{quote_identifier(field.name)} {_duckdb_name(field.args['kind'])}" for field in inner)
        return f"STRUCT({', '.join(members)})"
    if name == "DECIMAL":
        return f"DECIMAL({','.join(parameter.name for parameter in inner)})"
    return _DUCKDB_NAMES.get(name, name)
