"""What merges a run's batch, and makes the merge visible: the embedded engine is here, Trino's in ``iceberg.trino``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.merge.batch import ArrowBatches
from airflow_provider_phlo.iceberg.merge.copy_on_write import merge
from airflow_provider_phlo.iceberg.merge.plan import MergePlan, MergeResult
from airflow_provider_phlo.iceberg.publication import Publication, RunBranch


class MergeEngine(Protocol):
    """What merges, and makes the merge visible. A run uses one engine from its first step to its last."""

    def recover(self, catalog: Catalog, identifier: str, token: str) -> None:
        """Finish what an attempt of this run that died has left half done."""

    def merge(
        self,
        catalog: Catalog,
        identifier: str,
        batch: ArrowBatches,
        plan: MergePlan,
        *,
        token: str,
        partition_date: str | None = None,
        summary: Mapping[str, str] | None = None,
        branch: str | None = None,
    ) -> MergeResult:
        """Merge where readers do not see it."""

    def publish(self, catalog: Catalog, run: RunBranch, publication: Publication) -> int | None:
        """Make the merge main's, with the run's mark."""

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        """Remove what runs have left that were given up before ``older_than``."""

    def cancel(self) -> None:
        """End what runs outside of this process."""


class EmbeddedEngine:
    """PyIceberg: writes the run's branch, which then becomes main. Nothing is ever half done."""

    def recover(self, catalog: Catalog, identifier: str, token: str) -> None:
        return

    def merge(self, *arguments: Any, **options: Any) -> MergeResult:
        return merge(*arguments, **options)

    def publish(self, catalog: Catalog, run: RunBranch, publication: Publication) -> int | None:
        return run.publish(publication)

    def clean(self, catalog: Catalog, identifier: str, older_than: float) -> int:
        return 0

    def cancel(self) -> None:
        return


EMBEDDED = EmbeddedEngine()
