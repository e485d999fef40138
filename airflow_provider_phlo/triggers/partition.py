"""Wait for a partition without a worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_phlo.exceptions import TerminalError, TransientError
from airflow_provider_phlo.library_errors import keep_values_in

if TYPE_CHECKING:
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook


# as many looks in a row end the trigger: who waits for hours should not end with one answer that a server did not give
_FAILED_LOOKS = 5


class PhloPartitionTrigger(BaseTrigger):
    """
    Fire once a table has published rows of a day.

    The event is ``{"status": "success", "table": …, "partition_date": …}``, or ``{"status": "error", "message": …}``
    where waiting cannot help. A look that fails for a reason that may pass is warned of and repeated; the fifth in
    a row ends the trigger, and the task is retried.

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
        self._failed = 0

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments that make an equal trigger."""
        names = ("table", "partition_date", "partition_column", "iceberg_conn_id", "poke_interval")
        path = f"{PhloPartitionTrigger.__module__}.{PhloPartitionTrigger.__qualname__}"
        return path, {name: getattr(self, name) for name in names}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the partition is there."""
        try:
            while not await self._look():
                await asyncio.sleep(self.poke_interval)
        except TerminalError as error:
            event = {"status": "error", "message": str(error)}
        else:
            event = {"status": "success", "table": self.table, "partition_date": self.partition_date}
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _look(self) -> bool:
        try:
            # connection, catalog and imports all block: none of them on the triggerer's one event loop
            published = await asyncio.to_thread(self._published)
        except TransientError as error:
            self._failed += 1
            if self._failed == _FAILED_LOOKS:
                raise
            self.log.warning("Looking again in %s s: %s", self.poke_interval, error)
            return False
        self._failed = 0
        return published

    @cached_property
    def _hook(self) -> PhloIcebergHook:
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        return PhloIcebergHook(self.iceberg_conn_id)

    @keep_values_in
    def _published(self) -> bool:
        from airflow_provider_phlo.iceberg.files.partition_days import has_partition

        return has_partition(self._hook.catalog, self.table, self.partition_column, self.partition_date)
