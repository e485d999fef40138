"""A dbt project made of given files, with the example project's macros."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from tests.unit import raw_tables


def make_project(folder: Path, files: Mapping[str, str]) -> Path:
    """
    Make a project below ``folder`` and return it; its models are tables in ``silver`` unless they say otherwise.

    :param files: content by path inside the project, such as ``models/a.sql``.
    """
    project = folder / "project"
    shutil.copytree(raw_tables.PROJECT, project, ignore=shutil.ignore_patterns("models"))
    settings = (project / "dbt_project.yml").read_text().partition("models:\n  phlo:")[0]
    (project / "dbt_project.yml").write_text(settings + "models: {+schema: silver, +materialized: table}\n")
    return write_project(project, files)


def write_project(folder: Path, files: Mapping[str, str]) -> Path:
    """Write a project's files, by their path inside it, and return its folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode())
    return folder
