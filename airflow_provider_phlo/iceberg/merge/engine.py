"""The protocol of engines that merge a run's batch, and the embedded engine; Trino's is in ``iceberg.trino``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.branches.publication import Publication, RunBranch
from airflow_provider_phlo.iceberg.merge.batch import ArrowBatches
from airflow_provider_phlo.iceberg.merge.copy_on_write import merge
from airflow_provider_phlo.iceberg.merge.plan import MergePlan, MergeResult
from airflow_provider_phlo.terms import PartitionDate, SnapshotId, Token


class MergeEngine(Protocol):
    """Merges a run's batch and makes the merge visible. A run uses one engine from its first step to its last."""

    def recover(self, catalog: Catalog, identifier: str, token: Token) -> None:
        """Finish what an attempt of this run left half done when it died."""

    def merge(
        self,
        catalog: Catalog,
        identifier: str,
        batch: ArrowBatches,
        plan: MergePlan,
        *,
        token: Token,
        partition_date: PartitionDate | None = None,
        summary: Mapping[str, str] | None = None,
        branch: str | None = None,
    ) -> MergeResult:
        """
        Merge where readers do not see it.

        :param identifier: ``namespace.table``.
        :param batch: the rows in arrival order.
        :param partition_date: the run's partition, which ``replace`` replaces.
        :param summary: properties of the snapshot, as far as the engine can set them.
        :param branch: of the table; ``phlo_<token>`` when None.
        :returns: the counts, and the snapshot that the audit is to read as ``head``.
        """

    def publish(self, catalog: Catalog, run: RunBranch, publication: Publication) -> SnapshotId | None:
        """
        Make the merge main's, with the run's mark.

        :returns: main's snapshot afterwards, None for a table that is still empty.
        :raises CommitConflictError: if main has moved since the merge: merge and audit again.
        """

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        """
        Remove what runs left behind that were given up before ``older_than``.

        :param older_than: seconds since 1970.
        :returns: how many runs' leftovers were removed.
        """

    def cancel(self) -> None:
        """Stop what runs for this process elsewhere."""


class EmbeddedEngine:
    """PyIceberg: writes the run's branch, which then becomes main. Nothing is ever half done."""

    def recover(self, catalog: Catalog, identifier: str, token: Token) -> None:
        """Do nothing: a branch that an attempt left is dropped by the next merge."""

    def merge(
        self,
        catalog: Catalog,
        identifier: str,
        batch: ArrowBatches,
        plan: MergePlan,
        *,
        token: Token,
        partition_date: PartitionDate | None = None,
        summary: Mapping[str, str] | None = None,
        branch: str | None = None,
    ) -> MergeResult:
        """Merge on the branch; see :func:`airflow_provider_phlo.iceberg.merge.merge`."""
        return merge(
            catalog,
            identifier,
            batch,
            plan,
            token=token,
            partition_date=partition_date,
            summary=summary,
            branch=branch,
        )

    def publish(self, catalog: Catalog, run: RunBranch, publication: Publication) -> SnapshotId | None:
        """Make the branch main."""
        return run.publish(publication)

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        """Remove nothing: maintenance drops the branches of failed runs."""
        return 0

    def cancel(self) -> None:
        """Do nothing: all work is done in this process."""


EMBEDDED = EmbeddedEngine()
