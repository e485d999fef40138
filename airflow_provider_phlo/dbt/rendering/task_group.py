"""The dbt layers as Airflow tasks: Cosmos reads the project; each model becomes a task, which builds and tests it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.assets.iceberg import iceberg_asset
from airflow_provider_phlo.assets.pages import model_page
from airflow_provider_phlo.dbt.manifest import (
    MANIFEST,
    is_ephemeral,
    read_manifest,
    rendered_path,
    table_of,
    tables_read,
)
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET, PROFILES, TRINO
from airflow_provider_phlo.dbt.project import QUIET, Project
from airflow_provider_phlo.dbt.rendering.operators import DbtModelOperator, DbtTestOperator, parse_environment
from airflow_provider_phlo.dbt.rendering.selection import Selected, Selection, ask
from airflow_provider_phlo.dbt.rendering.unsupported import (
    require_different_names,
    require_supported,
    require_supported_source,
)
from airflow_provider_phlo.dbt.standalone_tests import StandaloneTests, assign_tests
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.process import without_warnings_of_cosmos

if TYPE_CHECKING:
    from airflow.sdk import DAG, Asset, TaskGroup
    from cosmos import DbtTaskGroup
    from cosmos.dbt.graph import DbtNode

__all__ = ["DbtModelOperator", "phlo_dbt_task_group"]

_TESTS = "tests"

log = logging.getLogger(__name__)
# two of them, and the group's id, are within Airflow's 250 characters
_LONGEST_WORD = 100
# of models that are in no folder
ASSET_GROUP = "phlo"


def phlo_dbt_task_group(
    select: str | Sequence[str] | None = None,
    *,
    group_id: str | None = None,
    project_dir: str | Path | None = None,
    exclude: str | Sequence[str] | None = None,
    selector: str | None = None,
    state: str | Path | None = None,
    target: str = DEFAULT_TARGET,
    vars: Mapping[str, Any] | None = None,
    full_refresh: bool = False,
    partition_date: str | None = None,
    env: Mapping[str, str] | None = None,
    iceberg_conn_id: str = "iceberg_default",
    **task_arguments: Any,
) -> DbtTaskGroup:
    """
    Render dbt models, seeds and snapshots as a task group: one task each, in the order of their references.

    A task builds its model on a branch, runs the model's tests there, and publishes it if they pass. Its outlet is the
    model's table; its inlets are the tables that the model reads. Tests that no model's task can run (on sources,
    between models that do not read each other) are tasks of their own, in the group ``tests`` where Airflow can show
    that: they run as soon as all they read is there, and what is built on that waits for them.

    :param select: dbt's selection, such as ``path:models/glucose``, ``tag:github`` or ``+orders,state:modified``; dbt
        itself says what that is. All of the project when None.
    :param group_id: the group's id; None infers it from the folder or tag: ``glucose_models``.
    :param project_dir: the dbt project, which need not know of this provider; by default ``$PHLO_DBT_PROJECT``, else
        the ``include/dbt`` nearest to the DAG file.
    :param exclude: what to leave out, in the same form.
    :param selector: one of the project's ``selectors.yml`` instead of ``select``.
    :param state: the folder with the ``manifest.json`` that ``state:`` compares with.
    :param target: an output of the project's profile. ``duckdb`` and ``trino`` are made for a project without them.
    :param vars: dbt's variables; a run's conf may add to them: ``{"dbt_vars": {"name": "value"}}``.
    :param full_refresh: build incremental models from scratch; a run's conf may ask for it, for all models or some:
        ``{"dbt_full_refresh": true}``, ``{"dbt_full_refresh": ["orders"]}``.
    :param partition_date: overrides the run's; a template.
    :param env: further environment variables, for parsing too unless they are templates.
    :param task_arguments: passed to every task (``retries``, ``pool``, …).
    :raises ConfigurationError: there is no such project, dbt cannot parse it, nothing is selected, a selected node
        asks for what would have no effect, or ``selector`` comes with ``select`` or ``exclude``.

    ::

        readings() >> phlo_dbt_task_group(select="path:models/readings") >> publish
    """
    selection = Selection(
        tuple(_as_list(select)), tuple(_as_list(exclude)), selector, Path(state).resolve() if state else None
    )
    if selector and (selection.select or selection.exclude):
        raise ConfigurationError(
            f"`selector` {selector!r} stands alone: dbt takes no notice of `select` and `exclude` beside it. Say it in "
            "selectors.yml, or select without one."
        )
    directory = _project(project_dir, sys._getframe(1).f_code.co_filename)
    project = Project(directory, settings.home(), target, dict(vars or {}), parse_environment(env or {}))
    selected = ask(project, selection)
    renderer = _Renderer(
        project,
        selected.nodes,
        {
            "partition_date": partition_date,
            "env": dict(env or {}),
            "iceberg_conn_id": iceberg_conn_id,
            **task_arguments,
        },
        {"full_refresh": full_refresh},
    )
    group = _render(group_id or _group_id(selection), project, selected, renderer)
    renderer.complete(group)
    if not group.children:
        raise ConfigurationError(
            f"Nothing of {directory} that can be built or tested matches {selection}: correct `select`."
        )
    return group


@without_warnings_of_cosmos()
def _render(group_id: str, project: Project, selected: Selected, renderer: _Renderer) -> DbtTaskGroup:
    """Let Cosmos make the group of what dbt has selected."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, ExecutionMode, InvocationMode, LoadMode, TestBehavior

    project_config = ProjectConfig(
        project_name=project.profile.name,
        manifest_path=selected.manifest,
        install_dbt_deps=False,
        env_vars=QUIET,
    )
    # a plain path: Cosmos's own ObjectStoragePath would make every task import all plugins of the UI, 1 s
    project_config.manifest_path = selected.manifest
    return DbtTaskGroup(
        group_id=group_id,
        project_config=project_config,
        profile_config=ProfileConfig(
            profile_name=project.profile.name,
            target_name=project.profile.target,
            # Cosmos asks for the file, and nothing reads it
            profiles_yml_filepath=project.write_profile() / PROFILES,
        ),
        execution_config=ExecutionConfig(
            execution_mode=ExecutionMode.LOCAL,
            invocation_mode=InvocationMode.DBT_RUNNER,
            # a folder without dbt_project.yml, which Cosmos would read slowly, and only for the folder of packages
            dbt_project_path=project.folder,
        ),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.BUILD,
            emit_datasets=False,
            node_converters={
                kind: renderer.task for kind in (DbtResourceType.MODEL, DbtResourceType.SEED, DbtResourceType.SNAPSHOT)
            },
        ),
    )


class _Renderer:
    """
    Turns the nodes that dbt selects into tasks.

    :param selected: their ids, those of tests included.
    :param arguments: of every task.
    :param of_models: further arguments of the tasks that build.
    """

    def __init__(
        self,
        project: Project,
        selected: Collection[str],
        arguments: Mapping[str, Any],
        of_models: Mapping[str, Any],
    ) -> None:
        self._manifest = read_manifest(rendered_path(project.folder / MANIFEST))
        self._engine = project.profile.engine
        self._nodes = {**self._manifest["sources"], **self._manifest["nodes"]}
        of_project = {"project_dir": str(project.directory), "target": project.target, "vars": dict(project.vars)}
        self._arguments = {**of_project, **arguments}
        self._of_models = of_models
        self._layers: dict[tuple[str | None, str], TaskGroup] = {}
        self._tasks: dict[str, DbtModelOperator] = {}
        for lost in self._manifest["lost_tests"]:
            log.warning("dbt leaves out a test: %s, which the project does not have. Correct or remove it.", lost)
        built = [name for name in self._manifest["nodes"] if name in selected]
        require_different_names(
            (self._nodes[name] for name in built if not is_ephemeral(self._nodes[name])), self._engine
        )
        self._tests, self._standalone = assign_tests(self._manifest, built, selected)
        self._require_models(self._tests.keys() - {name for name in built if not is_ephemeral(self._nodes[name])})
        self._ungrouped = groups_in_a_circle(self._steps(built))

    def _steps(self, built: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield, for each step from a task to the next, the names of their groups."""
        layers = {name: _layer_of(self._nodes[name]) for name in built if not is_ephemeral(self._nodes[name])}
        for name, layer in layers.items():
            yield from ((layers[parent], layer) for parent in tables_read(self._nodes, name) if parent in layers)
        for alone in self._standalone:
            yield from ((layers[model], _TESTS) for model in alone.after)
            yield from ((_TESTS, layers[model]) for model in alone.before)

    # Cosmos makes deep copies of its configuration, which includes the renderer
    def __deepcopy__(self, _memo: Any) -> _Renderer:
        return self

    def task(self, *, dag: DAG, task_group: TaskGroup, node: DbtNode, **_: Any) -> DbtModelOperator | None:
        """Return a node's task, inside the group of its layer; None for an ephemeral one, which has no table."""
        model = self._nodes[node.unique_id]
        require_supported(model, self._manifest["materializations"], self._manifest["strategies"], self._engine)
        self._require_supported_sources(tables_read(self._nodes, node.unique_id))
        if is_ephemeral(model):
            return None
        group = self._layer(dag, task_group, model)
        self._tasks[node.unique_id] = DbtModelOperator(
            task_id=_task_id(model, group),
            dag=dag,
            task_group=group,
            doc_md=model.get("description") or None,
            model=node.unique_id,
            table=self._table(model),
            tests=self._tests.get(node.unique_id, []),
            outlets=[iceberg_asset(self._table(model), group=_folder(model), extra=model_page(model))],
            inlets=[*self._inlets(model)],
            **self._of_models,
            **self._arguments,
        )
        return self._tasks[node.unique_id]

    def complete(self, group: DbtTaskGroup) -> None:
        """Add what Cosmos does not know: order through ephemeral models, and the tests that no model's task runs."""
        for unique_id, task in self._tasks.items():
            for parent in tables_read(self._nodes, unique_id):
                if parent in self._tasks and parent not in self._nodes[unique_id]["depends_on"]["nodes"]:
                    self._tasks[parent] >> task
        if self._standalone:
            self._add_tests(group, self._standalone)

    def _require_models(self, missing: Collection[str]) -> None:
        """Refuse unit tests whose models have no task: dbt could run them, but nothing here would."""
        if missing:
            tests = sorted(test.split(".")[-1] for model in missing for test in self._tests[model])
            models = ", ".join(sorted(model.partition(".")[2].partition(".")[2] for model in missing))
            raise ConfigurationError(
                f"Unit tests run with the task of their model, and {models} has none here: leave out "
                f"{', '.join(tests)} with `exclude`, or select the model, too."
            )

    def _require_supported_sources(self, read: Iterable[str]) -> None:
        for unique_id in read:
            if unique_id in self._manifest["sources"]:
                require_supported_source(self._nodes[unique_id], self._engine)

    def _add_tests(self, group: DbtTaskGroup, found: Sequence[StandaloneTests]) -> None:
        from airflow.sdk import TaskGroup

        within = _TESTS not in self._ungrouped
        tests = TaskGroup(group_id=_free_id(_TESTS, group), dag=group.dag, parent_group=group) if within else group
        for number, alone in enumerate(found):
            self._require_supported_sources(alone.reads)
            name = alone.name if within else f"{alone.name}_tests"
            name = name if f"{tests.group_id}.{name}" not in tests.children else f"{name}_{number}"
            task = DbtTestOperator(task_id=name, dag=group.dag, task_group=tests, tests=alone.tests, **self._arguments)
            for model in sorted(alone.after):
                self._tasks[model] >> task
            for model in sorted(alone.before):
                task >> self._tasks[model]

    def _layer(self, dag: DAG, parent: TaskGroup, model: Mapping[str, Any]) -> TaskGroup:
        """Return the task group of the folder that the model's file is in."""
        from airflow.sdk import TaskGroup

        layer = _layer_of(model)
        if layer in self._ungrouped:
            return parent
        key = (parent.group_id, layer)
        if key not in self._layers:
            self._layers[key] = TaskGroup(group_id=_free_id(layer, parent), dag=dag, parent_group=parent)
        return self._layers[key]

    def _inlets(self, model: Mapping[str, Any]) -> Iterable[Asset]:
        for unique_id in dict.fromkeys(tables_read(self._nodes, model["unique_id"])):
            yield iceberg_asset(self._table(self._nodes[unique_id]))

    def _table(self, node: Mapping[str, Any]) -> str:
        """Return the table that a node is in the catalog: Trino writes names in lower case."""
        return table_of(node).lower() if self._engine == TRINO else table_of(node)


def _layer_of(model: Mapping[str, Any]) -> str:
    """Return the folder that a model's file is in, its schema if it is in none."""
    return _word((_path(model) or [model["schema"]])[-1]).replace(".", "_")


def _free_id(name: str, parent: TaskGroup) -> str:
    """Return a group's name; a longer one if a task or group of the parent is called that."""
    return name if f"{parent.group_id}.{name}" not in parent.children else _free_id(f"{name}_", parent)


def groups_in_a_circle(steps: Iterable[tuple[str, str]]) -> frozenset[str]:
    """
    Return the groups that come both before and after another: Airflow cannot show those.

    :param steps: which group comes before which, as often as tasks do.
    """
    after: dict[str, set[str]] = {}
    for before, name in steps:
        if before != name:
            after.setdefault(before, set()).add(name)

    def reached(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [*after.get(name, ())]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting.extend(after.get(each, ()))
        return found

    return frozenset(name for name in after if name in reached(name))


def _path(model: Mapping[str, Any]) -> list[str]:
    """Return the folders that a model is in below ``models/``."""
    # a version of a model is the last part of its name; the file of a snapshot's block the one before
    in_block = model["resource_type"] == "snapshot" and model["original_file_path"].endswith(".sql")
    return list(model["fqn"][1 : -2 if in_block or model.get("version") is not None else -1])


def _folder(model: Mapping[str, Any]) -> str:
    """Return the model's folder below ``models/``, which is the asset group."""
    return (_path(model) or [ASSET_GROUP])[0]


def _task_id(model: Mapping[str, Any], group: TaskGroup) -> str:
    """Return the model's name, with its version, and its package where another has that name."""
    version = model.get("version")
    name = _word(model["name"] if version is None else f"{model['name']}_v{version}")
    return name if f"{group.group_id}.{name}" not in group.children else f"{name}_{_word(model['package_name'])}"


def _word(name: str) -> str:
    """Return what Airflow takes as a part of an id."""
    word = "".join(each if each.isalnum() or each in "_-." else "_" for each in name)
    if len(word) <= _LONGEST_WORD:
        return word
    return f"{word[: _LONGEST_WORD - 9]}_{blake2b(name.encode(), digest_size=4).hexdigest()}"


def _group_id(selection: Selection) -> str:
    """Return ``glucose_models`` for ``path:models/glucose`` or ``tag:glucose``."""
    first = (selection.selector or next(iter(selection.select), "")).split(",")[0]
    name = first.rpartition(":")[2].strip("+*/@0123456789").rpartition("/")[2]
    words = "".join(character if character.isalnum() or character == "_" else "_" for character in name)
    return f"{words}_models" if words and words != "models" else "dbt_models"


def _as_list(given: str | Sequence[str] | None) -> list[str]:
    return given.split() if isinstance(given, str) else list(given or ())


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
