"""
Compare assets by what they say.

Superset adds to what it imports: numbers of its own, empty values, and colours that a browser has drawn with. None of
that is an edit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_phlo.serving.superset.assets import Asset

# the server's own numbers, and what it derives from them or from what a browser has drawn
_OWN = {
    "chartId",
    "chartsInScope",
    "tabsInScope",
    "datasource",
    "datasetId",
    "slice_id",
    "dashboards",
    "query_context",
    "version",
    "chart_configuration",
    "global_chart_configuration",
    "shared_label_colors",
    "map_label_colors",
    "color_scheme_domain",
    "configuration_method",
}
_NAMED = {"columns": "column_name", "metrics": "metric_name"}


def differences(one: Asset, other: Asset) -> list[str]:
    """Return the places, such as ``params.metric``, in which two assets do not say the same."""
    return sorted(set(_different(_meaning(one.content), _meaning(other.content), "")))


def _meaning(value: Any) -> Any:
    """Return a value without what Superset adds of its own; None if nothing is left."""
    if isinstance(value, Mapping):
        kept = {key: _meaning(_by_name(key, each)) for key, each in value.items() if key not in _OWN}
        return {key: each for key, each in kept.items() if each is not None} or None
    if isinstance(value, list):
        return [_meaning(each) for each in value] or None
    return None if value in ("", "{}") else value


def _by_name(key: str, value: Any) -> Any:
    """Return the columns and metrics of a dataset by name: their order says nothing."""
    name = _NAMED.get(key)
    if name and isinstance(value, list) and all(isinstance(each, dict) and name in each for each in value):
        return {each[name]: each for each in value}
    return value


def _different(one: Any, other: Any, place: str) -> Iterator[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in one.keys() | other.keys():
            yield from _different(one.get(key), other.get(key), f"{place}.{key}" if place else str(key))
    elif one != other:
        yield place
