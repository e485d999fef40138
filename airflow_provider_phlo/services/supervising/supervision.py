"""Keep parts running: one that dies is started again, at growing intervals, until it counts as failed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import psutil  # type: ignore[import-untyped]

from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.supervising.state import PartState, Wanted


class Status(StrEnum):
    """What a part is doing, as its supervisor sees it."""

    RUNNING = "running"
    RESTARTING = "restarting"  # it died, and is started again in a moment
    FAILED = "failed"  # it died too often: somebody has to look
    STOPPED = "stopped"  # as somebody wanted


@dataclass(frozen=True)
class Patience:
    """
    How often a part is started again.

    :param first: seconds before the second restart in a row; the first comes at once, and each later one after twice
        the time of the one before.
    :param longest: the most seconds between two.
    :param restarts: how many in a row, before the part counts as failed.
    :param settled: seconds after which a running part has recovered.
    """

    first: float = 1
    longest: float = 30
    restarts: int = 5
    settled: float = 60

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after this many failures in a row."""
        return 0 if failures <= 1 else min(self.longest, self.first * 2 ** (failures - 2))


class Part(Protocol):
    """Something to keep running."""

    log: Path

    def version(self) -> str:
        """Return the version of what would be started now; empty if it says so itself once it runs."""

    def start(self) -> None:
        """Start it."""

    def pid(self) -> int | None:
        """Return its process id while it runs."""

    def ending(self) -> str:
        """Return how it ended, in words."""

    def ask_to_end(self) -> None:
        """Ask it to end by itself when what it works on is done, and do not wait; asks again where that was missed."""

    def stop(self) -> None:
        """End it, and all that it has started."""


class Program:
    """
    A program that runs until somebody ends it.

    :param launch: starts it, in a session of its own, with the mark.
    :param mark: by which what it left behind is found.
    :param version: returns the version that is installed.
    :param ask_again: seconds after which it has missed that it was asked to end, if it works on nothing.
    """

    def __init__(
        self,
        launch: Callable[[], subprocess.Popen[bytes]],
        mark: str,
        log: Path,
        version: Callable[[], str] = str,
        ask_again: float = 30,
    ) -> None:
        self.log = log
        self.version = version
        self._launch = launch
        self._mark = mark
        self._process: subprocess.Popen[bytes] | None = None
        self._ask_again = ask_again
        self._asked_at: float | None = None

    def start(self) -> None:
        self._end_session()  # what a killed one left behind holds ports, or works on
        self._process = self._launch()
        self._asked_at = None

    def pid(self) -> int | None:
        process = self._process
        return process.pid if process and process.poll() is None else None

    def ending(self) -> str:
        code = self._process.returncode if self._process else None
        return f"ended by signal {-code}" if code is not None and code < 0 else f"ended with {code}"

    def ask_to_end(self) -> None:
        process = self._process
        if process is None or process.poll() is not None:
            return
        # Python drops the SystemExit of Airflow's handler where the signal comes while it runs a weak reference's
        # callback; to ask again while there are tasks would end them
        missed = self._asked_at is not None and time.monotonic() > self._asked_at + self._ask_again
        if self._asked_at is None or (missed and not _works(process.pid)):
            process.terminate()
            self._asked_at = time.monotonic()

    def stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(10 if self._asked_at is None else 1)  # who was asked before has had its time
        self._end_session()

    def _end_session(self) -> None:
        if self._process is None:
            return
        left = []
        for process in processes.find_marked(self._mark):
            with contextlib.suppress(psutil.Error, ProcessLookupError):
                if os.getsid(process.pid) == self._process.pid:
                    process.kill()
                    left.append(process)
        psutil.wait_procs(left, timeout=5)
        self._process.wait()


def _works(pid: int) -> bool:
    """Return whether workers of a process have processes of their own: a scheduler's have one for each task."""
    try:
        process = psutil.Process(pid)
        return len(process.children(recursive=True)) > len(process.children())
    except psutil.Error:
        return True  # it is just ending


@dataclass
class _Kept:
    """A part, and what has happened to it."""

    part: Part
    status: Status = Status.STOPPED
    failures: int = 0
    restarts: int = 0
    problem: str = ""
    generation: int = -1
    started: float = 0
    next_try: float = 0
    pid: int | None = field(default=None)
    version: str = ""
    renewed_by: float | None = None

    def state(self) -> PartState:
        """Return what is now the case."""
        log = str(self.part.log)
        return PartState(self.status, self.pid, self.started, self.restarts, self.problem, log, self.version)


class Keeper:
    """
    Keeps parts running.

    :param parts: name → part, in the order in which they are started.
    :param say: gets a line about everything that happens.
    """

    def __init__(self, parts: Mapping[str, Part], say: Callable[[str], None], patience: Patience = Patience()) -> None:
        self._kept = {name: _Kept(part) for name, part in parts.items()}
        self._say = say
        self._patience = patience

    def renew(self, name: str, patience: float) -> None:
        """
        Start a part again that runs, as soon as it has ended by itself; it may finish what it works on.

        :param patience: seconds after which it is ended; what it works on is lost then.
        """
        kept = self._kept[name]
        if kept.status is Status.RUNNING and kept.renewed_by is None:
            kept.renewed_by = time.monotonic() + patience
            kept.part.ask_to_end()
            self._say(f"{name} is asked to end, and started again then")

    def look(self, wanted: Mapping[str, Wanted]) -> dict[str, PartState]:
        """Look at every part once, do what is due, and return what is now the case."""
        for name, kept in self._kept.items():
            try:
                self._look_at(name, kept, wanted.get(name, Wanted()))
            except (PhloError, OSError, psutil.Error) as error:
                self._count_failure(name, kept, str(error))
        return {name: kept.state() for name, kept in self._kept.items()}

    def _look_at(self, name: str, kept: _Kept, wanted: Wanted) -> None:
        if kept.generation != wanted.generation:
            self._begin_anew(name, kept, wanted)
        kept.pid = kept.part.pid()
        if kept.status is Status.RUNNING:
            self._look_at_running(name, kept)
        if kept.status is Status.RESTARTING and time.time() >= kept.next_try:
            kept.restarts += 1
            self._start(name, kept)

    def _begin_anew(self, name: str, kept: _Kept, wanted: Wanted) -> None:
        """Do what somebody wants: stop the part, or start it (again)."""
        runs_already = kept.generation >= 0 and kept.part.pid() is not None
        kept.generation, kept.failures, kept.problem, kept.renewed_by = wanted.generation, 0, "", None
        if runs_already or not wanted.run:
            kept.part.stop()
            self._say(f"{name} is stopped")
        if wanted.run:
            self._start(name, kept)
        else:
            kept.status = Status.STOPPED

    def _look_at_running(self, name: str, kept: _Kept) -> None:
        if kept.renewed_by is not None:
            self._end_renewal(name, kept, kept.renewed_by)
        elif kept.pid is None:
            self._count_failure(name, kept, kept.part.ending())
        elif kept.failures and time.time() - kept.started > self._patience.settled:
            kept.failures, kept.problem = 0, ""

    def _end_renewal(self, name: str, kept: _Kept, deadline: float) -> None:
        """Start a part that has ended as it was asked to; end it, if it takes too long."""
        if kept.pid is not None and time.monotonic() < deadline:
            kept.part.ask_to_end()
            return
        kept.renewed_by = None
        if kept.pid is not None:
            self._say(f"{name} does not end by itself")
            kept.part.stop()
        self._start(name, kept)

    def _start(self, name: str, kept: _Kept) -> None:
        kept.started, kept.version = time.time(), kept.part.version()
        kept.part.start()
        kept.status, kept.pid = Status.RUNNING, kept.part.pid()
        self._say(f"{name} is started, process {kept.pid}")

    def _count_failure(self, name: str, kept: _Kept, problem: str) -> None:
        kept.failures += 1
        kept.problem, kept.pid = problem, None
        if kept.failures > self._patience.restarts:
            kept.status = Status.FAILED
            self._say(f"{name} {problem}: {kept.failures} times in a row, it is not started again")
            return
        delay = self._patience.delay(kept.failures)
        kept.status, kept.next_try = Status.RESTARTING, time.time() + delay
        self._say(f"{name} {problem}; it is started again in {delay:.0f} s")
