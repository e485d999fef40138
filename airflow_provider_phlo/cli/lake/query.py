"""``phlo query``: read-only SQL over every table of the catalog."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_phlo.cli.lake import parquet
from airflow_provider_phlo.cli.terminal.errors import FAILED, exit_on_error
from airflow_provider_phlo.cli.terminal.output import Result, open_catalog, show
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    import argparse

    from duckdb import DuckDBPyConnection
    from pyiceberg.catalog import Catalog

_PARQUET = "parquet"
# statements and schemas that list tables need all of them
_METADATA = re.compile(r"^\s*show\b|\b(information_schema|pg_catalog|duckdb_\w+\s*\(|sqlite_master)", re.I)


def query(args: argparse.Namespace) -> None:
    """
    Run ``args.sql`` and print the result as ``args.output``.

    Ends the process with code 1 when the statement fails and with 2 when it is not exactly one read-only statement.
    """
    from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only

    with exit_on_error("query"):
        assert_read_only(args.sql)
        if args.output == _PARQUET:
            parquet.require_a_file()
    with exit_on_error("query", refused=FAILED, statement=args.sql):
        alone = args.branch is None and _reads_nothing(args.sql)
        with _connected_to_nothing() if alone else _connected(open_catalog(), args.sql, args.branch) as connection:
            if args.output == _PARQUET:
                parquet.print_parquet(connection, args.sql, _unique)
                return
            result = _answer(connection, args.sql)
    show(replace(result, exact=True), args.output)


def run(catalog: Catalog, sql: str, *, branch: str | None = None) -> Result:
    """
    Run one statement over the tables of ``catalog``.

    :param catalog: the catalog; only the tables that the statement names are opened.
    :param sql: one read-only statement.
    :param branch: read this branch of each table that has it, and ``main`` of the others.
    :raises ConfigurationError: the statement names a table that does not exist, or is refused; or none of its tables
        has the branch.
    """
    from airflow_provider_phlo.iceberg.duckdb.statements import assert_read_only

    assert_read_only(sql)
    with _connected(catalog, sql, branch) as connection:
        return _answer(connection, sql)


@contextmanager
def _connected(catalog: Catalog, sql: str, branch: str | None) -> Iterator[DuckDBPyConnection]:
    """Give a connection to the tables that a statement names."""
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables, connect
    from airflow_provider_phlo.iceberg.trino.preview import create_staged_view

    tables = _tables(catalog, sql)
    if branch is not None:
        _check_branch(catalog, all_tables(catalog) if tables is None else tables, branch)
    with connect(catalog, tables=tables, branch=branch, staged=create_staged_view, locked=True) as connection:
        yield connection


def _reads_nothing(sql: str) -> bool:
    from airflow_provider_phlo.iceberg.duckdb.statements import referenced_tables

    return not _METADATA.search(sql) and not referenced_tables(sql)


@contextmanager
def _connected_to_nothing() -> Iterator[DuckDBPyConnection]:
    """Give a connection for a statement that reads no table; the catalog takes a second to import, and stays shut."""
    import duckdb

    from airflow_provider_phlo.iceberg.duckdb.sessions import read_only, spill_privately

    with duckdb.connect() as connection:
        spill_privately(connection)
        connection.execute("SET TimeZone = 'UTC'")
        read_only(connection)
        yield connection


def _answer(connection: DuckDBPyConnection, sql: str) -> Result:
    cursor = connection.execute(sql)
    columns = [str(column[0]) for column in cursor.description or ()]
    return Result(_unique(columns), cursor.fetchall())


def _check_branch(catalog: Catalog, tables: Sequence[str], branch: str) -> None:
    """Refuse a branch that is nowhere: what one reads would be main."""
    from airflow_provider_phlo.iceberg.catalogs import nessie
    from airflow_provider_phlo.iceberg.trino.staged_merge import find_by_branch

    if nessie.is_nessie(catalog) and nessie.head_commit(catalog, branch) is not None:
        return
    loaded = [catalog.load_table(name) for name in tables]
    staged = (find_by_branch(catalog, name, branch) is not None for name in tables)
    if any(branch in table.refs() for table in loaded) or any(staged):
        return
    others = sorted({name for table in loaded for name in table.refs()} - {MAIN_BRANCH})
    raise ConfigurationError(
        f"No table of the statement has the branch {branch}. "
        + (f"Branches: {', '.join(others)}." if others else "These tables have main only: see phlo catalog branches.")
    )


def _tables(catalog: Catalog, sql: str) -> list[str] | None:
    """Return the tables a statement needs; None means all."""
    from airflow_provider_phlo.iceberg.duckdb.statements import referenced_tables
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables
    from airflow_provider_phlo.iceberg.tables.names import require_distinct_tables

    if _METADATA.search(sql):
        return None
    wanted = referenced_tables(sql)
    if not wanted:
        return []
    existing = all_tables(catalog)
    by_name = {name.casefold(): name for name in existing}
    unknown = sorted(name for name in wanted if name.casefold() not in by_name)
    if unknown:
        raise ConfigurationError("\n".join(_unknown(name, existing) for name in unknown))
    asked = {by_name[name.casefold()] for name in wanted}
    require_distinct_tables(name for name in existing if name.casefold() in {each.casefold() for each in asked})
    return [by_name[name.casefold()] for name in wanted]


def _unknown(name: str, existing: Sequence[str]) -> str:
    if not existing:
        return f"Table {name} does not exist: the catalog is empty. Run a pipeline first (make demo)."
    same = [table for table in existing if table.rpartition(".")[2] == name]
    near = same or difflib.get_close_matches(name, existing, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else f"Tables: {', '.join(existing[:20])}."
    return f"Table {name} does not exist. {hint}"


def _unique(columns: Sequence[str]) -> list[str]:
    """Number repeated names (``id``, ``id_2``): a JSON object has each name once."""
    result: list[str] = []
    for column in columns:
        name, number = column, 2
        while name in result:
            name, number = f"{column}_{number}", number + 1
        result.append(name)
    return result
