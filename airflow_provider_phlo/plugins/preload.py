"""
Warm tasks: import the heavy libraries once, in the processes that fork tasks and parse DAG files.

The scheduler forks the workers of the LocalExecutor, and they fork tasks; the dag-processor forks a process a file.
What is imported before the fork costs nothing after it. Only imports happen here: no connection, no query, no thread.
"""

from __future__ import annotations

import importlib
import logging
import sys
import time
from typing import Any

from airflow.listeners import hookimpl

log = logging.getLogger(__name__)

# in the order of their cost; what is not installed is left out
TASK_MODULES = (
    "pyarrow.parquet",
    "pandas",
    "pandera.pandas",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "duckdb",
    "psycopg",
    "requests",
    "airflow_provider_phlo.hooks.dlt",
    "airflow_provider_phlo.hooks.iceberg",
    "airflow_provider_phlo.landing",
    "airflow_provider_phlo.ingestion",
    "airflow_provider_phlo.quality.scan",
    "airflow_provider_phlo.publishing.postgres",
    "airflow_provider_phlo.dbt_plugin",
    "dbt.cli.main",
    "dbt.task.build",
    "dbt.adapters.duckdb",
)
PARSE_MODULES = (
    "airflow_provider_phlo",
    "airflow_provider_phlo.decorators",
    "airflow_provider_phlo.dbt",
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

    command = _command() if type(component).__name__ == "Job" else ""
    if command not in MODULES or not settings.preload():
        return
    if command == "scheduler" and not settings.forks_tasks():
        return  # its tasks run in workers of another kind
    started = time.monotonic()
    missing = [name for name in MODULES[command] if not _import(name)]
    count = len(MODULES[command]) - len(missing)
    log.info("phlo: preloaded %d modules in %.1f s", count, time.monotonic() - started)


def _command() -> str:
    """Return the ``airflow`` command that this process runs: a job that is starting does not know its type yet."""
    return next((argument for argument in sys.argv[1:] if not argument.startswith("-")), "")


def _import(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError as error:  # a task that needs it will say so in its own log
        log.warning("phlo: %s is not preloaded: %s", name, error)
        return False
    return True
