"""
Processes that are started together and ended together, even by somebody who did not start them.

Each of them, and whatever they start in turn, carries a mark in its environment. So none is missed when its
starter was killed, and no process id that has changed hands is ever signalled.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.private_files import UMASK

MARK = "PHLO_PROCESS_MARK"


def start(command: Sequence[str], *, mark: str, environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """
    Start ``command`` in a session of its own, out of reach of the terminal's Ctrl-C.

    :param mark: what :func:`stop` will find it by.
    :param log: gets its output.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # process titles would be written over the environment, and with it over the mark
    marked_environment = {**environment, MARK: mark, "SPT_NOENV": "1"}
    with log.open("ab") as out:
        process = subprocess.Popen(
            command,
            env=marked_environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=UMASK,
        )
    _wait_for_mark(process, mark)
    return process


def _wait_for_mark(process: subprocess.Popen[bytes], mark: str) -> None:
    """Wait for the moment, just after it starts, from which a process shows its environment to others."""
    deadline = time.monotonic() + 1
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(psutil.Error, OSError):
            if psutil.Process(process.pid).environ().get(MARK) == mark:
                return
        time.sleep(0.001)


def find_marked(mark: str) -> list[psutil.Process]:
    """Return the running processes that carry ``mark``, oldest first, without this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == mark:
                found.append(process)
    return sorted(found, key=lambda process: process.create_time())


def stop(mark: str, *, patience: float = 10) -> int:
    """
    End every process that carries ``mark``: ask, wait, kill.

    :param patience: seconds to wait before what is left is killed.
    :return: how many there were.
    """
    running = find_marked(mark)
    _signal(running, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(running, timeout=patience)
    # what the ended ones started while they ended is found too
    for _ in range(3):
        left = {*stubborn, *find_marked(mark)}
        if not left:
            break
        _signal(left, signal.SIGKILL)
        _, stubborn = psutil.wait_procs(left, timeout=5)
    return len(running)


@contextlib.contextmanager
def hold_lock(lock: Path) -> Iterator[None]:
    """
    Hold the lock of a home for this process; the kernel lets go of it however the process ends.

    :raises ConfigurationError: another process holds it.
    """
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigurationError(
                f"{lock.parent} is in use by a running demo, or by services. End them with: make stop, or phlo "
                "services stop"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(str(os.getpid()))
        file.flush()
        yield
        file.truncate(0)


def end_owner(lock: Path, *, patience: float = 40) -> int:
    """
    Ask the process that holds ``lock`` to end, and wait until it has.

    :return: its process id; 0 if there was none.
    """
    if not lock.exists():
        return 0
    with lock.open("r+") as file:
        deadline = time.monotonic() + patience
        asked = 0
        while not _try_lock(file.fileno()):
            owner = int(lock.read_text() or 0)
            if not asked and owner:
                os.kill(owner, signal.SIGTERM)  # it holds the lock: the number is still its own
                asked = owner
            elif time.monotonic() > deadline and owner:
                os.kill(owner, signal.SIGKILL)
            time.sleep(0.1)
        return asked


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _signal(processes: Sequence[psutil.Process] | set[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(number)
