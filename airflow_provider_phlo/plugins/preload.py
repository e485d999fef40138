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
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from airflow.listeners import hookimpl

from airflow_provider_phlo.process import process_as_before, without_warnings_of_cosmos

log = logging.getLogger(__name__)

_ROOT = Path(__file__).resolve().parents[1]

# what tasks import of others, the most expensive first; what is not installed is left out
TASK_MODULES = (
    "pyarrow.parquet",
    "pandas",
    "pandera.pandas",
    "pandera.typing.dask",
    "pandera.typing.modin",
    "pandera.typing.pyspark",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "pyiceberg.avro.decoder_fast",
    "pyiceberg_core.transform",
    "duckdb",
    "psycopg",
    "requests",
    "dlt.sources.helpers.requests",
    "dbt.cli.main",
    "dbt.task.build",
    "dbt.adapters.duckdb",
    "dbt.adapters.duckdb.environments.local",
    "dbt.adapters.phlo.__version__",
    "dbt_common.clients.agate_helper",
    "google.protobuf.descriptor_pb2",
    "airflow.dag_processing.bundles.local",
    "airflow.sdk.execution_time.cache",
    "airflow.sdk.execution_time.timeout",
    "airflow.version",
    "upath.implementations.local",
)
# whose modules tasks use: all of them, so that none that is added is forgotten
TASK_PACKAGES = (
    *("alerts", "assets", "contracts", "dbt", "hooks", "iceberg", "ingestion", "metrics", "operators"),
    *("publishing", "quality", "schemas", "services.postgres", "sources"),
)
# of those, what imports a library that few use: Polars takes a second
NOT_PRELOADED = frozenset({"airflow_provider_phlo.schemas.validation.polars_rules"})
PARSE_MODULES = (
    "airflow_provider_phlo",
    "airflow_provider_phlo.decorators",
    "airflow_provider_phlo.dbt.rendering.task_group",
    "airflow_provider_phlo.quality",
    "cosmos",
    "cosmos.airflow.task_group",
    "cosmos.operators.local",
)
# whether what these commands fork runs tasks, not only parses Dag files
COMMANDS = {"scheduler": True, "dag-processor": False}


def modules(*, for_tasks: bool) -> Iterator[str]:
    """
    Yield the names of what is imported.

    :param for_tasks: whether tasks are forked, not only what parses Dag files.
    """
    yield from PARSE_MODULES
    if for_tasks:
        yield from TASK_MODULES
        for package in TASK_PACKAGES:
            yield from _all_of(f"{_ROOT.name}.{package}", _ROOT.joinpath(*package.split(".")))


def _all_of(package: str, folder: Path) -> Iterator[str]:
    """Yield the names of a package and of all modules in it; nothing is imported."""
    yield package
    for found in pkgutil.iter_modules([str(folder)]):
        name = f"{package}.{found.name}"
        if found.ispkg:
            yield from _all_of(name, folder / found.name)
        elif name not in NOT_PRELOADED and found.name != "__main__":
            yield name


@hookimpl
def on_starting(component: Any) -> None:
    """Import what the children of this process will need."""
    from airflow_provider_phlo import settings

    command = airflow_command() if type(component).__name__ == "Job" else ""
    if command not in COMMANDS or not settings.preload():
        return
    if COMMANDS[command] and not settings.forks_tasks():
        return  # its tasks run in other workers, which it does not fork
    preload(for_tasks=COMMANDS[command])


def preload(*, for_tasks: bool) -> None:
    """
    Import modules for the children of this process; what cannot be imported is named in the log and left out.

    :param for_tasks: whether they run tasks, not only parse Dag files.
    """
    started = time.monotonic()
    with process_as_before(), without_warnings_of_cosmos():  # tasks of others are forked from here too
        names = modules(for_tasks=for_tasks)
        done = sum(_attempt(name, functools.partial(importlib.import_module, name)) for name in names)
        _attempt("what Dag files do first", _warm_up)
        if for_tasks:
            _attempt("the plugins of packages", _load_plugins)
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


def _load_plugins() -> None:
    """
    Let Airflow find the listeners of tasks, which every task would.

    What is in the folder of plugins is imported anew for tasks, and may open what they must not share: each task then
    does so itself.
    """
    from airflow.sdk.configuration import conf
    from airflow.sdk.listener import get_listener_manager

    if not any(Path(conf.get("core", "plugins_folder")).rglob("*.py")):
        get_listener_manager()


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
