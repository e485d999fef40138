"""The project's environment, for commands that read its tables."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_HAVE_CATALOG = {"AIRFLOW_HOME", "AIRFLOW_CONN_ICEBERG_DEFAULT"}
_NONE = (
    "{} does not exist. Change to the project's folder or set PHLO_HOME; phlo init makes a project. "
    "AIRFLOW_CONN_ICEBERG_DEFAULT names a catalog without one."
)


def enter_project_environment(*, required: bool = True) -> None:
    """
    Do what ``eval "$(make -s env)"`` does, unless this shell already has an Airflow home or a catalog.

    :param required: whether the command needs a project; without one, nothing is done if not.
    :raises ConfigurationError: the folder is not in a project, and has no home of its own.
    """
    from airflow_provider_phlo.services.environment import embedded
    from airflow_provider_phlo.services.machine.roots import find_root

    if _HAVE_CATALOG & os.environ.keys():
        return
    root = find_root(Path.cwd())
    home = embedded.resolve_home(root or Path.cwd(), os.environ)
    if not root and not home.exists():
        if not required:
            return
        raise ConfigurationError(_NONE.format(home))
    embedded.prepare(home)
    variables = embedded.added_to(os.environ, embedded.shell_environment(home, root or Path.cwd(), os.environ))
    os.environ.clear()
    os.environ.update(variables)


def no_catalog() -> str:
    """Return why there is no catalog of tables here, in words; nothing if there is one."""
    from airflow_provider_phlo import settings

    home = settings.home()
    return "" if _HAVE_CATALOG & os.environ.keys() or home.exists() else _NONE.format(home)


def home_of(catalog: Catalog) -> Path | None:
    """Return the folder that has a catalog if it is the embedded one, None if a connection names another."""
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.sql import sqlite_url

    home = settings.home()
    return home if catalog.properties.get("uri") == sqlite_url(home / "catalog.db") else None


def project_folder() -> Path:
    """
    Return the folder of the project, where ``include`` is, as a path from the current folder.

    It is the nearest with a ``phlo.yaml``, from the current one upwards; without one the current folder if it
    has an ``include``, else that of Airflow's DAG files.
    """
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.services.machine.roots import find_root

    here = Path.cwd()
    root = find_root(here)
    if root is None and not (here / "include").is_dir():
        return settings.project_folder()
    return Path(os.path.relpath(root or here, here))
