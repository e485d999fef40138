from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.machine import processes
from tests.patience import PATIENCE, until
from tests.processes import wait_until_gone

SLEEP = [sys.executable, "-c", "import time; time.sleep(300)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(300)",
]
# a child in a session of its own, whose parent ends at once
ORPHAN = [
    sys.executable,
    "-c",
    "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(300)'],"
    " start_new_session=True)",
]


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[str]:
    mark = f"test-{tmp_path.name}-{os.getpid()}"
    yield mark
    processes.stop(mark, patience=0)


@pytest.fixture
def start(mark: str, tmp_path: Path) -> Callable[[list[str]], subprocess.Popen[bytes]]:
    return lambda command: processes.start(command, mark=mark, environment=os.environ, log=tmp_path / "logs" / "log")


def test_ends_what_was_started(mark: str, start: Callable[[list[str]], subprocess.Popen[bytes]]) -> None:
    first, second = start(SLEEP), start(SLEEP)
    until(lambda: len(processes.find_marked(mark)) == 2)
    assert processes.stop(mark) == 2
    assert first.poll() is not None
    assert second.poll() is not None
    assert processes.stop(mark) == 0


def test_leaves_others_alone(mark: str, start: Callable[[list[str]], subprocess.Popen[bytes]]) -> None:
    bystander = processes.start(SLEEP, mark=mark + "x", environment=os.environ, log=Path(os.devnull))
    start(SLEEP)
    try:
        processes.stop(mark)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_kills_what_does_not_listen(
    mark: str, start: Callable[[list[str]], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = start(DEAF)
    until(lambda: "deaf" in (tmp_path / "logs" / "log").read_text())
    processes.stop(mark, patience=0.2)
    assert process.poll() is not None


def test_finds_orphans_in_other_sessions(mark: str, start: Callable[[list[str]], subprocess.Popen[bytes]]) -> None:
    assert start(ORPHAN).wait() == 0
    (orphan,) = processes.find_marked(mark)
    processes.stop(mark)
    wait_until_gone(orphan)


def test_finds_processes_that_rename_themselves(
    mark: str, start: Callable[[list[str]], subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    code = (
        "import setproctitle, time; setproctitle.setproctitle('x' * 2000); print('named', flush=True); time.sleep(99)"
    )
    start([sys.executable, "-c", code])
    until(lambda: "named" in (tmp_path / "logs" / "log").read_text())
    assert processes.stop(mark) == 1


HOLDER = """
import sys, time
from pathlib import Path
from airflow_provider_phlo.services.machine import processes
with processes.hold_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(300)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def test_one_owner_at_a_time(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="make stop"), processes.hold_lock(tmp_path / "lock"):
        pass


def test_owner_can_be_ended_by_others(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    assert processes.end_owner(tmp_path / "lock") == holder.pid
    assert holder.wait(timeout=PATIENCE) == -signal.SIGTERM


def test_a_killed_owner_leaves_no_lock(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    assert processes.end_owner(tmp_path / "lock") == 0
    with processes.hold_lock(tmp_path / "lock"):
        assert (tmp_path / "lock").read_text() == str(os.getpid())
    assert (tmp_path / "lock").read_text() == ""


def test_no_lock_no_owner(tmp_path: Path) -> None:
    assert processes.end_owner(tmp_path / "lock") == 0
