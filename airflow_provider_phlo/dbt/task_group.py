"""The dbt layers as Airflow tasks: Cosmos reads the project; each model becomes one task, which builds and tests it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.assets.iceberg import iceberg_asset, outlets_of, set_event
from airflow_provider_phlo.assets.pages import model_page
from airflow_provider_phlo.dbt.manifest import (
    DEFAULT_TARGET,
    ensure_manifest,
    quiet_environment,
    read_manifest,
    rendered_path,
)
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import PhloOperator

if TYPE_CHECKING:
    from airflow.sdk import DAG, Asset, Context, TaskGroup
    from cosmos import DbtTaskGroup
    from cosmos.dbt.graph import DbtNode

__all__ = ["DbtModelOperator", "phlo_dbt_task_group"]

PROFILE = "phlo"


class DbtModelOperator(PhloOperator):
    """
    Build one dbt model on the run's branch, run its tests there, and publish it if they pass.

    :param model: the model's id in the manifest, ``model.<project>.<name>``.
    :param table: the ``namespace.table`` that it writes; also the outlet.
    :param project_dir: the dbt project.
    :param target: the profile's target, ``duckdb`` or ``trino``.
    :param partition_date: passed to the SQL as ``env_var('PHLO_PARTITION_DATE')``; None takes the run's.
    :param env: further environment variables for the SQL.
    :param full_refresh: rebuild an incremental model from scratch.
    :param iceberg_conn_id: the catalog.
    """

    template_fields: Sequence[str] = ("partition_date", "env")
    ui_color = "#ff6849"

    def __init__(
        self,
        *,
        model: str,
        table: str,
        project_dir: str,
        target: str = DEFAULT_TARGET,
        partition_date: str | None = None,
        env: Mapping[str, str] | None = None,
        full_refresh: bool = False,
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("outlets", outlets_of(table))
        super().__init__(**kwargs)
        self.model = model
        self.table = table
        self.project_dir = project_dir
        self.target = target
        self.partition_date = partition_date
        self.env = dict(env or {})
        self.full_refresh = full_refresh
        self.iceberg_conn_id = iceberg_conn_id

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the model's table."""
        return outlets_of(arguments.get("table"))

    def run(self, context: Context) -> dict[str, Any]:
        from airflow_provider_phlo import runs
        from airflow_provider_phlo.dbt.runner import build_model

        day = runs.partition_date(context, self.partition_date)
        done = build_model(
            Path(self.project_dir),
            self.model,
            home=settings.home(),
            target=self.target,
            environment=self._environment(runs.token(context, self.table), day, context["run_id"]),
            full_refresh=self.full_refresh,
        )
        state = "was not changed" if done.changed is False else "is published"
        self.log.info("%s %s: %s rows, %d tests passed", done.table, state, done.rows, done.tests)
        for warning in done.warnings:
            self.log.warning("%s: dbt test %s", done.table, warning)
        result = {
            "table": done.table,
            "changed": done.changed,
            "rows": done.rows,
            "snapshot_id": done.snapshot_id,
            "partition_date": day,
            "tests": done.tests,
            "warnings": list(done.warnings),
        }
        if done.rows is None and self.target != DEFAULT_TARGET:
            result["reason"] = f"{self.target} wrote it, which reports no rows"
        set_event(context, self.table, result)
        return result

    def _environment(self, token: str, partition_date: str, run_id: str) -> dict[str, str]:
        """Return what the project and the plugin read; the catalog's secrets are set only while the model runs."""
        variables = {
            **self.env,
            "PHLO_PARTITION_DATE": partition_date,
            "PHLO_DAY_ZONE": settings.day_zone(),
            "PHLO_RUN_ID": run_id,
        }
        if self.target != DEFAULT_TARGET:  # Trino has its own catalog, and cannot write a branch
            return variables
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        properties = dict(PhloIcebergHook(self.iceberg_conn_id).properties)
        return {
            **variables,
            "PHLO_CATALOG_NAME": properties.pop("catalog_name", settings.catalog_name()),
            "PHLO_CATALOG_PROPERTIES": json.dumps(properties),
            "PHLO_RUN_TOKEN": token,
        }


def phlo_dbt_task_group(
    select: str | Sequence[str],
    *,
    group_id: str | None = None,
    project_dir: str | Path | None = None,
    exclude: str | Sequence[str] | None = None,
    target: str = DEFAULT_TARGET,
    partition_date: str | None = None,
    env: Mapping[str, str] | None = None,
    iceberg_conn_id: str = "iceberg_default",
    **task_arguments: Any,
) -> DbtTaskGroup:
    """
    Render dbt models as a task group: one task per model, in the order of their references, grouped by layer.

    A task builds its model on a branch, runs the model's tests there, and publishes it if they pass. Its outlet is the
    model's table; its inlets are the tables that the model reads.

    :param select: dbt's selection, such as ``path:models/glucose`` or ``tag:github``.
    :param group_id: the group's id; None infers it from the folder or tag: ``glucose_models``.
    :param project_dir: the dbt project; by default ``$PHLO_DBT_PROJECT``, else the ``include/dbt`` nearest to the DAG
        file.
    :param exclude: what to leave out, in the same form.
    :param target: the profile's target, ``duckdb`` or ``trino``.
    :param partition_date: overrides the run's; a template.
    :param env: further environment variables for the SQL.
    :param task_arguments: passed to every task (``retries``, ``pool``, …).
    :raises ConfigurationError: there is no such project, dbt cannot parse it, or nothing is selected.

    ::

        readings() >> phlo_dbt_task_group(select="path:models/readings") >> publish
    """
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior

    selected = _as_list(select)
    project = _project(project_dir, sys._getframe(1).f_code.co_filename)
    manifest = rendered_path(ensure_manifest(project, settings.home(), target))
    renderer = _Renderer(
        read_manifest(manifest),
        {
            "project_dir": str(project),
            "target": target,
            "partition_date": partition_date,
            "env": dict(env or {}),
            "iceberg_conn_id": iceberg_conn_id,
            **task_arguments,
        },
    )
    project_config = ProjectConfig(
        dbt_project_path=project, manifest_path=manifest, install_dbt_deps=False, env_vars=quiet_environment()
    )
    # a plain path: Cosmos's own ObjectStoragePath would make every task import all plugins of the UI, 1 s
    project_config.manifest_path = manifest
    group = DbtTaskGroup(
        group_id=group_id or _group_id(selected),
        project_config=project_config,
        profile_config=ProfileConfig(
            profile_name=PROFILE, target_name=target, profiles_yml_filepath=project / "profiles.yml"
        ),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL, invocation_mode=InvocationMode.DBT_RUNNER, dbt_project_path=None
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            select=selected,
            exclude=_as_list(exclude or []),
            test_behavior=TestBehavior.BUILD,
            emit_datasets=False,
            node_converters={DbtResourceType.MODEL: renderer.task},
        ),
    )
    if not group.children:
        raise ConfigurationError(f"No model of {project} matches {', '.join(selected)}: correct `select`.")
    return group


class _Renderer:
    """Turns the nodes that Cosmos selects into tasks."""

    def __init__(self, manifest: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        self._nodes = {**manifest["sources"], **manifest["nodes"]}
        self._arguments = arguments
        self._layers: dict[tuple[str | None, str], TaskGroup] = {}

    # Cosmos makes deep copies of its configuration, which includes the renderer
    def __deepcopy__(self, _memo: Any) -> _Renderer:
        return self

    def task(self, *, dag: DAG, task_group: TaskGroup, node: DbtNode, **_: Any) -> DbtModelOperator:
        """Return the task of one model, inside the group of its layer."""
        model = self._nodes[node.unique_id]
        return DbtModelOperator(
            task_id=model["name"],
            dag=dag,
            task_group=self._layer(dag, task_group, model),
            doc_md=model["description"] or None,
            model=node.unique_id,
            table=_table(model),
            outlets=[iceberg_asset(_table(model), group=_folder(model), extra=model_page(model))],
            inlets=[*self._inlets(model)],
            **self._arguments,
        )

    def _layer(self, dag: DAG, parent: TaskGroup, model: Mapping[str, Any]) -> TaskGroup:
        """Return the task group of the folder that the model's file is in."""
        from airflow.sdk import TaskGroup

        layer = model["fqn"][-2] if len(model["fqn"]) > 2 else model["schema"]
        key = (parent.group_id, layer)
        if key not in self._layers:
            self._layers[key] = TaskGroup(group_id=layer, dag=dag, parent_group=parent)
        return self._layers[key]

    def _inlets(self, model: Mapping[str, Any]) -> Iterable[Asset]:
        for unique_id in model["depends_on"]["nodes"]:
            upstream = self._nodes[unique_id]
            if upstream["resource_type"] == "source":
                yield iceberg_asset(_ingested(upstream))
            elif upstream["config"]["materialized"] != "ephemeral":
                yield iceberg_asset(_table(upstream))


def _table(node: Mapping[str, Any]) -> str:
    return f"{node['schema']}.{node['alias']}"


def _ingested(source: Mapping[str, Any]) -> str:
    """Return the ingested table that a source stands for: ``meta.phlo_asset``, else the one with its name."""
    meta = {**source["meta"], **source["config"].get("meta", {})}
    return str(meta.get("phlo_asset") or f"{source['schema']}.{source['identifier'].removeprefix('dlt_')}")


def _folder(model: Mapping[str, Any]) -> str:
    """Return the model's folder below ``models/``, which is the asset group."""
    return str(model["fqn"][1]) if len(model["fqn"]) > 2 else PROFILE


def _group_id(selected: Sequence[str]) -> str:
    """Return ``glucose_models`` for ``path:models/glucose`` or ``tag:glucose``."""
    name = selected[0].rpartition(":")[2].strip("+*/").rpartition("/")[2] if selected else ""
    words = "".join(character if character.isalnum() or character == "_" else "_" for character in name)
    return f"{words}_models" if words and words != "models" else "dbt_models"


def _as_list(given: str | Sequence[str]) -> list[str]:
    return given.split() if isinstance(given, str) else list(given)


def _project(given: str | Path | None, dag_file: str) -> Path:
    """Return the project's folder: the given or configured one, else the ``include/dbt`` nearest to the DAG file."""
    named = given or os.environ.get("PHLO_DBT_PROJECT")
    if named:
        return Path(named).resolve()
    near = (*Path(dag_file).resolve().parents, *Path.cwd().joinpath("-").parents)
    for folder in near:
        if (folder / "include" / "dbt" / "dbt_project.yml").is_file():
            return folder / "include" / "dbt"
    raise ConfigurationError(
        f"There is no include/dbt near {dag_file}: give `project_dir`, or set PHLO_DBT_PROJECT to the dbt project."
    )
