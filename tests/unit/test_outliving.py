"""Work in a fork: its errors reach who waits, and it goes on when nobody does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.outliving import outlive
from tests.patience import PATIENCE, until

SCRIPT = """
import signal, sys, time
from pathlib import Path
from airflow_provider_phlo.outliving import outlive

def late(number, frame):
    raise TimeoutError

signal.signal(signal.SIGALRM, late)
begun, done = map(Path, sys.argv[1:])

def work():
    begun.touch()
    time.sleep(2)
    done.touch()

if "alarm" in begun.name:
    signal.setitimer(signal.ITIMER_REAL, 0.5)
outlive(work, "work", 60)
"""


def test_what_the_work_leaves_is_there(tmp_path: Path) -> None:
    outlive(lambda: (tmp_path / "done").touch(), "work", 60)
    assert (tmp_path / "done").exists()


def test_an_error_of_the_work_is_raised_here() -> None:
    def work() -> None:
        raise ConfigurationError("models/a.sql: correct it.")

    with pytest.raises(ConfigurationError, match=r"^models/a\.sql: correct it\.$"):
        outlive(work, "work", 60)


def test_another_error_is_raised_with_its_text() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError: division by zero"):
        outlive(lambda: print(1 / 0), "work", 60)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_work_that_is_killed_may_be_tried_again(number: signal.Signals) -> None:
    with pytest.raises(TransientError, match=r"^work was killed, or took more than 60 seconds"):
        outlive(lambda: os.kill(os.getpid(), number), "work", 60)


def test_work_ends_after_its_time() -> None:
    started = time.monotonic()
    with pytest.raises(TransientError, match="more than 1 seconds"):
        outlive(lambda: time.sleep(PATIENCE), "work", 1)
    assert time.monotonic() - started < PATIENCE


def test_what_the_work_writes_to_its_parents_files_goes_nowhere(tmp_path: Path) -> None:
    parents, own = tmp_path / "of the parent", tmp_path / "of the work"
    with parents.open("w") as log:

        def work() -> None:
            with own.open("w") as file:
                os.write(log.fileno(), b"a line of a log")
                file.write("content")

        outlive(work, "work", 60)
    assert (parents.read_text(), own.read_text()) == ("", "content")


@pytest.mark.parametrize("end", ["killed", "alarm"])
def test_work_goes_on_when_nobody_waits(tmp_path: Path, end: str) -> None:
    begun, done = tmp_path / end, tmp_path / "done"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(begun), str(done)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as waiting:
        until(begun.exists)
        if end == "killed":
            waiting.kill()
        # the fork has nothing of its parent's open: who reads that sees the end
        waiting.communicate(timeout=PATIENCE)
        assert waiting.returncode
    until(done.exists)
