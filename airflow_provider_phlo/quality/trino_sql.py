"""What Trino's SQL and its type names say: which tables a query reads, and which type of DuckDB a column has."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from sqlglot import exp

_WORDS = {
    "INT": "INTEGER",
    "VARBINARY": "BLOB",
    "TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE",
    "TEXT": "VARCHAR",
}


def with_sources(query: str, source: Callable[[str], str]) -> str:
    """
    Return ``query`` with the name of each table that it reads replaced by what ``source`` gives for it.

    Everything else stays as it is written.

    :param source: gets the name, its parts joined by dots.
    :raises ConfigurationError: ``query`` is not one query that only reads.
    """
    from sqlglot import exp

    tree = _parsed(query)
    ctes = {cte.alias.casefold() for cte in tree.find_all(exp.CTE)}
    places = []
    for table in tree.find_all(exp.Table):
        if not all(isinstance(part, exp.Identifier) for part in table.parts):
            raise ConfigurationError("The query calls a table function: that is not allowed here, read tables.")
        name = ".".join(part.name for part in table.parts)
        if name.casefold() not in ctes:
            places.append((table.parts[0].meta["start"], table.parts[-1].meta["end"] + 1, source(name)))
    for start, end, text in sorted(places, reverse=True):
        query = query[:start] + text + query[end:]
    return query


def _parsed(query: str) -> exp.Query:
    import sqlglot
    from sqlglot import exp

    try:
        trees = sqlglot.parse(query, read="trino")
    except sqlglot.errors.SqlglotError as error:
        raise ConfigurationError(f"Cannot read the SQL as Trino's: {error}") from error
    if len(trees) != 1:
        raise ConfigurationError(f"Give one SQL statement, not {len(trees)}.")
    tree = trees[0]
    writes = tree is None or tree.find(exp.Insert, exp.Update, exp.Delete, exp.Merge, exp.DDL, exp.Command, exp.Into)
    if writes or not isinstance(tree, exp.Query):
        raise ConfigurationError("Only reading is allowed here: write one SELECT.")
    return tree


def duckdb_type(kind: str) -> str:
    """Return DuckDB's name of a type of Trino."""
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        return _words(exp.DataType.build(kind, dialect="trino"))
    except SqlglotError:
        return kind.upper()


def _words(kind: exp.Expression) -> str:
    if not hasattr(kind.this, "value"):  # an interval
        return kind.sql().upper()
    name, inner = kind.this.value, kind.expressions
    if name == "ARRAY":
        return f"{_words(inner[0])}[]"
    if name == "MAP":
        return f"MAP({_words(inner[0])}, {_words(inner[1])})"
    if name == "STRUCT":
        members = (f"{quote_identifier(field.name)} {_words(field.args['kind'])}" for field in inner)
        return f"STRUCT({', '.join(members)})"
    if name == "DECIMAL":
        return f"DECIMAL({','.join(parameter.name for parameter in inner)})"
    return _WORDS.get(name, name)
