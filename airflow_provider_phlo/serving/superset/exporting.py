"""Write what Superset has into a folder, so that a dashboard edited there can be reviewed and committed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.superset.assets import Asset, charts_of
from airflow_provider_phlo.serving.superset.comparison import differences

# numbers of one server, and what browsers have drawn with
_LEFT_OUT = {"datasource", "slice_id", "dashboards", "datasetId", "chartsInScope", "tabsInScope"}
_LEFT_OUT |= {"shared_label_colors", "map_label_colors", "color_scheme_domain"}
_LEFT_OUT |= {"chart_configuration", "global_chart_configuration"}


def to_export(there: Mapping[str, Asset], files: Mapping[str, Asset], dashboards: Collection[str]) -> list[Asset]:
    """
    Return what is to be written: dashboards, and all that they are made of.

    :param there: what Superset has.
    :param files: what the folder has: its files keep their names, and a database its address; one that says the same
        already is not written.
    :param dashboards: titles or slugs; if there is none, those that the folder has.
    :raises ConfigurationError: Superset does not have one of them.
    """
    chosen = _chosen(there, files, dashboards)
    charts = [there[str(meta["uuid"])] for each in chosen for meta in charts_of(each) if str(meta["uuid"]) in there]
    datasets = [there[str(each.content["dataset_uuid"])] for each in charts]
    databases = [there[str(each.content["database_uuid"])] for each in datasets]
    needed = {each.uuid: each for each in (*databases, *datasets, *charts, *chosen)}
    written = [_as_file(each, files.get(uuid)) for uuid, each in needed.items()]
    return [each for each in written if each.uuid not in files or differences(each, files[each.uuid])]


def _chosen(there: Mapping[str, Asset], files: Mapping[str, Asset], names: Collection[str]) -> list[Asset]:
    dashboards = [each for each in there.values() if each.kind == "dashboard"]
    if not names:
        found = [each for each in dashboards if each.uuid in files]
        if not found:
            raise ConfigurationError("Superset has no dashboard of the folder: name those to export (--dashboard).")
        return found
    unknown = set(names) - {str(name) for each in dashboards for name in (each.name, each.content.get("slug"))}
    if unknown:
        raise ConfigurationError(f"Superset has no dashboard of the title or slug {', '.join(sorted(unknown))}.")
    return [each for each in dashboards if {each.name, each.content.get("slug")} & set(names)]


def _as_file(asset: Asset, file: Asset | None) -> Asset:
    content = _without_numbers(asset.content)
    if asset.kind == "dashboard":
        # an import needs numbers, and takes any
        for number, meta in enumerate(charts_of(replace(asset, content=content)), start=1):
            meta["chartId"] = number
    if file and asset.kind == "database":
        content["sqlalchemy_uri"] = file.content["sqlalchemy_uri"]
    return Asset(file.path if file else _path(asset), content)


def _without_numbers(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_numbers(each) for key, each in value.items() if key not in _LEFT_OUT}
    return [_without_numbers(each) for each in value] if isinstance(value, list) else value


def _path(asset: Asset) -> str:
    """Return a path that says what it is; the start of the uuid tells apart what has one name."""
    name = re.sub(r"[^a-z0-9]+", "_", asset.name.lower()).strip("_")[:60]
    return f"{asset.kind}s/{name}_{asset.uuid[:8]}.yaml"
