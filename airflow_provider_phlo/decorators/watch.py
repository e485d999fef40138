"""``phlo_watch_dag``: the DAG that watches tables although no run happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.operators.watch import WatchOperator

if TYPE_CHECKING:
    from airflow.sdk import DAG

_DOC = """
Looks at every table of the catalog: is it fresh by its policy, does it have its usual rows, how much is in quarantine,
does it keep the service levels of contracts. What is wrong goes to the rules in `include/alerting/config.yaml`, and
what has changed into `phlo.check_results`. The task runs in the triggerer, and succeeds when it has looked.
"""


def phlo_watch_dag(
    dag_id: str = "phlo_watch",
    schedule: Any = "*/5 * * * *",
    *,
    folder: str | Path | None = None,
    iceberg_conn_id: str = "iceberg_default",
    trino_conn_id: str = "trino_default",
    **arguments: Any,
) -> DAG:
    """
    Return the DAG that runs a round of the watcher every few minutes.

    It is not paused when it is new: a watcher that nobody has started watches nothing, and says nothing of that.

    ::

        from airflow_provider_phlo import phlo_watch_dag

        phlo_watch_dag()

    :param folder: the project's, with ``include``; None means ``[phlo] project_folder``, else the parent of Airflow's
        folder of DAG files.
    :param iceberg_conn_id: the catalog's connection.
    :param trino_conn_id: the connection of metrics with ``engine: trino``.
    :param arguments: arguments of ``airflow.sdk.DAG`` that differ from these defaults.
    """
    from airflow.sdk import DAG

    defaults = {
        "schedule": schedule,
        "start_date": datetime(2020, 1, 1, tzinfo=UTC),
        "catchup": False,
        "max_active_runs": 1,
        "is_paused_upon_creation": False,
        "tags": ["phlo"],
        "doc_md": _DOC,
    }
    with DAG(dag_id, **{**defaults, **arguments}) as dag:
        WatchOperator(
            task_id="watch",
            folder=None if folder is None else str(folder),
            iceberg_conn_id=iceberg_conn_id,
            trino_conn_id=trino_conn_id,
            retries=1,
            retry_delay=timedelta(seconds=30),
        )
    return dag
