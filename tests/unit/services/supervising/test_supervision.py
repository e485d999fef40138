from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.supervising.state import PartState, Wanted
from airflow_provider_phlo.services.supervising.supervision import Keeper, Patience, Program
from tests.patience import PATIENCE
from tests.processes import is_alive

LIVES = "exec sleep 300"
FAST = Patience(first=0.02, longest=0.05, restarts=3, settled=0.1)


class Kept:
    """A keeper of shell scripts, and all that it said."""

    def __init__(self, folder: Path, scripts: dict[str, str], patience: Patience = FAST, ask_again: float = 30) -> None:
        self.ask_again = ask_again
        self.mark = f"test-{folder.name}-{os.getpid()}"
        self.said: list[str] = []
        self.wanted: dict[str, Wanted] = {}
        self.folder = folder
        self.keeper = Keeper({name: self.program(script) for name, script in scripts.items()}, self._say, patience)

    def look(self) -> dict[str, PartState]:
        return self.keeper.look(self.wanted)

    def until(self, name: str, condition: Callable[[PartState], bool]) -> PartState:
        deadline = time.monotonic() + PATIENCE
        while not condition(state := self.look()[name]):
            assert time.monotonic() < deadline, (state, self.said)
            time.sleep(0.01)
        return state

    def _say(self, line: str) -> None:
        self.said.append(line)

    def program(self, script: str) -> Program:
        log = self.folder / "log"

        def launch():
            return processes.start(["sh", "-c", script], mark=self.mark, environment=os.environ, log=log)

        return Program(launch, self.mark, log, ask_again=self.ask_again)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def make(patience: Patience = FAST, ask_again: float = 30, **scripts: str) -> Kept:
        made.append(Kept(tmp_path, scripts, patience, ask_again))
        return made[-1]

    yield make
    for each in made:
        processes.stop(each.mark, patience=0)


def test_what_is_killed_is_started_again(kept: Callable[..., Kept]) -> None:
    both = kept(a=LIVES, b=LIVES)
    before = both.look()
    psutil.Process(before["a"].pid).kill()
    again = both.until("a", lambda state: state.pid not in (None, before["a"].pid))
    assert (again.status, again.restarts, again.problem) == ("running", 1, "ended by signal 9")
    assert both.look()["b"].pid == before["b"].pid
    # after a while nobody needs to know
    both.until("a", lambda state: state.problem == "")


def test_what_does_not_live_is_given_up_and_the_others_go_on(kept: Callable[..., Kept]) -> None:
    both = kept(dies="exit 3", lives=LIVES)
    state = both.until("dies", lambda state: state.status == "failed")
    assert (state.pid, state.restarts, state.problem) == (None, 3, "ended with 3")
    assert both.look()["lives"].status == "running"
    assert "4 times in a row, it is not started again" in both.said[-1]
    time.sleep(0.1)
    assert both.look()["dies"].restarts == 3
    # until somebody wants it
    both.wanted["dies"] = Wanted(run=True, generation=1)
    assert both.look()["dies"].status == "running"


def test_restarts_come_at_growing_intervals() -> None:
    patience = Patience()
    assert [patience.delay(failures) for failures in (1, 2, 3, 4, 5, 6, 7, 8)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_what_it_left_behind_ends_before_it_starts_again(kept: Callable[..., Kept], tmp_path: Path) -> None:
    one = kept(a=f"sleep 300 & echo $! > {tmp_path / 'child'}; wait")
    pid = one.look()["a"].pid
    while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
        time.sleep(0.01)
    child = psutil.Process(int((tmp_path / "child").read_text()))
    psutil.Process(pid).kill()
    one.until("a", lambda state: state.pid not in (None, pid))
    assert not is_alive(child)


def test_parts_are_stopped_and_started_as_wanted(kept: Callable[..., Kept]) -> None:
    one = kept(a=LIVES)
    first = one.look()["a"].pid
    one.wanted["a"] = Wanted(run=False, generation=1)
    assert (one.look()["a"].status, one.look()["a"].pid) == ("stopped", None)
    assert not psutil.pid_exists(first)
    one.wanted["a"] = Wanted(run=True, generation=2)
    second = one.look()["a"].pid
    one.wanted["a"] = Wanted(run=True, generation=3)
    assert one.look()["a"].pid not in (first, second)
    assert not psutil.pid_exists(second)


def test_what_is_renewed_finishes_its_work_first(kept: Callable[..., Kept], tmp_path: Path) -> None:
    one = kept(a=f"trap 'sleep 0.5; echo done > {tmp_path}/work; exit' TERM; touch {tmp_path}/ready; sleep 300 & wait")
    first = one.look()["a"].pid
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    one.keeper.renew("a", 60)
    one.keeper.renew("a", 60)
    again = one.until("a", lambda state: state.pid not in (None, first))
    assert (again.status, again.restarts, again.problem) == ("running", 0, "")
    assert (tmp_path / "work").read_text() == "done\n"
    assert sum("asked to end" in line for line in one.said) == 1


MISSES_ONE = """
import signal, subprocess, sys, pathlib, time
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1) or (len(asked) > 1 and sys.exit()))
worker = "import subprocess, sys; {task} sys.stdin.read()"
child = subprocess.Popen([sys.executable, "-c", worker], stdin=subprocess.PIPE)
pathlib.Path({ready!r}).touch()
while True:
    time.sleep(0.05)
"""


@pytest.mark.parametrize(
    "task", ["", "subprocess.run(['sh', '-c', 'sleep 2; touch {done}; exit']);"], ids=["idle", "with a task"]
)
def test_who_missed_that_it_was_asked_is_asked_again_when_it_has_no_task(
    kept: Callable[..., Kept], tmp_path: Path, task: str
) -> None:
    ready, done = tmp_path / "ready", tmp_path / "done"
    script = tmp_path / "script.py"
    script.write_text(MISSES_ONE.format(ready=str(ready), task=task.format(done=done)))
    one = kept(ask_again=0.3, a=f"exec {sys.executable} {script}")
    first = one.look()["a"].pid
    one.until("a", lambda state: ready.exists())
    one.until("a", lambda state: not task or len(psutil.Process(first).children(recursive=True)) > 1)
    one.keeper.renew("a", 10 * PATIENCE)
    again = one.until("a", lambda state: state.pid not in (None, first))
    assert (again.status, again.restarts, again.problem) == ("running", 0, "")
    assert done.exists() is bool(task)


def test_what_does_not_finish_is_ended(kept: Callable[..., Kept], tmp_path: Path) -> None:
    one = kept(a=f"trap '' TERM; touch {tmp_path}/ready; while :; do sleep 0.1; done")
    first = one.look()["a"].pid
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    one.keeper.renew("a", 0.1)
    assert one.until("a", lambda state: state.pid not in (None, first)).restarts == 0


def test_what_is_not_wanted_is_not_started(kept: Callable[..., Kept]) -> None:
    one = kept(a=LIVES)
    one.wanted["a"] = Wanted(run=False)
    assert one.look()["a"].status == "stopped"
    assert processes.find_marked(one.mark) == []


def test_a_program_that_is_not_there(kept: Callable[..., Kept], tmp_path: Path) -> None:
    mark = f"test-{tmp_path.name}"

    def launch():
        return processes.start(["/nowhere"], mark=mark, environment=os.environ, log=tmp_path / "log")

    keeper = Keeper({"a": Program(launch, mark, tmp_path / "log")}, lambda line: None, Patience(restarts=0))
    assert keeper.look({})["a"].status == "failed"
    assert "/nowhere" in keeper.look({})["a"].problem


class Stubborn:
    """A part that does not end."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def version(self) -> str:
        return ""

    def start(self) -> None:
        pass

    def pid(self) -> int | None:
        return os.getpid()

    def ending(self) -> str:
        return "never"

    def ask_to_end(self) -> None:
        pass

    def stop(self) -> None:
        raise TransientError("it does not end")


def test_what_does_not_end_says_so_and_the_others_go_on(kept: Callable[..., Kept], tmp_path: Path) -> None:
    other = kept(a=LIVES)
    keeper = Keeper({"stubborn": Stubborn(tmp_path), "a": other.program(LIVES)}, lambda line: None)
    keeper.look({})
    after = keeper.look({"stubborn": Wanted(run=False, generation=1)})
    assert after["stubborn"].problem == "it does not end"
    assert after["a"].status == "running"


def test_a_full_disk_does_not_end_the_supervisor() -> None:
    code = "import os; from airflow_provider_phlo.services.supervising.supervisor import say; say('x'); os._exit(7)"
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", code], stdout=full).returncode == 7
