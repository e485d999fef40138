"""
The profile that a project runs with: its own where that is for the lakehouse, else one that is made for it.

A project says with ``profile`` in ``dbt_project.yml`` which entry of ``profiles.yml`` it uses. A project without that
file, or with one for plain DuckDB, gets an output of ``type: phlo``; nothing is written into the project.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from airflow_provider_phlo.exceptions import ConfigurationError

EMBEDDED, TRINO = "phlo", "trino"
# what `target` is called unless the project's profile says otherwise
DEFAULT_TARGET = "duckdb"
PROFILES = "profiles.yml"

# what names the database file in a profile for plain DuckDB
_OF_A_FILE = ("type", "path", "database", "remote", "is_ducklake", "motherduck_token", "flights")
_TRINO_OUTPUT = {
    "type": TRINO,
    "method": "{{ env_var('PHLO_TRINO_METHOD', 'none') }}",
    "host": "{{ env_var('PHLO_TRINO_HOST', '127.0.0.1') }}",
    "port": "{{ env_var('PHLO_TRINO_PORT', '8080') | as_number }}",
    "user": "{{ env_var('PHLO_TRINO_USER', 'phlo') }}",
    "password": "{{ env_var('PHLO_TRINO_PASSWORD', '') }}",
    "database": "{{ env_var('PHLO_TRINO_CATALOG', 'iceberg') }}",
    "http_scheme": "{{ env_var('PHLO_TRINO_SCHEME', 'http') }}",
    "timezone": "UTC",
    "threads": 2,
}


@dataclass(frozen=True)
class Profile:
    """
    What dbt gets with ``--profiles-dir``, ``--profile`` and ``--target``.

    :param directory: the folder of ``profiles.yml``; None if that is yet to be written.
    :param name: the entry of it.
    :param target: the output.
    :param engine: the output's type, ``phlo`` or ``trino``.
    :param content: what ``profiles.yml`` is to say, where it is made for the project.
    """

    directory: Path | None
    name: str
    target: str
    engine: str
    content: Mapping[str, Any] | None = None

    @property
    def is_embedded(self) -> bool:
        """Return whether DuckDB runs the models here."""
        return self.engine == EMBEDDED

    def text(self) -> str:
        """Return the file that is made, empty for the project's own."""
        return yaml.safe_dump(self.content, sort_keys=False) if self.content else ""

    def write(self, folder: Path) -> Path:
        """
        Return the folder of ``profiles.yml``, after writing it if it is made for the project.

        :param folder: where to write it.
        """
        if self.directory is not None:
            return self.directory
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / PROFILES
        if not file.is_file() or file.read_text() != self.text():
            fresh = file.with_name(f"{PROFILES}.{os.getpid()}")
            fresh.write_text(self.text())
            fresh.replace(file)
        return folder


def profile_of(project_dir: Path, target: str = DEFAULT_TARGET) -> Profile:
    """
    Return the profile that a project runs with.

    :param project_dir: the folder with ``dbt_project.yml``; ``profiles.yml`` is looked for there, or in
        ``DBT_PROFILES_DIR``.
    :param target: an output of its profile; ``duckdb`` and ``trino`` are made where it does not have them.
    :raises ConfigurationError: the project or its profile cannot be read, or the profile is for something else.
    """
    project = read_yaml(project_dir / "dbt_project.yml")
    name = str(project.get("profile") or project.get("name") or "phlo")
    directory = _directory(project_dir)
    entry = read_yaml(directory / PROFILES).get(name) if directory else None
    outputs = _outputs(entry, name, directory)
    default = str((entry or {}).get("target") or "")
    for wanted in (target, *([default] if target == DEFAULT_TARGET else [])):
        kind = str(outputs.get(wanted, {}).get("type") or "")
        if kind in (EMBEDDED, TRINO) and (wanted == target or kind == EMBEDDED):
            return Profile(directory, name, wanted, kind)
    schema = str(project.get("name") or "phlo")
    if target == TRINO:
        return _made(name, target, {**_TRINO_OUTPUT, "schema": schema})
    if target != DEFAULT_TARGET:
        known = ", ".join(outputs) or "none"
        raise ConfigurationError(
            f"Profile {name!r} of {project_dir} has no output {target!r} of type phlo or trino (outputs: {known}): "
            f"add it to {PROFILES}, or choose target='duckdb' or 'trino'."
        )
    return _made(name, target, _embedded_output(project_dir, name, outputs, default, schema))


def _embedded_output(
    project_dir: Path, name: str, outputs: Mapping[str, Mapping[str, Any]], default: str, schema: str
) -> dict[str, Any]:
    """Return an output of our type: one for plain DuckDB without its file, else the shortest."""
    chosen = outputs.get(default) or next(iter(outputs.values()), None)
    if chosen is None or chosen.get("type") == TRINO:
        return {"type": EMBEDDED, "schema": schema, "threads": 1}
    if chosen.get("type") != "duckdb":
        raise ConfigurationError(
            f"Profile {name!r} of {project_dir} is for {chosen.get('type')}, whose SQL may mean something else here. "
            f"If the project is to run on the lakehouse, add an output to its {PROFILES}:\n"
            f"  {DEFAULT_TARGET}:\n    type: {EMBEDDED}\n    schema: {schema}"
        )
    kept = {key: value for key, value in chosen.items() if key not in _OF_A_FILE}
    return {"type": EMBEDDED, **({} if "schema" in kept else {"schema": schema}), **kept}


def _made(name: str, target: str, output: Mapping[str, Any]) -> Profile:
    content = {name: {"target": target, "outputs": {target: dict(output)}}}
    return Profile(None, name, target, str(output["type"]), content)


def _directory(project_dir: Path) -> Path | None:
    """Return where the project's ``profiles.yml`` is, None if it has none."""
    named = os.environ.get("DBT_PROFILES_DIR")
    folders = (project_dir, *([Path(named)] if named else []))
    return next((folder for folder in folders if (folder / PROFILES).is_file()), None)


def _outputs(entry: Any, name: str, directory: Path | None) -> Mapping[str, Mapping[str, Any]]:
    if entry is None:
        return {}
    outputs = entry.get("outputs") if isinstance(entry, Mapping) else None
    if not isinstance(outputs, Mapping) or not all(isinstance(each, Mapping) for each in outputs.values()):
        raise ConfigurationError(
            f"Profile {name!r} in {directory}/{PROFILES} has no `outputs`: see dbt's documentation."
        )
    return outputs


def read_yaml(file: Path) -> Mapping[str, Any]:
    """
    Return the content of a file of a dbt project, empty if the file is.

    :raises ConfigurationError: there is none, it cannot be read, or it is not a mapping.
    """
    try:
        return _parsed(file, file.stat().st_mtime_ns)
    except FileNotFoundError:
        raise ConfigurationError(f"{file.parent} is not a dbt project: it does not have a {file.name}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where is not None else ""
        raise ConfigurationError(f"Cannot read {file}{line}: it is not YAML, or not readable.") from error


@lru_cache(maxsize=32)
def _parsed(file: Path, _modified: int) -> Mapping[str, Any]:
    content = yaml.safe_load(file.read_text())
    if not isinstance(content, Mapping | None):
        raise ConfigurationError(f"{file} does not hold a mapping.")
    return content or {}
