"""Which dbt projects the commands of ``phlo api`` read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.lineage.dbt_project import DbtProject


def read_projects(given: Sequence[str] | None) -> list[DbtProject]:
    """
    Return the given projects, else the usual one; those that have changed are parsed and compiled.

    :raises ConfigurationError: a folder is not a dbt project, or dbt cannot parse it.
    """
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.dbt.compilation import compiled_sql
    from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
    from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET
    from airflow_provider_phlo.dbt.project import Project

    target = os.environ.get("PHLO_DBT_TARGET") or DEFAULT_TARGET
    folders = [Path(each) for each in given or [os.environ.get("PHLO_DBT_PROJECT") or "include/dbt"]]
    for folder in folders:
        if not (folder / "dbt_project.yml").is_file():
            raise ConfigurationError(f"{folder} is not a dbt project: it does not have a dbt_project.yml.")
    projects = [Project(each.resolve(), settings.home(), target) for each in folders]
    return [DbtProject(each.directory, read_manifest(ensure_manifest(each)), compiled_sql(each)) for each in projects]
