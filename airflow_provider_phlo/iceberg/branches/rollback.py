"""
Set main back to an earlier snapshot, so that the runs after it can be run again.

Runs leave more than rows: the mark that makes a retry a no-op, and dlt's state (cursors, ETags) that makes the next
run go on where they ended. Both are table properties, so both are what they were when main pointed to the snapshot:
the metadata file of that time says it, as long as it is in the table's metadata log. The undone snapshots stay until
they expire, and main can be set forward to them again.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pyiceberg.catalog import Catalog
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    RemovePropertiesUpdate,
    SetPropertiesUpdate,
    TableUpdate,
)

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.history import HistoryEntry, entry_of, load, moment
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, Mark, all_marks, mark_properties
from airflow_provider_phlo.iceberg.branches.run_branches import SET_BACK_PROPERTY, STATE_PROPERTY, UNDONE_PROPERTY
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage, point_branch
from airflow_provider_phlo.terms import MAIN_BRANCH


@dataclass(frozen=True)
class RollbackPlan:
    """
    What a rollback does.

    :param undone: the snapshots that main is set back from, newest first.
    :param redone: the snapshots that main is set forward over (the rollback of a rollback), newest first.
    :param properties: table properties that change; None removes one.
    :param state: what becomes of dlt's state: ``unchanged``, ``restored``, or ``cleared`` because it is no longer known
        what it was: then the next run reads everything again, and a merge finds most of it unchanged.
    """

    table: str
    current: int
    target: HistoryEntry
    undone: tuple[HistoryEntry, ...]
    redone: tuple[HistoryEntry, ...]
    properties: Mapping[str, str | None]
    state: str

    @property
    def unmarked(self) -> tuple[str, ...]:
        """Return the tokens of runs that will count as unpublished, so that they can run again."""
        return tuple(
            sorted(
                name.removeprefix(MARK_PREFIX)
                for name, value in self.properties.items()
                if name.startswith(MARK_PREFIX) and value is None
            )
        )


def plan_rollback(
    catalog: Catalog, identifier: str, *, to_snapshot: int | None = None, to_time: str | None = None
) -> RollbackPlan:
    """
    Return what setting main back changes; nothing is changed.

    :param to_snapshot: an ancestor of main; or a descendant that main was set back from.
    :param to_time: ISO 8601 with a zone: what main pointed to then.
    :raises ConfigurationError: if there is no such snapshot in main's history, or nothing to undo.
    """
    table = load(catalog, identifier)
    current = branch_head(table)
    if current is None:
        raise ConfigurationError(f"{identifier} is empty: there is nothing to set back.")
    if (to_snapshot is None) == (to_time is None):
        raise ConfigurationError("Name the snapshot to set main back to, or the time: exactly one of the two.")
    target = _at(table, to_time) if to_time is not None else to_snapshot
    entry = entry_of(table, target) if target is not None else None
    if entry is None:
        raise ConfigurationError(
            f"{identifier} has no snapshot {target}: it never existed, or it has expired. "
            f"`catalog history {identifier}` lists those that exist."
        )
    return _plan(table, current, entry)


def _plan(table: Table, current: int, target: HistoryEntry) -> RollbackPlan:
    undone, redone = _path(table, current, target.snapshot_id)
    properties, state = _properties(table, target.snapshot_id, undone)
    identifier = ".".join(table.name())
    return RollbackPlan(identifier, current, target, _known(table, undone), _known(table, redone), properties, state)


def rollback(catalog: Catalog, plan: RollbackPlan) -> None:
    """
    Do what ``plan`` says, in one commit.

    A run that merged on top of what is undone cannot publish that: it merges again on top of what main is now, and
    leaves dlt's state as it is (``landing``).

    :raises CommitConflictError: if main has moved since it was planned; nothing was changed.
    """

    def attempt() -> None:
        table = catalog.load_table(plan.table)
        if branch_head(table) != plan.current:
            raise CommitConflictError(f"main of {plan.table} has moved since the rollback was planned: plan it again.")
        # a run that changed no row has moved nothing, and left its mark
        fresh = _plan(table, plan.current, plan.target)
        unmoved = AssertRefSnapshotId(ref=MAIN_BRANCH, snapshot_id=plan.current)
        moved = point_branch(table, MAIN_BRANCH, plan.target.snapshot_id)
        branches.commit(catalog, table, [unmoved], [moved, *_updates(table, fresh)])

    retry_commit(attempt, plan.table)


def _updates(table: Table, plan: RollbackPlan) -> Iterator[TableUpdate]:
    changed = {name: value for name, value in plan.properties.items() if value is not None}
    yield SetPropertiesUpdate(updates={**changed, SET_BACK_PROPERTY: uuid.uuid4().hex})
    gone = [name for name, value in plan.properties.items() if value is None and name in table.properties]
    if gone:
        yield RemovePropertiesUpdate(removals=gone)


def _at(table: Table, text: str) -> int:
    """Return what main pointed to at a time."""
    identifier = ".".join(table.name())
    try:
        wanted = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"{text!r} is not a time: write it like 2024-01-15T06:00:00+00:00.") from None
    if wanted.tzinfo is None:
        raise ConfigurationError(
            f"{text!r} is ambiguous: say which zone, like 2024-01-15T06:00:00+00:00 (or Z for UTC)."
        )
    if wanted > datetime.datetime.now(datetime.UTC):
        raise ConfigurationError(f"{text} lies in the future.")
    log = table.metadata.snapshot_log
    before = [entry for entry in log if moment(entry.timestamp_ms) <= wanted]
    if not before:
        first = f"at {moment(log[0].timestamp_ms).isoformat()}" if log else "nowhere"
        raise ConfigurationError(f"The known history of {identifier} begins {first}, which is after {text}.")
    return before[-1].snapshot_id


def _path(table: Table, current: int, target: int) -> tuple[list[int], list[int]]:
    """Return which snapshots are undone, and which are done again, on the way to ``target``."""
    identifier, metadata = ".".join(table.name()), table.metadata
    if target == current:
        raise ConfigurationError(f"main of {identifier} is at snapshot {target} already: there is nothing to undo.")
    back, forth = list(lineage(metadata, current)), list(lineage(metadata, target))
    if target in back:
        return back[: back.index(target)], []
    if current in forth and target in {entry.snapshot_id for entry in metadata.snapshot_log}:
        return [], forth[: forth.index(current)]
    raise ConfigurationError(
        f"Snapshot {target} of {identifier} is neither an ancestor of main's {current}, nor one that main was set back "
        "from: set main back to a snapshot that both have in their history first."
    )


def _known(table: Table, snapshot_ids: list[int]) -> tuple[HistoryEntry, ...]:
    return tuple(entry for item in snapshot_ids if (entry := entry_of(table, item)))


def _properties(table: Table, target: int, undone: list[int]) -> tuple[dict[str, str | None], str]:
    """Return the properties that change, and what becomes of dlt's state."""
    now = table.properties
    then = _properties_at(table, target)
    marks = all_marks(now)
    wanted: dict[str, str | None] = dict.fromkeys((*marks, *mark_properties(now), STATE_PROPERTY))
    if then is not None:
        wanted.update(all_marks(then))
        wanted[STATE_PROPERTY] = then.get(STATE_PROPERTY)
    else:
        wanted.update(_marks_before(table, marks, target, undone))
    guard = (branches.undone_snapshots(table) | set(undone)) - set(lineage(table.metadata, target))
    wanted[UNDONE_PROPERTY] = branches.undone_text(guard) or None
    unmarked = {name for name in marks if wanted[name] is None}  # packed ones have no property of that name
    changed = {name: value for name, value in wanted.items() if now.get(name) != value or name in unmarked}
    if STATE_PROPERTY not in changed:
        return changed, "unchanged"
    return changed, "cleared" if then is None else "restored"


def _properties_at(table: Table, target: int) -> Mapping[str, str] | None:
    """Return the table's properties as they were when main left ``target``; None if that is not known any more."""
    for entry in reversed(table.metadata.metadata_log):
        try:
            metadata = _metadata(table, entry.metadata_file)
        except FileNotFoundError:
            continue
        if metadata.current_snapshot_id == target:
            return metadata.properties
    return None


def _metadata(table: Table, location: str) -> TableMetadata:
    return FromInputFile.table_metadata(table.io.new_input(location))


def _marks_before(table: Table, marks: Mapping[str, str], target: int, undone: list[int]) -> dict[str, str]:
    """
    Return the marks of the runs that are not undone.

    A mark names the snapshot that main had after the run, its own or the one that it found; only where it does not, the
    times decide, which may come from two machines.
    """
    tokens = {entry.token for entry in _known(table, undone)}
    left = [
        after.timestamp_ms
        for before, after in zip(table.metadata.snapshot_log, table.metadata.snapshot_log[1:], strict=False)
        if before.snapshot_id == target
    ]
    return {
        name: value
        for name, value in marks.items()
        if name.removeprefix(MARK_PREFIX) not in tokens
        and not _is_undone(Mark.from_json(value), undone, left[-1] if left else None)
    }


def _is_undone(mark: Mark, undone: list[int], left: int | None) -> bool:
    if mark.result.get("head") is not None:
        return mark.result["head"] in undone
    return left is not None and mark.at >= left
