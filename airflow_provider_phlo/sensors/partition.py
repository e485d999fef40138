"""Wait for a table's partition."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.configuration import conf

from airflow_provider_phlo import runs
from airflow_provider_phlo.exceptions import TerminalError
from airflow_provider_phlo.failure_logs import say_failures_plainly, says_it_all
from airflow_provider_phlo.library_errors import keep_values_in
from airflow_provider_phlo.operators.links import TableLink
from airflow_provider_phlo.terms import MetadataColumn

if TYPE_CHECKING:
    from airflow.sdk import Context


class PhloPartitionSensor(BaseSensorOperator):
    """
    Wait until a table has published rows (on its main branch) of a partition date.

    A table that does not exist yet is waited for. A row has the partition date of the run that last changed it, so a
    day whose run changed nothing leaves no partition to wait for: set a ``timeout``, with ``soft_fail`` if the rest
    may continue without it.

    ::

        PhloPartitionSensor(task_id="wait", table="readings", partition_date="{{ ds }}", timeout=3600, deferrable=True)

    :param table: ``table`` or ``namespace.table`` (templated).
    :param partition_date: ``YYYY-MM-DD`` (templated); the run's own by default.
    :param partition_column: the column that holds it: a date, or a timestamp whose UTC day counts.
    :param iceberg_conn_id: the catalog's connection.
    :param deferrable: whether to wait in the triggerer, without a worker; ``[operators] default_deferrable`` decides
        by default.

    Other parameters, such as ``poke_interval``, ``timeout``, ``soft_fail`` and ``mode``, are those of every sensor.
    """

    operator_extra_links = (TableLink(),)
    template_fields: Sequence[str] = ("table", "partition_date")

    def __init__(
        self,
        *,
        table: str,
        partition_date: str | None = None,
        partition_column: str = MetadataColumn.PARTITION_DATE,
        iceberg_conn_id: str = "iceberg_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.table = table
        self.partition_date = partition_date
        self.partition_column = partition_column
        self.iceberg_conn_id = iceberg_conn_id
        self.deferrable = deferrable

    def poke(self, context: Context) -> bool:
        """Look once; hand over to the triggerer if there is nothing yet and the sensor is deferrable."""
        from airflow.sdk.exceptions import AirflowFailException

        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.iceberg.files.partition_days import has_partition
        from airflow_provider_phlo.naming import qualified_table

        @keep_values_in
        def look() -> tuple[str, str, bool]:
            table, day = qualified_table(self.table), runs.partition_date(context, self.partition_date)
            catalog = PhloIcebergHook(self.iceberg_conn_id).catalog
            return table, day, has_partition(catalog, table, self.partition_column, day)

        say_failures_plainly()
        try:
            table, day, published = look()
        except TerminalError as error:
            raise says_it_all(AirflowFailException(str(error))) from None
        self.log.info("Partition %s of %s is %s", day, table, "published" if published else "not there yet")
        if not published and self.deferrable:
            self._defer(table, day)
        return published

    def _defer(self, table: str, day: str) -> None:
        from airflow_provider_phlo.triggers.partition import PhloPartitionTrigger

        self.defer(
            trigger=PhloPartitionTrigger(
                table=table,
                partition_date=day,
                partition_column=self.partition_column,
                iceberg_conn_id=self.iceberg_conn_id,
                poke_interval=self.poke_interval,
            ),
            method_name="execute_complete",
            timeout=datetime.timedelta(seconds=self.timeout),
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> None:
        """Take the event of the ``PhloPartitionTrigger``."""
        from airflow.sdk.exceptions import AirflowFailException

        if event["status"] != "success":
            say_failures_plainly()
            raise says_it_all(AirflowFailException(event["message"]))
        self.log.info("Partition %s of %s is published", event["partition_date"], event["table"])
