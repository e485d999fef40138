"""Manifests as dbt writes them, as far as serving reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def model(name: str, columns: Mapping[str, Mapping[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    """
    Return a model.

    :param columns: what its YAML says of each column.
    :param fields: other parts of the node; ``project`` is the one that has it, ``meta`` is that of its config, as
        dbt 1.10 and later have it.
    """
    meta = fields.pop("meta", {})
    project = fields.pop("project", "shop")
    version = fields.get("version")
    unique_id = f"model.{project}.{name}" + (f".v{version}" if version is not None else "")
    return {
        "unique_id": unique_id,
        "name": name,
        "alias": name if version is None else f"{name}_v{version}",
        "schema": "marts",
        "resource_type": "model",
        "original_file_path": f"models/{name}.yml",
        "description": "",
        "meta": meta,
        "config": {"materialized": "table", "meta": meta},
        "columns": {
            column: {"name": column, "description": "", "meta": {}, "tags": [], "config": {}, **said}
            for column, said in (columns or {}).items()
        },
        "depends_on": {"nodes": []},
        **fields,
    }


def relationship(many: Mapping[str, Any], column: str, one: Mapping[str, Any], field: str) -> dict[str, Any]:
    """Return dbt's test ``relationships``."""
    return {
        "unique_id": f"test.shop.{many['name']}.{column}.{one['name']}",
        "name": f"relationships_{many['name']}_{column}",
        "resource_type": "test",
        "attached_node": many["unique_id"],
        "column_name": column,
        "test_metadata": {"name": "relationships", "kwargs": {"field": field}},
        "depends_on": {"nodes": [one["unique_id"], many["unique_id"]]},
        "config": {"severity": "ERROR"},
    }


def manifest(*nodes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest of these nodes."""
    return {"nodes": {node["unique_id"]: node for node in nodes}, "metadata": {}, "sources": {}, "exposures": {}}
