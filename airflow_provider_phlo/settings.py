"""The ``[phlo]`` options: one small function each, and the only reader of Airflow's configuration."""

from __future__ import annotations

import os
from pathlib import Path

SECTION = "phlo"


def _get(key: str, fallback: str) -> str:
    from airflow.sdk.configuration import conf

    return conf.get(SECTION, key, fallback=fallback)


def home() -> Path:
    """Return the folder of all local state: ``$PHLO_HOME``, else ``.phlo`` below the working directory."""
    return Path(os.environ.get("PHLO_HOME") or ".phlo").resolve()


def catalog_name() -> str:
    """Return the catalog's name in asset URIs ``iceberg://<catalog>/<namespace>/<table>``."""
    return _get("catalog_name", "phlo")


def default_namespace() -> str:
    """Return the namespace of a table name that carries none."""
    return _get("default_namespace", "raw")


def staging_url() -> str:
    """Return where batches are staged: a path, or any URL that ``ObjectStoragePath`` reads."""
    return _get("staging_path", "") or str(home() / "staging")


def staging_retention_days() -> int:
    """Return for how many days the staged files of a finished run are kept."""
    return int(_get("staging_retention_days", "7"))


def batch_rows() -> int:
    """Return how many rows are converted, validated and written at a time."""
    return int(_get("batch_rows", "50000"))


def preload() -> bool:
    """Return whether heavy libraries are imported before tasks are forked."""
    return _get("preload", "True").lower() in ("1", "true", "yes", "on")


def day_zone() -> str:
    """Return the time zone whose days the marts count."""
    return _get("day_zone", "UTC")
