"""What the supervisor of a home writes down, and what is wanted of it: two files that only their owner reads."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from airflow_provider_phlo.private_files import write_private


@dataclass(frozen=True)
class Wanted:
    """
    What somebody wants of a part.

    :param generation: grows with every wish: a part that runs already is started again.
    """

    run: bool = True
    generation: int = 0


@dataclass(frozen=True)
class PartState:
    """
    What a part is doing.

    :param started: when it was last started, in seconds since 1970.
    :param restarts: how often it was started again after it had died.
    :param problem: how it ended last, if it did not recover from that.
    :param version: that of the program when it was last started; empty if the part is asked itself.
    """

    status: str
    pid: int | None
    started: float
    restarts: int
    problem: str
    log: str
    version: str = ""


@dataclass(frozen=True)
class SupervisorState:
    """
    What the supervisor of a home is doing.

    :param created: when its process began, as the system says: with the process id, it is certain who is meant.
    :param root: the project that it runs.
    :param phase: ``setting up``, ``running``, ``stopping`` or ``failed``.
    :param problem: why it failed.
    :param url: where Airflow answers.
    :param dev: whether changed code is picked up.
    """

    pid: int
    created: float
    root: str
    phase: str
    problem: str = ""
    url: str = ""
    dev: bool = False
    parts: dict[str, PartState] = field(default_factory=dict)

    @property
    def is_alive(self) -> bool:
        """Return whether this supervisor still runs."""
        try:
            process = psutil.Process(self.pid)
            return bool(process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.Error:
            return False


def write_state(home: Path, state: SupervisorState) -> None:
    """Replace the state of ``home``, all or nothing."""
    write_private(_folder(home) / "state.json", json.dumps(asdict(state)))


def read_state(home: Path) -> SupervisorState | None:
    """Return the state that the last supervisor of ``home`` wrote; None if there is none that can be read."""
    fields = _read(home / "services" / "state.json")
    try:
        parts = {name: PartState(**part) for name, part in fields.pop("parts").items()}
        return SupervisorState(**fields, parts=parts)
    except (KeyError, TypeError, AttributeError):
        return None


def read_wanted(home: Path) -> dict[str, Wanted]:
    """Return what is wanted of the parts of ``home``; of those that are not named, that they run."""
    try:
        return {name: Wanted(**wish) for name, wish in _read(home / "services" / "wanted.json").items()}
    except TypeError:
        return {}


def want(home: Path, names: Iterable[str], *, run: bool, again: bool = False) -> None:
    """
    Say what is wanted of some parts.

    :param run: whether they shall run.
    :param again: start also those that run already.
    """
    with (_folder(home) / "wanted.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        wishes = read_wanted(home)
        for name in names:
            old = wishes.get(name, Wanted())
            if again or old.run != run:
                wishes[name] = Wanted(run, old.generation + 1)
        write_private(_folder(home) / "wanted.json", json.dumps({name: asdict(wish) for name, wish in wishes.items()}))


def _folder(home: Path) -> Path:
    folder = home / "services"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
