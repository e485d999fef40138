"""
What dbt does once per process whatever it runs, done before tasks are forked: then no task pays for it.

Nothing here connects, asks a database, or starts a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from airflow_provider_phlo.dbt.execution import plugins
from airflow_provider_phlo.dbt.manifest import parsed_projects
from airflow_provider_phlo.dbt.projects import prepare

log = logging.getLogger(__name__)

_PROJECT = "name: warm_up\nprofile: warm_up\nversion: '1.0'\nconfig-version: 2\n"
_PROFILE = "warm_up: {target: any, outputs: {any: {type: TYPE, schema: main}}}\n"
ADAPTERS = ("phlo",)
# what a manifest consists of
_KINDS = (
    *("ModelNode", "SeedNode", "SnapshotNode", "GenericTestNode", "SingularTestNode", "UnitTestDefinition"),
    *("SourceDefinition", "Macro", "Documentation", "Exposure", "Group", "HookNode"),
)


def warm_up(home: Path) -> None:
    """
    Do what is the same for every task, and read the projects that are parsed.

    :param home: ``PHLO_HOME``.
    """
    for step in (_classes, _readers, _messages, plugins, _tracking):
        _attempt(step)
    for adapter in ADAPTERS:
        _attempt(partial(_settings, adapter))
    for folder in parsed_projects(home):
        _attempt(partial(prepare, folder))


def _attempt(step: Callable[[], object]) -> None:
    """Do what a task would else do itself; dbt's next version may have no such thing."""
    try:
        step()
    except Exception as error:  # noqa: BLE001 - a task that is slower is better than a scheduler that does not start
        log.debug("dbt is not warmed up: %s", error)


def _classes() -> None:
    """Let dbt's classes make their validators and codecs."""
    from dbt.adapters.contracts.connection import AdapterResponse
    from dbt.artifacts.schemas.results import TimingInfo
    from dbt.artifacts.schemas.run import RunResultOutput, RunResultsArtifact
    from dbt.contracts.graph import nodes
    from dbt.contracts.graph.manifest import Manifest
    from dbt.contracts.project import Configuration, PackageConfig, ProfileConfig, Project, ProjectFlags
    from dbt.task.test import TestResultData

    for validated in (Project, ProjectFlags, PackageConfig, ProfileConfig, Configuration, TestResultData):
        validated.json_schema()
    AdapterResponse("OK").to_dict(omit_none=True)
    TimingInfo("compile").to_dict(omit_none=True)
    row = {"failures": 0, "should_warn": False, "should_error": False, "adapter_response": {}}
    TestResultData.validate(row)
    TestResultData.from_dict(row)
    results = RunResultsArtifact.from_execution_results([], 0.0, datetime.now(), {"vars": {}, "invocation_command": ""})
    results.to_dict(omit_none=False)
    with suppress(AttributeError):
        RunResultOutput.__new__(RunResultOutput).to_dict(omit_none=False)
    Manifest.from_msgpack(Manifest().to_msgpack())
    for name in _KINDS:
        kind = getattr(nodes, name)
        with suppress(Exception):  # the codec is made before it finds that this is nothing
            kind.from_dict({})
        with suppress(Exception):
            kind.__new__(kind).to_dict()


def _readers() -> None:
    """Read the locales and time zones by which dbt's tables guess types, and the expressions that it reads SQL by."""
    from dbt_common.clients.agate_helper import table_from_rows
    from sqlparse.lexer import Lexer

    Lexer.get_default_instance()  # type: ignore[no-untyped-call]
    table_from_rows([(1, "a", True)], ("number", "text", "truth"))


def _messages() -> None:
    """Make a message, of which dbt makes many: what reads their descriptions is imported for the first."""
    from dbt_common.events.types import Formatting

    Formatting("")


def _tracking() -> None:
    import dbt.tracking

    dbt.tracking.initialize_from_flags(False, None)


def _settings(adapter: str) -> None:
    """Read a profile and a project as each task does."""
    from dbt.adapters.factory import get_adapter_class_by_name
    from dbt.cli.flags import Flags
    from dbt.cli.types import Command
    from dbt.config.runtime import RuntimeConfig, load_profile, load_project
    from dbt.flags import set_flags

    with TemporaryDirectory(prefix="phlo-warm-up-") as folder:
        Path(folder, "dbt_project.yml").write_text(_PROJECT)
        Path(folder, "profiles.yml").write_text(_PROFILE.replace("TYPE", adapter))
        options: dict[str, Any] = {"project_dir": folder, "profiles_dir": folder, "log_path": folder}
        flags = Flags.from_dict(Command.BUILD, options)
        set_flags(flags)
        profile = load_profile(folder, {})
        RuntimeConfig.from_parts(load_project(folder, True, profile, {}), profile, flags)
    relation = get_adapter_class_by_name(adapter).Relation.create(database="a", schema="b", identifier="c")
    relation.to_dict(omit_none=True)
    relation.validate(relation.to_dict(omit_none=True))
