"""
What of dbt has no effect here: it is refused by name when the DAG file is parsed, so that no task is green for it.

On Trino dbt-trino's own materializations run, which know more than ours on DuckDB.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from airflow_provider_phlo.dbt.profiles import EMBEDDED, TRINO
from airflow_provider_phlo.exceptions import ConfigurationError

# those of dbt and dbt-duckdb that leave no table in the catalog
_ELSEWHERE = ("external", "materialized_view", "table_function", "clone")
_STRATEGIES = (None, "default", "append", "delete+insert", "merge", "microbatch", "insert_overwrite")
_OPTIONS = {
    "grants": "tables of the catalog have none; those of published marts are kept",
    "location": "the catalog decides where files are",
    "options": "they are of files that dbt-duckdb writes",
    "format": "files are Parquet",
}
_DATABASES = (None, "memory")
# the layout of a table: what our materializations read, and what dbt-trino's do; a project for both has both
_LAYOUT, _LAYOUT_OF_TRINO = ("partition_by", "sort_by", "table_properties"), "properties"


def require_supported(
    node: Mapping[str, Any], materializations: Collection[str], strategies: Collection[str], engine: str
) -> None:
    """
    Refuse a model, seed or snapshot with a configuration that would have no effect.

    :param node: of the manifest.
    :param materializations: those that dbt, the adapter, the project and its packages have.
    :param strategies: those of increments that the project and its packages add.
    :param engine: what runs the models, see :class:`.profiles.Profile`.
    :raises ConfigurationError: names the node, its file and each such configuration.
    """
    embedded = engine == EMBEDDED
    if embedded:
        found = [*_of_the_node(node, materializations), *_of_the_increment(node["config"], strategies)]
    else:
        found = [*_of_the_increment_on_trino(node["config"])]
    found += _of_the_layout(node["config"], embedded)
    if found:
        raise ConfigurationError(
            f"dbt {node['resource_type']} {node['name']} ({node['original_file_path']}) asks for what has no effect on "
            f"{'DuckDB' if embedded else 'Trino'}: {'; '.join(found)}. Change its configuration, or leave it out with "
            "`exclude`."
        )


def require_different_names(nodes: Iterable[Mapping[str, Any]], engine: str) -> None:
    """
    Refuse two models, seeds or snapshots that are one table on Trino, which knows names in lower case only.

    :raises ConfigurationError: names both, with their files.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for node in nodes if engine == TRINO else ():
        name = f"{node['schema']}.{node['alias']}".lower()
        other = found.setdefault(name, node)
        if other is not node:
            both = " and ".join(f"{each['name']} ({each['original_file_path']})" for each in (other, node))
            raise ConfigurationError(
                f"dbt {both} are both the table {name} on Trino, which knows names in lower case only: give one of "
                "them another `alias`."
            )


def require_supported_source(node: Mapping[str, Any], engine: str) -> None:
    """
    Refuse a source in another database.

    :raises ConfigurationError: names the source and its file.
    """
    if engine == EMBEDDED and (found := [*_of_the_database(node)]):
        raise ConfigurationError(
            f"dbt source {node['source_name']}.{node['name']} ({node['original_file_path']}) is nowhere on DuckDB: "
            f"{found[0]}. Change it, or leave out what reads it with `exclude`."
        )


def _of_the_database(node: Mapping[str, Any]) -> Iterable[str]:
    if (node.get("config") or {}).get("database") not in _DATABASES or node.get("database") not in _DATABASES:
        yield f"database={node.get('database')!r} (the catalog is the only one: leave it out, and name the schema)"


def _of_the_node(node: Mapping[str, Any], materializations: Collection[str]) -> Iterable[str]:
    config = node["config"]
    materialized = config["materialized"]
    if materialized in _ELSEWHERE or materialized not in {*materializations, "ephemeral"}:
        yield f"materialized={materialized!r} (choose table, incremental, view or ephemeral)"
    if "." in node["alias"]:
        yield f"the name {node['alias']!r} (a table's name has no dots in the catalog: give it an `alias`)"
    yield from _of_the_database(node)
    yield from (f"{name} ({reason})" for name, reason in _OPTIONS.items() if config.get(name))


def _of_the_layout(config: Mapping[str, Any], embedded: bool) -> Iterable[str]:
    ours, theirs = [name for name in _LAYOUT if config.get(name)], config.get(_LAYOUT_OF_TRINO)
    if embedded and theirs and not ours:
        yield f"{_LAYOUT_OF_TRINO} (they are dbt-trino's: add {', '.join(_LAYOUT)})"
    if not embedded and ours and not theirs:
        yield f"{', '.join(ours)} (dbt-trino takes the layout from `{_LAYOUT_OF_TRINO}`: add them)"


def _of_the_increment_on_trino(config: Mapping[str, Any]) -> Iterable[str]:
    strategy = config.get("incremental_strategy")
    if config["materialized"] == "incremental" and config.get("unique_key") and strategy in (None, "default", "append"):
        yield (
            f"unique_key={config['unique_key']!r} with incremental_strategy='append', which is dbt-trino's default "
            "(use merge or delete+insert)"
        )


def _of_the_increment(config: Mapping[str, Any], added: Collection[str]) -> Iterable[str]:
    if config["materialized"] != "incremental":
        return
    strategy = config.get("incremental_strategy")
    if strategy not in _STRATEGIES and str(strategy).replace("+", "_") not in added:
        known = ", ".join([*filter(None, _STRATEGIES), *added])
        yield f"incremental_strategy={strategy!r} (choose one of {known})"
    if strategy == "append" and config.get("unique_key"):
        yield f"unique_key={config['unique_key']!r} with incremental_strategy='append' (use merge or delete+insert)"
