"""One round of the watcher in the triggerer: no worker is held, and none is needed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent

from airflow_provider_phlo.library_errors import describe, keep_values_in


class WatchTrigger(BaseTrigger):
    """
    Run one round, and end the task with what it has found.

    :param folder: the project's, with ``include/alerting`` and ``include/contracts``; None means Airflow's own.
    :param iceberg_conn_id: the catalog's connection.
    :param trino_conn_id: the connection of metrics whose engine is Trino; its catalog is that of ``iceberg_conn_id``.
    :param end_from_trigger: end the task here; otherwise the event is ``{"round": …}`` or ``{"error": …}``.
    """

    def __init__(
        self,
        *,
        folder: str | None = None,
        iceberg_conn_id: str = "iceberg_default",
        trino_conn_id: str = "trino_default",
        end_from_trigger: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.folder = folder
        self.iceberg_conn_id = iceberg_conn_id
        self.trino_conn_id = trino_conn_id
        self.end_from_trigger = end_from_trigger

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make an equal trigger."""
        names = ("folder", "iceberg_conn_id", "trino_conn_id", "end_from_trigger")
        return f"{WatchTrigger.__module__}.{WatchTrigger.__qualname__}", {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Run the round in a thread: catalogs, files and imports block, and the triggerer has one event loop."""
        try:
            found = await asyncio.to_thread(self._round)
        except Exception as error:  # noqa: BLE001 - the task fails with it, and is retried
            message = describe(error)
            self.log.error("The round failed: %s", message)
            yield self._failed(message)
        else:
            yield self._succeeded(found)

    def _succeeded(self, found: dict[str, Any]) -> TriggerEvent:
        if self.end_from_trigger:
            return TaskSuccessEvent(xcoms={"return_value": found})
        return TriggerEvent({"round": found})  # type: ignore[no-untyped-call]

    def _failed(self, message: str) -> TriggerEvent:
        if self.end_from_trigger:
            return TaskFailedEvent(xcoms={"error": message})
        return TriggerEvent({"error": message})  # type: ignore[no-untyped-call]

    @keep_values_in
    def _round(self) -> dict[str, Any]:
        from airflow_provider_phlo import settings
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.hooks.trino import connect_to
        from airflow_provider_phlo.watching.round import summary, watch

        instance = self.task_instance
        folder = Path(self.folder) if self.folder else settings.project_folder()
        run = (instance.dag_id, instance.run_id) if instance is not None else ("", "")
        catalog = PhloIcebergHook(self.iceberg_conn_id).catalog
        try:
            result = watch(
                catalog,
                folder,
                datetime.now(UTC),
                base_url=settings.airflow_url(),
                run=run,
                connect_to_trino=connect_to(self.trino_conn_id),
            )
        finally:
            catalog.close()
        for verdict in (*result.wrong, *result.unknown):
            self.log.warning("%s", verdict.message)
        for problem in result.problems:
            self.log.warning("%s", problem)
        return summary(result)
