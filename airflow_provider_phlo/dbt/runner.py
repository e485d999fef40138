"""
Run one dbt model and its tests in this process: write to the run's branch, test there, publish. Or tests alone.

What dbt would repeat for every node (parsing the project, writing artifacts) is left out, so that a warm task takes
about a second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.factory import reset_adapters
from dbt.cli.main import dbtRunner
from pyiceberg.exceptions import NoSuchTableError

from airflow_provider_phlo.dbt.execution import known_nodes
from airflow_provider_phlo.dbt.manifest import (
    ensure_manifest,
)
from airflow_provider_phlo.dbt.profiles import DEFAULT_TARGET
from airflow_provider_phlo.dbt.project import QUIET, Project
from airflow_provider_phlo.dbt.project import environment as set_environment
from airflow_provider_phlo.dbt.projects import load_manifest
from airflow_provider_phlo.dbt.templates import kept_templates
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, QualityCheckError, TransientError
from airflow_provider_phlo.iceberg.catalogs.retries import retry_conflicts
from airflow_provider_phlo.sql_errors import (
    OF_THE_DATA,
    describe_duckdb,
    describe_trino,
    duckdb_kind,
    is_of_the_statement,
)

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult
    from dbt.contracts.graph.manifest import Manifest

    from airflow_provider_phlo.iceberg.overwrite import OverwriteResult

# what dbt itself says of the project: its files, Jinja and variables
_OF_THE_PROJECT = re.compile(r"\s*(?:Compilation|Parsing|Dependency|Env var|Dbt project|Selector|Usage) Error\b", re.I)
_FIRST_WORDS = re.compile(r"\s*(?P<kind>[A-Z][a-z]+(?: [A-Z]?[a-z]+)? Error)\b")
# a model is built again this often while other runs publish the same one
REBUILDS = 5
_TESTS = frozenset({"test", "unit_test"})
_PASSED = frozenset({"pass", "success", "no-op"})


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
    """

    table: str
    rows: int | None = None
    changed: bool | None = None
    snapshot_id: int | None = None
    tests: int = 0
    warnings: tuple[str, ...] = field(default=())


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
        :mod:`airflow_provider_phlo.dbt.adapter.lakehouse`.
    :param full_refresh: build an incremental model from scratch.
    :param vars: dbt's ``--vars``.
    :param env: variables that the project is parsed with, too.
    :param tests: the ids of the tests to run with it; all that read nothing else than it is built on when None.
    :raises QualityCheckError: a test failed; main is as it was.
    :raises ConfigurationError: the SQL does not compile, or a table it reads does not exist.
    :raises TransientError: the engine failed while it ran, or another writer came first :data:`REBUILDS` times.
    """
    project = Project(project_dir, home, target, vars or {}, env or {})
    ensure_manifest(project)
    manifest = load_manifest(project.folder)
    node = _node(manifest, unique_id, project_dir)
    table = f"{node.schema}.{node.alias}"
    wanted = [*_unit_tests_of(manifest, unique_id), *_tests_with(manifest, unique_id)] if tests is None else [*tests]
    unit_tests = [name for name in wanted if name in manifest.unit_tests]
    nodes = [*unit_tests, unique_id, *(name for name in wanted if name in manifest.nodes)]
    options = ["--full-refresh"] if full_refresh else []
    command = [*_command([node], project), *options]
    unused = [manifest]

    def attempt() -> ModelRun:
        _start_from_main(table)
        # dbt does not compile a node of one manifest twice
        results, written = _invoke(
            unused.pop() if unused else load_manifest(project.folder), command, table, project.folder, nodes
        )
        passed, warnings = _judge(table, results, "it was not published")
        return ModelRun(
            table,
            rows=written.rows if written else None,
            changed=written.changed if written else None,
            snapshot_id=_publish(written) if written else None,
            tests=passed,
            warnings=warnings,
        )

    with set_environment(_variables(manifest, [unique_id, *_tests_on(manifest, unique_id)], project, environment)):
        return retry_conflicts(attempt, f"{table} (built again on what they wrote)", REBUILDS)


@dataclass(frozen=True)
class PassedTests:
    """
    The result of tests.

    :param passed: how many passed.
    :param warnings: those that failed and only warn.
    """

    passed: int
    warnings: tuple[str, ...]


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
    :param environment: variables that are set meanwhile, see :mod:`airflow_provider_phlo.dbt.adapter.lakehouse`.
    :param vars: dbt's ``--vars``.
    :param env: variables that the project is parsed with, too.
    :raises QualityCheckError: one failed.
    :raises ConfigurationError: one does not compile, is not in the project any more, or was not run.
    :raises TransientError: the engine failed while they ran.
    """
    project = Project(project_dir, home, target, vars or {}, env or {})
    ensure_manifest(project)
    manifest = load_manifest(project.folder)
    command = _command([_node(manifest, unique_id, project_dir) for unique_id in unique_ids], project)
    read = ", ".join(sorted({name for unique_id in unique_ids for name in _relations(manifest, unique_id)}))
    with set_environment(_variables(manifest, unique_ids, project, environment)):
        results, _ = _invoke(manifest, command, read, project.folder, unique_ids)
        passed, warnings = _judge(read, results, "what is built on it is stopped")
    left_out = set(unique_ids) - {result.node.unique_id for result in results}
    if left_out:
        raise ConfigurationError(f"dbt did not run {', '.join(sorted(left_out))}: does a selector leave them out?")
    return PassedTests(passed, warnings)


def _node(manifest: Manifest, unique_id: str, project_dir: Path) -> Any:
    node = manifest.nodes.get(unique_id)
    if node is None:
        kind, _, name = unique_id.partition(".")
        raise ConfigurationError(
            f"{project_dir} has no {kind} {name}: the project has changed since the DAG was parsed. Clear the task "
            "once the DAG is parsed again."
        )
    return node


def _command(nodes: Sequence[Any], project: Project) -> list[str]:
    options = {"indirect-selection": "buildable", "log-level": "none", "log-level-file": "none"}
    return [
        "--no-write-json",
        "build",
        *project.arguments(),
        *(f"--{name}={value}" for name, value in options.items()),
        "--select",
        *(_selector(node) for node in nodes),
    ]


def _selector(node: Any) -> str:
    """Return dbt's selection of one node: `fqn` alone takes what is in a folder of that name, and tests so called."""
    selector = f"fqn:{'.'.join(node.fqn)},resource_type:{node.resource_type}"
    # tests are in files with others
    return f"{selector},file:{Path(node.original_file_path).name}" if node.resource_type == "model" else selector


def _variables(
    manifest: Manifest, unique_ids: Iterable[str], project: Project, environment: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the environment of a command that runs these nodes: they read no other tables than theirs."""
    tables = sorted({name for unique_id in unique_ids for name in _relations(manifest, unique_id)})
    return {
        **QUIET,
        **project.env,
        **(environment or {}),
        "PHLO_HOME": str(project.home),
        "PHLO_DBT_TABLES": ",".join(tables),
    }


def _invoke(
    manifest: Manifest, command: Sequence[str], table: str, folder: Path, nodes: Sequence[str]
) -> tuple[Sequence[NodeResult], OverwriteResult | None]:
    from airflow_provider_phlo.dbt.adapter import lakehouse
    from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager

    lakehouse.forget()
    # the adapter would go on with the database of an earlier run in this process
    PhloConnectionManager.close_all_connections()
    try:
        with known_nodes(nodes) if _are_simple(manifest, nodes) else nullcontext(), kept_templates(folder):
            done = dbtRunner(manifest=manifest).invoke(list(command))
    finally:
        reset_adapters()
    if lakehouse.failures:
        raise next(iter(lakehouse.failures.values()))
    if done.result is None:
        raise ConfigurationError(f"dbt cannot run {table}: {_described(str(done.exception))}")
    return done.result.results, lakehouse.results.get(table)


def _are_simple(manifest: Manifest, nodes: Sequence[str]) -> bool:
    """Return whether the nodes run without dbt's threads, as all do but the batches of a microbatch model."""
    configs = [manifest.nodes[name].config for name in nodes if name in manifest.nodes]
    return all(getattr(config, "incremental_strategy", None) != "microbatch" for config in configs)


def _judge(table: str, results: Sequence[NodeResult], outcome: str) -> tuple[int, tuple[str, ...]]:
    """Return how many tests passed and which warn."""
    broken = [result for result in results if str(result.status) == "error"]
    if broken:
        raise _error(table, broken)
    failed = [f"{result.node.name} ({result.failures} rows)" for result in results if str(result.status) == "fail"]
    if failed:
        raise QualityCheckError(f"{table}: {len(failed)} dbt tests failed, so {outcome}: {', '.join(failed)}.")
    warnings = tuple(
        f"{result.node.name} ({result.failures} rows)" for result in results if str(result.status) == "warn"
    )
    passed = sum(result.node.resource_type in _TESTS and str(result.status) in _PASSED for result in results)
    return passed, warnings


def _error(table: str, broken: Sequence[NodeResult]) -> PhloError:
    texts = [str(result.message) for result in broken]
    statements = [getattr(result.node, "compiled_code", None) or "" for result in broken]
    said = "; ".join(
        f"{result.node.name}: {_described(text, statement)}"
        for result, text, statement in zip(broken, texts, statements, strict=True)
    )
    if any("Compilation Error" in text or is_of_the_statement(text) for text in texts):
        return ConfigurationError(f"{table} was not built. {said}")
    if any(duckdb_kind(text) in OF_THE_DATA for text in texts):
        return ConfigurationError(
            f"{table} was not built. {said}. The same rows fail again: correct them at their source, or let the SQL "
            "take them (try_cast, try, a filter)."
        )
    return TransientError(f"{table} was not built. {said}")


def _described(text: str, statement: str = "") -> str:
    """Return what dbt says without a value of the data; dbt passes on the engine's own text."""
    if _OF_THE_PROJECT.match(text):
        return text.strip()
    described = describe_duckdb(text, statement) or describe_trino(text, statement)
    if described:
        return described
    first = _FIRST_WORDS.match(text)
    return f"{first['kind'] if first else 'dbt failed'}; the rest is left out, as it may quote the data"


def _start_from_main(table: str) -> None:
    """Drop what an earlier attempt left on the run's branch: it would be read as what the table holds."""
    from airflow_provider_phlo.dbt.adapter import lakehouse
    from airflow_provider_phlo.iceberg.branches.publication import run_branch
    from airflow_provider_phlo.iceberg.branches.run_branches import branch_name

    token = os.environ.get("PHLO_RUN_TOKEN")
    if token:
        with suppress(NoSuchTableError):
            run_branch(lakehouse.catalog_from_environment(), branch_name(token)).drop(table)


def _publish(written: OverwriteResult) -> int | None:
    """Make the tested branch main; drop the columns that only the old content had."""
    from airflow_provider_phlo.dbt.adapter import lakehouse
    from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
    from airflow_provider_phlo.iceberg.overwrite import drop_columns

    snapshot_id = written.snapshot_id
    if written.branch is not None:
        catalog = lakehouse.catalog_from_environment()
        if written.changed:
            publication = Publication(written.table, expected_head=written.snapshot_id)
            snapshot_id = run_branch(catalog, written.branch).publish(publication)
        drop_columns(catalog, written.table, written.stale_columns)
    return snapshot_id


def _tests_on(manifest: Manifest, unique_id: str) -> list[str]:
    return [
        child.unique_id
        for child in manifest.nodes.values()
        if child.resource_type == "test" and unique_id in child.depends_on_nodes
    ]


def _tests_with(manifest: Manifest, unique_id: str) -> list[str]:
    """Return the tests that run with a model: those whose other parents it is built on (dbt's ``buildable``)."""
    there = {unique_id, *_ancestors(manifest, unique_id)}
    return [name for name in _tests_on(manifest, unique_id) if there.issuperset(manifest.nodes[name].depends_on_nodes)]


def _unit_tests_of(manifest: Manifest, unique_id: str) -> list[str]:
    return [name for name, test in manifest.unit_tests.items() if test.depends_on.nodes[0] == unique_id]


def _ancestors(manifest: Manifest, unique_id: str) -> set[str]:
    found: set[str] = set()
    waiting = [unique_id]
    while waiting:
        node: Any = manifest.nodes.get(waiting.pop())
        new = set(node.depends_on_nodes) - found if node else set()
        found |= new
        waiting.extend(new)
    return found


def _relations(manifest: Manifest, unique_id: str) -> Iterator[str]:
    """Yield the node's own table and those it reads, through ephemeral models."""
    node: Any = manifest.sources.get(unique_id) or manifest.nodes[unique_id]
    if node.resource_type != "test":
        yield f"{node.schema}.{node.identifier}"
    for parent in node.depends_on_nodes if node.resource_type != "source" else ():
        found: Any = manifest.sources.get(parent) or manifest.nodes[parent]
        if getattr(found.config, "materialized", None) == "ephemeral":
            yield from _relations(manifest, parent)
        else:
            yield f"{found.schema}.{found.identifier}"
