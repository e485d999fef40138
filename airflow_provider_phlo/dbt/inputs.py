"""
What a model was made of, kept with it: a run that finds the same has nothing to do.

A table says in a property which of its snapshots was made of what: the project, the settings that the SQL can see, and
the snapshots of the tables that the model and its tests read. It says so only if the SQL of all of them returns the
same for the same tables: nothing random, no time of day, no other table or file.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import NoSuchTableError

from airflow_provider_phlo.dbt.adapter.dialect import TYPE
from airflow_provider_phlo.dbt.kept import Kept
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.duckdb.statements import nodes_of, read_tables, syntax_tree
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.terms import MAIN_BRANCH, SnapshotId

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table


PROPERTY = "phlo.dbt-inputs"
# of DuckDB's scalar functions, those that may return something else for the same arguments
VARYING = frozenset(
    {
        *("age", "ago", "current_catalog", "current_connection_id", "current_database"),
        *("current_date", "current_localtime", "current_localtimestamp", "current_query", "current_query_id"),
        *("current_role", "current_schema", "current_schemas", "current_setting", "current_time"),
        *("current_timestamp", "current_transaction_id", "current_user", "currval", "error"),
        *("gen_random_uuid", "get_current_time", "get_current_timestamp", "getvariable", "in_search_path"),
        *("inet_client_addr", "inet_client_port", "inet_server_addr", "inet_server_port", "localtime"),
        *("localtimestamp", "nextval", "now", "pg_conf_load_time", "pg_postmaster_start_time"),
        *("pg_sleep", "random", "session_user", "setseed", "setval"),
        *("sleep_ms", "today", "transaction_timestamp", "txid_current", "user"),
        *("uuid", "uuidv4", "uuidv7", "vector_type", "which_secret"),
        *("stats", "write_log"),
    }
)
_TABLE_FUNCTIONS = frozenset({"generate_series", "range", "unnest"})
_WHOLE = frozenset({"table", "view"})
_DBTS_OWN = frozenset({"dbt", "dbt_duckdb", "dbt_phlo"})
# what Jinja sees of the moment, and of tables that are there or not
_MOMENTS = re.compile(
    r"\b(?:run_started_at|invocation_id|modules|thread_id|dbt_metadata_envs|local_md5|print"
    r"|get_relation|list_relations\w*|load_relation|load_cached_relation|check_schema_exists|information_schema)\b"
)
_OUR_OWN = frozenset({"PHLO_CATALOG_NAME", "PHLO_CATALOG_PROPERTIES", "PHLO_RUN_ID", "PHLO_RUN_TOKEN"})
_VERSIONS = ("airflow-provider-phlo", "dbt-core", "dbt-duckdb", "duckdb")
_INSTALLED = [f"{name} {importlib.metadata.version(name)}" for name in _VERSIONS]
#: The tables that a query reads if it returns the same for the same, else None; by what does not count and its hash.
REPEATABLE: Kept[tuple[str, ...] | None] = Kept("repeatable", " ".join(["1", *_INSTALLED]))


class Inputs:
    """
    What a model and its tests are made of, as it is before they run.

    :param table: the model's ``namespace.table``.
    :param read: the tables that the model and its tests read.
    :param digest: stands for all of it; None if a table does not exist.
    """

    def __init__(self, table: str, read: frozenset[str], digest: str | None) -> None:
        self.table = table
        self.read = read
        self.digest = digest

    def table_made_of_them(self, catalog: Catalog) -> Table | None:
        """Return the table if main's snapshot was made of the same and tested."""
        if self.digest is None:
            return None
        try:
            table = catalog.load_table(self.table)
        except NoSuchTableError:
            return None
        return table if table.properties.get(PROPERTY) == f"{branch_head(table)} {self.digest}" else None

    def properties(self, snapshot_id: SnapshotId | None) -> dict[str, str]:
        """Return what is set when a snapshot that was made of them is published."""
        return {PROPERTY: f"{snapshot_id} {self.digest}"} if self.digest and snapshot_id is not None else {}


def inputs_of(
    table: str, read: Collection[str], catalog: Catalog, project: Iterable[str], settings: Mapping[str, str | None]
) -> Inputs:
    """
    Return what a model is made of now.

    :param read: the tables that it and its tests read.
    :param project: stands for the project's files, the target and options.
    :param settings: the environment variables that the project reads.
    """
    digest = blake2b(digest_size=16)
    digest.update(json.dumps([_INSTALLED, [*project], sorted(settings.items())]).encode())
    for name in sorted({*read} - {table}):
        try:
            metadata = catalog.load_table(name).metadata
        except NoSuchTableError:
            return Inputs(table, frozenset(read), None)
        main = metadata.refs.get(MAIN_BRANCH)
        state = (name, str(metadata.table_uuid), metadata.current_schema_id, main and main.snapshot_id)
        digest.update(json.dumps(state).encode())
    return Inputs(table, frozenset(read), digest.hexdigest())


def settings_read(names: Iterable[str]) -> dict[str, str | None]:
    """Return the environment variables that a project's files name, as they are now."""
    return {name: os.environ.get(name) for name in names if name not in _OUR_OWN}


def depend_on_nothing_else(manifest: Manifest, results: Sequence[Any], known: Iterable[str], folder: Path) -> bool:
    """
    Return whether a model and its tests would return the same for the same tables.

    :param results: what dbt returned of all of them.
    :param known: the tables that dbt knows they read, as ``namespace.table``.
    :param folder: the target path of the project, where what is found of each query is kept.
    """
    tables = {name.casefold() for name in known}
    if any(node.resource_type == "operation" for node in manifest.nodes.values()):
        return False
    REPEATABLE.load(folder)
    found = all(_depends_on_nothing_else(manifest, result.node, tables) for result in results)
    REPEATABLE.save(folder)
    return found


def _depends_on_nothing_else(manifest: Manifest, node: Any, tables: set[str]) -> bool:
    if node.resource_type == "unit_test":
        return True  # has rows of its own
    if node.resource_type not in ("model", "test"):
        return False
    config = node.config
    if node.resource_type == "model" and (config.pre_hook or config.post_hook or not _is_dbts_table(manifest, node)):
        return False
    if node.language != "sql" or any(_MOMENTS.search(text) for text in _jinja_of(manifest, node)):
        return False
    volatile = (config.meta or {}).get("volatile_columns", ("_transformed_at",))
    text = blake2b(node.compiled_code.encode(errors="surrogatepass"), digest_size=16).hexdigest()
    key = (json.dumps(sorted(volatile)), text)
    if key not in REPEATABLE.known:
        REPEATABLE.known[key] = _tables_of_repeatable(node.compiled_code, volatile)
    read = REPEATABLE.known[key]
    return read is not None and tables.issuperset(read)


def _is_dbts_table(manifest: Manifest, node: Any) -> bool:
    """Return whether a model becomes the rows of its query, and no materialization of the project's own makes them."""
    found = manifest.find_materialization_macro_by_name(node.package_name, node.config.materialized, TYPE)
    return node.config.materialized in _WHOLE and found is not None and found.package_name in _DBTS_OWN


def _jinja_of(manifest: Manifest, node: Any) -> Iterator[str]:
    """Yield a node's text, and that of the macros that it calls; dbt's own look at no clock unless they are asked."""
    yield node.raw_code
    waiting, seen = list(node.depends_on.macros), set()
    while waiting:
        name = waiting.pop()
        macro = manifest.macros.get(name)
        if macro is None or name in seen:
            continue
        seen.add(name)
        waiting.extend(macro.depends_on.macros)
        if macro.package_name not in _DBTS_OWN:
            yield macro.macro_sql


def _tables_of_repeatable(sql: str, volatile: Iterable[str]) -> tuple[str, ...] | None:
    """Return what a query reads, in lower case, if it returns the same when it runs twice over the same; else None."""
    try:
        tree = syntax_tree(sql)
    except ConfigurationError:
        return None
    _drop_columns(tree, frozenset(volatile))
    if any(map(_varies, nodes_of(tree))):
        return None
    return tuple(sorted({name.casefold() for name in read_tables(tree)}))


def _drop_columns(tree: Any, names: frozenset[str]) -> None:
    """Leave out columns of the result that do not count when contents are compared."""
    node = tree["statements"][0]["node"]
    columns = node.get("select_list")
    if columns:
        node["select_list"] = [column for column in columns if column["alias"] not in names]


def _varies(node: Mapping[str, Any]) -> bool:
    kind = node.get("type")
    if kind == "COLUMN_REF":  # of functions without parentheses the parser does not know that they are
        return len(node["column_names"]) == 1 and node["column_names"][0].casefold() in VARYING
    if kind == "TABLE_FUNCTION":
        return node["function"]["function_name"].casefold() not in _TABLE_FUNCTIONS
    if node.get("sample"):
        return True
    return "function_name" in node and node["function_name"].casefold() in VARYING
