"""Databases, datasets, charts and dashboards as YAML files, in the form that Superset exports and imports."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from airflow_provider_phlo.exceptions import ConfigurationError

# in the order in which one needs the other; the folder and what of a file is its name
KINDS = {
    "databases": "database_name",
    "datasets": "table_name",
    "charts": "slice_name",
    "dashboards": "dashboard_title",
}
METADATA = "metadata.yaml"
_VERSION = "1.0.0"


@dataclass(frozen=True)
class Asset:
    """
    A database, dataset, chart or dashboard.

    :param path: where it is in the folder or archive, such as ``charts/mean.yaml``.
    :param content: what its file says.
    """

    path: str
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Return ``database``, ``dataset``, ``chart`` or ``dashboard``."""
        return self.path.partition("/")[0].removesuffix("s")

    @property
    def uuid(self) -> str:
        """Return what it is known by, whatever its name is."""
        return str(self.content["uuid"])

    @property
    def name(self) -> str:
        """Return what people call it."""
        return str(self.content.get(KINDS[self.path.partition("/")[0]]) or self.path)


def read_folder(folder: Path) -> dict[str, Asset]:
    """
    Return the assets of a folder by uuid.

    :raises ConfigurationError: there is none, a file is not one, or two files have one uuid.
    """
    found: dict[str, Asset] = {}
    for kind in KINDS:
        for path in sorted((folder / kind).rglob("*.yaml")):
            asset = _read(path.relative_to(folder).as_posix(), path.read_bytes(), path)
            if asset.uuid in found:
                raise ConfigurationError(
                    f"{path} and {folder / found[asset.uuid].path} have the same uuid: give one of them another."
                )
            found[asset.uuid] = asset
    if not found:
        raise ConfigurationError(f"{folder} has no assets of Superset: there are no files such as charts/*.yaml in it.")
    return found


def read_archive(archive: bytes) -> dict[str, Asset]:
    """
    Return the assets of what Superset exports, by uuid; saved queries are left out.

    :raises ConfigurationError: it is not such an archive.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            files = {_without_root(name): opened.read(name) for name in opened.namelist()}
    except zipfile.BadZipFile:
        raise ConfigurationError("Superset's export is not a ZIP archive.") from None
    assets = [_read(name, text, name) for name, text in files.items() if name.partition("/")[0] in KINDS]
    return {asset.uuid: asset for asset in assets}


def to_archive(assets: Iterable[Asset]) -> bytes:
    """Return assets as an archive that Superset imports."""
    metadata = Asset(METADATA, {"version": _VERSION, "type": "assets", "timestamp": "2020-01-01T00:00:00+00:00"})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for asset in (metadata, *assets):
            archive.writestr(f"assets/{asset.path}", to_yaml(asset.content))
    return buffer.getvalue()


def to_yaml(content: Mapping[str, Any]) -> str:
    """Return what is written to a file."""
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=120)


def charts_of(dashboard: Asset) -> Iterator[dict[str, Any]]:
    """Yield what a dashboard's layout says of each chart on it: ``uuid``, ``chartId``, size."""
    for part in dashboard.content.get("position", {}).values():
        if isinstance(part, dict) and part.get("type") == "CHART":
            yield part["meta"]


def _without_root(name: str) -> str:
    return "/".join(PurePosixPath(name).parts[1:])


def _read(path: str, text: bytes, shown: Path | str) -> Asset:
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError):
        raise ConfigurationError(f"{shown} is not a YAML file.") from None
    name = KINDS[path.partition("/")[0]]
    if not isinstance(content, dict) or not content.get("uuid") or not content.get(name):
        raise ConfigurationError(f"{shown} is not an asset of Superset: it has no uuid or no {name}.")
    return Asset(path, content)
