"""Watch tables although no run happens: one round as a task that runs in the triggerer from its first moment."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import StartTriggerArgs

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.operators.base import PhloOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_TRIGGER = "airflow_provider_phlo.triggers.watch.WatchTrigger"


class WatchOperator(PhloOperator):
    """
    Look at every table once: freshness, rows, quarantine, service levels; hand over to alert rules what is wrong.

    The task succeeds when the round has looked, whatever it has found: what is wrong is said by alerts. It needs a
    triggerer and takes no worker; where Airflow runs it in one all the same (``airflow dags test``), it is deferred.

    ::

        WatchOperator(task_id="watch")

    :param folder: the project's, with ``include/alerting`` and ``include/contracts``, which may be missing; None means
        ``[phlo] project_folder``, else the parent of Airflow's folder of DAG files.
    :param iceberg_conn_id: the catalog's connection.
    :param trino_conn_id: the connection of metrics with ``engine: trino``; its catalog is that of ``iceberg_conn_id``.
    :param longest_round: after this time a round is given up, and the task fails.
    """

    start_from_trigger = True

    def __init__(
        self,
        *,
        folder: str | None = None,
        iceberg_conn_id: str = "iceberg_default",
        trino_conn_id: str = "trino_default",
        longest_round: timedelta = timedelta(minutes=10),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.iceberg_conn_id = iceberg_conn_id
        self.trino_conn_id = trino_conn_id
        self.longest_round = longest_round
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls=_TRIGGER,
            trigger_kwargs={**self._of_round(), "end_from_trigger": True},
            next_method="execute_complete",
            next_kwargs=None,
            timeout=longest_round,
        )

    def _of_round(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("folder", "iceberg_conn_id", "trino_conn_id")}

    def run(self, context: Context) -> Any:
        """Hand over to the triggerer."""
        from airflow_provider_phlo.triggers.watch import WatchTrigger

        self.defer(
            trigger=WatchTrigger(**self._of_round(), end_from_trigger=False),
            method_name="execute_complete",
            timeout=self.longest_round,
        )

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """
        Return what the round has found.

        :raises TransientError: it failed.
        """
        if "error" in event:
            raise TransientError(f"The round failed: {event['error']}")
        return event["round"]
