"""
What of dbt has no effect here: it is refused by name when the DAG file is parsed, so that no task is green for it.

On Trino dbt's own materializations run, which know more than ours on DuckDB.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from airflow_provider_phlo.dbt.profiles import EMBEDDED
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


def require_supported(node: Mapping[str, Any], materializations: Collection[str], engine: str) -> None:
    """
    Refuse a model, seed or snapshot with a configuration that would have no effect.

    :param node: of the manifest.
    :param materializations: those that dbt, the adapter, the project and its packages have.
    :param engine: what runs the models, see :class:`.profiles.Profile`.
    :raises ConfigurationError: names the node, its file and each such configuration.
    """
    if engine != EMBEDDED:
        return
    found = [*_of_the_node(node, materializations), *_of_the_increment(node["config"])]
    if found:
        raise ConfigurationError(
            f"dbt {node['resource_type']} {node['name']} ({node['original_file_path']}) asks for what has no effect on "
            f"DuckDB: {'; '.join(found)}. Change its configuration, or leave it out with `exclude`."
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


def _of_the_increment(config: Mapping[str, Any]) -> Iterable[str]:
    if config["materialized"] != "incremental":
        return
    strategy = config.get("incremental_strategy")
    if strategy not in _STRATEGIES:
        yield f"incremental_strategy={strategy!r} (choose one of {', '.join(filter(None, _STRATEGIES))})"
    if strategy == "append" and config.get("unique_key"):
        yield f"unique_key={config['unique_key']!r} with incremental_strategy='append' (use merge or delete+insert)"
