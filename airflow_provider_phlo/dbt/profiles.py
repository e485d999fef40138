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
from jinja2 import Environment, StrictUndefined, TemplateError

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.yaml_lines import plain_yaml

EMBEDDED, TRINO, _PLAIN = "phlo", "trino", "duckdb"
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
    :param content: what ``profiles.yml`` says of the project, or is to say.
    """

    directory: Path | None
    name: str
    target: str
    engine: str
    content: Mapping[str, Any]

    @property
    def is_embedded(self) -> bool:
        """Return whether DuckDB runs the models here."""
        return self.engine == EMBEDDED

    def text(self) -> str:
        """Return the profile as a file: the whole one that is made, or the entry of the project's own."""
        return yaml.safe_dump(self.content, sort_keys=False)

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

    :param project_dir: the folder with ``dbt_project.yml``; ``profiles.yml`` is looked for where dbt does, in
        ``DBT_PROFILES_DIR``, the project and ``~/.dbt``: the first that knows the project's profile.
    :param target: an output of its profile; where it does not have them, ``duckdb`` is the one that the profile names,
        or made, and ``trino`` is made.
    :raises ConfigurationError: the project or its profile cannot be read, or the profile is for something else.
    """
    project = read_yaml(project_dir / "dbt_project.yml")
    name = _rendered(project.get("profile") or project.get("name") or "phlo", project_dir / "dbt_project.yml")
    directory, entry = _found(project_dir, name)
    outputs = _outputs(entry, name, directory)
    file = (directory or project_dir) / PROFILES
    kinds = {each: _rendered(output.get("type") or "", file) for each, output in outputs.items()}
    # the one that the project itself means comes after one that is called like ours
    wanted = [target, *([_default(entry or {}, name, file)] if target == DEFAULT_TARGET and outputs else [])]
    for each in wanted:
        if kinds.get(each) == EMBEDDED or (kinds.get(each) == TRINO and each == target):
            return Profile(directory, name, each, kinds[each], {name: entry})
    schema = str(project.get("name") or "phlo")
    if target == TRINO:
        return _made(name, target, {**_TRINO_OUTPUT, "schema": schema})
    for each in wanted:
        if kinds.get(each) == _PLAIN:
            kept = {key: value for key, value in outputs[each].items() if key not in _OF_A_FILE}
            return _made(name, each, {"type": EMBEDDED, "schema": schema, **kept})
    if target != DEFAULT_TARGET:
        known = ", ".join(outputs) or "none"
        raise ConfigurationError(
            f"Profile {name!r} of {project_dir} has no output {target!r} of type phlo, duckdb or trino (outputs: "
            f"{known}): add it to {PROFILES}, or choose target='duckdb' or 'trino'."
        )
    other = kinds.get(wanted[-1], TRINO)
    if other != TRINO:
        raise ConfigurationError(
            f"Profile {name!r} of {project_dir} is for {other}, whose SQL may mean something else here. "
            f"If the project is to run on the lakehouse, add an output to its {PROFILES}:\n"
            f"  {DEFAULT_TARGET}:\n    type: {EMBEDDED}\n    schema: {schema}"
        )
    return _made(name, target, {"type": EMBEDDED, "schema": schema, "threads": 1})


def _default(entry: Mapping[str, Any], name: str, file: Path) -> str:
    """Return the output that a profile itself means."""
    outputs = entry["outputs"]
    named = _rendered(entry.get("target") or (next(iter(outputs)) if len(outputs) == 1 else "default"), file)
    if named not in outputs:
        raise ConfigurationError(
            f"Profile {name!r} in {file} has no output {named!r}, which is its target (outputs: {', '.join(outputs)}): "
            "correct its `target`."
        )
    return named


def _rendered(value: Any, file: Path) -> str:
    """Return a text of a profile, which may be a template that reads the environment."""
    text = str(value)
    if "{{" not in text and "{%" not in text:
        return text

    def env_var(name: str, default: str | None = None) -> str:
        found = os.environ.get(name, default)
        if found is None:
            raise ConfigurationError(f"{file} reads the environment variable {name}, which is not set.")
        return found

    try:
        return Environment(undefined=StrictUndefined, autoescape=False).from_string(text).render(env_var=env_var)  # noqa: S701
    except TemplateError as error:
        raise ConfigurationError(f"{file}: {text} cannot be read, as {error}: name it, or use env_var.") from None


def _made(name: str, target: str, output: Mapping[str, Any]) -> Profile:
    content = {name: {"target": target, "outputs": {target: dict(output)}}}
    return Profile(None, name, target, str(output["type"]), content)


def _found(project_dir: Path, name: str) -> tuple[Path | None, Any]:
    """Return where the ``profiles.yml`` is that has a profile of this name, and that; None if none has."""
    named = os.environ.get("DBT_PROFILES_DIR")
    for folder in (*([Path(named)] if named else []), project_dir, Path.home() / ".dbt"):
        if (folder / PROFILES).is_file() and (entry := read_yaml(folder / PROFILES).get(name)) is not None:
            return folder, entry
    return None, None


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
    content = plain_yaml(file)
    if not isinstance(content, Mapping | None):
        raise ConfigurationError(f"{file} does not hold a mapping.")
    return content or {}
