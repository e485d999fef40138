"""
Run one dbt model and its tests in this process: write to the run's branch, test there, publish. Or tests alone.

What dbt would repeat for every node (parsing the project, writing artifacts) is left out, so that a warm task takes
about a second.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import NoSuchTableError

from airflow_provider_phlo.dbt.inputs import Inputs, depend_on_nothing_else, inputs_of, settings_read
from airflow_provider_phlo.dbt.invocation import (
    command_for,
    find_node,
    invoke,
    relations_of,
    tests_on,
    variables_for,
)
from airflow_provider_phlo.dbt.manifest import (
    MANIFEST,
    ensure_manifest,
    read_manifest,
    rendered_path,
    stamp_of,
    tables_named,
)
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET
from airflow_provider_phlo.dbt.project import Project, require_no_flags
from airflow_provider_phlo.dbt.project import environment as set_environment
from airflow_provider_phlo.dbt.projects import load_manifest
from airflow_provider_phlo.dbt.results import PASSED, TestOutcome, judge, outcomes_of, query_of
from airflow_provider_phlo.dbt.standalone_tests import assign_tests
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs.retries import retry_conflicts

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult
    from dbt.contracts.graph.manifest import Manifest
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.iceberg.overwrite import OverwriteResult

# a model is built again this often while other runs publish the same one
REBUILDS = 5


@dataclass(frozen=True)
class ModelRun:
    """
    The result of one model.

    :param table: ``namespace.table``.
    :param rows: how many rows the new content has; None if the engine wrote it itself (Trino).
    :param changed: whether a snapshot was written; None as for ``rows``.
    :param snapshot_id: main's snapshot that holds the content.
    :param tests: how many tests passed.
    :param warnings: the tests that failed and only warn.
    :param nothing_new: it was not built: what it reads is what main's snapshot was made of and tested with.
    :param outcomes: what each test has found.
    :param sql: the query that made it, as dbt compiled it; None for a Python model, and if it was not built.
    :param reads: the table of the catalog that each name in its SQL stands for.
    """

    table: str
    rows: int | None = None
    changed: bool | None = None
    snapshot_id: int | None = None
    tests: int = 0
    warnings: tuple[str, ...] = field(default=())
    nothing_new: bool = False
    outcomes: tuple[TestOutcome, ...] = ()
    sql: str | None = None
    reads: Mapping[str, str] = field(default_factory=dict)


def build_model(
    project_dir: Path,
    unique_id: str,
    *,
    home: Path,
    target: str = DEFAULT_TARGET,
    environment: Mapping[str, str] | None = None,
    full_refresh: bool = False,
    vars: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
    tests: Collection[str] | None = None,
) -> ModelRun:
    """
    Build a model and run its tests; with ``PHLO_RUN_TOKEN`` in ``environment``, publish it if they pass.

    Where main has moved meanwhile, as another run builds the same model, it is built and tested again on top of that.

    :param project_dir: the dbt project.
    :param unique_id: the model's id in the manifest, ``model.<project>.<name>``.
    :param home: ``PHLO_HOME``, where dbt's own files go.
    :param environment: variables that are set while the model runs, see
        :mod:`airflow_provider_phlo.dbt.adapter.opening`.
    :param full_refresh: build an incremental model from scratch.
    :param vars: dbt's ``--vars``.
    :param env: variables that the project is parsed with, too.
    :param tests: the ids of the tests to run with it; all that read nothing else than it is built on when None.
    :raises QualityCheckError: a test failed; main is as it was.
    :raises ConfigurationError: the SQL does not compile, or a table it reads does not exist.
    :raises TransientError: the engine failed while it ran, or another writer came first :data:`REBUILDS` times.
    """
    project = _parsed(Project(project_dir, home, target, vars or {}, env or {}), environment)
    manifest = load_manifest(project.folder)
    if tests is None:
        tests = _tests_with(project, unique_id)
    build = _Build(project, manifest, find_node(manifest, unique_id, project_dir), tests, full_refresh)
    with set_environment(variables_for(manifest, [unique_id, *tests_on(manifest, unique_id)], project, environment)):
        done = retry_conflicts(build.attempt, f"{build.table} (built again on what they wrote)", REBUILDS)
    return replace(done, reads=tables_named(read_manifest(rendered_path(project.folder / MANIFEST)), unique_id))


@dataclass(frozen=True)
class _Build:
    """
    A model that is to be built, tested and published; what it reads from the environment is set meanwhile.

    :param node: the model.
    :param tests: the ids of its tests.
    """

    project: Project
    manifest: Manifest
    node: Any
    tests: Collection[str]
    full_refresh: bool

    @property
    def table(self) -> str:
        table = f"{self.node.schema}.{self.node.alias}"
        # Trino writes names in lower case
        return table if self.project.profile.is_embedded else table.lower()

    @cached_property
    def catalog(self) -> Catalog:
        from airflow_provider_phlo.dbt.adapter.opening import catalog_from_environment

        return catalog_from_environment()

    @cached_property
    def nodes(self) -> list[str]:
        """Return the ids of what dbt runs, in this order."""
        unit_tests = [name for name in self.tests if name in self.manifest.unit_tests]
        return [*unit_tests, self.node.unique_id, *(name for name in self.tests if name in self.manifest.nodes)]

    @cached_property
    def _unused(self) -> list[Manifest]:
        """Return the manifest until it is used: dbt does not compile a node of one twice."""
        return [self.manifest]

    def attempt(self) -> ModelRun:
        """Build the model on main as it is now."""
        inputs = None if self.full_refresh else self._inputs()
        found = inputs and _made_already(inputs, self.catalog)
        if found:
            return found
        self._start_from_main()
        manifest = self._unused.pop() if self._unused else load_manifest(self.project.folder)
        command = [*command_for([self.node], self.project), *(["--full-refresh"] if self.full_refresh else [])]
        results, written = invoke(manifest, command, self.table, self.project.folder, self.nodes, self.node.unique_id)
        passed, warnings = judge(self.table, results, "it was not published")
        properties = self._kept(inputs, results, written)
        return ModelRun(
            self.table,
            rows=written.rows if written else None,
            changed=written.changed if written else None,
            snapshot_id=_publish(self.catalog, written, properties) if written else None,
            tests=passed,
            warnings=warnings,
            outcomes=outcomes_of(results),
            sql=query_of(results, self.node.unique_id),
        )

    def _start_from_main(self) -> None:
        """Drop what an earlier attempt left on the run's branch: it would be read as what the table holds."""
        from airflow_provider_phlo.iceberg.branches.publication import run_branch
        from airflow_provider_phlo.iceberg.branches.run_branches import branch_name

        token = os.environ.get("PHLO_RUN_TOKEN")
        if token:
            with suppress(NoSuchTableError):
                run_branch(self.catalog, branch_name(token)).drop(self.table)

    def _inputs(self) -> Inputs | None:
        """Return what a model that is to be published is made of now; None where that cannot be known."""
        folder = self.project.folder
        names = read_manifest(rendered_path(folder / MANIFEST))["variables"]
        if names is None or self.project.target != DEFAULT_TARGET or not os.environ.get("PHLO_RUN_TOKEN"):
            return None
        read = {
            name for node in self.nodes if node in self.manifest.nodes for name in relations_of(self.manifest, node)
        }
        parsed = [folder.name, str(stamp_of(folder)), *self.nodes]
        return inputs_of(self.table, read, self.catalog, parsed, settings_read(names))

    def _kept(
        self, inputs: Inputs | None, results: Sequence[NodeResult], written: OverwriteResult | None
    ) -> dict[str, str]:
        """Return what says later what was published: only if all tests passed, and nothing else was asked."""
        if inputs is None or written is None or not written.changed:
            return {}
        if any(str(result.status) not in PASSED for result in results):
            return {}
        from airflow_provider_phlo.dbt.adapter.opening import beyond

        if beyond or not depend_on_nothing_else(self.manifest, results, inputs.read, self.project.folder):
            return {}
        return inputs.properties(written.snapshot_id)


@dataclass(frozen=True)
class PassedTests:
    """
    The result of tests.

    :param passed: how many passed.
    :param warnings: those that failed and only warn.
    :param outcomes: what each has found.
    """

    passed: int
    warnings: tuple[str, ...]
    outcomes: tuple[TestOutcome, ...] = ()


def run_tests(
    project_dir: Path,
    unique_ids: Sequence[str],
    *,
    home: Path,
    target: str = DEFAULT_TARGET,
    environment: Mapping[str, str] | None = None,
    vars: Mapping[str, Any] | None = None,
    env: Mapping[str, str] | None = None,
) -> PassedTests:
    """
    Run tests on main.

    :param project_dir: the dbt project.
    :param unique_ids: their ids in the manifest.
    :param home: ``PHLO_HOME``, where dbt's own files go.
    :param environment: variables that are set meanwhile, see :mod:`airflow_provider_phlo.dbt.adapter.opening`.
    :param vars: dbt's ``--vars``.
    :param env: variables that the project is parsed with, too.
    :raises QualityCheckError: one failed.
    :raises ConfigurationError: one does not compile, is not in the project any more, or was not run.
    :raises TransientError: the engine failed while they ran.
    """
    project = _parsed(Project(project_dir, home, target, vars or {}, env or {}), environment)
    manifest = load_manifest(project.folder)
    command = command_for([find_node(manifest, unique_id, project_dir) for unique_id in unique_ids], project)
    read = ", ".join(sorted({name for unique_id in unique_ids for name in relations_of(manifest, unique_id)}))
    with set_environment(variables_for(manifest, unique_ids, project, environment)):
        results, _ = invoke(manifest, command, read, project.folder, unique_ids, unique_ids[0])
        passed, warnings = judge(read, results, "what is built on it is stopped")
    left_out = set(unique_ids) - {result.node.unique_id for result in results}
    if left_out:
        raise ConfigurationError(f"dbt did not run {', '.join(sorted(left_out))}: does a selector leave them out?")
    return PassedTests(passed, warnings, outcomes_of(results))


def _parsed(project: Project, environment: Mapping[str, str] | None) -> Project:
    require_no_flags({**os.environ, **project.env, **(environment or {})})
    ensure_manifest(project)
    return project


def _publish(catalog: Catalog, written: OverwriteResult, properties: Mapping[str, str]) -> int | None:
    """Make the tested branch main, with the columns of the new content, in their order."""
    from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
    from airflow_provider_phlo.iceberg.tables.settling import settle_columns

    snapshot_id = written.snapshot_id
    if written.branch is not None:
        branch = run_branch(catalog, written.branch)
        if written.changed:
            snapshot_id = branch.publish(
                Publication(
                    written.table,
                    properties=properties,
                    expected_head=written.snapshot_id,
                    settlement=written.settlement,
                )
            )
        else:
            branch.drop(written.table)
            settle_columns(catalog, written.table, written.settlement)
    return snapshot_id


def _made_already(inputs: Inputs, catalog: Catalog) -> ModelRun | None:
    table = inputs.table_made_of_them(catalog)
    snapshot = table.current_snapshot() if table else None
    if snapshot is None:
        return None
    summary = dict(snapshot.summary.additional_properties) if snapshot.summary else {}
    rows = int(summary["total-records"]) if summary.get("total-delete-files") == "0" else None
    return ModelRun(inputs.table, rows=rows, changed=False, snapshot_id=snapshot.snapshot_id, nothing_new=True)


def _tests_with(project: Project, unique_id: str) -> list[str]:
    """Return the tests that run with a model where all of the project is selected."""
    rendered = read_manifest(rendered_path(project.folder / MANIFEST))
    with_models, _ = assign_tests(rendered, rendered["nodes"], {*rendered["tests"], *rendered["unit_tests"]})
    return with_models.get(unique_id, [])
