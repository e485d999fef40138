"""
Programs that the service tests start, fetched from a Maven repository once and kept outside the project.

Which repository is Maven's own business (its settings), so that nothing here names one. A program is unpacked beside
its place and moved there when complete: a killed download leaves nothing that looks finished.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest


def cache() -> Path:
    """Return the folder that outlives the tests: ``$PHLO_TEST_CACHE``, else ``~/.cache/phlo-tests``."""
    folder = Path(os.environ.get("PHLO_TEST_CACHE") or Path.home() / ".cache" / "phlo-tests").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def missing(what: str, remedy: str) -> None:
    """Fail, or skip where ``PHLO_SKIP_SERVICES=1`` allows it; never in CI."""
    if os.environ.get("PHLO_SKIP_SERVICES") == "1" and os.environ.get("CI") != "true":
        pytest.skip(f"{what} (PHLO_SKIP_SERVICES=1)")
    pytest.fail(f"{what}: {remedy} PHLO_SKIP_SERVICES=1 skips these tests.", pytrace=False)


def unpacked(name: str, artifacts: Mapping[str, str]) -> Path:
    """
    Return the folder ``name`` of the cache, with each artifact unpacked into the sub-folder it is given.

    :param artifacts: Maven coordinates ``group:artifact:version:type`` by sub-folder; the archive's own top folder
        is left out.
    """
    target = cache() / name
    with _locked(target):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache()) as scratch:
                part = Path(scratch) / name
                for folder, artifact in artifacts.items():
                    _unpack(_copy(artifact, Path(scratch)), part / folder)
                part.rename(target)
    return target


def jar(artifact: str) -> Path:
    """Return one file of the repository, kept in the cache under its own name."""
    target = cache() / (re.sub(r"[^\w.-]", "_", artifact) + ".jar")
    with _locked(target):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache()) as scratch:
                _copy(artifact, Path(scratch)).rename(target)
    return target


def python_program(name: str, *packages: str) -> Path:
    """Return a program of Python packages, the first of which is its own, in an environment of their own."""
    target = cache() / re.sub(r"[^\w.-]", "_", packages[0])
    done = target / ".done"
    with _locked(target):
        if not done.exists():
            venv.create(target, with_pip=False, clear=True)
            uv = Path(sys.executable).with_name("uv")
            command = [str(uv), "pip", "install", "--quiet", "-p", str(target / "bin" / "python"), *packages]
            made = subprocess.run(command, capture_output=True, text=True)
            if made.returncode:
                missing(f"No {packages[0]}", f"{made.stderr[-500:]} It is installed once, from the package index.")
            done.touch()
    return target / "bin" / name


def java(at_least: int) -> Path:
    """Return a ``java`` of this version or newer: of ``$JAVA_HOME``, of the machine's folders, or on the path."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += sorted(Path("/usr/lib/jvm").glob("*")) if Path("/usr/lib/jvm").is_dir() else []
    found = [home / "bin" / "java" for home in homes]
    found += [Path(path)] if (path := shutil.which("java")) else []
    for program in found:
        if program.exists() and _version(program) >= at_least:
            return program
    missing(f"No Java {at_least} or newer", f"install a JDK {at_least}+ and point JAVA_HOME to it.")
    raise AssertionError("not reached")


def _version(program: Path) -> int:
    text = subprocess.run([program, "-version"], capture_output=True, text=True, check=False).stderr
    match = re.search(r'version "(\d+)', text)
    return int(match.group(1)) if match else 0


def _copy(artifact: str, scratch: Path) -> Path:
    maven = shutil.which("mvn")
    if maven is None:
        missing("Maven is not installed", "install it (Debian: apt-get install maven).")
    folder = scratch / f"archive {artifact.split(':')[1]}"
    command = [str(maven), "-q", "-B", "dependency:copy", f"-Dartifact={artifact}", f"-DoutputDirectory={folder}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=scratch)
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[:5])
        missing(f"Maven cannot fetch {artifact}", f"it says: {last}\n")
    return next(folder.iterdir())


def _unpack(archive: Path, target: Path) -> None:
    whole = archive.parent / "unpacked"
    # shutil.unpack_archive would leave out files whose names have two dots in a row, as some jars of Trino
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as source:
            source.extractall(whole)
    else:
        with tarfile.open(archive) as source:
            source.extractall(whole, filter="tar")
    target.parent.mkdir(parents=True, exist_ok=True)
    (top,) = whole.iterdir()
    top.rename(target)
    archive.unlink()


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def go_program(module: str, version: str) -> Path:
    """Return a program that ``go install`` builds: the last part of ``module`` names it."""
    name = module.rpartition("/")[2]
    return _go(name, version, [f"{module}@{version}"], cache())


def go_program_of(folder: Path) -> Path:
    """Return the program of a folder with ``go.mod``, ``go.sum`` and ``main.go``; the folder names it."""
    content = hashlib.sha256(b"".join((folder / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")))
    return _go(folder.name, content.hexdigest()[:12], ["."], folder)


def _go(name: str, version: str, packages: list[str], folder: Path) -> Path:
    target = cache() / f"{name}-{version}"
    with _locked(target):
        if not (target / name).exists():
            if shutil.which("go") is None:
                missing("Go is not installed", "install it (Debian: apt-get install golang).")
            environment = {**os.environ, "GOBIN": str(target)}
            # tests run it for seconds and build it for minutes
            quickly = ["-gcflags=all=-N -l", "-ldflags=-s -w"]
            subprocess.run(["go", "install", *quickly, *packages], check=True, env=environment, cwd=folder)
    return target / name


def python_source(package: str, version: str) -> Path:
    """Return the unpacked source distribution of a Python package."""
    return _python(f"{package}-{version}-source", ["download", "--no-binary", package, f"{package}=={version}"], "-d")


def python_package(package: str, version: str) -> Path:
    """Return a folder that has a Python package, which the environment of the tests need not have."""
    return _python(f"{package}-{version}", ["install", f"{package}=={version}"], "-t")


def _python(name: str, command: list[str], option: str) -> Path:
    """Have pip make a folder of the cache; an archive in it is unpacked."""
    target = cache() / name
    with _locked(target):
        if not target.exists():
            with tempfile.TemporaryDirectory(dir=cache()) as scratch:
                part = Path(scratch) / name
                pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *command]
                done = subprocess.run([*pip, "--no-deps", option, part], capture_output=True, text=True, check=False)
                if done.returncode:
                    missing(f"pip cannot fetch {name}", f"it says: {done.stderr.strip()[:500]}\n")
                for archive in part.glob("*.tar.gz"):
                    _unpack(archive, part / "source")
                source = part / "source"
                (source if source.exists() else part).rename(target)
    return target
