"""
``phlo services --mode compose``: the same commands for the containers of ``docker-compose.yaml``.

What ``phlo.yaml`` says of ports and names goes into a second compose file in the home, which overrides the project's.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.private_files import write_private
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.environment.projects import Project
from airflow_provider_phlo.services.supervising import compose_secrets

FILE = "docker-compose.yaml"
# the first one with !override
_OLDEST = (2, 24)
_PATIENCE = 20


def initialise(project: Project) -> str:
    """
    Generate the secrets that the compose file asks for and ``.env`` lacks.

    :return: what was done, in words.
    :raises ConfigurationError: the project has no compose file, or ``.env`` cannot be read.
    """
    own, env_file = _compose_file(project), project.root / ".env"
    generated = compose_secrets.generate_missing(own, env_file, os.environ)
    if not generated:
        return f"{env_file} has every secret that {FILE} asks for."
    return f"Generated in {env_file}, readable by you only: {', '.join(generated)}."


def start(project: Project, names: Sequence[str]) -> None:
    """Start the containers, and wait until they are healthy."""
    _run(project, "up", "--detach", "--wait", *names)


def stop(project: Project, names: Sequence[str]) -> None:
    """Stop the containers; their volumes stay."""
    _run(project, *(("stop", *names) if names else ("down",)))


def restart(project: Project, names: Sequence[str]) -> None:
    """Start the containers again, as the files say now."""
    _run(project, "up", "--detach", "--wait", "--force-recreate", *names)


def status(project: Project, names: Sequence[str], output: str) -> bool:
    """Show the containers; return whether all of them are healthy."""
    done = _run(project, "ps", "--all", "--format", "json", *names, stdout=subprocess.PIPE)
    # one object per line, or one list: that depends on the version
    found = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    containers = [each for item in found for each in (item if isinstance(item, list) else [item])]
    if output == "json":
        print(json.dumps(containers))
    else:
        _run(project, "ps", "--all", *names)
    return bool(containers) and all(map(_is_healthy, containers))


def logs(project: Project, names: Sequence[str], lines: int, *, follow: bool) -> None:
    """Show what the containers write."""
    _run(project, "logs", "--tail", str(lines), *(("--follow",) if follow else ()), *names)


def override(project: Project, compose: Mapping[str, Any]) -> str:
    """
    Return the compose file with what ``phlo.yaml`` says of the project's services.

    :param compose: what the project's own compose file holds.
    :raises ConfigurationError: ``phlo.yaml`` gives a port to a service that publishes none, or more than one.
    """
    by_service = {
        settings.service_name or key: (key, settings)
        for key, settings in project.configuration.infrastructure.services.items()
    }
    services: dict[str, list[str]] = {}
    for name, declared in compose.get("services", {}).items():
        key, settings = by_service.get(name, (name, None))
        lines = []
        if settings and settings.port:
            published = [str(port) for port in declared.get("ports", [])]
            if len(published) != 1:
                raise ConfigurationError(f"{key} has a port in phlo.yaml, and {len(published)} in {FILE}: write one.")
            inside = published[0].rpartition(":")[2]
            lines.append(f"    ports: !override [{json.dumps(f'127.0.0.1:{settings.port}:{inside}')}]")
        container = project.container_name(key)
        several = ((declared.get("deploy") or {}).get("replicas") or 1) > 1  # they cannot share a name
        if not several and container != f"{project.name}-{name}-1":  # which compose gives by itself
            lines.append(f"    container_name: {json.dumps(container)}")
        if lines:
            services[name] = lines
    if not services:
        return "services: {}\n"
    return "services:\n" + "".join(f"  {name}:\n" + "\n".join(lines) + "\n" for name, lines in services.items())


def _is_healthy(container: Mapping[str, Any]) -> bool:
    state, health = container.get("State"), container.get("Health")
    done = state == "exited" and container.get("ExitCode") == 0
    return done or (state == "running" and health in ("", None, "healthy"))


def _run(project: Project, *arguments: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    """
    Run ``docker compose``.

    :raises ConfigurationError: there is no Docker engine, or compose is too old, or the project has no compose file.
    :raises TransientError: it failed; its own words are on stderr.
    """
    own = _compose_file(project)
    _check_engine()
    embedded.prepare(project.home)
    (project.home / "services").mkdir(mode=0o700, exist_ok=True)
    ours = project.home / "services" / "compose.yaml"
    write_private(ours, override(project, yaml.safe_load(own.read_text()) or {}))
    files = ["--file", str(own), "--file", str(ours), "--project-directory", str(project.root)]
    # what was started with other profiles is ended and shown too
    profiles = project.configuration.infrastructure.compose_profiles if arguments[0] == "up" else ("*",)
    chosen = [part for profile in profiles for part in ("--profile", profile)]
    command = ["docker", "compose", "--project-name", project.name, *files, *chosen, *arguments]
    done = subprocess.run(command, cwd=project.root, stdout=stdout, text=True)
    if done.returncode:
        raise TransientError(f"docker compose {arguments[0]} ended with {done.returncode}.")
    return done


def _compose_file(project: Project) -> Path:
    own = project.root / FILE
    if not own.exists():
        raise ConfigurationError(
            f"{project.root} has no {FILE}, which --mode compose runs: the repository of airflow-provider-phlo has "
            "one, with its Dockerfile and deploy/; phlo init writes none."
        )
    return own


def _check_engine() -> None:
    if _ask("version", "--format", "{{.Server.Version}}") is None:
        raise ConfigurationError("No Docker engine answers. Start one, or use --mode embedded, which needs none.")
    version = _ask("compose", "version", "--short")
    numbers = tuple(int(part) for part in (version or "").removeprefix("v").split(".")[:2] if part.isdecimal())
    if numbers < _OLDEST:
        found = f"is {version}" if version else "is not installed"
        raise ConfigurationError(f"Docker Compose {found}, and 2.24 or newer is needed.")


def _ask(*arguments: str) -> str | None:
    """Return what ``docker`` answers; None if it cannot."""
    try:
        done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None
