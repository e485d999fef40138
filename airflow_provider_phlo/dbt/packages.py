"""
Whether the packages that a project names are installed.

dbt counts folders: one that was left there, or a stand-in of the same name, passes for a package that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_provider_phlo.dbt.profiles import read_yaml
from airflow_provider_phlo.exceptions import ConfigurationError

_FILES = ("packages.yml", "dependencies.yml")
_PROJECT = "dbt_project.yml"
# the variable of a package that only serves where the real one is not asked for
_STAND_IN = "phlo_stand_in"


def require_packages(project_dir: Path) -> None:
    """
    Refuse a project that names packages which are not installed.

    Packages from Git and archives have no name before they are installed: dbt itself counts those.

    :raises ConfigurationError: names them, and the command that installs them.
    """
    place = str(read_yaml(project_dir / _PROJECT).get("packages-install-path") or "dbt_packages")
    if "{{" in place:
        return
    installed = {
        str(found.get("name"))
        for found in map(read_yaml, (project_dir / place).glob(f"*/{_PROJECT}"))
        if _STAND_IN not in (found.get("vars") or {})
    }
    for name in _FILES:
        file = project_dir / name
        if not file.is_file():
            continue
        missing = sorted(set(_named(project_dir, read_yaml(file))) - installed)
        if missing:
            raise ConfigurationError(
                f"{file} names {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed in "
                f"{project_dir / place}: run `dbt deps --project-dir {project_dir}`."
            )


def _named(project_dir: Path, content: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of packages: those of dbt's hub, and those of folders."""
    for each in content.get("packages") or ():
        package = str(each.get("package", ""))
        local = str(each.get("local", ""))
        if package and "{{" not in package:
            yield package.rpartition("/")[2]
        elif local and "{{" not in local:
            yield str(read_yaml(project_dir / local / _PROJECT).get("name"))
