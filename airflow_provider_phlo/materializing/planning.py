"""Which tasks make what was selected, by DAG, and in which order the DAGs run."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.assets import Asset, AssetMap
from airflow_provider_phlo.suggestions import did_you_mean


@dataclass(frozen=True)
class PlannedRun:
    """
    A run of a DAG that makes assets.

    :param assets: the names of the assets that it makes.
    :param tasks: the tasks that are to run.
    :param others: those that are not.
    :param wave: runs of a wave start together, when those of the waves before have ended.
    """

    dag_id: str
    assets: tuple[str, ...]
    tasks: frozenset[str]
    others: frozenset[str]
    wave: int


def plan_runs(
    assets: AssetMap, names: Sequence[str], whole_dags: Iterable[str] = (), *, dag_id: str | None = None
) -> list[PlannedRun]:
    """
    Return the runs that make assets, in the order of their waves.

    :param names: of assets that some DAG makes.
    :param whole_dags: DAGs all of whose tasks run.
    :param dag_id: the DAG that makes them, where there are several.
    :raises ConfigurationError: several DAGs make an asset, or a DAG cannot be run; says which.
    """
    whole = set(whole_dags)
    if dag_id is not None and dag_id not in assets.dags:
        raise ConfigurationError(f"--dag {dag_id}: Airflow does not have this DAG.{did_you_mean(dag_id, assets.dags)}")
    chosen = {name: _maker(assets.assets[name], name, dag_id, whole) for name in names}
    if dag_id is not None and dag_id not in {*chosen.values(), *whole}:
        raise ConfigurationError(f"--dag {dag_id}: it makes none of what is selected.")
    waves = _Waves(assets, chosen, whole).of
    groups: dict[tuple[int, str], list[str]] = {}
    for name, dag in chosen.items():
        groups.setdefault((waves[name], dag), []).append(name)
    for dag in whole - set(chosen.values()):
        groups[0, dag] = []
    for dag in {dag for _, dag in groups}:
        _check_parsed(assets, dag)
    plans = [_planned(assets, dag, group, wave, dag in whole) for (wave, dag), group in sorted(groups.items())]
    for plan in plans:
        _check_handed_on(assets, plan)
    return plans


def _planned(assets: AssetMap, dag_id: str, names: list[str], wave: int, whole: bool) -> PlannedRun:
    tasks = assets.dag_tasks(dag_id)
    makers = _makers(assets, names, dag_id)
    wanted = tasks.task_ids if whole else tasks.with_setups(tasks.needed_for(makers))
    return PlannedRun(dag_id, tuple(names), wanted, tasks.task_ids - wanted, wave)


def _maker(asset: Asset, name: str, dag_id: str | None, whole: set[str]) -> str:
    """Return the DAG that is to make an asset."""
    dags = asset.dag_ids
    if dag_id in dags:
        return str(dag_id)
    among = [dag for dag in dags if dag in whole] or list(dags)
    if len(among) == 1:
        return among[0]
    raise ConfigurationError(f"{name} is made by {' and by '.join(among)}: choose one with --dag.")


class _Waves:
    """
    Which assets wait for which, as the waves in which they are made.

    :param chosen: asset → the DAG that makes it.
    :param whole: DAGs all of whose tasks run.
    """

    def __init__(self, assets: AssetMap, chosen: Mapping[str, str], whole: Set[str]) -> None:
        self._assets, self._chosen, self._whole = assets, chosen, whole
        self._running = {
            dag: assets.dag_tasks(dag).needed_for(_makers(assets, chosen, dag)) for dag in set(chosen.values())
        }
        #: asset → wave.
        self.of: dict[str, int] = {}
        for name in chosen:
            self._wave(name, frozenset())

    def _wave(self, name: str, below: frozenset[str]) -> int:
        if name not in self.of:
            # assets that are made from each other in a circle are made once
            before = {each: waits for each, waits in self._before(name).items() if each not in below}
            found = [self._wave(each, below | {name}) + waits for each, waits in sorted(before.items())]
            self.of[name] = max(found, default=0)
        return self.of[name]

    def _before(self, name: str) -> dict[str, bool]:
        """Return the chosen assets before one, and of each whether its run has to wait for that to end."""
        dag_id = self._chosen[name]
        found = {each: self._chosen[each] != dag_id for each in self._nearest(name)}
        if dag_id in self._whole:
            return found
        tasks, makers = self._assets.dag_tasks(dag_id), _makers(self._assets, [name], dag_id)
        above = frozenset[str]().union(*map(tasks.all_makers_before, makers))
        for each in self._chosen:
            own = _makers(self._assets, [each], dag_id) if self._chosen[each] == dag_id and each != name else set()
            if not own.isdisjoint(above):
                # what is between them does not run, and then Airflow does not make one wait for the other
                found[each] = not tasks.are_ordered(own, makers, self._running[dag_id])
        return found

    def _nearest(self, name: str) -> set[str]:
        """Return the nearest chosen assets that an asset is made from, perhaps by way of others."""
        found: set[str] = set()
        seen = {name}
        waiting = [name]
        while waiting:
            new = self._assets.upstream(waiting.pop()) - seen
            seen |= new
            found |= new & self._chosen.keys()
            waiting += new - self._chosen.keys()
        return found


def _makers(assets: AssetMap, names: Iterable[str], dag_id: str) -> set[str]:
    """Return the tasks of a DAG that make assets."""
    makers = {task.task_id for name in names for task in assets.assets[name].makers if task.dag_id == dag_id}
    return makers & assets.dag_tasks(dag_id).task_ids


def _check_handed_on(assets: AssetMap, plan: PlannedRun) -> None:
    """
    Do nothing if no task may lack what a task that does not run hands on.

    :raises ConfigurationError: one may: it would be given None.
    """
    for task, left_out in assets.dag_tasks(plan.dag_id).data_from(plan.tasks):
        why = assets.handed_on(plan.dag_id, left_out)
        if why:
            wanted = shlex.quote(f"+{plan.assets[-1]}")
            raise ConfigurationError(
                f"{plan.dag_id}: {task} comes after {left_out}, which is not selected, and may take what that returns: "
                f"{why}. Select that too, as in {wanted}, or dag:{plan.dag_id}."
            )


def _check_parsed(assets: AssetMap, dag_id: str) -> None:
    dag = assets.dags[dag_id]
    if not dag.get("has_import_errors"):
        return
    place = str(dag["relative_fileloc"] or dag["fileloc"])
    for file, trace in assets.api.import_errors().items():
        if file and (place.endswith(file) or file.endswith(place)):
            reason = (trace.strip().splitlines() or ["?"])[-1]
            raise ConfigurationError(f"{dag_id} cannot run: {file} cannot be imported: {reason}")
    raise ConfigurationError(f"{dag_id} cannot run: its file {place} cannot be imported.")
