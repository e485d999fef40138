"""One command of dbt in this process: which nodes it runs, what it may read and make, and what it answers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.factory import reset_adapters
from dbt.cli.exceptions import DbtUsageException
from dbt.cli.main import dbtRunner

from airflow_provider_phlo.dbt.artifacts import keep_results, run_folder
from airflow_provider_phlo.dbt.execution import known_nodes
from airflow_provider_phlo.dbt.project import QUIET, Project
from airflow_provider_phlo.dbt.results import describe
from airflow_provider_phlo.dbt.templates import kept_templates
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from dbt.artifacts.schemas.results import NodeResult
    from dbt.contracts.graph.manifest import Manifest

    from airflow_provider_phlo.iceberg.overwrite import OverwriteResult


def find_node(manifest: Manifest, unique_id: str, project_dir: Path) -> Any:
    """
    Return a node or unit test of the manifest.

    :raises ConfigurationError: it is not in the project any more.
    """
    node = manifest.nodes.get(unique_id) or manifest.unit_tests.get(unique_id)
    if node is None:
        kind, _, name = unique_id.partition(".")
        raise ConfigurationError(
            f"{project_dir} has no {kind} {name}: the project has changed since the DAG was parsed. Clear the task "
            "once the DAG is parsed again."
        )
    return node


def tests_on(manifest: Manifest, unique_id: str) -> list[str]:
    """Return the ids of all tests that read a node."""
    return [
        child.unique_id
        for child in manifest.nodes.values()
        if child.resource_type == "test" and unique_id in child.depends_on_nodes
    ]


def relations_of(manifest: Manifest, unique_id: str) -> Iterator[str]:
    """Yield the node's own table and those it reads, through ephemeral models."""
    node: Any = manifest.sources.get(unique_id) or manifest.nodes.get(unique_id) or manifest.unit_tests[unique_id]
    if node.resource_type not in ("test", "unit_test") and not _is_ephemeral(node):
        yield f"{node.schema}.{node.identifier}"
    for parent in node.depends_on_nodes if node.resource_type != "source" else ():
        found: Any = manifest.sources.get(parent) or manifest.nodes[parent]
        if _is_ephemeral(found):
            yield from relations_of(manifest, parent)
        else:
            yield f"{found.schema}.{found.identifier}"


def _is_ephemeral(node: Any) -> bool:
    return getattr(node.config, "materialized", None) == "ephemeral"


def command_for(nodes: Sequence[Any], project: Project) -> list[str]:
    """Return the arguments of the command that builds these nodes alone."""
    options = {"indirect-selection": "buildable", "log-level": "none", "log-level-file": "none"}
    return [
        "--no-write-json",
        "build",
        *project.arguments(),
        *(f"--{name}={value}" for name, value in options.items()),
        # one node needs no list of what every schema has: of the others, dbt asks when something is looked for
        "--cache-selected-only",
        "--select",
        *(_selector(node) for node in nodes),
    ]


def _selector(node: Any) -> str:
    """Return dbt's selection of one node: `fqn` alone takes what is in a folder of that name, and tests so called."""
    selector = f"fqn:{'.'.join(node.fqn)},resource_type:{node.resource_type}"
    # tests are in files with others
    return f"{selector},file:{Path(node.original_file_path).name}" if node.resource_type == "model" else selector


def variables_for(
    manifest: Manifest, unique_ids: Iterable[str], project: Project, environment: Mapping[str, str] | None
) -> dict[str, str]:
    """Return the environment of a command that runs these nodes: they read and make no other tables than theirs."""
    tables = {name for unique_id in unique_ids for name in relations_of(manifest, unique_id)}
    # a test that keeps the rows it found replaces those of its last run
    tests = (manifest.nodes[name] for name in unique_ids if name.startswith("test."))
    tables.update(f"{test.schema}.{test.identifier}" for test in tests)
    return {
        **QUIET,
        **project.env,
        **(environment or {}),
        "PHLO_HOME": str(project.home),
        "PHLO_DBT_TABLES": ",".join(sorted(tables)),
    }


def invoke(
    manifest: Manifest, command: Sequence[str], table: str, folder: Path, nodes: Sequence[str], named: str
) -> tuple[Sequence[NodeResult], OverwriteResult | None]:
    """
    Run a command of :func:`command_for`, with the variables of :func:`variables_for` set.

    :param table: ``namespace.table``, whose new content is returned; in messages, what the command is about.
    :param folder: where the parsed project is kept.
    :param nodes: the ids of what runs, in this order.
    :param named: the id that the folder of its artifacts is called after.
    :returns: dbt's results, and what was written of the table; None if nothing was.
    :raises ConfigurationError: dbt refuses the command.
    :raises PhloError: what the engine or the catalog refused while a node was written.
    """
    from airflow_provider_phlo.dbt.adapter import lakehouse
    from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager

    lakehouse.forget()
    place = run_folder(folder, os.environ.get("PHLO_RUN_ID") or "manual", named)
    # the adapter would go on with the database of an earlier run in this process
    PhloConnectionManager.close_all_connections()
    try:
        with known_nodes(nodes), kept_templates(folder):
            done = dbtRunner(manifest=manifest).invoke([*command, f"--target-path={place}"])
    finally:
        reset_adapters()
    if done.result is not None:
        keep_results(done.result, place)
    if lakehouse.failures:
        raise next(iter(lakehouse.failures.values()))
    if done.result is None:
        wrong_use = isinstance(done.exception, DbtUsageException)  # of flags, which hold no data
        said = str(done.exception)
        raise ConfigurationError(f"dbt cannot run {table}: {said if wrong_use else describe(said)}")
    return done.result.results, lakehouse.results.get(table)
