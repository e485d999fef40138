"""The ``[phlo]`` options: one small function each, and the only reader of Airflow's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_phlo import without_airflow
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.terms import Engine

SECTION = "phlo"
# the first is the default
WAREHOUSES = ("iceberg", "snowflake", "postgres")


def _get(key: str, fallback: str) -> str:
    certain = without_airflow.option(SECTION, key, fallback)
    if certain is not None:
        return certain
    from airflow.sdk.configuration import conf

    return conf.get(SECTION, key, fallback=fallback)


def _whole_number(key: str, fallback: str, *, at_least: int) -> int:
    value = _get(key, fallback)
    if not value.strip().isdecimal() or int(value) < at_least:
        raise ConfigurationError(f"[{SECTION}] {key} = {value!r}: give a whole number of at least {at_least}.")
    return int(value)


def _yes(key: str) -> bool:
    return _get(key, "True").lower() in ("1", "true", "yes", "on")


def home() -> Path:
    """Return the folder of all local state: ``$PHLO_HOME``, else ``.phlo`` below the working directory."""
    return Path(os.environ.get("PHLO_HOME") or ".phlo").resolve()


def catalog_name() -> str:
    """Return the catalog's name in asset URIs ``iceberg://<catalog>/<namespace>/<table>``."""
    return _get("catalog_name", "phlo")


def default_namespace() -> str:
    """Return the namespace of a table name that has none."""
    return _get("default_namespace", "raw")


def staging_url() -> str:
    """Return where batches are staged: a path, or any URL that ``ObjectStoragePath`` reads."""
    return _get("staging_path", "") or str(home() / "staging")


def staging_retention_days() -> int:
    """Return for how many days the staged files of a finished run are kept."""
    return _whole_number("staging_retention_days", "7", at_least=0)


def stage_url() -> str:
    """Return where rows are staged on their way into a warehouse: a path, or a URL."""
    return _get("stage_path", "") or str(home() / "stage")


def stage_retention_days() -> int:
    """Return for how many days the files of a stage are kept."""
    return _whole_number("stage_retention_days", "90", at_least=0)


def warehouse() -> str:
    """
    Return the warehouse that a stage is loaded into: ``iceberg``, ``snowflake`` or ``postgres``.

    :raises ConfigurationError: it is another.
    """
    value = _get("warehouse", WAREHOUSES[0]).strip()
    if value not in WAREHOUSES:
        raise ConfigurationError(f"[{SECTION}] warehouse = {value!r}: write one of {', '.join(WAREHOUSES)}.")
    return value


def warehouse_conn_id() -> str:
    """Return the connection of the warehouse; empty for the default one of its kind."""
    return _get("warehouse_conn_id", "").strip()


def snowflake_stage() -> str:
    """Return the name of Snowflake's external stage over the folder of ``stage_path``; empty for none."""
    return _get("snowflake_stage", "").strip()


def io_retries() -> int:
    """Return how often the example DAGs retry a task that talks to a server."""
    return _whole_number("io_retries", "3", at_least=0)


def io_retry_delay_seconds() -> int:
    """Return the seconds from such a failure to the retry."""
    return _whole_number("io_retry_delay_seconds", "60", at_least=0)


def batch_rows() -> int:
    """Return how many rows are converted, validated and written at a time."""
    return _whole_number("batch_rows", "50000", at_least=1)


def undeclared_types() -> str:
    """Return what becomes of values that an undeclared column cannot hold exactly: ``variant`` columns or ``error``."""
    value = _get("undeclared_types", "variant").strip()
    if value not in ("variant", "error"):
        raise ConfigurationError(f"[{SECTION}] undeclared_types = {value!r}: write variant or error.")
    return value


def engine() -> str:
    """Return the engine that merges and checks where a task names none: ``pyiceberg`` or ``trino``."""
    return _get("engine", Engine.PYICEBERG).strip()


def preload() -> bool:
    """Return whether heavy libraries are imported before tasks are forked."""
    return _yes("preload")


def check_results() -> bool:
    """Return whether the results of checks are kept in the table ``phlo.check_results``."""
    return _yes("check_results")


def upkeep() -> bool:
    """Return whether every publication keeps its table small: snapshots beyond its retention expire."""
    return _yes("upkeep")


def turn_seconds() -> int:
    """Return how long one writer of a table may keep the others waiting; 0: writers do not wait for each other."""
    return _whole_number("turn_seconds", "300", at_least=0)


def catalog_options() -> dict[str, str]:
    """Return what a catalog is opened with, so that settings reach whoever publishes: engines, the quarantine, dbt."""
    return {
        **({} if upkeep() else {"phlo.upkeep": "false"}),
        **({} if turn_seconds() == 300 else {"phlo.turn-seconds": str(turn_seconds())}),
    }


def forks_tasks() -> bool:
    """Return whether the scheduler's children run tasks (LocalExecutor, perhaps among others)."""
    from airflow.sdk.configuration import conf

    return "LocalExecutor" in conf.get("core", "executor", fallback="")


def metrics_are_on() -> bool:
    """Return whether Airflow sends its metrics to StatsD, Datadog or OpenTelemetry."""
    from airflow.sdk.configuration import conf

    return any(
        conf.getboolean("metrics", option, fallback=False)
        for option in ("statsd_on", "statsd_datadog_enabled", "otel_on")
    )


def day_zone() -> str:
    """Return the time zone whose days the marts count."""
    return _get("day_zone", "UTC")


def trusted_origins() -> frozenset[str]:
    """Return the origins whose pages may use the api-server: its own address, and those that Airflow allows."""
    from airflow.sdk.configuration import conf

    allowed = conf.get("api", "access_control_allow_origins", fallback="").split(",")
    base = urlsplit(conf.get("api", "base_url", fallback=""))
    return frozenset({f"{base.scheme}://{base.netloc}", *(origin.strip() for origin in allowed if origin.strip())})


def project_folder() -> Path:
    """Return the project's folder, where ``include`` is: ``[phlo] project_folder``, else that of the DAG files."""
    configured = _get("project_folder", "").strip()
    if configured:
        return Path(configured).expanduser()
    dags = without_airflow.option("core", "dags_folder", "")
    if not dags:
        from airflow.sdk.configuration import conf

        dags = conf.get("core", "dags_folder", fallback="dags")
    return Path(dags).parent


def airflow_url() -> str:
    """Return the address at which people reach Airflow."""
    from airflow.sdk.configuration import conf

    return conf.get("api", "base_url", fallback="")
