"""The files of a project that dbt parses, and the environment variables that they name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from airflow_provider_phlo.dbt.profiles import read_yaml

_SOURCES = frozenset({".sql", ".yml", ".yaml", ".md", ".csv", ".py"})
_YAML = frozenset({".yml", ".yaml"})
# what dbt writes into the project's own folder if somebody runs it there by hand
_WRITTEN = {"target-path": "target", "log-path": "logs"}
_VARIABLE = re.compile(r"""env_var\s*\(\s*(?:'([^']*)'|"([^"]*)")?""")
# what of SQL decides how a node is parsed: its configuration, and the macros that make its name
_CONFIG = re.compile(r"\bconfig\s*\(.*?\}\}", re.DOTALL)
_NAMES_NODES = re.compile(r"\bgenerate_(?:schema|alias|database)_name\b")
# of a run, not of a project; and what a name or place is not made of
_OF_A_RUN = re.compile(
    r"AIRFLOW_CTX_|PHLO_(?:PARTITION_DATE|DAY_ZONE|RUN_|CATALOG_|DBT_TABLES|HOME)"
    r"|.*(?:SECRET|PASSWORD|PASSWD|TOKEN|_PW$|_KEY$)",
    re.IGNORECASE,
)


def files_of(project_dir: Path) -> Iterator[str]:
    """Yield the files that decide what a project is, each once; links are followed, since local packages are links."""
    settings = read_yaml(project_dir / "dbt_project.yml")
    ignored = {str(project_dir / str(settings.get(option) or default)) for option, default in _WRITTEN.items()}
    seen, folders = {_place(project_dir.stat())}, [str(project_dir)]
    while folders:
        for entry in _entries(folders.pop()):
            if not entry.is_dir():
                if _kind(entry.name) in _SOURCES:
                    yield entry.path
            elif not (entry.name.startswith(".") or entry.path in ignored or _place(entry.stat()) in seen):
                seen.add(_place(entry.stat()))  # links may lead in a circle
                folders.append(entry.path)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:  # dbt says so of what it reads
        return []


def _place(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _kind(file: str) -> str:
    return os.path.splitext(file)[1]


def variables_named(project_dir: Path) -> list[str] | None:
    """Return the names of the environment variables that a project reads; None if it makes up names."""
    texts = [Path(file).read_text(errors="replace") for file in files_of(project_dir) if _kind(file) != ".csv"]
    names = {single or double for text in texts for single, double in _VARIABLE.findall(text)}
    return None if "" in names else sorted(names)


def parse_settings(project_dir: Path, profile: str, env: Mapping[str, str]) -> dict[str, str]:
    """
    Return the environment variables that decide how a project is parsed, as they are now.

    :param profile: the text of its profile.
    :param env: further variables, which come first.
    """
    names = set(_names(profile))
    for file in files_of(project_dir):
        if _kind(file) in _YAML or _kind(file) == ".sql":
            names.update(_names_in(file, os.stat(file).st_mtime_ns))
    known = {**os.environ, **env}
    return {name: known[name] for name in sorted(names) if name in known and not _OF_A_RUN.match(name)}


@lru_cache(maxsize=10_000)
def _names_in(file: str, _modified: int) -> frozenset[str]:
    text = Path(file).read_text(errors="replace")
    if _kind(file) == ".sql" and not _NAMES_NODES.search(text):
        text = "\n".join(_CONFIG.findall(text))
    return frozenset(_names(text))


def _names(text: str) -> Iterator[str]:
    yield from (single or double for single, double in _VARIABLE.findall(text) if single or double)
