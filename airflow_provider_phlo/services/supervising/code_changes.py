"""
Changed code of a project, and of this package, while its services run (``phlo services start --dev``).

What has to be done depends on who has loaded a file. The scheduler forks its tasks and has imported this package and
Airflow's plugins, so it has to be started again; a project's own modules are imported by the task, or by the process
that parses one DAG file, and so only what depends on them is parsed again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from queue import Empty, SimpleQueue

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.services.machine.roots import FILE
from airflow_provider_phlo.services.supervising.reading_dags import is_dag_file

PACKAGE = Path(__file__).parents[2]
_DBT_PROJECT = "dbt_project.yml"
_DBT_FILES = frozenset({".sql", ".yml", ".yaml", ".md", ".csv", ".py"})
_DBT_OUTPUT = frozenset({"target", "logs", "dbt_packages"})
_OTHERS = frozenset({"tests"})
_SETTINGS = (FILE, ".env")
# an editor writes several files, a checkout hundreds
_DEBOUNCE_MS = 2_000
_QUIET_MS = 300
_NAMED = 3


class Effect(Enum):
    """What a changed file asks for."""

    #: Every process of Airflow has it loaded.
    ALL = ("api-server", "scheduler", "dag-processor", "triggerer")
    #: DAG files are parsed again, with the project's modules; triggers run in a process that keeps them.
    PARSING = ("dag-processor", "triggerer")
    #: dbt parses its project again, then DAG files are parsed.
    MODELS = ("dag-processor",)
    #: Airflow's dag-processor sees it itself.
    NONE = ()
    #: ``phlo services restart`` reads it.
    SETTINGS = ("",)


@dataclass(frozen=True)
class Changes:
    """
    What was changed within a moment.

    :param parts: the processes that have it loaded.
    :param models: whether dbt has to parse its project first.
    :param settings: whether ``phlo.yaml`` or ``.env`` is among it, which no process reads again.
    :param words: the files, in words.
    """

    parts: frozenset[str]
    models: bool
    settings: bool
    words: str


class CodeWatcher:
    """
    Watches a project's code in a thread of its own.

    :param root: the project.
    :raises ConfigurationError: the package ``watchfiles`` is not installed.
    """

    def __init__(self, root: Path) -> None:
        try:
            from watchfiles import watch
        except ImportError as error:
            raise ConfigurationError("--dev needs the package watchfiles: pip install watchfiles") from error
        self._root = root
        self._found: SimpleQueue[set[str]] = SimpleQueue()
        #: Why nothing is watched any more; empty while it is.
        self.problem = ""

        def follow() -> None:
            try:
                for changes in watch(
                    *watched_folders(root),
                    watch_filter=lambda _, path: self._effect(path) is not Effect.NONE,
                    debounce=_DEBOUNCE_MS,
                    step=_QUIET_MS,
                    raise_interrupt=False,
                    ignore_permission_denied=True,
                ):
                    self._found.put({path for _, path in changes})
            except (OSError, RuntimeError) as error:  # too many files for the system (inotify), a folder is gone
                self.problem = describe(error)

        # a file that changes while the first listing is made is in it
        threading.Thread(target=follow, name="code watcher", daemon=True).start()

    def changes(self) -> Changes | None:
        """Return what was changed since the last call; None if nothing was."""
        paths: set[str] = set()
        try:
            while True:
                paths |= self._found.get_nowait()
        except Empty:
            pass
        return describe_changes(self._root, map(Path, paths)) if paths else None

    def _effect(self, path: str) -> Effect:
        return effect_of(self._root, Path(path))


def watched_folders(root: Path) -> list[Path]:
    """Return the files and folders that hold code: nothing of a virtual environment or of the state of runs."""
    folders = [
        folder
        for folder in sorted(root.iterdir())
        if folder.is_dir()
        and not folder.name.startswith(".")
        and folder.name not in _OTHERS
        and (folder.name in ("dags", "include", "plugins") or (folder / "__init__.py").exists())
    ]
    files = [root / name for name in _SETTINGS if (root / name).exists()]
    return [*folders, *files, *([] if PACKAGE.parent == root else [PACKAGE])]


def effect_of(root: Path, path: Path) -> Effect:
    """Return what a changed file of a project, or of this package, asks for."""
    if path.parent == root and path.name in _SETTINGS:
        return Effect.SETTINGS
    if "__pycache__" in path.parts or path.name.startswith("."):
        return Effect.NONE
    if path.is_relative_to(PACKAGE):
        return Effect.ALL if path.suffix == ".py" else Effect.NONE
    project = next((folder for folder in path.parents if (folder / _DBT_PROJECT).exists()), None)
    if project and project.is_relative_to(root):
        ignored = path.relative_to(project).parts[0] in _DBT_OUTPUT
        return Effect.MODELS if path.suffix in _DBT_FILES and not ignored else Effect.NONE
    if path.suffix != ".py":
        return Effect.NONE
    if path.is_relative_to(root / "plugins"):
        return Effect.ALL
    if path.is_relative_to(root / "dags") and (not path.exists() or is_dag_file(path)):
        return Effect.NONE
    return Effect.PARSING


def describe_changes(root: Path, paths: Iterable[Path]) -> Changes:
    """Return what these changed files ask for together."""
    effects = {path: effect_of(root, path) for path in sorted(paths)}
    names = [str(path.relative_to(root) if path.is_relative_to(root) else path) for path in effects]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    found = set(effects.values())
    return Changes(
        parts=frozenset(part for effect in found - {Effect.SETTINGS} for part in effect.value),
        models=Effect.MODELS in found,
        settings=Effect.SETTINGS in found,
        words=", ".join(names[:_NAMED]) + more,
    )


class Reloading:
    """
    Does what changed code asks for, one thing after another, without making the supervisor wait.

    :param watcher: says what has changed.
    :param parse_models: has dbt parse the project's models; returns whether it has any.
    :param renew: starts parts again as soon as they have ended by themselves.
    :param say: gets a line about everything that happens.
    """

    def __init__(
        self,
        watcher: CodeWatcher,
        parse_models: Callable[[], bool],
        renew: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self._watcher = watcher
        self._parse_models = parse_models
        self._renew = renew
        self._say = say
        self._parsing: threading.Thread | None = None
        self._waiting: set[str] = set()
        self._said_problem = False

    def look(self) -> None:
        """Look once whether something has changed, and do what is due."""
        if self._watcher.problem and not self._said_problem:
            self._said_problem = True
            self._say(f"code is not watched any more: {self._watcher.problem}. phlo services restart --dev tries again")
        if self._parsing and self._parsing.is_alive():
            return
        self._parsing = None
        self._renew_waiting()
        changes = self._watcher.changes()
        if changes is None:
            return
        self._say(f"changed: {changes.words}")
        if changes.settings:
            self._say(f"{FILE} and .env are read by: phlo services restart --dev")
        self._waiting |= changes.parts
        if changes.models:
            self._parsing = threading.Thread(target=self._parse, daemon=True)
            self._parsing.start()
        else:
            self._renew_waiting()

    def _renew_waiting(self) -> None:
        for name in Effect.ALL.value:
            if name in self._waiting:
                self._renew(name)
        self._waiting.clear()

    def _parse(self) -> None:
        try:
            if self._parse_models():
                self._say("dbt has parsed the models")
        except (ConfigurationError, OSError) as error:
            self._say(str(error))
