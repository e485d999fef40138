"""The ``[phlo]`` options: one small function each, and the only reader of Airflow's configuration."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.terms import Engine

SECTION = "phlo"


def _get(key: str, fallback: str) -> str:
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


def forks_tasks() -> bool:
    """Return whether the scheduler's children run tasks (LocalExecutor, perhaps among others)."""
    from airflow.sdk.configuration import conf

    return "LocalExecutor" in conf.get("core", "executor", fallback="")


def day_zone() -> str:
    """Return the time zone whose days the marts count."""
    return _get("day_zone", "UTC")


def trusted_origins() -> frozenset[str]:
    """Return the origins whose pages may use the api-server: its own address, and those that Airflow allows."""
    from airflow.sdk.configuration import conf

    allowed = conf.get("api", "access_control_allow_origins", fallback="").split(",")
    base = urlsplit(conf.get("api", "base_url", fallback=""))
    return frozenset({f"{base.scheme}://{base.netloc}", *(origin.strip() for origin in allowed if origin.strip())})
