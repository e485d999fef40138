"""Write many small manifests as few, so that planning a scan opens less, and leave out bounds that may be wrong."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation

from airflow_provider_phlo.iceberg.branches.commits import commit_changes
from airflow_provider_phlo.iceberg.catalogs.retries import COMMIT_ROUNDS, retry_conflicts
from airflow_provider_phlo.iceberg.files.manifests import FileChanges, manifest_files
from airflow_provider_phlo.iceberg.maintenance.bounds import uncertain_bounds
from airflow_provider_phlo.terms import MAIN_BRANCH

# saving one manifest is not worth a snapshot: every compaction leaves two, of added and of removed files
WORTH = 2


@dataclass(frozen=True)
class ManifestPlan:
    """
    How many manifests become how many.

    :param uncertain_bounds: how many data files lose bounds that may leave out rows, see :mod:`.bounds`.
    :param snapshot_id: the snapshot that was written, if one was.
    """

    manifests: int = 0
    manifests_after: int = 0
    bytes: int = 0
    uncertain_bounds: int = 0
    snapshot_id: int | None = None

    def totals(self) -> dict[str, Any]:
        """Return how much it is, as a JSON object."""
        return {
            "manifests": self.manifests,
            "bytes": self.bytes,
            "manifests_after": self.manifests_after,
            "uncertain_bounds": self.uncertain_bounds,
        }


def plan_manifests(table: Table) -> ManifestPlan:
    """Return what to rewrite of main: bounds that are not certain, and manifests that become fewer by :data:`WORTH`."""
    return replace(_fewer(table), uncertain_bounds=len(uncertain_bounds(table)))


def _fewer(table: Table) -> ManifestPlan:
    snapshot = table.current_snapshot()
    manifests = (
        [item for item in snapshot.manifests(table.io) if item.content == ManifestContent.DATA] if snapshot else []
    )
    after = sum(_sizes(manifests))
    if len(manifests) - after < WORTH:
        return ManifestPlan()
    return ManifestPlan(len(manifests), after, sum(item.manifest_length for item in manifests))


def rewrite_manifests(catalog: Catalog, identifier: str) -> ManifestPlan:
    """
    Rewrite the manifests of main, as :func:`plan_manifests` says, in one snapshot.

    :returns: what was done.
    :raises CommitConflictError: if others changed main in every round; nothing was changed.
    """

    def attempt() -> ManifestPlan:
        table = catalog.load_table(identifier)
        plan, wrong = _fewer(table), uncertain_bounds(table)
        changes = FileChanges(clustered=bool(plan.manifests), without_bounds=wrong)
        plan = replace(plan, uncertain_bounds=len(wrong))
        summary = {
            "phlo.strategy": "manifests",
            "phlo.manifests": str(plan.manifests),
            "phlo.uncertain-bounds": str(plan.uncertain_bounds),
        }
        snapshot_id = commit_changes(catalog, table, MAIN_BRANCH, changes, Operation.REPLACE, summary=summary)
        return replace(plan, snapshot_id=snapshot_id)

    return retry_conflicts(attempt, identifier, COMMIT_ROUNDS)


def _sizes(manifests: list[ManifestFile]) -> Iterator[int]:
    """Return how many manifests each partition spec will have."""
    for spec_id in {item.partition_spec_id for item in manifests}:
        same = [item for item in manifests if item.partition_spec_id == spec_id]
        entries = sum((item.added_files_count or 0) + (item.existing_files_count or 0) for item in same)
        yield -(-entries // manifest_files(entries))
