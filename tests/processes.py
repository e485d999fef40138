"""Other processes that tests end."""

from __future__ import annotations

import os
import signal

import psutil

from tests.patience import until


def kill_and_wait(pid: int | None) -> None:
    """
    Kill a process at once, and wait until it is gone: a signal is only on its way when ``os.kill`` returns.

    :raises AssertionError: there is none, or it lives on.
    """
    assert pid, "there is no process to kill"
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(process)


def wait_until_gone(process: psutil.Process) -> None:
    """
    Wait until a process has ended, whether or not its parent has asked how.

    :raises AssertionError: it lives on.
    """
    until(lambda: not is_alive(process), said=lambda: f"{process} outlived its end")


def is_alive(process: psutil.Process) -> bool:
    """Say whether a process runs: one that has ended and was not waited for does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
