"""Which tasks the names mean that people give, where no server answers: by what the log files are called."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.run_logs.names import hint


@dataclass(frozen=True)
class _Candidate:
    """
    Tasks that are called like an asset.

    :param name: a task, or the group of tasks whose names begin so (``readings.``).
    :param folder: what stands before the name of a dbt model: its folder, often its namespace; empty for others.
    """

    dag_id: str
    name: str
    folder: str


class FolderNames:
    """
    The DAGs, runs and tasks that have log files.

    :param folder: ``[logging] base_log_folder``.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check_dag(self, dag_id: str) -> None:
        """
        Check that a DAG has log files.

        :raises ConfigurationError: it has none.
        """
        known = sorted(_values(self._folder.glob("dag_id=*")))
        if dag_id not in known:
            raise ConfigurationError(f"There are no log files of a DAG {dag_id}.{hint(dag_id, known, 'DAGs')}")

    def check_run(self, run_id: str, dag_id: str | None) -> None:
        """
        Check that a run has log files.

        :param dag_id: of this DAG; None means any.
        :raises ConfigurationError: it has none.
        """
        paths = self._folder.glob(f"dag_id={'*' if dag_id is None else dag_id}/run_id=*")
        known = list(_values(sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)))
        if run_id not in known:
            raise ConfigurationError(
                f"There are no log files of a run {run_id}.{hint(run_id, known, 'The newest runs')}"
            )

    def makers(self, asset: str) -> Mapping[str, tuple[str, ...]]:
        """
        Return DAG → the tasks that are called like an asset: its task group, or its dbt model.

        :raises ConfigurationError: there are none, or it is not certain that these tasks make it.
        """
        namespace, _, short = asset.rpartition(":")[2].rpartition(".")
        found = sorted(set(self._candidates(short)), key=lambda each: (each.dag_id, each.name))
        if not found:
            known = sorted({part for _, task_id in self._tasks() for part in task_id.split(".")})
            raise ConfigurationError(
                f"No log file is of a task that is called like {asset}, and without a server nobody else says who "
                f"makes it.{hint(short, known, 'Parts of the names of tasks')}"
            )
        chosen = found
        if namespace:
            exact = [each for each in found if each.folder == namespace]
            chosen = exact or [each for each in found if not each.folder]
        if len({each.folder for each in chosen}) != 1:
            called = ", ".join(f"{each.dag_id}/{each.name.removesuffix('.')}" for each in found)
            names = sorted({f"{each.folder or 'NAMESPACE'}.{short}" for each in found})
            raise ConfigurationError(
                f"The log files do not say which tasks make {asset}: {called} are called like it. Name "
                f"{' or '.join(names)}, or start the services, which know."
            )
        by_dag: dict[str, list[str]] = defaultdict(list)
        for each in chosen:
            by_dag[each.dag_id].append(each.name)
        return {dag_id: tuple(task_names) for dag_id, task_names in by_dag.items()}

    def _candidates(self, short: str) -> Iterator[_Candidate]:
        for dag_id, task_id in self._tasks():
            *above, last = task_id.split(".")
            if last == short:
                yield _Candidate(dag_id, task_id, above[-1] if above else "")
            elif short in above:
                group = above[: above.index(short) + 1]
                yield _Candidate(dag_id, f"{'.'.join(group)}.", "")

    def _tasks(self) -> set[tuple[str, str]]:
        found = self._folder.glob("dag_id=*/run_id=*/task_id=*")
        return {(path.parts[-3].removeprefix("dag_id="), path.name.removeprefix("task_id=")) for path in found}


def _values(paths: Iterator[Path] | list[Path]) -> Iterator[str]:
    return (path.name.partition("=")[2] for path in paths)
