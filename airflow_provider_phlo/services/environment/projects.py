"""A project: the nearest folder upwards with a ``phlo.yaml``, and the folder of its state."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.configuration import (
    Configuration,
    Service,
    read_configuration,
)
from airflow_provider_phlo.services.machine.env_file import read_env_file
from airflow_provider_phlo.services.machine.roots import FILE, find_root
from airflow_provider_phlo.suggestions import did_you_mean

#: What every project has.
BUNDLED = ("postgres", "api-server", "scheduler", "dag-processor", "triggerer")


class ServiceConfig(TypedDict):
    """Where a service answers: at ``host`` and ``port`` to this machine, at ``internal_host`` to other containers."""

    host: str
    internal_host: str
    port: int | None
    container_name: str
    service_name: str


@dataclass(frozen=True)
class Project:
    """
    A project on this machine.

    :param root: the folder with ``phlo.yaml``.
    :param home: the folder of all its state (``PHLO_HOME``).
    :param name: what it is called, also by compose.
    """

    root: Path
    home: Path
    name: str
    configuration: Configuration

    def service(self, name: str) -> ServiceConfig:
        """
        Return where a service is.

        :raises ConfigurationError: there is none of that name; names those that there are.
        """
        infrastructure = self.configuration.infrastructure
        known = dict.fromkeys((*BUNDLED, *infrastructure.services))
        if name not in known:
            raise ConfigurationError(
                f"{self.root / FILE} has no service {name!r}.{did_you_mean(name, known)} Services: {', '.join(known)}."
            )
        service = infrastructure.services.get(name, Service())
        service_name = service.service_name or name
        return {
            "host": service.host,
            "internal_host": service.internal_host or service_name,
            "port": service.port or self.chosen_port(name),
            "container_name": self.container_name(name),
            "service_name": service_name,
        }

    def container_name(self, name: str) -> str:
        """Return what the container of a service is called, whether ``phlo.yaml`` has the service or not."""
        infrastructure = self.configuration.infrastructure
        service = infrastructure.services.get(name, Service())
        by_pattern = infrastructure.container_naming_pattern.format(
            project=self.name, service=service.service_name or name
        )
        return service.container_name or by_pattern

    def chosen_port(self, name: str) -> int | None:
        """Return the port that the embedded environment chose for a service, if it did."""
        if name == "api-server" and (self.home / "airflow" / "port").exists():
            return embedded.ui_port(self.home)
        coordinates = self.home / "postgres" / "server.json"
        if name == "postgres" and coordinates.exists():
            return int(json.loads(coordinates.read_text())["port"])
        return None


def find_project(start: Path, shell: Mapping[str, str] = os.environ) -> Project:
    """
    Return the project that a folder belongs to.

    :param start: the folder.
    :param shell: the variables of the shell: they win over those of ``.env``.
    :raises ConfigurationError: no folder upwards has a ``phlo.yaml``, or it is wrong, or the shell is set up for
        another project.
    """
    start = start.resolve()
    root = find_root(start)
    if root is None:
        raise ConfigurationError(
            f"{start} is not in a project: neither it nor a folder above has a {FILE}. Change to the project's folder, "
            "or make one: phlo init."
        )
    other = shell.get("PHLO_PROJECT")
    if other and shell.get("PHLO_HOME") and Path(other) != root:
        raise ConfigurationError(
            f"This shell is set up for {other} (PHLO_PROJECT, PHLO_HOME), and {start} belongs to {root}. Open another "
            "shell, or unset both."
        )
    configuration = read_configuration(root / FILE, {**read_env_file(root / ".env"), **shell})
    home = embedded.resolve_home(root, shell)
    return Project(root, home, configuration.name or _name_of(root), configuration)


def get_service_config(name: str) -> ServiceConfig:
    """
    Return where a service of the project is, as ``phlo.yaml`` says.

    The project is that of the working directory, or of the DAGs of this Airflow.

    :param name: the service, e.g. ``postgres`` or ``trino``.
    :raises ConfigurationError: there is no such service, no project, or its ``phlo.yaml`` is wrong.
    """
    return find_project(Path(os.environ.get("PHLO_PROJECT") or ".")).service(name)


def _name_of(root: Path) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", root.name.lower()).strip("-_") or "phlo"
