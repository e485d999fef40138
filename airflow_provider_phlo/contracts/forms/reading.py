"""Contracts from files: found in a folder, and recognised by their form."""

from __future__ import annotations

import os
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

# that lead to another one
_MOST_LINKS = 8


@contextmanager
def contracts_at(project: Path, revision: str) -> Iterator[tuple[Path, list[Path]]]:
    """
    Yield a folder for the time being, and the contracts of a project in it as they were at a revision of git.

    :param project: the project's folder.
    :raises ConfigurationError: git is not installed, this is not a repository, or it does not know the revision.
    """
    # the folder itself, or the one above it, may be a link
    entries = {
        entry
        for place in (FOLDER, *FOLDER.parents[:-1])
        for entry in _entries(project, revision, str(place))
        if Path(_name(entry)).is_relative_to(FOLDER) or (_is_link(entry) and FOLDER.is_relative_to(_name(entry)))
    }
    files = {
        name: content
        for entry in entries
        if _is_link(entry) or Path(_name(entry)).suffix in SUFFIXES
        for name, content in _contents(project, revision, entry)
        if Path(name).is_relative_to(FOLDER) and Path(name).suffix in SUFFIXES
    }
    with tempfile.TemporaryDirectory(prefix="phlo-contracts-") as place:
        for name, content in files.items():
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_bytes(content)
        yield Path(place), [Path(place) / name for name in sorted(files)]


def _entries(project: Path, revision: str, place: str) -> list[str]:
    """Return what a revision has below a folder of the project, or at a path: mode, kind, object and name of each."""
    options = ("ls-tree", "-r", "-z", "--end-of-options")
    return [entry for entry in _git(project, *options, revision, "--", place).decode().split("\0") if entry]


def _name(entry: str) -> str:
    return entry.partition("\t")[2]


def _is_link(entry: str) -> bool:
    return entry.startswith("120000 ")


def _contents(project: Path, revision: str, entry: str, links: int = 0) -> Iterator[tuple[str, bytes | None]]:
    """
    Yield the files that an entry stands for, with what they hold: git keeps a link as the text that it leads to.

    :param links: how many links have led here.
    :returns: names and contents; None of a link that leads nowhere.
    """
    name = _name(entry)
    held = _git(project, "show", "--end-of-options", f"{revision}:./{name}")
    if not _is_link(entry):
        yield name, held
        return
    target = os.path.normpath(os.path.join(os.path.dirname(name), held.decode(errors="replace")))
    try:
        found = _entries(project, revision, target) if links < _MOST_LINKS and not os.path.isabs(target) else []
    except ConfigurationError:  # it leads out of the repository
        found = []
    if not found:
        yield name, None
    for each in found:
        for inside, content in _contents(project, revision, each, links + 1):
            yield name + inside.removeprefix(target), content


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
