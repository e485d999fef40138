"""
The files of a project, read where they are kept: in this repository, or in the wheel made of it.

Nothing is kept twice. What a project has as it is in the repository is copied; ``dbt_project.yml`` and ``.env.example``
lose what concerns other examples; what only a project has is a template in ``templates/``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from string import Template

from airflow_provider_phlo import __version__
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.scaffolding.examples import EXAMPLES, Example

# pyproject.toml puts them there
_IN_WHEEL = Path(__file__).parent / "repository"
_REPOSITORY = _IN_WHEEL if _IN_WHEEL.is_dir() else Path(__file__).parents[2]
_TEMPLATES = "templates"
_SETTINGS_OF_ALL = ("Where state lives", "Other connections")
_LAYOUT = {
    "dags": "the DAGs",
    "include/schemas": "what rows must look like",
    "include/contracts": "what tables promise to their readers: `phlo contract validate`",
    "include/dbt": "the dbt project: models by layer; `type: phlo` in its profile is the provider's adapter",
    "include/superset": "dashboards of the marts: `phlo superset import`",
    "include/replay": "recorded answers of the sources",
    "tests": "tests that `phlo test` runs",
    "phlo.yaml": "what the project is called, and where its services are",
    ".env.example": "all settings; copy it to `.env`",
    "requirements.txt": "the packages, in the versions of `constraints.txt`",
    ".github": "an example of CI",
}

Files = dict[str, bytes]


def project_files(example: Example, name: str) -> Files:
    """
    Return a project's files: content by path, ``/`` between its parts.

    :param name: what the project is called.
    :raises ConfigurationError: this installation lacks the files.
    """
    files = dict(_copied(example))
    if example.models:
        files["include/dbt/dbt_project.yml"] = _dbt_project(example).encode()
    for folder in ("all", example.name):
        files |= template_files(folder)
    files[".env.example"] = _settings(example).encode()
    _fill(files, example, name)
    return dict(sorted(files.items()))


def template_files(folder: str) -> Files:
    """
    Return the templates in a folder of ``templates/``, by their paths in it.

    :raises ConfigurationError: this installation lacks the files.
    """
    if not (_REPOSITORY / _TEMPLATES).is_dir():
        raise ConfigurationError(f"{_REPOSITORY} lacks the files of projects: install airflow-provider-phlo again.")
    place = f"{_TEMPLATES}/{folder}"
    return {path.removeprefix(f"{place}/"): content for path, content in _read(place)}


def _copied(example: Example) -> Iterator[tuple[str, bytes]]:
    yield from _read("constraints.txt")
    yield from _read("include/__init__.py")
    yield from _read("dags/phlo_watch.py")
    for path in example.files:
        yield from _read(path)
    if any(path.startswith("include/schemas/") for path in example.files) or not example.models:
        yield from _read("include/schemas/__init__.py")
    for name in example.macros:
        yield from _read(f"include/dbt/macros/{name}.sql")
    if example.models:
        yield from _read(f"include/dbt/models/{example.models}")
    if example.dashboards:
        for path, content in _read("include/superset"):
            about = PurePosixPath(path).stem.removeprefix("mrt_").partition("_")[0]
            if about in ("marts", example.name):
                yield path, content


def _read(path: str) -> Iterator[tuple[str, bytes]]:
    """Yield a file, or all files below a folder, by their paths in the repository."""
    place = _REPOSITORY / path
    for file in sorted(place.rglob("*")) if place.is_dir() else [place]:
        if file.is_file() and "__pycache__" not in file.parts:
            yield file.relative_to(_REPOSITORY).as_posix(), file.read_bytes()


def _dbt_project(example: Example) -> str:
    """Return ``dbt_project.yml`` without the folders of other examples, which dbt would warn of."""
    kept, skipping = [], False
    for line in (_REPOSITORY / "include/dbt/dbt_project.yml").read_text().splitlines(keepends=True):
        folder = re.fullmatch(r" {4}(\w+):\n", line)
        if folder:
            skipping = folder[1] in EXAMPLES and folder[1] != example.models
        elif not line.startswith(" " * 5):
            skipping = False
        if not skipping:
            kept.append(line)
    return "".join(kept)


def _settings(example: Example) -> str:
    """Return the sections of ``.env.example`` that concern a project."""
    _, *sections = re.split(r"(?m)^(?=# --- )", (_REPOSITORY / ".env.example").read_text())
    wanted = (*_SETTINGS_OF_ALL, *example.settings)
    head = (
        "# Copy to .env, which phlo reads: KEY=VALUE lines; a # after a space begins a comment; nothing is expanded\n"
        '# or executed. An empty value means "not set"; a variable that the shell already exports wins. Everything is\n'
        "# optional: what is not set has the embedded default.\n\n"
    )
    return head + "".join(text for text in sections if text.removeprefix("# --- ").startswith(wanted)).rstrip() + "\n"


def _fill(files: Files, example: Example, name: str) -> None:
    """Put names into the templates."""
    sources = files.pop("sources.md")
    if example.connections:
        files["README.md"] += sources
    words = {
        "title": name,
        "about": example.about,
        "version": __version__,
        "dag": example.dag,
        "run": f'{example.dag} -c \'{{"partition_date": "2024-01-15"}}\'',
        "table": example.table,
        "connections": ", ".join(f"`AIRFLOW_CONN_{each.upper()}`" for each in example.connections),
        "layout": _layout(files),
    }
    for path in ("README.md", "requirements.txt"):
        files[path] = Template(files[path].decode()).substitute(words).encode()


def _layout(files: Files) -> str:
    return "\n".join(
        f"- `{path}`: {what}"
        for path, what in _LAYOUT.items()
        if path in files or any(file.startswith(f"{path}/") for file in files)
    )
