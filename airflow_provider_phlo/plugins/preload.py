"""
Warm tasks: import the heavy libraries once, in the processes that fork tasks and parse DAG files.

The scheduler forks the workers of the LocalExecutor, which fork the tasks; the dag-processor forks one process
per file; a Celery worker forks its pool, which forks the tasks (:mod:`.celery_worker`).
What is imported before the fork costs nothing after it. Only imports happen here: no connection, no query, no thread.
"""

from __future__ import annotations

import functools
import importlib
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from airflow.listeners import hookimpl

from airflow_provider_phlo.process import cosmos_imported_quietly, process_as_before

log = logging.getLogger(__name__)

# the most expensive first, then what tasks of each kind import when they run; what is not installed is left out
TASK_MODULES = (
    "pyarrow.parquet",
    "pandas",
    "pandera.pandas",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "pyiceberg.avro.decoder_fast",
    "pyiceberg_core.transform",
    "duckdb",
    "psycopg",
    "requests",
    "dlt.sources.helpers.requests",
    "airflow_provider_phlo.hooks.dlt",
    "airflow_provider_phlo.hooks.iceberg",
    "airflow_provider_phlo.ingestion.landing",
    "airflow_provider_phlo.ingestion.publication",
    "airflow_provider_phlo.ingestion.staging",
    "airflow_provider_phlo.quality.check_results",
    "airflow_provider_phlo.quality.engines.distinct_hashes",
    "airflow_provider_phlo.quality.reconciliation.aggregates",
    "airflow_provider_phlo.quality.reconciliation.checksums",
    "airflow_provider_phlo.quality.reconciliation.row_counts",
    "airflow_provider_phlo.quality.report",
    "airflow_provider_phlo.quality.scan",
    "airflow_provider_phlo.alerts.rules.configuration",
    "airflow_provider_phlo.alerts.rules.evaluation",
    "airflow_provider_phlo.contracts.enforcement",
    "airflow_provider_phlo.metrics.loads",
    "airflow_provider_phlo.hooks.postgres",
    "airflow_provider_phlo.publishing.changed_rows",
    "airflow_provider_phlo.publishing.dbt_models",
    "airflow_provider_phlo.publishing.marts",
    "airflow_provider_phlo.publishing.postgres",
    "airflow_provider_phlo.services.postgres.server",
    "airflow_provider_phlo.dbt.adapter",
    "dbt.cli.main",
    "dbt.task.build",
    "airflow_provider_phlo.dbt.runner",
    "dbt.adapters.duckdb.environments.local",
    "dbt_common.clients.agate_helper",
    "airflow_provider_phlo.iceberg.duckdb.views",
    "airflow_provider_phlo.iceberg.trino.preview",
    "dbt.adapters.duckdb",
)
PARSE_MODULES = (
    "airflow_provider_phlo",
    "airflow_provider_phlo.decorators",
    "airflow_provider_phlo.dbt.rendering.task_group",
    "airflow_provider_phlo.quality",
    "cosmos",
    "cosmos.airflow.task_group",
    "cosmos.operators.local",
)
MODULES = {"scheduler": (*PARSE_MODULES, *TASK_MODULES), "dag-processor": PARSE_MODULES}


@hookimpl
def on_starting(component: Any) -> None:
    """Import what the children of this process will need."""
    from airflow_provider_phlo import settings

    command = airflow_command() if type(component).__name__ == "Job" else ""
    if command not in MODULES or not settings.preload():
        return
    if command == "scheduler" and not settings.forks_tasks():
        return  # its tasks run in other workers, which it does not fork
    preload(MODULES[command], for_tasks=command == "scheduler")


def preload(modules: Sequence[str], *, for_tasks: bool) -> None:
    """
    Import modules for the children of this process; what cannot be imported is named in the log and left out.

    :param for_tasks: whether the children run tasks, not only parse Dag files.
    """
    started = time.monotonic()
    with process_as_before(), cosmos_imported_quietly():  # tasks of others are forked from here too
        done = sum(_attempt(name, functools.partial(importlib.import_module, name)) for name in modules)
        _attempt("what Dag files do first", _warm_up)
        if for_tasks:
            _attempt("the tables of SQL catalogs", _map_tables)
            _attempt("dbt", _warm_up_dbt)
    log.info("phlo: preloaded %d modules in %.1f s", done, time.monotonic() - started)


def _warm_up() -> None:
    """Do what the first Dag file of a process would do: look up the providers' asset URIs, compile Jinja's lexer."""
    from jinja2 import Environment

    from airflow_provider_phlo.assets.iceberg import iceberg_asset

    Environment().from_string("")  # noqa: S701 - nothing is rendered
    iceberg_asset("any")


def airflow_command() -> str:
    """Return the ``airflow`` command of this process: a job that is starting does not know its type yet."""
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")


def _map_tables() -> None:
    """Do what the first query of each task would do: SQLAlchemy maps the classes of PyIceberg, and those of Airflow."""
    from sqlalchemy.orm import configure_mappers

    configure_mappers()


def _warm_up_dbt() -> None:
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.dbt.warm import warm_up

    warm_up(settings.home())


def _attempt(name: str, action: Callable[[], object]) -> bool:
    try:
        action()
    except Exception as error:  # noqa: BLE001 - a scheduler that starts cold is better than one that does not start
        log.warning("phlo: %s is not preloaded: %s", name, error)
        return False
    return True
