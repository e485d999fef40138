"""
Replace what a table holds, in one snapshot, and only if it differs.

For tables that are computed whole each time (dbt models): a run with no new data must leave no trace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    ResolveError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.schema import Schema, promote
from pyiceberg.table import Table
from pyiceberg.table.update.snapshot import ManageSnapshots
from pyiceberg.types import IcebergType, NestedField

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.commits import commit_files
from airflow_provider_phlo.iceberg.branches.publication import run_branch
from airflow_provider_phlo.iceberg.branches.run_branches import Head, require_head
from airflow_provider_phlo.iceberg.catalogs import nessie
from airflow_provider_phlo.iceberg.content import Content, as_content, fitted, is_held, schema_of
from airflow_provider_phlo.iceberg.duckdb.columns import duckdb_type
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.writing import write_files
from airflow_provider_phlo.iceberg.tables.creation import TABLE_PROPERTIES, ensure_namespace, partition_spec, sort_order
from airflow_provider_phlo.iceberg.tables.evolution import apart_from_partitions
from airflow_provider_phlo.iceberg.tables.layout import AS_IT_IS, TableLayout, columns_in_use
from airflow_provider_phlo.iceberg.tables.names import require_distinct_names
from airflow_provider_phlo.iceberg.tables.refs import branch_head, point_branch
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement, settle_columns
from airflow_provider_phlo.iceberg.tables.staging import begin, commit_staged, staged_before, staged_summary
from airflow_provider_phlo.iceberg.tables.support import require_writable
from airflow_provider_phlo.terms import MAIN_BRANCH, SnapshotId

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.manifest import DataFile
    from pyiceberg.table import Transaction
    from pyiceberg.table.metadata import TableMetadata


@dataclass(frozen=True)
class OverwriteResult:
    """
    What :func:`overwrite_if_changed` did.

    :param changed: whether a snapshot was written.
    :param rows: how many rows the new content has.
    :param snapshot_id: the snapshot that holds this content now; None for a table that was never written.
    :param branch: where it was written; None is ``main``.
    :param settlement: what becomes of the table's columns once a branch is ``main``: goes with its publication.
    """

    table: str
    changed: bool
    rows: int
    snapshot_id: int | None
    branch: str | None = None
    settlement: Settlement = AS_THEY_ARE


@dataclass(frozen=True)
class _Difference:
    """
    How the columns of the new content differ from the table's.

    :param settlement: what is left to do once the content is ``main``.
    """

    settlement: Settlement
    added: tuple[NestedField, ...]
    widened: tuple[NestedField, ...]
    replaced: tuple[NestedField, ...]
    stale: tuple[str, ...]

    @property
    def adds(self) -> bool:
        return bool(self.added or self.widened or self.replaced)


def overwrite_if_changed(
    catalog: Catalog,
    identifier: str,
    data: pa.Table | Content,
    *,
    branch: str | None = None,
    volatile_columns: Collection[str] = (),
    layout: TableLayout = AS_IT_IS,
    summary: Mapping[str, str] | None = None,
    expected_head: SnapshotId | Literal[Head.ANY] | None = Head.ANY,
) -> OverwriteResult:
    """
    Make ``data`` the whole content of a table, in one snapshot; write nothing if the table already holds it.

    Rows are compared as a multiset, whatever their order. Columns follow the data, in their types; one that differs
    from the table's in nothing but case is the table's, as for DuckDB, and keeps the name that it has there. A wider
    column that the table is partitioned or sorted by stays as it is. On ``main`` columns change in the commit that
    writes the rows; those of a branch, and its layout, become the table's when it is published.

    :param identifier: ``namespace.table``; both are created when missing, with format version 2.
    :param branch: write there, starting again from ``main``; what is new is compared with ``main``.
    :param volatile_columns: columns that do not count when contents are compared.
    :param layout: how the table is to be partitioned and sorted; one that is not is written again.
    :param summary: properties of the snapshot.
    :param expected_head: main's snapshot that ``data`` was computed from, None for a table without one.
    :raises ConfigurationError: the table is of a kind that PyIceberg does not write, or two columns of ``data``, or two
        members of a struct, differ in nothing but case.
    :raises SchemaError: a column has no Iceberg type, or the table stays partitioned or sorted by one that disappeared
        or has another type.
    :raises CommitConflictError: another writer came first, or main is not at ``expected_head``; nothing was written.
    """
    data = as_content(identifier, data)
    require_distinct_names(identifier, schema_of(data))
    layout.check(identifier, schema_of(data))
    if branch is not None and nessie.is_nessie(catalog):
        options: dict[str, Any] = {"volatile_columns": volatile_columns, "layout": layout, "summary": summary}
        options["expected_head"] = expected_head
        return _overwrite_on_nessie(catalog, identifier, data, branch, options)
    summary = dict(summary or {})
    try:
        table = catalog.load_table(identifier)
    except NoSuchTableError:
        require_head(identifier, None, expected_head)
        return _create(catalog, identifier, data, branch, layout, summary)
    require_head(identifier, branch_head(table), expected_head)
    return _overwrite_table(catalog, table, data, branch, volatile_columns, layout, summary)


def _overwrite_table(
    catalog: Catalog,
    table: Table,
    data: Content,
    branch: str | None,
    volatile_columns: Collection[str],
    layout: TableLayout,
    summary: dict[str, str],
) -> OverwriteResult:
    """Write what a table does not hold; see :func:`overwrite_if_changed`."""
    identifier, head = ".".join(table.name()), branch_head(table)
    data = _with_names_of(table.schema(), data)
    difference = _difference(table.metadata, schema_of(data))
    settlement = difference.settlement
    layout.check_removal(identifier, table.metadata, difference.stale)
    AS_IT_IS.check_removal(identifier, table.metadata, [field.name for field in difference.replaced])
    same_columns = not difference.adds and not difference.stale and layout.is_of(table)
    if same_columns and is_held(table, identifier, data, volatile_columns):
        if branch is None:
            settle_columns(catalog, identifier, settlement)
        else:
            branches.drop(catalog, identifier, branch)
        return OverwriteResult(identifier, False, len(data), head, branch, settlement)
    require_writable(table)
    with raise_conflicts(identifier):
        if branch is not None:
            table = branches.create(catalog, identifier, branch, at=head)
        if same_columns and settlement.is_of(table):
            snapshot_id = _replace_files(catalog, table, data, branch or MAIN_BRANCH, summary)
        else:
            snapshot_id, settlement = _overwrite(table, data, difference, layout, branch, summary)
    return OverwriteResult(identifier, True, len(data), snapshot_id, branch, settlement)


def _overwrite_on_nessie(
    catalog: Catalog, identifier: str, data: Content, branch: str, options: Mapping[str, Any]
) -> OverwriteResult:
    """Overwrite on a branch of the whole catalog; there, columns are the branch's own."""
    run = run_branch(catalog, branch)
    run.start(identifier)
    done = overwrite_if_changed(run.target, identifier, data, **options)
    if not done.changed:
        run.drop(identifier)
    return replace(done, branch=branch)


def _create(
    catalog: Catalog,
    identifier: str,
    data: Content,
    branch: str | None,
    layout: TableLayout,
    summary: dict[str, str],
) -> OverwriteResult:
    """Create the table and its first snapshot in one commit, so that no reader finds it without its rows."""
    ensure_namespace(catalog, identifier.rpartition(".")[0])
    with raise_conflicts(identifier):
        schema = schema_of(data)
        transaction = catalog.create_table_transaction(
            identifier,
            schema,
            partition_spec=partition_spec(schema, layout.partition_by or ()),
            sort_order=sort_order(schema, layout.sort_by or ()),
            properties={**TABLE_PROPERTIES, **layout.properties},
        )
        snapshot_id = _write(transaction, data, (), None, summary)
        ManageSnapshots(transaction).create_branch(snapshot_id, branch or MAIN_BRANCH).commit()
        transaction.commit_transaction()
    return OverwriteResult(identifier, True, len(data), snapshot_id, branch)


def _replace_files(catalog: Catalog, table: Table, data: Content, branch: str, summary: dict[str, str]) -> int | None:
    """Replace all files of the branch; commits to other branches meanwhile do not matter."""
    old = _files(table, branch)
    new = write_files(table, fitted(data, table), "written")
    return commit_files(catalog, table, branch, added=new, removed=old, summary=summary)


def _files(table: Table, branch: str) -> list[DataFile]:
    return [task.file for task in live_tasks(table, branch_head(table, branch))]


def _overwrite(
    table: Table,
    data: Content,
    difference: _Difference,
    layout: TableLayout,
    branch: str | None,
    summary: dict[str, str],
) -> tuple[int, Settlement]:
    """Commit columns and rows together; return the new snapshot, and what is left to do once the branch is main."""
    old = _files(table, branch or MAIN_BRANCH)
    # PyIceberg writes a table's first snapshot to main or nowhere: for a branch, to nowhere, and name it then
    nameless = branch is not None and branch_head(table, branch) is None
    # PyIceberg finds the manifests of old files by the columns that those are partitioned by
    sources = {item.source_id for spec in table.specs().values() for item in spec.fields}
    sources.update(item.source_id for item in table.sort_order().fields)
    needed = [name for name in difference.stale if table.schema().find_field(name).field_id in sources]
    transaction = begin(table)
    if branch is not None:
        summary = summary | staged_summary(table)
        transaction = begin(table, staged_before(table))
        difference = _difference(transaction.table_metadata, schema_of(data))
    with apart_from_partitions(".".join(table.name())):
        _evolve(transaction, difference, keep=needed)
    layout.apply(transaction)
    snapshot_id = _write(transaction, data, old, None if nameless else branch or MAIN_BRANCH, summary)
    difference.settlement.apply(transaction)
    if branch is None:
        transaction.commit_transaction()
        return snapshot_id, difference.settlement
    staged = commit_staged(transaction)
    if nameless:
        table.refresh().manage_snapshots().create_branch(snapshot_id, str(branch)).commit()
    return snapshot_id, staged


def _write(
    transaction: Transaction, data: Content, old: Iterable[DataFile], branch: str | None, summary: dict[str, str]
) -> int:
    producer = transaction.update_snapshot(branch=branch, snapshot_properties=summary).overwrite()
    for file in old:
        producer.delete_data_file(file)
    before = transaction._table
    table = Table(before.name(), transaction.table_metadata, before.metadata_location, before.io, before.catalog)
    for file in write_files(table, fitted(data, table), "written"):
        producer.append_data_file(file)
    producer.commit()
    if branch in table.metadata.refs:  # PyIceberg takes away what else is said of a branch
        transaction._apply((point_branch(table, str(branch), producer.snapshot_id),))
    return producer.snapshot_id


def _evolve(transaction: Transaction, difference: _Difference, *, keep: Collection[str]) -> None:
    """Stage the change of columns; ``replaced`` ones get a new field id, so old values never show under them."""
    gone = [field.name for field in difference.replaced] + [name for name in difference.stale if name not in keep]
    if gone:
        with transaction.update_schema(allow_incompatible_changes=True) as update:
            for name in gone:
                update.delete_column((name,))
    if not (difference.adds or keep):
        return
    with transaction.update_schema() as update:
        for field in (*difference.added, *difference.replaced):
            update.add_column((field.name,), field.field_type)
        for field in difference.widened:
            update.update_column((field.name,), field.field_type)
        for name in keep:
            update.make_column_optional((name,))


def _with_names_of(current: Schema, data: Content) -> Content:
    """Return the data with the table's spelling of a column's name where they differ in nothing but case."""
    exact = {field.name for field in current.fields}
    known = {name.lower(): name for name in exact}
    names = {name: known[name.lower()] for name in data.schema.names if name not in exact and name.lower() in known}
    return data.renamed(names) if names else data


def _difference(metadata: TableMetadata, wanted: Schema) -> _Difference:
    present = {field.name: field for field in metadata.schema().fields}
    needed = columns_in_use(metadata)
    kinds: dict[str, list[NestedField]] = {"added": [], "widened": [], "replaced": [], "kept": []}
    for field in wanted.fields:
        old = present.get(field.name)
        if old is None:
            kinds["added"].append(field)
        elif (fits if old.field_id in needed else _is_same)(field.field_type, old.field_type):
            kinds["kept"].append(field)
        elif fits(old.field_type, field.field_type):
            kinds["widened"].append(field)
        else:
            kinds["replaced"].append(field)
    del kinds["kept"]
    asked = set(wanted.column_names)
    stale = tuple(name for name in present if name not in asked)
    settlement = Settlement(stale, tuple(field.name for field in wanted.fields))
    return _Difference(settlement, stale=stale, **{kind: tuple(fields) for kind, fields in kinds.items()})


def fits(values: IcebergType, column: IcebergType) -> bool:
    """Return whether a column of type ``column`` takes values of another as they are."""
    if _is_same(values, column):
        return True
    if not (values.is_primitive and column.is_primitive):
        return False
    try:
        promote(values, column)
    except ResolveError:
        return False
    return True


def _is_same(one: IcebergType, other: IcebergType) -> bool:
    """Return whether two types are one; nested ones are, whatever the ids of their members."""
    return duckdb_type(one) == duckdb_type(other)


@contextmanager
def raise_conflicts(identifier: str) -> Iterator[None]:
    """Raise the errors of a commit that lost a race as a conflict."""
    try:
        yield
    except (CommitFailedException, TableAlreadyExistsError, ValidationException) as error:
        raise CommitConflictError(f"{identifier}: another writer came first ({error}). Run it again.") from error
