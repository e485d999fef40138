"""
What a dbt model declares of its mart: the key, primary key, indexes and comments.

- key: the columns of a ``unique`` test, or of ``dbt_utils.unique_combination_of_columns``, that fails the run for any
  row, or ``meta: {key: [...]}``;
- primary key: a constraint ``type: primary_key`` of the model or of a column, or ``meta: {primary_key: [...]}``;
- indexes: the config ``indexes`` as dbt-postgres has it, ``[{columns: [a, b], unique: true, type: btree}]``, or
  ``meta: {indexes: [...]}`` in the same form;
- comments: the descriptions of model and columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.publishing.postgres.declarations import Declaration, Index

_INDEX_OPTIONS = {"columns", "unique", "type"}


def declarations(home: Path, sources: Iterable[str]) -> dict[str, Declaration]:
    """
    Return what models declare of their tables, by ``namespace.table``.

    :param home: ``PHLO_HOME``, where projects are parsed to. Where two have a model for a table, the one that was
        parsed last is believed.
    :raises ConfigurationError: an index is declared in another form.
    """
    wanted, found = set(sources), {}
    # project and target, as dbt.manifest lays them out; this wing lies below that one
    for path in sorted((home / "dbt").glob("*/*/manifest.json"), key=lambda path: path.stat().st_mtime_ns):
        manifest = _read(path, path.stat().st_mtime_ns)
        for node in manifest["nodes"].values():
            table = f"{node.get('schema')}.{node.get('alias')}"
            if node["resource_type"] in ("model", "seed", "snapshot") and table in wanted:
                found[table] = declared_by(manifest, node)
    return found


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int) -> Mapping[str, Any]:
    return json.loads(path.read_bytes())


def declared_by(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> Declaration:
    """
    Return what one model declares.

    :raises ConfigurationError: an index is declared in another form.
    """
    config = node.get("config") or {}
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    columns = node.get("columns") or {}
    primary_key = _names(meta.get("primary_key")) or next(_primary_keys(node), ())
    return Declaration(
        key=_names(meta.get("key")) or next(iter(sorted(_unique(manifest, node))), ()),
        primary_key=primary_key,
        indexes=tuple(_index(node["name"], each) for each in (config.get("indexes") or meta.get("indexes") or ())),
        comment=node.get("description") or None,
        comments={name: column["description"] for name, column in columns.items() if column.get("description")},
    )


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _primary_keys(node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for constraint in node.get("constraints") or ():
        if constraint.get("type") == "primary_key":
            yield _names(constraint.get("columns"))
    for name, column in (node.get("columns") or {}).items():
        if any(constraint.get("type") == "primary_key" for constraint in column.get("constraints") or ()):
            yield (name,)


def _unique(manifest: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield the columns of each test that lets no two rows be equal in them."""
    for test in manifest["nodes"].values():
        if (
            test["resource_type"] != "test"
            or test.get("attached_node") != node["unique_id"]
            or not _fails_for_any(test)
        ):
            continue
        kind = test.get("test_metadata") or {}
        if kind.get("name") == "unique" and test.get("column_name"):
            yield (test["column_name"],)
        elif kind.get("name") == "unique_combination_of_columns":
            yield _names((kind.get("kwargs") or {}).get("combination_of_columns"))


def _fails_for_any(test: Mapping[str, Any]) -> bool:
    config = test.get("config") or {}
    severe = str(config.get("severity", "error")).lower() == "error" and config.get("error_if", "!= 0") == "!= 0"
    return severe and config.get("enabled", True) and not config.get("where") and not config.get("limit")


def _index(model: str, given: Any) -> Index:
    if not isinstance(given, Mapping) or not given.get("columns") or set(given) - _INDEX_OPTIONS:
        raise ConfigurationError(
            f"Model {model} declares an index as {given!r}: write {{columns: [a, b], unique: true, type: btree}}; only "
            "columns is needed."
        )
    return Index(_names(given["columns"]), bool(given.get("unique", False)), str(given.get("type", "btree")))
