"""Wait for a partition without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_phlo.exceptions import TerminalError
from airflow_provider_phlo.library_errors import keep_values_in

if TYPE_CHECKING:
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook


class PhloPartitionTrigger(BaseTrigger):
    """
    Fire once a table has published rows of a day.

    The event is ``{"status": "success", "table": …, "partition_date": …}``, or ``{"status": "error", "message": …}``
    where waiting cannot help. Any other error ends the trigger, and the task is retried.

    :param table: ``namespace.table``.
    :param partition_date: ``YYYY-MM-DD``.
    :param partition_column: the column that holds the day.
    :param iceberg_conn_id: the catalog's connection.
    :param poke_interval: seconds between two looks.
    """

    def __init__(
        self,
        *,
        table: str,
        partition_date: str,
        partition_column: str,
        iceberg_conn_id: str = "iceberg_default",
        poke_interval: float = 60.0,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.table = table
        self.partition_date = partition_date
        self.partition_column = partition_column
        self.iceberg_conn_id = iceberg_conn_id
        self.poke_interval = poke_interval

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make an equal trigger."""
        names = ("table", "partition_date", "partition_column", "iceberg_conn_id", "poke_interval")
        path = f"{PhloPartitionTrigger.__module__}.{PhloPartitionTrigger.__qualname__}"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the partition is there."""
        try:
            # connection, catalog and imports all block: none of them on the triggerer's one event loop
            while not await asyncio.to_thread(self._published):
                await asyncio.sleep(self.poke_interval)
        except TerminalError as error:
            event = {"status": "error", "message": str(error)}
        else:
            event = {"status": "success", "table": self.table, "partition_date": self.partition_date}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    @cached_property
    def _hook(self) -> PhloIcebergHook:
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        return PhloIcebergHook(self.iceberg_conn_id)

    @keep_values_in
    def _published(self) -> bool:
        from airflow_provider_phlo.iceberg.files.partition_days import has_partition

        return has_partition(self._hook.catalog, self.table, self.partition_column, self.partition_date)
