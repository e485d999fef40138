"""
DuckDB over a catalog: one view per table, so that any SQL reads Iceberg.

A view lists the data files of one snapshot and maps columns by Iceberg field id. DuckDB then prunes columns and
rows itself, and renamed, added and widened columns are read correctly from old files. For files that Trino has deleted
rows of, the positions of those rows are kept in memory. Files that DuckDB cannot read that way (no field ids, not
Parquet) go through PyIceberg into memory, as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import _read_all_delete_files
from pyiceberg.manifest import DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.duckdb.columns import (
    FileColumns,
    columns_in_file,
    duckdb_type,
    may_lack_columns,
    must_look_into_files,
)
from airflow_provider_phlo.iceberg.duckdb.sessions import read_only, spill_privately
from airflow_provider_phlo.iceberg.files import remote as remote_files
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.tables.lookup import existing_table, is_staging, table_names
from airflow_provider_phlo.iceberg.tables.names import require_distinct_names, require_distinct_tables, require_nameable
from airflow_provider_phlo.iceberg.tables.staging import as_on_branch
from airflow_provider_phlo.iceberg.tables.support import require_readable_data
from airflow_provider_phlo.sql import literal, quote_identifier

if TYPE_CHECKING:
    from pyiceberg.table import FileScanTask
    from pyiceberg.table.snapshots import Snapshot

# creates the view of what is staged under a branch that a table lacks, and returns where its files are; None if nothing
# is staged there (``trino.preview.create_staged_view``)
CreateStagedView = Callable[[duckdb.DuckDBPyConnection, Catalog, Table, str, str], "set[str] | None"]

# what DuckDB calls a row's file and its number in it
_FILE, _POSITION = "phlo file", "file_row_number"
_POSITION_COLUMNS = frozenset({_FILE, _POSITION})


def connect(
    catalog: Catalog,
    *,
    tables: Iterable[str] | None = None,
    branch: str | None = None,
    staged: CreateStagedView | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
    locked: bool = False,
) -> duckdb.DuckDBPyConnection:
    """
    Return an in-memory DuckDB with one schema per namespace and one view per table.

    :param tables: only these, as ``namespace.table``; all tables of the catalog when None.
    :param branch: read this branch of each table that has it, and ``main`` of the others.
    :param staged: shows what is staged under the branch's name instead of a table's ``main``; see
        :func:`create_branch_view`.
    :param connection: add the views to this connection instead of a new one.
    :param locked: let the connection reach nothing but these tables' files, see :func:`~.sessions.read_only`.
    :raises ConfigurationError: a table named in ``tables`` does not exist or has columns that DuckDB takes for one, or
        tables differ in nothing but the case of their names.
    """
    connection = connection or duckdb.connect()
    spill_privately(connection)
    catalog, branch = branch_of(catalog, branch)
    connection.execute("SET TimeZone = 'UTC'")
    directories: set[str] = set()
    identifiers = list(dict.fromkeys(all_tables(catalog) if tables is None else tables))
    require_distinct_tables(identifiers)
    for identifier in identifiers:
        try:
            table = existing_table(catalog, identifier)
            require_nameable(identifier)
            require_distinct_names(identifier, table.schema())
        except ConfigurationError:
            if tables is None:  # dropped since it was listed, or not readable from here
                continue
            raise
        directories |= create_branch_view(connection, catalog, table, identifier, branch, staged=staged)
    if locked:
        read_only(connection, directories)
    return connection


def all_tables(catalog: Catalog) -> list[str]:
    """Return every table of the catalog as ``namespace.table``, sorted; staging tables of merges are left out."""
    return sorted(identifier for identifier in table_names(catalog) if not is_staging(identifier))


def create_view(
    connection: duckdb.DuckDBPyConnection, catalog: Catalog, identifier: str, *, branch: str | None = None
) -> None:
    """
    Create or replace the view of one table; it shows the snapshot that is current now.

    :param identifier: ``namespace.table``, also the view's schema and name.
    :param branch: read this branch if the table has it, else ``main``.
    :raises pyiceberg.exceptions.NoSuchTableError: there is no such table.
    """
    catalog, branch = branch_of(catalog, branch)
    create_branch_view(connection, catalog, catalog.load_table(identifier), identifier, branch)


def create_branch_view(
    connection: duckdb.DuckDBPyConnection,
    catalog: Catalog,
    table: Table,
    identifier: str,
    branch: str | None,
    *,
    staged: CreateStagedView | None = None,
) -> set[str]:
    """
    Create or replace the view of a table's branch; of ``main`` where the table lacks it.

    :param catalog: with ``branch``, what :func:`branch_of` returns.
    :param staged: called first for a table that lacks the branch: it makes a view of what an engine that cannot write
        branches has staged instead. This module may not import such an engine, so the caller passes it in.
    :returns: where the files of the view are, for :func:`~.sessions.read_only`.
    """
    if staged is not None and branch is not None and branch not in table.refs():
        locations = staged(connection, catalog, table, identifier, branch)
        if locations is not None:
            return locations
    return create_table_view(connection, table, identifier, branch=branch)


def create_table_view(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    identifier: str,
    *,
    branch: str | None = None,
    snapshot_id: int | None = None,
) -> set[str]:
    """
    Create, or renew, the view of a table that is loaded already; see :func:`create_view`.

    :param snapshot_id: read this snapshot instead of a branch.
    :returns: where its files are, for :func:`~.sessions.read_only`.
    :raises SchemaError: if rows, or what is deleted of them, are in files that cannot be read.
    """
    table = as_on_branch(table, branch)
    require_distinct_names(identifier, table.schema())
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else _snapshot(table, branch)
    return create_files_view(
        connection, table, identifier, live_tasks(table, snapshot.snapshot_id if snapshot else None)
    )


def create_files_view(
    connection: duckdb.DuckDBPyConnection, table: Table, identifier: str, tasks: Sequence[FileScanTask]
) -> set[str]:
    """
    Create, or renew, a view of some files of a table.

    :param identifier: the view's schema and name, joined by a dot.
    :returns: where the files are, for :func:`~.sessions.read_only`.
    :raises SchemaError: if rows, or what is deleted of them, are in files that cannot be read.
    """
    require_nameable(identifier)
    require_readable_data(table, (task.file for task in tasks))
    native, others = _sorted_by_columns(table, tasks)
    paths = {task.file.file_path: _path(task.file.file_path) for _, group in native for task in group}
    directories = {_path(table.location()), _path(table.location()) + "/"}
    if remote := [task.file for _, group in native for task in group if "://" in paths[task.file.file_path]]:
        mounted = remote_files.mount(connection, table.io, remote)
        paths |= mounted.urls
        directories = {mounted.root}
    selects = []
    for number, (columns, group) in enumerate(native):
        if files := [paths[task.file.file_path] for task in group if not task.delete_files]:
            selects.append(f"SELECT {columns.selected} FROM {columns.read_parquet(files)}")  # noqa: S608 - quoted
        if with_deletes := [task for task in group if task.delete_files]:
            name = f"phlo deletes {number} {identifier}"
            selects.append(_select_undeleted(connection, table, name, columns, with_deletes, paths))
    if others:
        selects.append(_select_arrow(connection, table, identifier, others))
    if not selects:
        selects.append(_select_nothing(table.schema().fields))
    namespace = identifier.rpartition(".")[0]
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quote_identifier(namespace)}")
    connection.execute(f"CREATE OR REPLACE VIEW {view_name(identifier)} AS {' UNION ALL '.join(selects)}")
    return directories


def branch_of(catalog: Catalog, branch: str | None) -> tuple[Catalog, str | None]:
    """
    Return where ``branch`` is to be read, as catalog and branch of its tables.

    Nessie has it for the whole catalog, others for each table.
    """
    if branch is None or not nessie.is_nessie(catalog):
        return catalog, branch
    return (catalog if nessie.head_commit(catalog, branch) is None else nessie.at(catalog, branch)), None


def _snapshot(table: Table, branch: str | None) -> Snapshot | None:
    if branch is not None and branch in table.refs():
        return table.snapshot_by_name(branch)
    return table.current_snapshot()


def _sorted_by_columns(
    table: Table, tasks: Sequence[FileScanTask]
) -> tuple[list[tuple[FileColumns, list[FileScanTask]]], list[FileScanTask]]:
    """Return the files that DuckDB reads itself, grouped by how they have the columns, and the others."""
    if not _POSITION_COLUMNS.isdisjoint(table.schema().column_names):
        return [], list(tasks)
    others: list[FileScanTask] = []
    groups: dict[str, tuple[FileColumns, list[FileScanTask]]] = {}
    as_table, look = FileColumns(table.schema().fields), must_look_into_files(table)
    for task in tasks:
        columns = None if _needs_arrow(task) else as_table
        if columns and (look or may_lack_columns(table, task.file)):
            columns = columns_in_file(table, task)
        if columns is None:
            others.append(task)
        else:
            groups.setdefault(str(columns.nested), (columns, []))[1].append(task)
    return list(groups.values()), others


def _needs_arrow(task: FileScanTask) -> bool:
    path = task.file.file_path
    # DuckDB would expand the pattern characters of a path
    odd_path = any(character in path for character in "*?[")
    by_value = any(file.content != DataFileContent.POSITION_DELETES for file in task.delete_files)
    return odd_path or by_value or task.file.file_format != FileFormat.PARQUET


def _select_undeleted(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    name: str,
    columns: FileColumns,
    tasks: Sequence[FileScanTask],
    readable_paths: Mapping[str, str],
) -> str:
    """
    Return a SELECT of the files of ``tasks``, without the rows that position deletes name.

    :param name: the name under which DuckDB finds the positions of these rows.
    :param readable_paths: where DuckDB finds each file.
    """
    deleted = _read_all_delete_files(table.io, tasks)
    paths = {task.file.file_path: readable_paths[task.file.file_path] for task in tasks}
    positions = [
        pa.table({"file": pa.repeat(pa.scalar(paths[path]), len(rows)).dictionary_encode(), "pos": rows})
        for path, parts in deleted.items()
        if path in paths
        for rows in parts
    ]
    files = columns.read_parquet(paths.values(), f", file_row_number = true, filename = {literal(_FILE)}")
    if not positions:  # of files that are gone
        return f"SELECT {columns.selected} FROM {files}"  # noqa: S608 - quoted
    connection.register(name, pa.concat_tables(positions).unify_dictionaries())
    gone = f"d.file = r.{quote_identifier(_FILE)} AND d.pos = r.{_POSITION}"
    kept = f"NOT EXISTS (SELECT 1 FROM {quote_identifier(name)} d WHERE {gone})"  # noqa: S608 - quoted
    return f"SELECT {columns.selected} FROM {files} r WHERE {kept}"  # noqa: S608 - quoted


def _select_arrow(
    connection: duckdb.DuckDBPyConnection, table: Table, identifier: str, tasks: Iterable[FileScanTask]
) -> str:
    schema = table.schema()
    columns = [field.name for field in schema.fields]
    data = pa.concat_tables([rows for task in tasks for rows in read_file(table, task, columns)])
    name = f"phlo arrow {identifier}"
    connection.register(name, data)
    return f"SELECT {_cast_columns(schema.fields)} FROM {quote_identifier(name)}"  # noqa: S608 - quoted


def _select_nothing(fields: Sequence[NestedField]) -> str:
    columns = ", ".join(
        f"CAST(NULL AS {duckdb_type(field.field_type)}) AS {quote_identifier(field.name)}" for field in fields
    )
    return f"SELECT {columns} LIMIT 0"


def _cast_columns(fields: Sequence[NestedField]) -> str:
    return ", ".join(
        f"CAST({quote_identifier(field.name)} AS {duckdb_type(field.field_type)}) AS {quote_identifier(field.name)}"
        for field in fields
    )


def view_name(identifier: str) -> str:
    """Return the quoted name of a table's view; the namespace is its schema, dots included."""
    namespace, _, name = identifier.rpartition(".")
    return f"{quote_identifier(namespace)}.{quote_identifier(name)}"


def _path(location: str) -> str:
    """Return the plain path of a ``file:`` URI; other URLs stay as they are."""
    return re.sub(r"^file:(//(localhost)?(?=/))?", "", location)
