"""``phlo init``, ``phlo env``, ``phlo test``: make a project, and work in it."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import sys
from pathlib import Path

from airflow_provider_phlo.cli.terminal.output import write_lines
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.scaffolding.writing import Plan, plan_project, write_project


def init(args: argparse.Namespace) -> None:
    """Make a folder a project."""
    plan = plan_project(Path(args.folder), args.example, force=args.force)
    if args.output == "table" and plan.overwritten:
        write_lines(["Overwriting:", *_indented(plan.overwritten)])
    write_project(plan)
    write_lines([json.dumps(_raw(plan), ensure_ascii=False)] if args.output == "json" else _in_words(plan, args.folder))


def print_environment(args: argparse.Namespace) -> None:
    """Print the variables with which other programs work in the project."""
    from airflow_provider_phlo.services.environment import embedded
    from airflow_provider_phlo.services.environment.projects import find_project

    project = find_project(Path.cwd())
    embedded.print_exports(project.home, project.root)


def run_tests(args: argparse.Namespace) -> None:
    """Become pytest, with the project's variables."""
    from airflow_provider_phlo.services.environment import embedded
    from airflow_provider_phlo.services.environment.projects import find_project

    project = find_project(Path.cwd())
    if importlib.util.find_spec("pytest") is None:
        raise ConfigurationError("pytest is not installed here: pip install pytest.")
    embedded.prepare(project.home)
    embedded.choose_metadata_database(project.home, project.root)
    environment = embedded.added_to(os.environ, embedded.project_variables(project.home, project.root))
    embedded.migrate(project.home, environment)
    if not any(Path(argument.partition("::")[0]).exists() for argument in args.arguments):
        os.chdir(project.root)
    sys.stdout.flush()
    os.execve(sys.executable, [sys.executable, "-m", "pytest", *args.arguments], environment)  # noqa: S606


def _raw(plan: Plan) -> dict[str, object]:
    return {
        "folder": str(plan.folder),
        "example": plan.example,
        "written": [*plan.new, *plan.updated],
        "overwritten": list(plan.overwritten),
        "kept": list(plan.kept),
    }


def _in_words(plan: Plan, given: str) -> list[str]:
    count = len(plan.new) + len(plan.updated) + len(plan.overwritten)
    lines = [f"{plan.folder}: {_files(count)} written." if count else f"{plan.folder}: nothing to do."]
    if plan.kept:
        lines += [f"Kept, since phlo init did not write what is in them ({_FORCE}):", *_indented(plan.kept)]
    if plan.new:
        folder = given if not given.startswith("-") else f"./{given}"
        there = "" if plan.folder.resolve() == Path.cwd() else f"cd {shlex.quote(folder)}, then "
        lines += [f"Next: {there}phlo test; README.md says what there is."]
    return lines


_FORCE = "--force overwrites them"


def _files(count: int) -> str:
    return f"{count} file{'' if count == 1 else 's'}"


def _indented(paths: tuple[str, ...]) -> list[str]:
    return [f"  {path}" for path in paths]
