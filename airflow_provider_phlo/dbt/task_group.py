"""The dbt layers as Airflow tasks: Cosmos reads the project; each model becomes a task, which builds and tests it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.assets.iceberg import iceberg_asset
from airflow_provider_phlo.assets.pages import model_page
from airflow_provider_phlo.dbt.manifest import (
    ensure_manifest,
    is_ephemeral,
    profile_arguments,
    quiet_environment,
    read_manifest,
    rendered_path,
    tables_read,
)
from airflow_provider_phlo.dbt.operators import DbtModelOperator, DbtTestOperator
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET, PROFILES, profile_of
from airflow_provider_phlo.dbt.standalone_tests import StandaloneTests, standalone_tests
from airflow_provider_phlo.dbt.unsupported import (
    require_supported_model,
    require_supported_resource,
    require_supported_tests,
)
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.process import cosmos_imported_quietly

if TYPE_CHECKING:
    from airflow.sdk import DAG, Asset, TaskGroup
    from cosmos import DbtTaskGroup
    from cosmos.dbt.graph import DbtNode

__all__ = ["DbtModelOperator", "phlo_dbt_task_group"]

PROFILE = "phlo"


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
    model's table; its inlets are the tables that the model reads. Tests that no model's task can run (on sources,
    between models that do not read each other) are tasks of their own, in the group ``tests``: they run as
    soon as all they read is there, and what is built on that waits for them.

    :param select: dbt's selection, such as ``path:models/glucose`` or ``tag:github``.
    :param group_id: the group's id; None infers it from the folder or tag: ``glucose_models``.
    :param project_dir: the dbt project; by default ``$PHLO_DBT_PROJECT``, else the ``include/dbt`` nearest to the DAG
        file.
    :param exclude: what to leave out, in the same form.
    :param target: the profile's target, ``duckdb`` or ``trino``.
    :param partition_date: overrides the run's; a template.
    :param env: further environment variables for the SQL.
    :param task_arguments: passed to every task (``retries``, ``pool``, …).
    :raises ConfigurationError: there is no such project, dbt cannot parse it, nothing is selected, or a selected node
        asks for what would have no effect.

    ::

        readings() >> phlo_dbt_task_group(select="path:models/readings") >> publish
    """
    with cosmos_imported_quietly():
        from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
        from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior

    selected = _as_list(select)
    project = _project(project_dir, sys._getframe(1).f_code.co_filename)
    home = settings.home()
    profile = profile_of(project, target)
    manifest = rendered_path(ensure_manifest(project, home, target))
    renderer = _Renderer(
        read_manifest(manifest),
        profile.engine,
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
            profile_name=profile.name,
            target_name=profile.target,
            # Cosmos asks for the file, and nothing reads it
            profiles_yml_filepath=Path(profile_arguments(profile, manifest.parent)["profiles-dir"], PROFILES),
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
            node_converters={
                DbtResourceType.MODEL: renderer.task,
                DbtResourceType.SEED: renderer.refuse,
                DbtResourceType.SNAPSHOT: renderer.refuse,
            },
        ),
    )
    if not group.children:
        raise ConfigurationError(f"No model of {project} matches {', '.join(selected)}: correct `select`.")
    renderer.complete(group)
    return group


class _Renderer:
    """Turns the nodes that Cosmos selects into tasks."""

    def __init__(self, manifest: Mapping[str, Any], engine: str, arguments: Mapping[str, Any]) -> None:
        self._manifest = manifest
        self._engine = engine
        self._nodes = {**manifest["sources"], **manifest["nodes"]}
        self._arguments = arguments
        self._layers: dict[tuple[str | None, str], TaskGroup] = {}
        self._selected: list[str] = []
        self._tasks: dict[str, DbtModelOperator] = {}

    # Cosmos makes deep copies of its configuration, which includes the renderer
    def __deepcopy__(self, _memo: Any) -> _Renderer:
        return self

    def refuse(self, *, node: DbtNode, **_: Any) -> None:
        """Refuse what is not a model."""
        require_supported_resource(self._nodes[node.unique_id])

    def task(self, *, dag: DAG, task_group: TaskGroup, node: DbtNode, **_: Any) -> DbtModelOperator | None:
        """Return a model's task, inside the group of its layer; None for an ephemeral one, which has no table."""
        model = self._nodes[node.unique_id]
        require_supported_model(model, self._engine)
        self._selected.append(node.unique_id)
        if is_ephemeral(model):
            return None
        self._tasks[node.unique_id] = DbtModelOperator(
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
        return self._tasks[node.unique_id]

    def complete(self, group: DbtTaskGroup) -> None:
        """Add what Cosmos does not know: order through ephemeral models, and the tests that no model's task runs."""
        for unique_id, task in self._tasks.items():
            for parent in tables_read(self._nodes, unique_id):
                if parent in self._tasks and parent not in self._nodes[unique_id]["depends_on"]["nodes"]:
                    self._tasks[parent] >> task
        tests = self._manifest["tests"]
        concerned = {name for name, test in tests.items() if set(test["depends_on"]["nodes"]) & {*self._selected}}
        found = standalone_tests(self._manifest, self._selected)
        concerned.update(name for tests_of in found for name in tests_of.tests)
        require_supported_tests((tests[name] for name in sorted(concerned)), self._engine)
        if found:
            self._add_tests(group, found)

    def _add_tests(self, group: DbtTaskGroup, found: Sequence[StandaloneTests]) -> None:
        from airflow.sdk import TaskGroup

        tests = TaskGroup(group_id="tests", dag=group.dag, parent_group=group)
        for number, alone in enumerate(found):
            known = tests.children.keys()
            name = alone.name if f"{tests.group_id}.{alone.name}" not in known else f"{alone.name}_{number}"
            task = DbtTestOperator(task_id=name, dag=group.dag, task_group=tests, tests=alone.tests, **self._arguments)
            for model in sorted(alone.after):
                self._tasks[model] >> task
            for model in sorted(alone.before):
                task >> self._tasks[model]

    def _layer(self, dag: DAG, parent: TaskGroup, model: Mapping[str, Any]) -> TaskGroup:
        """Return the task group of the folder that the model's file is in."""
        from airflow.sdk import TaskGroup

        layer = model["fqn"][-2] if len(model["fqn"]) > 2 else model["schema"]
        key = (parent.group_id, layer)
        if key not in self._layers:
            self._layers[key] = TaskGroup(group_id=layer, dag=dag, parent_group=parent)
        return self._layers[key]

    def _inlets(self, model: Mapping[str, Any]) -> Iterable[Asset]:
        for unique_id in dict.fromkeys(tables_read(self._nodes, model["unique_id"])):
            upstream = self._nodes[unique_id]
            source = upstream["resource_type"] == "source"
            yield iceberg_asset(_ingested(upstream) if source else _table(upstream))


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
