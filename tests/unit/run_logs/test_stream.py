"""Many logs as one stream: from files, and by a source that counts what is asked of it."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest

from airflow_provider_phlo.exceptions import AirflowUnavailableError
from airflow_provider_phlo.run_logs.entries import Attempt, AttemptKey, Entry
from airflow_provider_phlo.run_logs.folder import FolderLogs
from airflow_provider_phlo.run_logs.source import Position, Reading, Wanted
from airflow_provider_phlo.run_logs.stream import followed, merged

START = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return START + dt.timedelta(seconds=seconds)


class House:
    """A folder of logs, as Airflow's workers write it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, task: str, *, dag: str = "d", run: str = "r:1", index: int | None = None, number: int = 1) -> Path:
        mapped = f"map_index={index}/" if index is not None else ""
        return self.folder / f"dag_id={dag}/run_id={run}/task_id={task}/{mapped}attempt={number}.log"

    def log(self, path: Path, *messages: tuple[float, str] | str | bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            for message in messages:
                if isinstance(message, tuple):
                    line = {"timestamp": at(message[0]).isoformat(), "level": "info", "event": message[1]}
                    file.write(json.dumps(line).encode() + b"\n")
                else:
                    file.write(message if isinstance(message, bytes) else message.encode() + b"\n")

    def texts(self, wanted: Wanted | None = None) -> list[str]:
        source = FolderLogs(self.folder)
        return [entry.text for entry in merged(source, source.attempts(wanted or Wanted()))]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path / "logs")


def test_logs_are_one_stream_by_time(house: House) -> None:
    house.log(house.path("a"), (0, "a0"), (2, "a2"), (4, "a4"))
    house.log(house.path("b", index=0), (1, "b1"), (3, "b3"))
    house.log(house.path("b", index=1), (1.5, "c1"))
    house.log(house.path("a", number=2), (5, "again"))
    assert house.texts() == ["a0", "b1", "c1", "a2", "b3", "a4", "again"]


def test_lines_without_a_time_stay_behind_their_own(house: House) -> None:
    house.log(house.path("a"), "before all", (0, "a0"), "and", b"\xff bytes\n", (3, "a3"))
    house.log(house.path("b"), (1, "b1"))
    assert house.texts() == ["before all", "a0", "and", "\ufffd bytes", "b1", "a3"]


def test_a_clock_that_goes_back_does_not_turn_a_log_round(house: House) -> None:
    house.log(house.path("a"), (10, "one"), (2, "two"), (11, "three"))
    house.log(house.path("b"), (10.5, "b"))
    assert house.texts() == ["one", "two", "b", "three"]


def test_a_last_line_that_was_never_ended(house: House) -> None:
    house.log(house.path("a"), (0, "a0"), b'{"event": "killed here')
    assert house.texts() == ["a0", '{"event": "killed here']


def test_random_logs_come_as_sorting_all_lines_would_have_them(house: House) -> None:
    chosen = random.Random(5)
    for number in range(40):
        begin = chosen.uniform(0, 60)
        times = sorted(begin + chosen.uniform(0, 30) for _ in range(chosen.randint(1, 20)))
        house.log(house.path(f"t{number}"), *((time, f"{time:.6f}") for time in times))
    texts = house.texts()
    assert texts == sorted(texts, key=float)
    assert len(texts) > 40


def test_what_is_asked_for(house: House) -> None:
    house.log(house.path("user_events.merge", dag="g"), (0, "merge"))
    house.log(house.path("user_events.publish", dag="g", run="other"), (1, "publish"))
    house.log(house.path("user_eventsx", dag="g"), (2, "x"))
    house.log(house.path("t"), (3, "t"))
    assert house.texts(Wanted(dag_id="d")) == ["t"]
    assert house.texts(Wanted(run_id="other")) == ["publish"]
    assert house.texts(Wanted(tasks={"g": ("user_events.",)})) == ["merge", "publish"]
    assert house.texts(Wanted(tasks={"d": ("user_events.",)})) == []


def test_files_that_are_not_logs_of_tasks_are_left(house: House) -> None:
    house.log(house.path("a"), (0, "a0"))
    house.log(house.folder / "dag_processor" / "x.log", (0, "no"))
    house.log(house.path("a").with_name("attempt=x.log"), (0, "no"))
    house.log(house.path("a").with_name("attempt=1.log.trigger.7.log"), (1, "of the triggerer"))
    assert house.texts() == ["a0", "of the triggerer"]


def test_following_files(house: House) -> None:
    first, second = house.path("a"), house.path("a", number=2)
    house.log(first, (0, "a0"))
    steps = iter(
        [
            lambda: house.log(first, (1, "a1"), b'{"event": "ha'),
            lambda: house.log(first, b'lf"}\n'),
            lambda: house.log(second, (3, "again")),
        ]
    )
    source = FolderLogs(house.folder, follows=True)
    stream = followed(source, Wanted(), pytest.fail, lambda seconds: next(steps, lambda: None)())
    found = [entry.text for entry in islice((each for each in stream if each is not None), 4)]
    assert found == ["a0", "a1", "half", "again"]


class Counting:
    """Logs of an Airflow that counts requests; each log has a line at each second of its task."""

    def __init__(self, attempts: list[Attempt], seconds: int = 3) -> None:
        self._attempts, self._seconds = attempts, seconds
        self.read_logs: list[AttemptKey] = []
        self.listed = 0
        self.failing = 0

    def attempts(self, wanted: Wanted) -> Iterator[Attempt]:
        for attempt in self._attempts:
            self.listed += 1
            yield attempt

    def newer(self, wanted: Wanted, known: Callable[[Attempt], bool]) -> Iterator[Attempt]:
        if self.failing:
            self.failing -= 1
            raise AirflowUnavailableError("Airflow does not answer.")
        return iter([attempt for attempt in self._attempts if not known(attempt)])

    def read(self, attempt: Attempt, position: Position) -> Reading:
        self.read_logs.append(attempt.key)
        assert attempt.started is not None
        times = (attempt.started + dt.timedelta(seconds=number) for number in range(self._seconds))
        entries = [Entry(attempt.key, time, "info", "tick") for time in times]
        return Reading(entries[position.count :], Position(count=len(entries)))


def a_thousand() -> list[Attempt]:
    return [Attempt(AttemptKey("d", f"r{number}", "t"), at(number * 10)) for number in range(1000)]


def test_the_first_line_needs_a_few_logs() -> None:
    source = Counting(a_thousand())
    stream = merged(source, source.attempts(Wanted()))
    assert next(stream).key.run_id == "r0"
    assert len(source.read_logs) <= 6
    assert source.listed <= 6
    assert sum(1 for _ in stream) == 2999
    assert len(set(source.read_logs)) == len(source.read_logs) == 1000


def test_a_server_that_does_not_answer_for_a_while_is_waited_for() -> None:
    source = Counting([])
    said: list[str] = []
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 1:
            source.failing = 5
        if len(pauses) == 7:
            source._attempts = [Attempt(AttemptKey("d", "r", "t"), at(0))]

    stream = followed(source, Wanted(), said.append, pause)
    assert next(each for each in stream if each is not None).key.run_id == "r"
    assert said == ["Airflow does not answer. Trying again until it answers.", "Airflow answers again."]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 1.0]


def test_a_line_after_the_end_of_a_followed_task_is_not_lost() -> None:
    """Airflow says that a log is complete when its task is: its last line may come after that."""
    source = Counting([])
    late = Attempt(AttemptKey("d", "r", "t"), at(0))
    looks = 0

    def pause(seconds: float) -> None:
        nonlocal looks
        looks += 1
        source._attempts = [late]
        source._seconds = 2 if looks == 1 else 3

    stream = followed(source, Wanted(), pytest.fail, pause)
    assert len(list(islice((each for each in stream if each is not None), 3))) == 3
