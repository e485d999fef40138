"""Programs for tests that no Python package carries, fetched once into a cache outside the repository."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MAVEN_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


def cache() -> Path:
    """Return the folder of what was downloaded: ``PHLO_TEST_CACHE``, else ``~/.cache/phlo-tests``."""
    folder = Path(os.environ.get("PHLO_TEST_CACHE") or Path.home() / ".cache" / "phlo-tests")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def maven_artifact(coordinates: str, name: str) -> Path:
    """
    Return a file of Maven's repository.

    :param coordinates: ``group:artifact:version:type[:classifier]``.
    :param name: the file's name, as Maven writes it.
    """
    with _alone(name):
        path = cache() / name
        if not path.exists():
            command = ["mvn", "-q", MAVEN_COPY, f"-Dartifact={coordinates}", f"-DoutputDirectory={path.parent}"]
            subprocess.run(command, check=True)
        return path


def go_program(module: str, version: str) -> Path:
    """Return a program that ``go install`` builds: the last part of ``module`` names it."""
    name = module.rpartition("/")[2]
    with _alone(name):
        folder = cache() / f"{name}-{version}"
        if not (folder / name).exists():
            environment = {**os.environ, "GOBIN": str(folder)}
            subprocess.run(["go", "install", f"{module}@{version}"], check=True, env=environment, cwd=cache())
        return folder / name


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Two test sessions do not download the same at once."""
    with (cache() / f"{name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
