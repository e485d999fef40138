"""Commit to a table that others commit to as well: races are run again, conflicts are told apart from them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.update import AssertRefSnapshotId, SetSnapshotRefUpdate

from airflow_provider_phlo.exceptions import CommitConflictError

Result = TypeVar("Result")

ATTEMPTS = 50


def pause(round_number: int) -> None:
    """Wait a random moment, a longer one in later rounds, so that writers that raced do not race again."""
    time.sleep(random.uniform(0, 0.02 * min(round_number + 1, 25)))  # noqa: S311  # spreads writers, no secret


def retried(attempt: Callable[[], Result], identifier: str) -> Result:
    """
    Run ``attempt`` until it does not lose the race for the table's one current metadata file.

    :param attempt: loads the table, decides and commits; a conflict that it finds itself ends the matter.
    :raises CommitConflictError: if other writers won every round.
    """
    for round_number in range(ATTEMPTS):
        try:
            return attempt()
        except CommitFailedException:
            pause(round_number)
    raise CommitConflictError(f"{identifier}: other writers committed first {ATTEMPTS} times in a row; retry.")


def set_ref(branch: str, snapshot_id: int) -> SetSnapshotRefUpdate:
    """Return the update that makes ``branch`` point to a snapshot."""
    return SetSnapshotRefUpdate(
        ref_name=branch,
        type=SnapshotRefType.BRANCH,
        snapshot_id=snapshot_id,
        max_ref_age_ms=None,
        max_snapshot_age_ms=None,
        min_snapshots_to_keep=None,
    )


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

    What others write to other branches meanwhile does not matter; a commit to this one does.

    :param table: as it was read when the files were chosen and written.
    :param branch: exists, unless the table has no snapshot yet.
    :param summary: properties of the snapshot.
    :returns: the snapshot's id, or None if there is nothing to do.
    :raises CommitConflictError: if another writer has changed the branch, or how the table is partitioned.
    """
    if not added and not removed:
        return None
    identifier = ".".join(table.name())
    base = _base(table, branch)
    current = [table]

    def attempt() -> int:
        try:
            return _commit_snapshot(current[0], branch, added, removed, summary)
        except (CommitFailedException, ValueError) as error:
            newer = catalog.load_table(identifier)
            if _base(newer, branch) != base:
                raise CommitConflictError(f"{identifier}: branch {branch} was changed by another writer.") from error
            raced = newer.metadata_location != current[0].metadata_location
            current[0] = newer
            # PyIceberg reports a sequence number that another commit has taken as a plain ValueError
            if isinstance(error, ValueError) and not raced:
                raise
            raise CommitFailedException(str(error)) from error

    return retried(attempt, identifier)


def _base(table: Table, branch: str) -> tuple[object, ...]:
    """Return what written files depend on: they cannot be committed once it has changed."""
    refs = table.metadata.refs
    head = refs.get(branch) or refs.get(MAIN_BRANCH)
    return table.metadata.table_uuid, table.metadata.default_spec_id, head.snapshot_id if head else None


def _commit_snapshot(
    table: Table, branch: str, added: Sequence[DataFile], removed: Sequence[DataFile], summary: Mapping[str, str]
) -> int:
    # PyIceberg's own retry would put the snapshot on top of whatever the branch has become: off, in memory only
    properties = {**table.metadata.properties, "commit.retry.num-retries": "0"}
    table.metadata = table.metadata.model_copy(update={"properties": properties})
    # PyIceberg lets the first snapshot of a table be written to main only, or without a branch: then we name it
    unnamed = table.metadata.refs.get(branch) is None and branch != MAIN_BRANCH
    with table.transaction() as transaction:
        update = transaction.update_snapshot(snapshot_properties=dict(summary), branch=None if unnamed else branch)
        producer = update.overwrite() if removed else update.fast_append()
        for file in removed:
            producer.delete_data_file(file)
        for file in added:
            producer.append_data_file(file)
        producer.commit()
        if unnamed:
            still_empty = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=None)
            transaction._stage((set_ref(branch, producer.snapshot_id),), (still_empty,))
    return producer.snapshot_id
