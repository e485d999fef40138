"""Turn written data files into one snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg import branches


def commit_files(
    catalog: Catalog,
    table: Table,
    branch: str,
    *,
    added: Sequence[DataFile],
    removed: Sequence[DataFile] = (),
    summary: Mapping[str, str],
) -> int | None:
    """
    Replace ``removed`` by ``added`` on ``branch``, in one snapshot.

    :param table: as it was read; a commit that came since then is a conflict.
    :param branch: exists, unless the table has no snapshot yet.
    :param summary: properties of the snapshot.
    :returns: the snapshot's id, or None if there is nothing to do.
    :raises CommitConflictError: if another writer was faster.
    """
    if not added and not removed:
        return None
    identifier = ".".join(table.name())
    # PyIceberg lets the first snapshot of a table be written to main only, or without a branch: then we name it.
    unnamed = branches.head(table) is None and branch != MAIN_BRANCH
    try:
        with table.transaction() as transaction:
            update = transaction.update_snapshot(snapshot_properties=dict(summary), branch=None if unnamed else branch)
            with update.overwrite() if removed else update.fast_append() as producer:
                for file in removed:
                    producer.delete_data_file(file)
                for file in added:
                    producer.append_data_file(file)
                snapshot_id = producer.snapshot_id
    except CommitFailedException as error:
        raise CommitConflictError(f"{identifier}: {error}") from error
    if unnamed:
        branches.point(catalog, identifier, branch, snapshot_id)
    return snapshot_id
