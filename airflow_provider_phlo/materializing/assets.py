"""What an Airflow knows of its assets: their names, groups and tags, which tasks make them, and from what."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.airflow_api.client import AirflowApi, dag_path
from airflow_provider_phlo.exceptions import AirflowRefusedError
from airflow_provider_phlo.materializing.dag_tasks import DagTasks, Task
from airflow_provider_phlo.materializing.days import ticks_in, zone_in_source, zone_named

_LAKE = "iceberg://"
_MODEL = "dbt model "


@dataclass(frozen=True)
class Asset:
    """
    An asset that tasks make.

    :param makers: the tasks that make it, of DAGs that are there.
    :param readers: the tasks that say that they read it.
    :param tags: of its dbt model and of the DAGs that make it; ``dbt`` if it is a dbt model.
    :param model: the name of its dbt model; empty if it is not one.
    :param paths: where it is written down: the file of its model, and those of its DAGs.
    """

    name: str
    uri: str
    group: str
    makers: tuple[Task, ...]
    readers: tuple[Task, ...]
    tags: frozenset[str]
    model: str
    paths: tuple[str, ...]

    @property
    def in_lake(self) -> bool:
        """Return whether it is a table of the lake."""
        return self.uri.startswith(_LAKE)

    @property
    def short_name(self) -> str:
        """Return its last name: that of a table without its namespace."""
        return self.name.rpartition(".")[2] or self.name

    @property
    def dag_ids(self) -> tuple[str, ...]:
        """Return the DAGs that make it."""
        return tuple(dict.fromkeys(task.dag_id for task in self.makers))


class AssetMap:
    """
    All assets of an Airflow, and the DAGs that make them.

    :param api: Airflow, logged in.
    """

    def __init__(self, api: AirflowApi) -> None:
        self.api = api
        self.dags: dict[str, dict[str, Any]] = {
            dag["dag_id"]: dag for dag in api.pages("/dags?exclude_stale=true", "dags") if not dag["is_stale"]
        }
        self.assets: dict[str, Asset] = {}
        for found in api.pages("/assets", "assets"):
            asset = self._asset(found)
            # two assets may have one name and different URIs: then the URI is the name
            self.assets[asset.name if asset.name not in self.assets else asset.uri] = asset
        self._upstream: dict[str, frozenset[str]] = {}

    def dag_tasks(self, dag_id: str) -> DagTasks:
        """Return the tasks of a DAG, and which of them make assets."""
        return self._tasks_of(dag_id)

    def details(self, dag_id: str) -> dict[str, Any]:
        """Return a DAG with what its list leaves out: its zone, its dates, whether it catches up."""
        return self._details_of(dag_id)

    def day_zone(self, dag_id: str) -> tzinfo:
        """Return the zone whose days count for a DAG: its own if it has one, else that of ``[phlo] day_zone``."""
        return self._own_zone(dag_id) or self._day_zone

    def schedule_zone(self, dag_id: str) -> tzinfo:
        """Return the zone in which the schedule of a DAG ticks."""
        return self._own_zone(dag_id) or UTC

    def _own_zone(self, dag_id: str) -> tzinfo | None:
        return zone_named(self.details(dag_id)["timezone"]) or self._zone_of_schedule(dag_id)

    def handed_on(self, dag_id: str, task_id: str) -> str:
        """Return why a task may have something to hand on (XCom), in words; nothing if its runs handed on nothing."""
        path = f"{dag_path(dag_id)}/dagRuns/~/taskInstances"
        task = quote(task_id, safe="")
        if self.api.call("GET", f"{path}/{task}/xcomEntries?xcom_key=return_value&limit=1")["total_entries"]:
            return "its runs return something"
        query = f"?task_id={task}&state=success&order_by=-start_date&limit=100"
        done = self.api.call("GET", path + query)["task_instances"]
        # of a task that was marked as done, nothing is known
        return "" if any(each["try_number"] for each in done) else "it has not run yet"

    def upstream(self, name: str) -> frozenset[str]:
        """Return the assets that an asset is made from: those its tasks say they read, else those made before it."""
        if name not in self._upstream:
            makers = self.assets[name].makers
            read = {key for key, asset in self.assets.items() if not set(asset.readers).isdisjoint(makers)}
            self._upstream[name] = frozenset((read or self._made_before(makers)) - {name})
        return self._upstream[name]

    def downstream(self, name: str) -> frozenset[str]:
        """Return the assets that are made from an asset."""
        return frozenset(other for other in self.assets if name in self.upstream(other))

    def _made_before(self, makers: Iterable[Task]) -> set[str]:
        before = {
            Task(task.dag_id, task_id)
            for task in makers
            for task_id in self.dag_tasks(task.dag_id).makers_before(task.task_id)
        }
        return {name for name, asset in self.assets.items() if not before.isdisjoint(asset.makers)}

    def _asset(self, found: Mapping[str, Any]) -> Asset:
        makers = tuple(Task(each["dag_id"], each["task_id"]) for each in found["producing_tasks"])
        makers = tuple(task for task in makers if task.dag_id in self.dags)
        extra = found["extra"] or {}
        made_by = str(extra.get("made_by") or "")
        model = made_by.removeprefix(_MODEL) if made_by.startswith(_MODEL) else ""
        dags = [self.dags[dag_id] for dag_id in dict.fromkeys(task.dag_id for task in makers)]
        tags = {tag["name"] for dag in dags for tag in dag["tags"]} | set(extra.get("tags") or ())
        paths = [extra["path"]] if isinstance(extra.get("path"), str) else []
        return Asset(
            name=found["name"],
            uri=found["uri"],
            group=found["group"],
            makers=makers,
            readers=tuple(Task(each["dag_id"], each["task_id"]) for each in found.get("consuming_tasks", ())),
            tags=frozenset(tags | {"dbt"} if model else tags),
            model=model,
            paths=(*paths, *(f"dags/{dag['relative_fileloc']}" for dag in dags if dag["relative_fileloc"])),
        )

    @functools.cache  # noqa: B019 - a map lives as long as its command
    def _zone_of_schedule(self, dag_id: str) -> tzinfo | None:
        details = self.details(dag_id)
        due, summary = details["next_dagrun_run_after"], str(details["timetable_summary"] or "")
        tick = datetime.fromisoformat(due) if due else None
        if tick is None or ticks_in(summary, tick, UTC):
            return None
        try:
            source = self.api.call("GET", f"/dagSources/{quote(dag_id, safe='')}")["content"]
        except AirflowRefusedError:
            return None
        return zone_in_source(str(source or ""), summary, tick)

    @functools.cached_property
    def _day_zone(self) -> tzinfo:
        try:
            found = self.api.call("GET", "/config/section/phlo/option/day_zone")["sections"][0]["options"][0]["value"]
        except AirflowRefusedError:  # it is not set, or Airflow does not show its settings ([api] expose_config)
            found = os.environ.get("AIRFLOW__PHLO__DAY_ZONE")
        return zone_named(found) or UTC

    @functools.cache  # noqa: B019 - a map lives as long as its command
    def _details_of(self, dag_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.call("GET", f"{dag_path(dag_id)}/details")
        return found

    @functools.cache  # noqa: B019 - a map lives as long as its command
    def _tasks_of(self, dag_id: str) -> DagTasks:
        makers = {task.task_id for asset in self.assets.values() for task in asset.makers if task.dag_id == dag_id}
        return DagTasks(dag_id, self.api.call("GET", f"{dag_path(dag_id)}/tasks")["tasks"], frozenset(makers))
