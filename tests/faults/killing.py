"""Processes that kill themselves where a test says, and catalogs that they share."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog

# children are forked from a process that has imported the libraries and has no threads, as Airflow's tasks are
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    [
        "airflow_provider_phlo.events.loading",
        "airflow_provider_phlo.ingestion.staging",
        "airflow_provider_phlo.ingestion.landing",
        "airflow_provider_phlo.iceberg.duckdb.views",
        "airflow_provider_phlo.iceberg.maintenance.planning",
        "pyiceberg.catalog.sql",
        "psycopg2",
        "pytest",
        "hypothesis",
    ]
)
Wrapper = Callable[[int, Callable[..., Any]], Callable[..., Any]]


@dataclass(frozen=True)
class CatalogSettings:
    """What another process needs to open the same catalog."""

    name: str
    properties: dict[str, str]

    @contextmanager
    def open(self) -> Iterator[Catalog]:
        """Open the catalog and close it: a server has few connections, and a test opens thousands of catalogs."""
        catalog = open_catalog(self.name, self.properties)
        try:
            yield catalog
        finally:
            catalog.close()

    def load_table(self, identifier: str) -> Table:
        with self.open() as catalog:
            return catalog.load_table(identifier)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after(seconds: float) -> None:
    """Kill this process when ``seconds`` have passed."""
    timer = threading.Timer(seconds, die)
    timer.daemon = True
    timer.start()


def dying_before(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` that kills its process instead of the ``calls``-th call."""
    left = [calls]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if not left[0]:
            die()
        return function(*args, **kwargs)

    return wrapped


def dying_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` that kills its process when the ``calls``-th call has done its work."""
    left = [calls]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        left[0] -= 1
        if not left[0]:
            die()
        return result

    return wrapped


def length_of(run: Callable[[Path], int], home: Path) -> float:
    """
    Return the seconds of a run in a process of its own, once the server of forks has imported its libraries.

    :param run: gets a folder below ``home``, and returns the exit code.
    """
    assert run(home / "imported") == 0
    started = time.monotonic()
    assert run(home / "timed") == 0
    return time.monotonic() - started


def exit_code(target: Callable[..., None], *args: Any, seconds: float = 60) -> int:
    """Run ``target`` in a process of its own and return its exit code, -9 when it was killed."""
    process = PROCESSES.Process(target=target, args=args)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        pytest.fail(f"{target.__name__} hangs: {args}")
    return process.exitcode
