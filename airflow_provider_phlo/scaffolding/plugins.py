"""
``phlo plugin new``: a small package with one plugin, its tests and a README.

The files are templates in ``templates/plugin``, valid by themselves, in which a few words stand for names.
"""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.installed_plugins import API_VERSIONS, Kind
from airflow_provider_phlo.scaffolding.contents import template_files
from airflow_provider_phlo.scaffolding.writing import write_new_folder

_PACKAGE = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_.][A-Za-z0-9]+)*")
_REFERENCES = {
    Kind.SOURCE: "sources:plugin_name",
    Kind.CHECK: "quality:PluginClass",
    Kind.TRANSFORM: "transforms:plugin_name",
    Kind.PUBLISHER: "publishers:PluginClass",
    Kind.COMMANDS: "commands:GROUP",
}
_USES = {
    Kind.SOURCE: 'In a DAG file: `IngestOperator(source="plugin_name", …)`, or `registry.source("plugin_name")(…)`.',
    Kind.CHECK: 'In a DAG file: `audit=[registry.check("plugin_name")(column="value", least=0)]`.',
    Kind.TRANSFORM: 'In a DAG file: `@phlo_ingestion(…, transforms=("plugin_name",))`.',
    Kind.PUBLISHER: "In a DAG file: "
    '`PublishPluginOperator(publisher="plugin_name", options={"folder": "/data"}, tables={…})`.',
    Kind.COMMANDS: "In a terminal: `phlo plugin-name squares 3`.",
}
_KINDS = {Kind.COMMANDS: "group of commands"}


@dataclass(frozen=True)
class NewPlugin:
    """
    The names of a plugin to be made.

    :param package: as installers know it.
    :param module: as Python imports it.
    :param name: as DAG files know it.
    """

    kind: Kind
    package: str
    module: str
    name: str

    @property
    def command(self) -> str:
        """Return what entry points and commands call it."""
        return self.name.replace("_", "-") if self.kind is Kind.COMMANDS else self.name


def write_plugin(folder: Path, kind: Kind, taken: Collection[str] = ()) -> tuple[NewPlugin, list[str]]:
    """
    Write a package into a folder that is not there, or is empty.

    :param taken: names that no group of commands can have.
    :return: its names, and the files that were written.
    :raises ConfigurationError: something is there, or the folder's name cannot be that of a package.
    """
    folder = Path(os.path.abspath(folder))
    new = _names(folder, kind)
    if kind is Kind.COMMANDS and new.command in taken:
        raise ConfigurationError(f"phlo {new.command} is a command of phlo itself: choose another name.")
    templates = {**template_files("plugin/all"), **template_files(f"plugin/{kind}")}
    files = {_named(path, new): _filled(content, new) for path, content in templates.items()}
    write_new_folder(folder, files)
    return new, sorted(files)


def _names(folder: Path, kind: Kind) -> NewPlugin:
    package = folder.name
    if not _PACKAGE.fullmatch(package):
        raise ConfigurationError(
            f"{package!r} cannot be the name of a package: use letters, digits and hyphens, a letter first."
        )
    module = re.sub(r"[-_.]+", "_", package).lower()
    name = re.sub(r"^(?:phlo_)?(?:plugin_)?(?=[a-z])", "", module)
    if keyword.iskeyword(module) or module == "tests" or find_spec(module) is not None:
        raise ConfigurationError(f"Python here has a module or word {module} already: choose another name.")
    if keyword.iskeyword(name):
        name = module
    return NewPlugin(kind, package, module, name)


def _named(path: str, new: NewPlugin) -> str:
    return path.replace("plugin_module", new.module)


def _filled(content: bytes, new: NewPlugin) -> bytes:
    """Put names into a template; those that hold others come first."""
    words = {
        "plugin-usage": _USES[new.kind],
        "plugin-reference": _REFERENCES[new.kind],
        "plugin-group": new.kind.group,
        "plugin-kind": _KINDS.get(new.kind, str(new.kind)),
        "plugin-api": API_VERSIONS[-1],
        "plugin-package": new.package,
        "plugin-name": new.command,
        "plugin_module": new.module,
        "plugin_name": new.name,
        "PluginClass": "".join(part.capitalize() for part in new.name.split("_")),
    }
    text = content.decode()
    for word, meant in words.items():
        text = text.replace(word, meant)
    return text.encode()
