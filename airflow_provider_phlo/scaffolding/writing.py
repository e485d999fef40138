"""Put a project's files into a folder: all is checked first, and nothing that others have written there is replaced."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.scaffolding.contents import Files, project_files
from airflow_provider_phlo.scaffolding.examples import EXAMPLES
from airflow_provider_phlo.services.machine.roots import first_root

#: In the project: what was written, so that it is known again.
MANIFEST = ".phlo-init.json"
_VERSION = 1
_BLOCK = 4096


@dataclass(frozen=True)
class Plan:
    """
    What there is to do in a folder; paths are relative to it.

    :param new: files that do not exist.
    :param updated: files that were written by an earlier version, and not changed since.
    :param kept: files with another content, by somebody else: they stay.
    :param overwritten: such files that are to be replaced all the same.
    :param unchanged: how many files are as they should be.
    """

    folder: Path
    example: str
    files: Files
    new: tuple[str, ...]
    updated: tuple[str, ...]
    kept: tuple[str, ...]
    overwritten: tuple[str, ...]
    unchanged: int


def plan_project(folder: Path, example: str | None = None, *, force: bool = False) -> Plan:
    """
    Return what makes a folder a project, without changing anything.

    :param folder: the project's folder; it need not exist.
    :param example: one of :data:`EXAMPLES`; None means the one that the folder has, else ``empty``.
    :param force: overwrite files that somebody has changed, or that were there before.
    :raises ConfigurationError: it cannot be made there; says why.
    """
    folder = Path(os.path.abspath(folder))
    _check_place(folder)
    try:
        return _plan(folder, example, force=force)
    except OSError as error:
        raise ConfigurationError(f"{error.filename or folder}: {error.strerror}.") from error


def write_project(plan: Plan) -> None:
    """
    Do what was planned; every file is written as a whole.

    :raises ConfigurationError: a file cannot be written; those before it are there, and the same call goes on.
    """
    folder = plan.folder
    written = (*plan.new, *plan.updated, *plan.overwritten)
    recorded = _recorded(folder).get("files", {})
    known = {path: _digest(content) for path, content in plan.files.items() if path not in plan.kept}
    manifest = {"version": _VERSION, "example": plan.example, "files": {**recorded, **known}}
    try:
        for path in written:
            _write(folder / path, plan.files[path])
        if manifest != _recorded(folder):
            _write(folder / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    except OSError as error:
        raise ConfigurationError(
            f"{folder}: {error.strerror}. What is written is whole; the same command goes on from there."
        ) from error


def write_new_folder(folder: Path, files: Files) -> None:
    """
    Write files into a folder that is not there, or is empty; it is there as a whole, or not at all.

    :raises ConfigurationError: something is there, or it cannot be written.
    """
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    try:
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise ConfigurationError(f"{folder} is there already. Nothing was written: choose another folder.")
        for path, content in files.items():
            _write(part / path, content)
        part.replace(folder)
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror}. Nothing was written.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _check_place(folder: Path) -> None:
    """Refuse a folder that no project can be in."""
    if any(character in f"${os.pathsep}" or not character.isprintable() for character in str(folder)):
        raise ConfigurationError(
            f"{str(folder)!r}: Airflow and Python's search path cannot have $, {os.pathsep} and control characters in "
            "the path of a project. Choose another."
        )
    inside = first_root(folder.parents)
    if inside:
        raise ConfigurationError(f"{folder} is inside the project {inside}: a project cannot have another in it.")


def _plan(folder: Path, example: str | None, *, force: bool) -> Plan:
    existing = next(place for place in (folder, *folder.parents) if place.exists() or place.is_symlink())
    _check_folder(existing)
    manifest = _recorded(folder)
    before = manifest.get("example")
    if before and example and before != example:
        raise ConfigurationError(
            f"{folder} is a project of the example {before}: make another folder one of the example {example}."
        )
    chosen = example or before or "empty"
    files = project_files(EXAMPLES[chosen], folder.name or "phlo")
    states = {path: _state(folder, path, content, manifest.get("files", {})) for path, content in files.items()}

    def having(state: str) -> tuple[str, ...]:
        return tuple(path for path, found in states.items() if found == state)

    foreign = having("foreign")
    plan = Plan(
        folder=folder,
        example=chosen,
        files=files,
        new=having("new"),
        updated=having("updated"),
        kept=() if force else foreign,
        overwritten=foreign if force else (),
        unchanged=len(having("unchanged")),
    )
    _check_room(existing, (files[path] for path in (*plan.new, *plan.updated, *plan.overwritten)))
    return plan


def _recorded(folder: Path) -> dict[str, Any]:
    """Return what an earlier call wrote into a folder; nothing if none did."""
    path = folder / MANIFEST
    if not path.exists():
        return {}
    try:
        manifest = json.loads(path.read_bytes())
        files, example = manifest["files"], manifest["example"]
        if manifest["version"] == _VERSION and isinstance(files, dict) and example in EXAMPLES:
            return dict(manifest)
    except (ValueError, KeyError, TypeError):
        pass
    raise ConfigurationError(
        f"{path} was not written by this version of phlo init. Remove it: no file is replaced then."
    )


def _state(folder: Path, path: str, content: bytes, recorded: dict[str, str]) -> str:
    """Return whether a file is ``new``, ``unchanged``, ``updated`` or ``foreign``."""
    file = folder / path
    for above in reversed(file.relative_to(folder).parents[:-1]):
        _check_folder(folder / above)
    if file.is_symlink():
        return "foreign"
    if not file.exists():
        return "new"
    if not file.is_file():
        raise ConfigurationError(f"{file} is not a file. Nothing was written.")
    there = file.read_bytes()
    if there == content:
        return "unchanged"
    return "updated" if recorded.get(path) == _digest(there) else "foreign"


def _check_folder(place: Path) -> None:
    """Refuse what is there and is not a folder that can be written to."""
    if (place.exists() or place.is_symlink()) and not place.is_dir():
        raise ConfigurationError(f"{place} is not a folder. Nothing was written.")
    if place.exists() and not os.access(place, os.W_OK | os.X_OK):
        raise ConfigurationError(f"{place} cannot be written to. Nothing was written.")


def _check_room(place: Path, contents: Iterable[bytes]) -> None:
    needed = sum(-(-len(content) // _BLOCK) * _BLOCK for content in contents)
    if shutil.disk_usage(place).free < needed:
        raise ConfigurationError(f"{place}: the disk has no {needed:,} bytes left. Nothing was written.")


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
