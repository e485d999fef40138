"""
What of dbt has no effect here yet: it is refused by name when the DAG file is parsed, so that no task is green for it.

On Trino dbt's own materializations run, which know more than ours on DuckDB.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from airflow_provider_phlo.dbt.profiles import EMBEDDED
from airflow_provider_phlo.exceptions import ConfigurationError

_MATERIALIZATIONS = ("table", "incremental", "ephemeral")
# what ours does is what each of these does: rows with a key that comes again are replaced, all others stay
_STRATEGIES = (None, "merge", "delete+insert", "append")
_SCHEMA_CHANGES = (None, "ignore", "append_new_columns")
_OPTIONS = ("persist_docs", "indexes", "partition_by", "partitioned_by", "sorted_by", "options", "location", "format")
_INCREMENTAL_OPTIONS = ("incremental_predicates", "predicates")


def require_supported_resource(node: Mapping[str, Any]) -> None:
    """
    Refuse a node that is not a model.

    :param node: of the manifest.
    :raises ConfigurationError: it is a seed, a snapshot, …
    """
    kind, path = node["resource_type"], node["original_file_path"]
    raise ConfigurationError(
        f"dbt {kind} {node['name']} ({path}) is selected, and {kind}s do not become tables of the catalog yet: leave "
        "it out with `exclude`, and load its rows with an ingestion."
    )


def require_supported_model(model: Mapping[str, Any], engine: str) -> None:
    """
    Refuse a model with a configuration that would have no effect.

    :param model: of the manifest.
    :param engine: what runs the models, see :class:`.profiles.Profile`.
    :raises ConfigurationError: names the model, its file and each such configuration.
    """
    if engine == EMBEDDED:
        _refuse(model, [*_of_the_model(model), *_of_the_increment(model)])


def require_supported_tests(tests: Iterable[Mapping[str, Any]], engine: str) -> None:
    """
    Refuse tests with a configuration that would have no effect.

    :raises ConfigurationError: names the test, its file and the configuration.
    """
    for test in tests:
        if engine == EMBEDDED and test["config"].get("store_failures"):
            _refuse(test, ["store_failures: the rows would be gone when the task ends"])


def _refuse(node: Mapping[str, Any], found: list[str]) -> None:
    if found:
        raise ConfigurationError(
            f"dbt {node['resource_type']} {node['name']} ({node['original_file_path']}) asks for what has no effect on "
            f"DuckDB yet: {'; '.join(found)}. Change its configuration, or leave it out with `exclude`."
        )


def _of_the_model(model: Mapping[str, Any]) -> Iterable[str]:
    config = model["config"]
    if model.get("language", "sql") != "sql":
        yield f"{model['language']} models (write SQL)"
    if config["materialized"] not in _MATERIALIZATIONS:
        yield f"materialized={config['materialized']!r} (choose one of {', '.join(_MATERIALIZATIONS)})"
    if (config.get("contract") or {}).get("enforced"):
        yield "contract (neither columns nor constraints would be checked: write tests)"
    yield from (name for name in _OPTIONS if config.get(name))
    if config.get("grants"):
        yield "grants (tables of the catalog have none; those of published marts are kept)"


def _of_the_increment(model: Mapping[str, Any]) -> Iterable[str]:
    config = model["config"]
    if config["materialized"] != "incremental":
        return
    strategy, key = config.get("incremental_strategy"), config.get("unique_key")
    if strategy not in _STRATEGIES:
        yield f"incremental_strategy={strategy!r} (choose one of {', '.join(filter(None, _STRATEGIES))})"
    if strategy == "append" and key:
        yield f"incremental_strategy='append' with unique_key={key!r} (rows with these keys would be replaced)"
    if config.get("on_schema_change") not in _SCHEMA_CHANGES:
        yield f"on_schema_change={config['on_schema_change']!r} (new columns are added, and none is removed)"
    for name, value in config.items():
        if value and (name in _INCREMENTAL_OPTIONS or name.startswith("merge_")):
            yield name
