"""
What a dbt model declares of its mart: the key, primary key, indexes and comments.

- key: the columns of a ``unique`` test, or of ``dbt_utils.unique_combination_of_columns``, that fails the run for any
  row, or ``meta: {key: [...]}``;
- primary key: a constraint ``type: primary_key`` of the model or of a column, or ``meta: {primary_key: [...]}``;
- indexes: the config ``indexes`` as dbt-postgres has it, ``[{columns: [a, b], unique: true, type: btree}]``, or
  ``meta: {indexes: [...]}`` in the same form;
- comments: the descriptions of model and columns.

Columns are found as dbt's SQL finds them: in upper or lower case, with quotes or without. A test of an expression is
not a key.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.publishing.postgres.declarations import Declaration, Index
from airflow_provider_phlo.sql import bare_identifier

_INDEX_OPTIONS = {"columns", "unique", "type"}


def declarations(home: Path, sources: Mapping[str, Sequence[str]]) -> dict[str, Declaration]:
    """
    Return what models declare of their tables, by ``namespace.table``.

    :param home: ``PHLO_HOME``, where projects are parsed to. Where two have a model for a table, the one that was
        parsed last is believed.
    :param sources: the columns of each table.
    :raises ConfigurationError: an index is declared in another form.
    """
    found = {}
    # project and target, as dbt.manifest lays them out; this wing lies below that one
    for path in sorted((home / "dbt").glob("*/*/manifest.json"), key=lambda path: path.stat().st_mtime_ns):
        manifest = _read(path, path.stat().st_mtime_ns)
        for node in manifest["nodes"].values():
            table = f"{node.get('schema')}.{node.get('alias')}"
            if node["resource_type"] in ("model", "seed", "snapshot") and table in sources:
                found[table] = _of_columns(declared_by(manifest, node, sources[table]), sources[table])
    return found


@lru_cache(maxsize=4)
def _read(path: Path, _modified: int) -> Mapping[str, Any]:
    return json.loads(path.read_bytes())


def declared_by(
    manifest: Mapping[str, Any], node: Mapping[str, Any], columns_there: Sequence[str] | None = None
) -> Declaration:
    """
    Return what one model declares, with the names as they are written.

    :param columns_there: the columns of its table; without them, what a test is of is taken for a column.
    :raises ConfigurationError: an index is declared in another form.
    """
    config = node.get("config") or {}
    meta = {**(node.get("meta") or {}), **(config.get("meta") or {})}
    columns = node.get("columns") or {}
    primary_key = _names(meta.get("primary_key")) or next(_primary_keys(node), ())
    return Declaration(
        key=_names(meta.get("key")) or next(iter(sorted(_keys(manifest, node, columns_there))), ()),
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


def _of_columns(declared: Declaration, columns: Sequence[str]) -> Declaration:
    """Return a declaration with the names of columns as the table has them; names of none stay, to be refused."""

    def these(names: Sequence[str]) -> tuple[str, ...]:
        return tuple(_column(name, columns) or name for name in names)

    return Declaration(
        key=these(declared.key),
        primary_key=these(declared.primary_key),
        indexes=tuple(index._replace(columns=these(index.columns)) for index in declared.indexes),
        comment=declared.comment,
        comments={_column(name, columns) or name: text for name, text in declared.comments.items()},
    )


def _column(name: str, columns: Sequence[str]) -> str | None:
    """Return the column that SQL takes a name for, or None."""
    if name in columns:
        return name
    bare = bare_identifier(name)
    same = [column for column in columns if column.lower() == bare.lower()]
    return bare if bare in columns else same[0] if len(same) == 1 else None


def _keys(
    manifest: Mapping[str, Any], node: Mapping[str, Any], columns: Sequence[str] | None
) -> Iterator[tuple[str, ...]]:
    for names in _unique(manifest, node):
        if columns is None or all(_column(name, columns) for name in names):
            yield names


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
        given = kind.get("kwargs") or {}
        # the arguments alone have it where the test is written below the model
        column = test.get("column_name") or given.get("column_name")
        if kind.get("name") == "unique" and column:
            yield (column,)
        elif kind.get("name") == "unique_combination_of_columns":
            yield _names(given.get("combination_of_columns"))


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
