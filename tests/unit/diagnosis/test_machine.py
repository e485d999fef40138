"""What is said of a machine and its packages."""

from __future__ import annotations

import importlib.metadata
import shutil
import stat
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_provider_phlo.diagnosis import Finding, Verdict, guarded, machine
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.canary import CANARY, has_canary

OK, SKIPPED, WARNING, PROBLEM = Verdict


def verdicts(found: Iterator[Finding]) -> dict[str, Verdict]:
    return {each.check: each.verdict for each in found}


def test_this_environment_is_as_it_should_be(tmp_path: Path) -> None:
    assert verdicts(machine.check_python()) == {"Python": OK}
    assert verdicts(machine.check_packages(None)) == {"tested versions": SKIPPED}


def test_a_python_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 4))
    (found,) = machine.check_python()
    assert (found.verdict, found.found) == (PROBLEM, "3.10.4, and >=3.11 is needed")
    assert found.advice


def test_packages_that_are_missing_or_too_old_are_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "dlt":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.4.0" if name == "duckdb" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (found,) = [each for each in machine.check_packages(None) if each.check == "packages"]
    assert found.verdict is PROBLEM
    assert found.found.endswith("dlt>=1.31 (missing), duckdb>=2.0 (installed: 1.4.0)")
    assert found.advice == "pip install 'dlt>=1.31' 'duckdb>=2.0'"


def test_versions_that_were_not_tested_are_a_warning(tmp_path: Path) -> None:
    constraints = tmp_path / "constraints.txt"
    pyarrow = importlib.metadata.version("pyarrow")
    lines = ["# made by hand", "-c other.txt", "", "pytest==0.1", f"pyarrow=={pyarrow}", "not-installed==9"]
    constraints.write_text("\n".join([*lines, "numpy==0.1 ; python_version < '3'"]))
    (found,) = machine.check_packages(constraints)
    assert (found.check, found.verdict) == ("tested versions", WARNING)
    assert found.found == f"pytest {importlib.metadata.version('pytest')} (tested: 0.1)"


def test_a_home_that_is_private_and_one_that_others_may_read(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert verdicts(machine.check_home(home))["PHLO_HOME"] is SKIPPED
    home.mkdir(mode=0o700)
    assert verdicts(machine.check_home(home))["PHLO_HOME"] is OK
    home.chmod(0o755)
    found = next(iter(machine.check_home(home)))
    assert (found.verdict, found.advice) == (WARNING, f"chmod 700 {home}")
    assert stat.S_IMODE(home.stat().st_mode) == 0o755  # it is said, not mended


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("")
    assert verdicts(machine.check_home(home)) == {"PHLO_HOME": PROBLEM}


@pytest.mark.parametrize(("free", "verdict"), [(5 << 30, OK), (1 << 30, WARNING), (100 << 20, PROBLEM)])
def test_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, verdict: Verdict) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10 << 30, 0, free))
    assert verdicts(machine.check_home(tmp_path))["disk"] is verdict


def test_a_file_system_whose_clock_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verdicts(machine.check_clock(tmp_path)) == {"clock": OK}
    assert list(tmp_path.iterdir()) == []
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 600)
    (found,) = machine.check_clock(tmp_path)
    assert found.verdict is WARNING
    assert "behind this machine" in found.found


def test_a_check_that_fails_is_a_problem_without_a_value() -> None:
    def fails() -> Iterator[Finding]:
        yield Finding("x", OK, "")
        raise ValueError(CANARY)

    def refuses() -> Iterator[Finding]:
        raise ConfigurationError("Set it.")
        yield

    (found,) = guarded("thing", fails, seconds=5)
    assert (found.check, found.verdict) == ("thing", PROBLEM)
    assert not has_canary(found.found)
    (found,) = guarded("thing", refuses, seconds=5)
    assert found.found == "Set it."


def test_a_check_without_an_end_is_given_up() -> None:
    done = []

    def waits() -> Iterator[Finding]:
        while not done:
            time.sleep(0.01)
        yield Finding("x", OK, "")

    (found,) = guarded("thing", waits, seconds=0.1)
    done.append(True)
    assert (found.verdict, found.found) == (PROBLEM, "no answer within 0 seconds")
