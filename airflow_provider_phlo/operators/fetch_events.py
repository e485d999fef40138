"""Fetch GitHub's public events as immutable batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.base import NOTHING_TO_DO
from airflow_provider_phlo.operators.rate_limits import RateLimitedOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class FetchEventsOperator(RateLimitedOperator):
    """
    Write the public events that are new as batches ``events_YYYYMMDD_HHMMSS_batch_NNN.jsonl``.

    ::

        FetchEventsOperator(task_id="fetch") >> FileLoadOperator(task_id="load")

    :param github_conn_id: the connection: host = API root, password = token, optional; GitHub's own API without a token
        where there is no such connection.
    :param folder: where batches go: an absolute path, or a URL of an object store (templated); ``RAW_DIR`` when None.

    A rate limit is waited for without a worker, see the
    :class:`~airflow_provider_phlo.operators.rate_limits.RateLimitedOperator`.
    """

    template_fields: Sequence[str] = ("folder",)

    def __init__(self, *, github_conn_id: str = "github_default", folder: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.github_conn_id = github_conn_id
        self.folder = folder

    def run(self, context: Context) -> dict[str, Any]:
        """
        Fetch what is new.

        :raises SourceUnavailableError: GitHub does not answer, or a rate limit outlasts the patience.
        :raises SourceRejectedError: it refuses, or answers something else than events.
        :raises TransientError: the disk is full.
        """
        from airflow_provider_phlo import settings
        from airflow_provider_phlo.events.fetching import fetch_events
        from airflow_provider_phlo.events.paths import event_paths
        from airflow_provider_phlo.hooks.github import github_arguments
        from airflow_provider_phlo.object_store import open_folder
        from airflow_provider_phlo.sources.github_api import API_ROOT
        from airflow_provider_phlo.sources.github_events import fetch_public_events

        paths = event_paths(settings.home(), folder=self.folder)
        folder, arguments = paths.raw, github_arguments(self.github_conn_id)

        def read(etag: str | None) -> Any:
            return fetch_public_events(**arguments, etag=etag)

        fetched = fetch_events(read, open_folder(folder), paths.memory, source=arguments.get("base_url", API_ROOT))
        self.log.info("%s has %d new events in %d batches.", folder, fetched.events, len(fetched.batches))
        if fetched.gap:
            self.log.warning(
                "None of these events was there at the last reading: those in between are missed, as GitHub shows only "
                "its latest 300. Let the DAG run more often."
            )
        return {**fetched.to_json(), NOTHING_TO_DO: fetched.reason}
