"""Contracts from files: found in a folder, and recognised by their form."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from airflow_provider_phlo.contract_files import FOLDER, SUFFIXES
from airflow_provider_phlo.contracts.forms import odcs, short_form
from airflow_provider_phlo.contracts.model.contract import Contract
from airflow_provider_phlo.contracts.rules.keepable import unkeepable
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.yaml_lines import Document


@contextmanager
def contracts_at(project: Path, revision: str) -> Iterator[tuple[Path, list[Path]]]:
    """
    Yield a folder for the time being, and the contracts of a project in it as they were at a revision of git.

    :param project: the project's folder.
    :raises ConfigurationError: git is not installed, this is not a repository, or it does not know the revision.
    """
    options = ("ls-tree", "-r", "-z", "--name-only", "--end-of-options")
    listed = _git(project, *options, revision, "--", str(FOLDER))
    names = [name for name in listed.decode().split("\0") if Path(name).suffix in SUFFIXES]
    with tempfile.TemporaryDirectory(prefix="phlo-contracts-") as place:
        for name in names:
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(_git(project, "show", "--end-of-options", f"{revision}:./{name}"))
        yield Path(place), [Path(place) / name for name in sorted(names)]


def _git(folder: Path, *arguments: str) -> bytes:
    if shutil.which("git") is None:
        raise ConfigurationError("git is not installed.")
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, check=False)
    if done.returncode:
        if arguments[0] == "ls-tree" and b"Not a valid object name" in done.stderr:
            raise ConfigurationError(
                "git does not know this revision: name a commit, branch or tag (git log --oneline)."
            )
        lines = done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"]
        raise ConfigurationError(f"git {arguments[0]}: {lines[-1]}")
    return done.stdout


def read_contract(path: Path) -> Contract:
    """
    Return the contract that a file holds.

    :raises ConfigurationError: it is not there, not YAML, or says what no contract can; every problem is named with its
        line.
    """
    if not path.is_file():
        raise ConfigurationError(f"There is no contract {path}.")
    document = Document(path)
    if not document.values:
        raise ConfigurationError(f"{path} is empty. docs/contracts.md shows what a contract says.")
    form = odcs if "apiVersion" in document.values or "kind" in document.values else short_form
    contract = form.read(document)
    problems = dict.fromkeys(
        f"{contract.where(each.line)}: {each.column}: {each.problem}." for each in unkeepable(contract)
    )
    if problems:
        raise ConfigurationError("\n".join(problems))
    return contract
