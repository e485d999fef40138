"""
The rows that differ between two snapshots of a table: those of the files that only one of them has.

Files are compared, not the history between the snapshots: a rollback is a change like any other. What a merge rewrites
holds the rows that it did not touch, too, so the rows of both sides are counted against each other.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
from pyiceberg.types import DoubleType, FloatType

from airflow_provider_phlo.iceberg.duckdb.sessions import spill_privately
from airflow_provider_phlo.iceberg.duckdb.views import create_files_view, view_name
from airflow_provider_phlo.iceberg.files.manifests import SnapshotFiles, live_tasks
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.publishing.postgres.loading import BATCH_ROWS
from airflow_provider_phlo.publishing.postgres.versions import Changes, Rows, VersionUnknownError
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.table import FileScanTask, Table

log = logging.getLogger(__name__)

# beyond this share of the rows, writing all of them is not slower
_MOST_CHANGED = 0.5
# tables with fewer rows are not worth the question
_FEW_ROWS = 10_000
_MEMORY = "512MB"
_ROWS_AT_ONCE = 500_000
_GONE, _COME = "phlo.gone", "phlo.come"
_CHANGES = '"phlo changes"'


@contextmanager
def changed_rows(table: Table, since: int | None, until: int | None) -> Iterator[Changes]:
    """
    Yield the rows that differ between two snapshots.

    :param since: the id of a snapshot; None for the table before its first.
    :raises VersionUnknownError: a snapshot or what it consists of is gone or broken, or most rows differ.
    """
    for snapshot_id in (since, until):
        if snapshot_id is not None and table.metadata.snapshot_by_id(snapshot_id) is None:
            raise VersionUnknownError(f"snapshot {snapshot_id} of its source has expired")
    with duckdb.connect() as connection:
        spill_privately(connection)
        connection.execute(
            f"SET TimeZone = 'UTC'; SET memory_limit = '{_MEMORY}'; SET preserve_insertion_order = false"
        )
        copies = _free_name(table)
        try:
            _count_against_each_other(connection, table, *changed_files(table, since, until), copies)
        except Exception as error:  # noqa: BLE001 - DuckDB, PyIceberg, Avro and file systems each raise their own
            # the older one may be in pieces, and the newer one whole; if it is not, reading all of it says so
            log.warning("What differs from snapshot %s cannot be read: %s", since, describe(error))
            raise VersionUnknownError(f"what differs from snapshot {since} of its source cannot be read") from None
        changes = Changes(_rows(connection, copies, "<"), _rows(connection, copies, ">"))
        _require_few(table, until, changes)
        yield changes


def changed_files(table: Table, since: int | None, until: int | None) -> tuple[list[FileScanTask], list[FileScanTask]]:
    """Return the files whose rows only the older, and only the newer snapshot has."""
    older, newer = SnapshotFiles(table, since), SnapshotFiles(table, until)
    if older.delete_manifests or newer.delete_manifests:
        before, after = _by_content(live_tasks(table, since)), _by_content(live_tasks(table, until))
    else:  # what both list in the same manifest is the same
        shared = {each.manifest_path for each in older.manifests} & {each.manifest_path for each in newer.manifests}
        before, after = (_by_content(_tasks(files, shared)) for files in (older, newer))
    return (
        [task for content, task in before.items() if content not in after],
        [task for content, task in after.items() if content not in before],
    )


def _tasks(files: SnapshotFiles, shared: set[str]) -> Iterator[FileScanTask]:
    for manifest in files.manifests:
        if manifest.manifest_path not in shared:
            yield from (files.task(entry) for entry in files.entries(manifest))


def _by_content(tasks: Iterable[FileScanTask]) -> dict[tuple[str, frozenset[str]], FileScanTask]:
    return {(task.file.file_path, frozenset(each.file_path for each in task.delete_files)): task for task in tasks}


def _count_against_each_other(
    connection: duckdb.DuckDBPyConnection,
    table: Table,
    gone: Sequence[FileScanTask],
    come: Sequence[FileScanTask],
    copies: str,
) -> None:
    """Make a table of the rows that one side has more often, which may spill; ``copies`` is the column of how often."""
    columns = ", ".join(quote_identifier(field.name) for field in table.schema().fields)
    # equal numbers may have different signs
    groups = ", ".join([columns, *(f"signbit({name})" for name in _floating(table))])
    sides = f"SELECT *, 1::BIGINT AS {copies} FROM {view_name(_COME)} UNION ALL SELECT *, -1 FROM {view_name(_GONE)}"  # noqa: S608 - quoted
    counted = (
        f"SELECT {columns}, sum({copies})::BIGINT AS {copies} FROM ({sides}) "  # noqa: S608 - quoted
        f"GROUP BY {groups} HAVING sum({copies}) <> 0"
    )
    statement = f"CREATE TABLE {_CHANGES} AS "
    for older, newer in _by_partition(gone, come):
        create_files_view(connection, table, _GONE, older)
        create_files_view(connection, table, _COME, newer)
        connection.execute(statement + (counted if older and newer else sides))
        statement = f"INSERT INTO {_CHANGES} "


def _by_partition(
    gone: Sequence[FileScanTask], come: Sequence[FileScanTask]
) -> Iterator[tuple[list[FileScanTask], list[FileScanTask]]]:
    """Yield the files of some whole partitions at a time: their rows are counted in half the time of all together."""
    partitions: dict[Any, tuple[list[FileScanTask], list[FileScanTask]]] = {}
    for number, tasks in enumerate((gone, come)):
        for task in tasks:
            partition = (task.file.spec_id, repr(task.file.partition))
            partitions.setdefault(partition, ([], []))[number].append(task)
    older: list[FileScanTask] = []
    newer: list[FileScanTask] = []
    for part in partitions.values():
        older += part[0]
        newer += part[1]
        if sum(task.file.record_count for task in (*older, *newer)) >= _ROWS_AT_ONCE:
            yield older, newer
            older, newer = [], []
    if older or newer or not partitions:
        yield older, newer


def _rows(connection: duckdb.DuckDBPyConnection, copies: str, sign: str) -> Rows:
    differing = f"SELECT * FROM {_CHANGES} WHERE {copies} {sign} 0"  # noqa: S608 - quoted
    query = f"SELECT coalesce(sum(abs({copies})), 0)::BIGINT FROM ({differing})"  # noqa: S608 - quoted
    ((total,),) = connection.execute(query).fetchall()
    each = f"SELECT *, unnest(range(abs({copies}))) FROM ({differing})"  # noqa: S608 - quoted

    def read(names: Sequence[str]) -> pa.RecordBatchReader:
        wanted = ", ".join(map(quote_identifier, names))
        return connection.sql(f"SELECT {wanted} FROM ({each})").to_arrow_reader(BATCH_ROWS)  # noqa: S608 - quoted

    return Rows(total, read)


def _free_name(table: Table) -> str:
    """Return a name, as SQL, that no column of the table has."""
    taken = {field.name.lower() for field in table.schema().fields}
    name = "phlo copies"
    while name in taken:
        name += " "
    return quote_identifier(name)


def _floating(table: Table) -> list[str]:
    fields = table.schema().fields
    return [quote_identifier(field.name) for field in fields if isinstance(field.field_type, FloatType | DoubleType)]


def _require_few(table: Table, until: int | None, changes: Changes) -> None:
    """
    Check that writing what differs is worth it.

    :raises VersionUnknownError: writing all rows is not slower.
    """
    snapshot = table.metadata.snapshot_by_id(until) if until is not None else None
    facts = snapshot.summary.additional_properties if snapshot and snapshot.summary else {}
    rows = int(facts.get("total-records", 0))
    differing = changes.gone.total + changes.come.total
    if differing > max(_FEW_ROWS, _MOST_CHANGED * rows):
        raise VersionUnknownError(f"most of its rows differ from those that were published ({differing})")
