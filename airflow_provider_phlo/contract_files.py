"""Where the contracts of a project are, found without reading them: DAG files ask, and Airflow parses those all day."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.suggestions import did_you_mean

FOLDER = Path("include") / "contracts"
SUFFIXES = (".yaml", ".yml")
_NAME = re.compile(rb"^(name|id):[ \t]*([\"']?)(.+?)\2[ \t]*(?:#.*)?\r?$", re.MULTILINE)


def find_contracts(folder: Path) -> list[Path]:
    """Return the files of a folder of contracts, by name; also behind links, and links that lead nowhere."""
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        found += [Path(place) / name for name in names]
    return sorted(path for path in found if path.suffix in SUFFIXES)


def locate_contract(contract: str, near: Path) -> Path:
    """
    Return the file of a contract of the project that a file belongs to.

    :param contract: its name, or its file as the project's folder has it.
    :param near: the DAG file, or one that it imports: the project is the first folder above it with contracts, in a
        DAG bundle too.
    :raises ConfigurationError: there is none, or several are called so.
    """
    above = [near.absolute().parent, *near.absolute().parent.parents]
    if Path(contract).suffix in SUFFIXES:
        found = next((folder / contract for folder in above if (folder / contract).is_file()), None)
        if found is None:
            raise ConfigurationError(f"There is no contract {contract} in a folder above {near}.")
        return found
    folder = next((each / FOLDER for each in above if (each / FOLDER).is_dir()), None)
    if folder is None:
        raise ConfigurationError(f"There is no folder {FOLDER} above {near}, in which contract {contract} could be.")
    names = [(name, path) for path in find_contracts(folder) for name in _names(path)]
    named = [path for name, path in names if name == contract]
    if not named:
        hint = did_you_mean(contract, [name for name, _ in names])
        raise ConfigurationError(f"There is no contract {contract} in {folder}.{hint}")
    if len(named) > 1:
        files = ", ".join(map(str, named))
        raise ConfigurationError(f"Several contracts are called {contract}: {files}. Rename all but one.")
    return named[0]


def _names(path: Path) -> Iterator[str]:
    """Yield what a contract calls itself; the id only if it has no name."""
    text = path.read_bytes() if path.is_file() else b""
    said = {kind: name.decode(errors="replace").strip() for kind, _, name in _NAME.findall(text)}
    yield said.get(b"name") or said.get(b"id") or path.stem
