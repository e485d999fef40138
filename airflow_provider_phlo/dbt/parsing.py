"""dbt parses a project: in this process, and what is wrong with it, its command line says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from airflow_provider_phlo.dbt.files import files_of
from airflow_provider_phlo.dbt.project import QUIET, Project, environment
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.process import process_as_before

_CLOCK = re.compile(r"^\d\d:\d\d:\d\d +", re.MULTILINE)


def parse(project: Project, fresh: Path) -> list[str]:
    """
    Parse a project into a folder.

    :returns: the tests that dbt leaves out, as what they read is not in the project, each with the reason.
    :raises ConfigurationError: dbt cannot parse it; quotes the end of dbt's output.
    """
    lost: list[str] = []
    if not _parse_here(project, fresh, lost):
        _parse_elsewhere(project, fresh)
    return lost


def _parse_here(project: Project, fresh: Path, lost: list[str]) -> bool:
    """
    Parse in this process; return whether that is done.

    :param lost: gets the tests that dbt leaves out, as what they read is not in the project, each with the reason.
    """
    with process_as_before():
        from dbt.adapters.factory import reset_adapters
        from dbt.cli.main import dbtRunner

    def note(event: Any) -> None:
        if event.info.name == "NodeNotFoundOrDisabled":
            test = event.data
            name = ".".join(filter(None, (test.target_package, test.target_name)))
            lost.append(f"{test.unique_id.split('.')[2]} ({test.original_file_path}) reads {test.target_kind} {name}")

    quiet = ("--quiet", "--no-use-colors", "--log-level=none", "--log-level-file=none")
    with environment(_variables_of_parsing(project)):
        try:
            return dbtRunner(callbacks=[note]).invoke([*quiet, "parse", *project.arguments(fresh)]).success
        finally:
            reset_adapters()


def _undecodable(folder: Path) -> str:
    """Return which files of a project dbt cannot read as text."""
    found = []
    for file in sorted(files_of(folder)):
        try:
            Path(file).read_text("utf-8")
        except UnicodeDecodeError as error:
            found.append(f"{file.removeprefix(f'{folder}/')} is not UTF-8 (byte {error.start}): save it as UTF-8.")
    return "\n".join(found)


def _parse_elsewhere(project: Project, fresh: Path) -> None:
    command = [sys.executable, "-m", "dbt.cli.main", "--quiet", "--no-use-colors", "--log-level-file", "none", "parse"]
    done = subprocess.run(
        [*command, *project.arguments(fresh)],
        # Python's warnings say nothing here
        env={**os.environ, **_variables_of_parsing(project), "PYTHONWARNINGS": "ignore"},
        cwd=project.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        said = _CLOCK.sub("", done.stdout).strip()
        tail = _undecodable(project.directory) if "UnicodeDecodeError" in said else ""
        tail = tail or "\n".join(said.splitlines()[-20:])
        raise ConfigurationError(f"dbt cannot parse {project.directory} (exit code {done.returncode}):\n{tail}")


def _variables_of_parsing(project: Project) -> dict[str, str]:
    # a run's own date takes the place of this one when its SQL is compiled
    date = os.environ.get("PHLO_PARTITION_DATE", "1970-01-01")
    return {"PHLO_PARTITION_DATE": date, **QUIET, **project.env}
