"""Airflow's own processes in a home: how they are set up and started."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import ports, processes
from airflow_provider_phlo.services.postgres.server import ensure_postgres

#: Process → its options.
AIRFLOW_PROCESSES: dict[str, tuple[str, ...]] = {
    "api-server": (),
    "scheduler": ("--skip-serve-logs",),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
}


def set_up(home: Path, environment: Mapping[str, str], *, postgres_port: int | None = None) -> None:
    """
    Start the bundled Postgres, and create or upgrade Airflow's database.

    :raises ConfigurationError: one of the two cannot; says why.
    """
    with ThreadPoolExecutor() as pool:
        postgres = pool.submit(ensure_postgres, home, postgres_port)
        embedded.migrate(home, environment, postgres_port)
        postgres.result()


def start(home: Path, name: str, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start one of Airflow's processes; the mark of ``home`` finds it."""
    command = [sys.executable, "-m", "airflow", name, *AIRFLOW_PROCESSES[name]]
    mark = embedded.secret(home, "mark")
    return processes.start(command, mark=mark, environment=environment, log=log_path(home, name))


def installed_version() -> str:
    """Return the version of Airflow that is installed now; processes that run may have an earlier one."""
    return importlib.metadata.version("apache-airflow-core")


def service_log(home: Path, name: str) -> Path:
    """Return the file with the output of a service, the bundled Postgres among them."""
    return home / "postgres" / "log" if name == "postgres" else log_path(home, name)


def log_path(home: Path, name: str) -> Path:
    """Return the file with the output of a process."""
    return home / "logs" / "processes" / f"{name}.log"


def usable_ui_port(home: Path) -> int:
    """Return the kept port of Airflow's api-server if it is still free, else a new one."""
    port = embedded.ui_port(home)
    return port if ports.is_free(port) else embedded.choose_ui_port(home)
