"""
Rows of a person in an Iceberg table: in every snapshot, branch, file and manifest, also where deletes hide them.

Each branch whose head leads to such rows gets a snapshot without them; snapshots that lead to them then expire, those
that never had them stay; and the files, manifests and old metadata that only they needed are removed at once. Killed at
any point, it goes on from what is there (see :mod:`.traces`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.table.update import AssertRefSnapshotId

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.forgetting.folders import remove_empty_folders
from airflow_provider_phlo.forgetting.holdings import Holdings
from airflow_provider_phlo.forgetting.keys import Wanted
from airflow_provider_phlo.forgetting.places import Found, Kind
from airflow_provider_phlo.forgetting.rewriting import require_rewritable, rewrite_branch, rows_of
from airflow_provider_phlo.forgetting.strays import Strays, metadata_among, search_strays, unnamed_files
from airflow_provider_phlo.forgetting.traces import Traces, search
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.expiry import ExpiryPlan, expiry_updates
from airflow_provider_phlo.iceberg.branches.upkeep import held_updates
from airflow_provider_phlo.iceberg.catalogs.opening import is_nessie
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit, retry_conflicts
from airflow_provider_phlo.iceberg.catalogs.turns import take_turn
from airflow_provider_phlo.iceberg.maintenance.orphans import MINIMUM_HOURS, check_orphan_removal
from airflow_provider_phlo.iceberg.tables.lookup import existing_table
from airflow_provider_phlo.iceberg.tables.properties import may_collect
from airflow_provider_phlo.iceberg.tables.support import require_writable
from airflow_provider_phlo.terms import MAIN_BRANCH


@dataclass
class TablePlace:
    """
    A table of the catalog.

    :param identifier: ``namespace.table``; it exists.
    :param wanted: whose rows.
    :param writer_days: files that nothing names are a running writer's until they are older.
    :param drop_tags: whether tags that lead to such rows are dropped; else the table is refused.
    """

    catalog: Catalog
    identifier: str
    wanted: Wanted
    writer_days: float = 3
    drop_tags: bool = False
    kind: Kind = Kind.TABLE
    _holdings: Holdings | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """Return what people call it."""
        return self.identifier

    def find(self) -> Found:
        """
        Search what is there physically; nothing is changed.

        :raises ConfigurationError: the table's files cannot safely be removed, or a tag leads to such rows.
        :raises SchemaError: the table has files, or deletes, that are not read.
        """
        traces, strays = self._search()
        self._require_erasable(traces)
        for branch in traces.branches:
            require_rewritable(self._known(), branch)
        amounts = {
            "rows": rows_of(self._known(), MAIN_BRANCH) if MAIN_BRANCH in traces.branches else 0,
            "files": len(traces.files) + len(traces.removable) + len(strays.old) + len(strays.young),
            "snapshots": len(traces.snapshots),
        }
        present = {name: count for name, count in amounts.items() if count}
        return Found(present, tuple(self._notes(traces)), self._wait(strays))

    def erase(self) -> None:
        """
        Remove what :meth:`find` finds.

        :raises CommitConflictError: other writers were faster in every round: call it again.
        """
        with take_turn(self.catalog, self.identifier):
            traces, _ = self._search()
            self._require_erasable(traces)
            for branch in traces.branches:
                self._rewrite(branch)
            retry_commit(self._expire, self.identifier)
            self._remove_files()

    def _known(self) -> Holdings:
        """Return what is known of the table's files, with the table as it is now."""
        table = existing_table(self.catalog, self.identifier)
        if self._holdings is None or self._holdings.table.metadata_location != table.metadata_location:
            known = self._holdings
            self._holdings = Holdings(table, self.wanted)
            if known is not None:
                self._holdings.take_over(known)
        return self._holdings

    def _search(self) -> tuple[Traces, Strays]:
        holdings = self._known()
        before = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=self.writer_days)
        unnamed = unnamed_files(holdings.table)
        traces = search(holdings, metadata_among(unnamed, before))
        return traces, search_strays(holdings, unnamed, frozenset(traces.removable), before)

    def _require_erasable(self, traces: Traces) -> None:
        table = traces.table
        if is_nessie(self.catalog):
            raise ConfigurationError(
                f"{self.identifier} is in a Nessie catalog, whose other branches and commits need files that are not "
                "known here: nothing was removed. Delete the rows on every branch with the engine that writes it, then "
                "run nessie-gc."
            )
        check_orphan_removal(self.catalog, table, days=max(self.writer_days, MINIMUM_HOURS / 24))
        if not may_collect(table.properties):
            raise ConfigurationError(
                f"{self.identifier} has gc.enabled={table.properties['gc.enabled']}: its files are shared with "
                "something that Iceberg does not know, and removing them is not safe. Set it when nothing else uses "
                "them, then run it again."
            )
        require_writable(table)
        if traces.tags and not self.drop_tags:
            raise ConfigurationError(
                f"{self.identifier}: {_tags(traces)} to a snapshot with these rows, and a tag never changes. Drop "
                "it yourself, or give --drop-tags to have it dropped."
            )

    def _notes(self, traces: Traces) -> Iterator[str]:
        others = [name for name in traces.branches if name != MAIN_BRANCH]
        if others:
            yield f"also on {', '.join(others)}"
        if traces.tags:
            yield f"{_tags(traces)} to such a snapshot: dropped"
        if traces.snapshots:
            yield f"{len(traces.snapshots)} of {len(traces.table.metadata.snapshots)} snapshots expire"

    def _rewrite(self, branch: str) -> None:
        retry_conflicts(lambda: rewrite_branch(self.catalog, self._known(), branch), self.identifier)

    def _expire(self) -> None:
        """Expire the snapshots that lead to such rows, in one commit that holds only while no branch or tag moves."""
        traces = search(self._known())
        if traces.branches:
            raise CommitConflictError(
                f"{self.identifier}: a run that began before has brought such rows to {', '.join(traces.branches)}: "
                "nothing has expired, run it again."
            )
        self._require_erasable(traces)
        table = traces.table
        unmoved = [
            AssertRefSnapshotId(ref=name, snapshot_id=ref.snapshot_id) for name, ref in table.metadata.refs.items()
        ]
        expiring = ExpiryPlan(tuple(sorted(traces.snapshots)), traces.tags)
        updates = [*expiry_updates(table, expiring), *held_updates(table, without=traces.held)]
        branches.commit(self.catalog, table, unmoved, updates)

    def _remove_files(self) -> None:
        traces, strays = self._search()
        if traces.snapshots:
            raise CommitConflictError(
                f"{self.identifier}: a run that began before has brought such rows back: run it again."
            )
        for path in (*traces.removable, *strays.old):
            remove_file(traces.table.io, path)
        remove_empty_folders(traces.table.io, traces.table.location(), (*traces.left, *strays.old))

    def _wait(self, strays: Strays) -> str:
        if strays.since is None:
            return ""
        until = strays.since + datetime.timedelta(days=self.writer_days)
        return (
            f"{len(strays.young)} file(s) with these rows, or in pieces, belong to no snapshot, and a running writer "
            f"may be about to commit them: run it again after {until:%Y-%m-%d %H:%M} UTC, or give --writer-days if no "
            "writer runs that long"
        )


def remove_file(io: FileIO, path: str) -> None:
    """Remove a file; somebody else may have done so."""
    with suppress(FileNotFoundError):
        io.delete(path)


def _tags(traces: Traces) -> str:
    several = len(traces.tags) > 1
    return f"tag{'s' if several else ''} {', '.join(traces.tags)} point{'' if several else 's'}"
