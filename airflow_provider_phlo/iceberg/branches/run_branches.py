"""
Write, audit, publish: a run writes to its own branch; readers see it when main is moved there in one commit.

The commit that publishes also stores the run's mark and its dlt state as table properties. The mark makes a retry
a no-op, and stays when the snapshot that it names expires.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, Literal

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemovePropertiesUpdate,
    RemoveSnapshotRefUpdate,
    SetPropertiesUpdate,
    TableRequirement,
    TableUpdate,
)

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.iceberg.branches.commits import require_table_branches
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, Mark, find_published_result, tidy_marks
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.refs import branch_head, is_ancestor, lineage, point_branch
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement
from airflow_provider_phlo.iceberg.tables.support import require_committable
from airflow_provider_phlo.terms import MAIN_BRANCH, SnapshotId, Token

# the result of a run that may not publish any more
WITHDRAWN: Mapping[str, Any] = {"withdrawn": True}
BRANCH_PREFIX = "phlo_"
# with what runs.token gives, and what replays of a quarantine add
_RUN_BRANCH = re.compile(rf"{BRANCH_PREFIX}[0-9a-f]{{16}}(_quarantine)?")
# dlt's state as the last published run left it
STATE_PROPERTY = "phlo.dlt-state"
# snapshots that main was set back from: publishing a branch that was made on top of one would bring it back
UNDONE_PROPERTY = "phlo.undone-snapshots"
# the id of the last rollback: batches extracted before it continue from a state that is no longer the table's
SET_BACK_PROPERTY = "phlo.set-back"


# what a commit needs and does beside publishing, for a table as it was loaded and the branch that becomes main
Upkeep = Callable[[Table, str], tuple[Sequence[TableRequirement], Sequence[TableUpdate]]]


def no_upkeep(table: Table, branch: str) -> tuple[Sequence[TableRequirement], Sequence[TableUpdate]]:
    """Do nothing but publish."""
    return (), ()


class Head(Enum):
    """Values for arguments that otherwise take a snapshot id or None, where None means the head of an empty table."""

    OF_MAIN = "main's head at the time of the commit"
    ANY = "whichever it is"


def require_head(identifier: str, head: SnapshotId | None, expected: SnapshotId | Literal[Head.ANY] | None) -> None:
    """
    Refuse to write what was computed from another content.

    :param head: main's snapshot now.
    :param expected: the one that it was computed from.
    :raises CommitConflictError: they are not the same.
    """
    if expected not in (Head.ANY, head):
        raise CommitConflictError(f"{identifier} has changed since it was read: compute its content again.")


def branch_name(token: Token) -> str:
    """Return the branch of the run with ``token``."""
    return BRANCH_PREFIX + token


def token_of(snapshot: Snapshot | None) -> Token | None:
    """Return the token of the run that wrote a snapshot, None where another writer did."""
    return snapshot.summary.additional_properties.get("phlo.token") if snapshot and snapshot.summary else None


def is_of_a_run(branch: str, head: Snapshot | None) -> bool:
    """Return whether a branch is a run's, by its name or by who wrote it: others may begin theirs with ``phlo_``."""
    token = token_of(head)
    return bool(_RUN_BRANCH.fullmatch(branch) or (token and branch == branch_name(token)))


def create(
    catalog: Catalog, identifier: str, branch: str, *, at: SnapshotId | Literal[Head.OF_MAIN] | None = Head.OF_MAIN
) -> Table:
    """
    Point ``branch`` at main's head, dropping what an earlier attempt left there.

    A table without snapshots gets no branch yet: the first write creates it.

    :param at: the snapshot to point to, if not main's head; None means the head of an empty table.
    :returns: the table as loaded after the commit.
    :raises ConfigurationError: on Nessie, where a table's branch would replace main.
    """
    require_table_branches(catalog, branch)

    def attempt() -> Table:
        table = catalog.load_table(identifier)
        wanted, old = branch_head(table) if at is Head.OF_MAIN else at, branch_head(table, branch)
        if wanted == old:
            return table
        update = RemoveSnapshotRefUpdate(ref_name=branch) if wanted is None else point_branch(table, branch, wanted)
        # a head that main has just left may be about to expire
        heads = {branch: old, **({MAIN_BRANCH: wanted} if at is Head.OF_MAIN else {})}
        unmoved = [AssertRefSnapshotId(ref=name, snapshot_id=snapshot_id) for name, snapshot_id in heads.items()]
        commit(catalog, table, unmoved, [update])
        return catalog.load_table(identifier)

    return retry_commit(attempt, identifier)


def drop(catalog: Catalog, identifier: str, branch: str) -> None:
    """Remove ``branch``; one that does not exist is fine."""

    def attempt() -> None:
        table = catalog.load_table(identifier)
        if branch_head(table, branch) is not None:
            commit(catalog, table, [], [RemoveSnapshotRefUpdate(ref_name=branch)])

    retry_commit(attempt, identifier)


def move_main(
    catalog: Catalog,
    identifier: str,
    branch: str,
    *,
    token: Token | None = None,
    result: Mapping[str, Any] | None = None,
    properties: Mapping[str, str] | None = None,
    expected_head: SnapshotId | Literal[Head.ANY] | None = Head.ANY,
    settlement: Settlement = AS_THEY_ARE,
    upkeep: Upkeep = no_upkeep,
) -> SnapshotId | None:
    """
    Move main to the head of ``branch`` and remove the branch, in one atomic commit.

    A branch that does not exist means that the run changed nothing: then only mark and properties are stored.

    :param token: the run's token; stored with ``result`` as the mark that makes a retry a no-op.
    :param result: what the run returns, a small JSON object.
    :param properties: table properties to set in the same commit (the dlt state).
    :param expected_head: the snapshot that was audited; the branch must still point there. None means an empty
        table, to which the run added nothing.
    :param settlement: what becomes of the table's columns in the same commit.
    :param upkeep: says what else the commit does, so that the table stays small.
    :returns: main's snapshot id afterwards, None for a table that is still empty.
    :raises CommitConflictError: if main is no longer an ancestor of the branch, or another attempt moved the branch.
    """

    def attempt() -> SnapshotId | None:
        table = catalog.load_table(identifier)
        main, tip = branch_head(table), branch_head(table, branch)
        unmoved = [AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=main)]
        removal: list[TableUpdate] = []
        if tip is not None:
            unmoved.append(AssertRefSnapshotId(ref=branch, snapshot_id=tip))
            removal.append(RemoveSnapshotRefUpdate(ref_name=branch))
        if token and find_published_result(table, token) is not None:
            commit(catalog, table, unmoved, removal)  # what a slower attempt of the same run has left
            return main
        _require_audited(table, branch, expected_head)
        moved = [point_branch(table, MAIN_BRANCH, tip)] if tip is not None and tip != main else []
        own = [*moved, *removal, *_property_updates(table, token, result, properties)]
        unchanged, columns = settlement.changes(table)
        needed, more = upkeep(table, branch)
        commit(catalog, table, [*unmoved, *unchanged, *needed], [*own, *columns, *more])
        return main if tip is None else tip

    return retry_commit(attempt, identifier)


def withdraw(catalog: Catalog, identifier: str, token: Token) -> dict[str, Any]:
    """
    Make sure that the run with ``token`` can no longer publish, unless it already has.

    :returns: the result that it has published, else :data:`WITHDRAWN`.
    """
    branch = branch_name(token)

    def attempt() -> dict[str, Any]:
        table = catalog.load_table(identifier)
        found = find_published_result(table, token)
        if found is not None:
            return found
        tip = branch_head(table, branch)
        # what publishes moves main, and asserts that its branch is there
        unmoved = [
            AssertRefSnapshotId(ref=name, snapshot_id=branch_head(table, name)) for name in (MAIN_BRANCH, branch)
        ]
        removal = [RemoveSnapshotRefUpdate(ref_name=branch)] if tip is not None else []
        commit(catalog, table, unmoved, [*removal, *_property_updates(table, token, WITHDRAWN, None)])
        return dict(WITHDRAWN)

    return retry_commit(attempt, identifier)


def _require_audited(table: Table, branch: str, expected_head: SnapshotId | Literal[Head.ANY] | None) -> None:
    identifier, main, tip = ".".join(table.name()), branch_head(table), branch_head(table, branch)
    if expected_head is not Head.ANY and tip != expected_head:
        raise CommitConflictError(f"Branch {branch} of {identifier} no longer points to the audited snapshot.")
    if expected_head is None and main is not None:
        raise CommitConflictError(f"{identifier} was empty when it was audited, but no longer is.")
    if tip is not None and not is_ancestor(table.metadata, main, of=tip):
        raise CommitConflictError(f"main of {identifier} moved since branch {branch} was made.")
    if tip is not None and undone_snapshots(table).intersection(_until(lineage(table.metadata, tip), main)):
        raise CommitConflictError(f"main of {identifier} was set back since branch {branch} was made.")


def undone_snapshots(table: Table) -> set[SnapshotId]:
    """Return the snapshots that main was set back from."""
    return {int(snapshot_id) for snapshot_id in table.properties.get(UNDONE_PROPERTY, "").split(",") if snapshot_id}


def undone_text(snapshot_ids: Iterable[SnapshotId]) -> str:
    """Return what :data:`UNDONE_PROPERTY` says of snapshots; :func:`undone_snapshots` reads it."""
    return ",".join(map(str, sorted(snapshot_ids)))


def _until(snapshot_ids: Iterator[int], last: int | None) -> Iterator[int]:
    return itertools.takewhile(lambda snapshot_id: snapshot_id != last, snapshot_ids)


def _property_updates(
    table: Table, token: Token | None, result: Mapping[str, Any] | None, properties: Mapping[str, str] | None
) -> list[TableUpdate]:
    changed = {name: value for name, value in (properties or {}).items() if table.properties.get(name) != value}
    updates: list[TableUpdate] = []
    if token:
        now = int(time.time() * 1000)
        changed[MARK_PREFIX + token] = Mark(now, result or {}).to_json()
        packed, stale = tidy_marks(table.properties, now)
        changed |= packed
        if stale:
            updates.append(RemovePropertiesUpdate(removals=stale))
    if changed:
        updates.append(SetPropertiesUpdate(updates=changed))
    return updates


def commit(
    catalog: Catalog, table: Table, requirements: Sequence[TableRequirement], updates: Sequence[TableUpdate]
) -> None:
    """
    Commit ``updates``, if there are any.

    :raises CommitFailedException: if another writer was faster: load the table and decide again.
    :raises ConfigurationError: if PyIceberg cannot commit to the table: its format version, or its properties.
    """
    if not updates:
        return
    require_committable(table)
    try:
        catalog.commit_table(table, (AssertTableUUID(uuid=table.metadata.table_uuid), *requirements), tuple(updates))
    except KeyError as error:  # a property to remove is gone: another run has removed the same old mark
        raise CommitFailedException(f"{'.'.join(table.name())}: property {error} was removed by another.") from error
