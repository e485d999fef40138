"""Run dlt with its working files below ``PHLO_HOME`` and its results in the staging area."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook

from airflow_provider_phlo import settings
from airflow_provider_phlo.private_files import protect

if TYPE_CHECKING:
    from airflow_provider_phlo.ingestion.staged_batches import StagedBatch
    from airflow_provider_phlo.ingestion.staging import StagingPlan


class DltHook(BaseHook):
    """
    Extract with dlt and stage as Parquet.

    ::

        batch = DltHook().stage(source, plan, token=token, partition_date="2024-01-15", run_id=run_id)

    :param staging_url: where batches are staged, a path or a URL such as ``s3://conn_id@bucket/staging``; the
        ``[phlo] staging_path`` when None.
    """

    def __init__(self, staging_url: str | None = None) -> None:
        super().__init__()
        self.staging_url = staging_url

    @cached_property
    def staging_root(self) -> Any:
        """Return the staging area as a path object."""
        from airflow_provider_phlo.object_store import open_folder

        return open_folder(self.staging_url or settings.staging_url())

    def stage(
        self,
        source: Callable[[], Any],
        plan: StagingPlan,
        *,
        token: str,
        partition_date: str,
        run_id: str,
        state: str = "",
        set_back: str = "",
        refresh: bool = False,
        replay: bool = False,
        hard_delete: str = "",
    ) -> StagedBatch | None:
        """Stage what ``source`` yields; see :func:`airflow_provider_phlo.ingestion.staging.stage`."""
        from airflow_provider_phlo.ingestion import staging

        protect(settings.home())
        return staging.stage(
            source,
            plan,
            root=self.staging_root,
            token=token,
            partition_date=partition_date,
            run_id=run_id,
            pipelines_dir=settings.home() / "dlt",
            state=state,
            set_back=set_back,
            refresh=refresh,
            replay=replay,
            hard_delete=hard_delete,
            zone=settings.day_zone(),
        )
