"""
Which plugins installed packages declare, read from their metadata: nothing is imported.

Python's own ``importlib.metadata`` takes a twentieth of a second to import and parses the metadata of every package;
this reads the few bytes that matter, so that ``phlo --help`` and DAG files can afford it.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_phlo.printable_text import printable

#: The versions of the interface between plugins and this package that this package has.
API_VERSIONS = ("1",)
_API_GROUP = "phlo.api"
_REFERENCE = re.compile(r"(?P<module>\w+(?:\.\w+)*)\s*:\s*(?P<attribute>\w+(?:\.\w+)*)\s*(?:\[.*\])?")


class Kind(StrEnum):
    """What a plugin is; its entry points are in the group of that name."""

    SOURCE = "source"
    CHECK = "check"
    TRANSFORM = "transform"
    PUBLISHER = "publisher"
    COMMANDS = "commands"

    @property
    def group(self) -> str:
        """Return the group of entry points."""
        return f"phlo.{self}" if self is Kind.COMMANDS else f"phlo.{self}s"


_KINDS = {kind.group: kind for kind in Kind}


@dataclass(frozen=True)
class Plugin:
    """
    A plugin as its package declares it; texts are safe to print.

    :param reference: where it is, ``module:attribute``.
    :param api: the versions of the interface that its package is written for; empty if it says none.
    :param about: what its package says it is.
    """

    kind: Kind
    name: str
    reference: str
    package: str
    version: str
    api: tuple[str, ...] = ()
    about: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.name!r} of {self.package} {self.version}"

    @property
    def module(self) -> str:
        """Return the module of its reference; empty if that cannot be read."""
        found = _REFERENCE.fullmatch(self.reference)
        return found["module"] if found else ""

    @property
    def attribute(self) -> str:
        """Return the attribute of its reference; empty if that cannot be read."""
        found = _REFERENCE.fullmatch(self.reference)
        return found["attribute"] if found else ""

    @property
    def incompatible(self) -> str:
        """Return why it cannot be used with this version of this package; empty if it can, or does not say."""
        if not self.api or set(self.api) & set(API_VERSIONS):
            return ""
        return (
            f"it is written for version {' or '.join(self.api)} of the plugin interface, and this "
            f"airflow-provider-phlo has {' and '.join(API_VERSIONS)}: install a version of {self.package} that fits"
        )


def installed_plugins() -> tuple[Plugin, ...]:
    """Return the plugins of all packages that Python would find now, by kind and name."""
    return _read(tuple((folder, _changed(folder)) for folder in dict.fromkeys(each or "." for each in sys.path)))


def called(name: str, plugins: Iterable[Plugin]) -> list[Plugin]:
    """
    Return the plugins that a name means.

    :param name: ``name``, or ``package:name`` where several packages have one of that name.
    """
    plugins = list(plugins)
    package, _, rest = name.partition(":")
    return [each for each in plugins if each.name == name] or [
        each for each in plugins if each.name == rest and _normalized(each.package) == _normalized(package)
    ]


def _changed(folder: str) -> int:
    try:
        return os.stat(folder).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=8)
def _read(path: tuple[tuple[str, int], ...]) -> tuple[Plugin, ...]:
    """Return the plugins that are declared in folders, each with the time of its last change."""
    seen: set[str] = set()
    found = [plugin for folder, changed in path if changed for plugin in _in_folder(folder, seen)]
    return tuple(sorted(found, key=lambda each: (list(Kind).index(each.kind), each.name, each.package)))


def _in_folder(folder: str, seen: set[str]) -> Iterator[Plugin]:
    """
    Yield the plugins of the packages that are installed in a folder.

    :param seen: the packages of folders before, which hide later ones of the same name; gets those of this one.
    """
    try:
        with os.scandir(folder) as entries:
            # what an interrupted pip leaves begins with ~; pip passes it over too
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith((".dist-info", ".egg-info")) and not entry.name.startswith("~")
            )
    except OSError:
        return
    for name in names:
        package = _normalized(name.rpartition(".")[0].partition("-")[0])
        if package in seen:
            continue
        seen.add(package)
        yield from _of_package(os.path.join(folder, name))


def _of_package(metadata: str) -> Iterator[Plugin]:
    content = _content(os.path.join(metadata, "entry_points.txt"))
    if b"phlo." not in content:
        return
    entries = list(_entries(content.decode(errors="replace")))
    api = tuple(sorted({printable(name) for group, name, _ in entries if group == _API_GROUP}))
    about = _headers(metadata)
    for group, name, reference in entries:
        if group in _KINDS:
            yield Plugin(
                _KINDS[group],
                printable(name),
                printable(reference),
                about.get("name", printable(os.path.basename(metadata))),  # damaged: its folder is what is known
                about.get("version", "without a version"),
                api,
                about.get("summary", ""),
            )


def _entries(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield group, name and reference of entry points, as ``entry_points.txt`` has them."""
    group = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif "=" in line and not line.startswith(("#", ";")):
            name, _, reference = line.partition("=")
            yield group, name.strip(), reference.strip()


def _headers(metadata: str) -> dict[str, str]:
    """Return what a package says of itself, up to its description."""
    content = _content(os.path.join(metadata, "METADATA")) or _content(os.path.join(metadata, "PKG-INFO"))
    text = content.decode(errors="replace")
    head = re.split(r"\r?\n\r?\n", text, maxsplit=1)[0]
    pairs = (line.partition(":") for line in head.split("\n") if line[:1].strip())
    return {name.strip().lower(): printable(value.strip()) for name, _, value in pairs}


def _content(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read()
    except OSError:
        return b""


def _normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
