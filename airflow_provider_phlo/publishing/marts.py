"""Publish marts, with connections and hooks: what DAG authors call. The work is in the other modules of this folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.library_errors import keep_values_in

if TYPE_CHECKING:
    import psycopg
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.publishing.duckdb_file import FileResult
    from airflow_provider_phlo.publishing.lakehouse import Source
    from airflow_provider_phlo.publishing.postgres import Declaration, Mart, PublishResult

__all__ = ["publish_marts_to_duckdb", "publish_marts_to_postgres"]

log = logging.getLogger(__name__)


@keep_values_in
def publish_marts_to_postgres(
    context: Mapping[str, Any] | None,
    trino: Any,
    postgres: Any,
    tables_to_publish: Mapping[str, str],
    data_source: str | None = None,
    *,
    catalog: Catalog | None = None,
    schema: str = "marts",
    key: Mapping[str, str | Sequence[str]] | None = None,
    declared: Mapping[str, Declaration] | None = None,
) -> dict[str, PublishResult]:
    """
    Replace the content of PostgreSQL tables by that of lakehouse tables; readers only ever see complete versions.

    One transaction fills all tables: nobody sees two of them in different versions. All sources are read as they are
    when this starts. Where it is certain which snapshot of its source a table holds, only the rows that differ are
    written.

    :param context: Airflow's context, for the run id in the log; may be None.
    :param trino: a Trino connection or hook to read through; None reads the tables' files directly.
    :param postgres: where to write: a psycopg connection, a hook, a libpq URI, or its parameters as a mapping.
    :param tables_to_publish: PostgreSQL table → the ``namespace.table`` that it is filled from.
    :param data_source: the name of this set of marts in the log.
    :param catalog: the catalog of the sources, for ``trino=None``; by default the one of ``iceberg_default``, or the
        embedded one.
    :param schema: the PostgreSQL schema.
    :param key: PostgreSQL table → the columns in which no two of its rows are equal: they get a unique index, by which
        rows that differ are found fast.
    :param declared: PostgreSQL table → the key, indexes and comments that it is to have; by default what the dbt model
        of the source declares (:mod:`.dbt_models`), and the comments of the source.
    :return: PostgreSQL table → its result.
    :raises ConfigurationError: a source does not exist; nothing is written then.

    ::

        results = publish_marts_to_postgres(
            context, None, "postgresql://phlo@localhost/phlo", {"mrt_daily": "marts.mrt_daily"}
        )
        print(results["mrt_daily"].rows)
    """
    from airflow_provider_phlo.publishing.lakehouse import open_catalog_tables, open_trino_tables
    from airflow_provider_phlo.publishing.postgres import publish_together

    with ExitStack() as stack:
        names = list(tables_to_publish.values())
        if trino is None:
            sources = stack.enter_context(open_catalog_tables(catalog or _default_catalog(), names))
        else:
            sources = stack.enter_context(open_trino_tables(trino, names))
        connection = stack.enter_context(_connect(postgres))
        columns = {name: source.columns.names for name, source in sources.items()}
        known = _declared(tables_to_publish, columns, declared, key or {})
        marts = [_mart(table, sources[source], known[table]) for table, source in tables_to_publish.items()]
        results = publish_together(marts, connection, schema=schema)
    for table, result in results.items():
        log.info(
            "Published %s from %s: %s in %.2f s (%s, run %s)",
            result.table,
            tables_to_publish[table],
            result.summary,
            result.seconds,
            data_source or "marts",
            (context or {}).get("run_id"),
        )
    return results


@keep_values_in
def publish_marts_to_duckdb(
    path: Path,
    tables_to_publish: Mapping[str, str],
    *,
    catalog: Catalog | None = None,
    schema: str = "main",
) -> dict[str, FileResult]:
    """
    Replace a DuckDB file by one in which tables have the rows of lakehouse tables; open readers keep the old one.

    :param path: the file.
    :param tables_to_publish: table of the file → the ``namespace.table`` that it is filled from.
    :param catalog: the catalog of the sources; by default the one of ``iceberg_default``, or the embedded one.
    :param schema: the schema of the tables in the file.
    :return: table → its result.
    :raises ConfigurationError: a source does not exist, or the path is not that of a DuckDB file.
    """
    from airflow_provider_phlo.publishing.duckdb_file import DuckDBPublisher
    from airflow_provider_phlo.publishing.lakehouse import open_catalog_tables

    with open_catalog_tables(catalog or _default_catalog(), tables_to_publish.values()) as sources:
        marts = {table: sources[source] for table, source in tables_to_publish.items()}
        results = DuckDBPublisher(path, schema=schema).publish(marts)
    for table, result in results.items():
        log.info("Published %s to %s from %s: %d rows", result.table, path, tables_to_publish[table], result.rows)
    return results


def _declared(
    tables: Mapping[str, str],
    columns: Mapping[str, Sequence[str]],
    declared: Mapping[str, Declaration] | None,
    keys: Mapping[str, str | Sequence[str]],
) -> dict[str, Declaration]:
    """
    Return what each table is to have.

    :param columns: the columns of each source.
    :raises ConfigurationError: a key is given for a table that is not published.
    """
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.publishing.dbt_models import declarations
    from airflow_provider_phlo.publishing.postgres import Declaration

    if unknown := sorted(set(keys) - set(tables)):
        raise ConfigurationError(f"key names tables that are not published: {', '.join(unknown)}.")
    by_model = declarations(settings.home(), columns) if declared is None else {}
    found = {}
    for table, source in tables.items():
        known = (declared or {}).get(table) or by_model.get(source) or Declaration()
        key = keys.get(table)
        found[table] = known if key is None else known._replace(key=(key,) if isinstance(key, str) else tuple(key))
    return found


def _mart(table: str, source: Source, known: Declaration) -> Mart:
    from airflow_provider_phlo.publishing.postgres import Mart

    comment = source.comment if known.comment is None else known.comment
    complete = known._replace(comment=comment, comments={**source.comments, **known.comments})
    return Mart(table, source.columns, source.read, source.version, complete)


def _default_catalog() -> Catalog:
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

    return PhloIcebergHook().catalog


def _connect(postgres: Any) -> AbstractContextManager[psycopg.Connection]:
    """Return a connection: a given one is left open, one that is made here is closed."""
    import psycopg

    if isinstance(postgres, psycopg.Connection):
        return nullcontext(postgres)
    if isinstance(postgres, str):
        return psycopg.connect(postgres, autocommit=True)
    if isinstance(postgres, Mapping):
        return psycopg.connect(**{**postgres, "autocommit": True})
    connection = postgres.get_conn() if hasattr(postgres, "get_conn") else None
    if not isinstance(connection, psycopg.Connection):
        raise ConfigurationError(
            f"postgres is a {type(postgres).__name__}: give a psycopg (version 3) connection, a hook that makes one, "
            "a libpq URI, or its parameters as a mapping."
        )
    return connection
