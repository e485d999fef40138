"""Which tasks the names mean that people give: of a DAG, a run, a table or another asset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from airflow_provider_phlo.airflow_api.client import dag_path, run_path
from airflow_provider_phlo.exceptions import AirflowRefusedError, ConfigurationError
from airflow_provider_phlo.run_logs.source import is_of
from airflow_provider_phlo.suggestions import did_you_mean

if TYPE_CHECKING:
    from airflow_provider_phlo.airflow_api.client import AirflowApi

_SHOWN = 20
_NOT_FOUND = 404


@dataclass(frozen=True)
class Assets:
    """
    The assets that an Airflow knows, and the tasks that make them.

    :param tasks: name of an asset → DAG → what its tasks are called, or begin with.
    :param producers: name of an asset → DAG → the tasks that Airflow knows to make it.
    """

    tasks: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    producers: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)

    @classmethod
    def read(cls, api: AirflowApi) -> Assets:
        """Ask Airflow for its assets."""
        found = list(api.pages("/assets?only_active=true", "assets"))
        return cls(
            {asset["name"]: _tasks(asset) for asset in found}, {asset["name"]: _producers(asset) for asset in found}
        )

    def makers(self, name: str) -> Mapping[str, tuple[str, ...]]:
        """
        Return the tasks that make an asset: those of the task group of the one that Airflow knows to make it.

        :param name: of an asset, or what follows the dot of a table's.
        :raises ConfigurationError: there is no such asset, there are several, or no task makes it.
        """
        found = [name] if name in self.tasks else [each for each in self.tasks if each.rpartition(".")[2] == name]
        if len(found) > 1:
            raise ConfigurationError(f"{name} may be {' or '.join(sorted(found))}: give the whole name.")
        if not found:
            known = [each for each in self.tasks if self.tasks[each]]
            raise ConfigurationError(f"Airflow knows no asset {name}.{hint(name, sorted(known), 'Assets')}")
        if not self.tasks[found[0]]:
            raise ConfigurationError(f"No task of a DAG makes {found[0]}: nothing logs about it.")
        return self.tasks[found[0]]

    def made_by(self, dag_id: str, task_id: str) -> str:
        """Return the asset that a task makes, or helps to make; nothing if it makes none, or several."""
        found = [
            asset for asset, tasks in self.tasks.items() if any(is_of(name, task_id) for name in tasks.get(dag_id, ()))
        ]
        return found[0] if len(found) == 1 else ""


def check_dag(api: AirflowApi, dag_id: str) -> None:
    """
    Check that Airflow has a DAG.

    :raises ConfigurationError: it does not.
    """
    try:
        api.call("GET", dag_path(dag_id))
    except AirflowRefusedError as error:
        if error.status != _NOT_FOUND:
            raise
        near = hint(dag_id, sorted(api.dag_ids()), "DAGs")
        raise ConfigurationError(f"Airflow has no DAG {dag_id}.{near}") from None


def check_run(api: AirflowApi, run_id: str, dag_id: str | None) -> None:
    """
    Check that Airflow has a run.

    :param dag_id: of this DAG; None means any.
    :raises ConfigurationError: it does not.
    """
    if dag_id is not None:
        try:
            api.call("GET", run_path(dag_id, run_id))
        except AirflowRefusedError as error:
            if error.status != _NOT_FOUND:
                raise
        else:
            return
    last = urlencode({"order_by": "-run_after", "limit": 100})
    runs = [run["dag_run_id"] for run in api.call("GET", f"{dag_path(dag_id or '~')}/dagRuns?{last}")["dag_runs"]]
    same = urlencode({"run_id_pattern": run_id})
    if dag_id is None and any(run["dag_run_id"] == run_id for run in api.pages(f"/dags/~/dagRuns?{same}", "dag_runs")):
        return
    raise ConfigurationError(
        f"{f'DAG {dag_id}' if dag_id else 'Airflow'} has no run {run_id}.{hint(run_id, runs, 'The newest runs')}"
    )


def _producers(asset: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for task in asset["producing_tasks"]:
        found.setdefault(task["dag_id"], []).append(task["task_id"])
    return {dag_id: tuple(task_ids) for dag_id, task_ids in found.items()}


def _tasks(asset: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for task in asset["producing_tasks"]:
        group = task["task_id"].rpartition(".")[0]
        found.setdefault(task["dag_id"], []).append(f"{group}." if group else task["task_id"])
    return {dag_id: tuple(dict.fromkeys(names)) for dag_id, names in found.items()}


def hint(name: str, known: Iterable[str], what: str) -> str:
    """
    Return what may have been meant, else what there is.

    :param known: in the order in which they are shown.
    :param what: they are, in the plural.
    """
    names = list(dict.fromkeys(known))
    if not names:
        return f" {what}: none."
    more = " …" if len(names) > _SHOWN else ""
    return did_you_mean(name, names) or f" {what}: {', '.join(names[:_SHOWN])}{more}."
