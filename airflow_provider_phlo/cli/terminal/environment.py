"""The project's environment, for commands that read its tables."""

from __future__ import annotations

import os
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError


def enter_project_environment() -> None:
    """
    Do what ``eval "$(make -s env)"`` does, unless this shell already has an Airflow home or a catalog.

    :raises ConfigurationError: the folder is not in a project, and has no home of its own.
    """
    from airflow_provider_phlo.services.environment import embedded
    from airflow_provider_phlo.services.machine.roots import find_root

    if {"AIRFLOW_HOME", "AIRFLOW_CONN_ICEBERG_DEFAULT"} & os.environ.keys():
        return
    root = find_root(Path.cwd())
    home = embedded.resolve_home(root or Path.cwd(), os.environ)
    if not root and not home.exists():
        raise ConfigurationError(
            f"{home} does not exist. Change to the project's folder or set PHLO_HOME; phlo init makes a project."
        )
    embedded.prepare(home)
    variables = embedded.added_to(os.environ, embedded.shell_environment(home, root or Path.cwd(), os.environ))
    os.environ.clear()
    os.environ.update(variables)


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
