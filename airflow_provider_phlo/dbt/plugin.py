"""
The dbt-duckdb plugin that lets dbt read and write Iceberg: tables become views, models become snapshots.

dbt loads it by name (``include/dbt/profiles.yml``). Its settings come from environment variables, because dbt passes
nothing else to a plugin at run time:

``PHLO_HOME``
    the folder of the embedded catalog, which is used unless the next one is set.
``PHLO_CATALOG_PROPERTIES``
    the properties of another catalog, as JSON.
``PHLO_CATALOG_NAME``
    the catalog's name, ``phlo`` by default.
``PHLO_RUN_TOKEN``
    the run whose branch models are written to instead of ``main``, and read from where it exists.
``PHLO_DBT_TABLES``
    the tables that this run reads, separated by commas, so that no others are opened; all if unset.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from dbt.adapters.duckdb.plugins import BasePlugin
from duckdb.sqltypes import DuckDBPyType

from airflow_provider_phlo.exceptions import PhloError, SchemaError
from airflow_provider_phlo.iceberg.branches.run_branches import Head, branch_name
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.duckdb.views import CreateStagedView, all_tables, connect, create_view
from airflow_provider_phlo.iceberg.overwrite import OverwriteResult, overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.sql import quote_identifier

if TYPE_CHECKING:
    from dbt.adapters.duckdb.utils import TargetConfig
    from pyiceberg.catalog import Catalog

SCRATCH_SCHEMA = "phlo_scratch"
VOLATILE_COLUMNS = ("_transformed_at",)

_NESTED_TYPES = frozenset({"list", "array", "struct", "tuple", "map"})
# DuckDB's types whose values Arrow has as they are; of BIT, for one, it shows DuckDB's own bytes, of TIMETZ no zone
_EXACT_TYPES = _NESTED_TYPES | {
    *("boolean", "tinyint", "smallint", "integer", "bigint", "hugeint", "utinyint", "usmallint", "uinteger", "ubigint"),
    *("float", "double", "decimal", "varchar", "blob", "uuid", "enum", "null", "date", "time", "time_ns"),
    *("timestamp", "timestamp_s", "timestamp_ms", "timestamp_ns", "timestamp with time zone"),
}

#: What this process wrote, and the errors of what it could not write, by ``namespace.table``: dbt passes on only text.
results: dict[str, OverwriteResult] = {}
failures: dict[str, PhloError] = {}


def forget() -> None:
    """Empty :data:`results` and :data:`failures`; call this before running dbt in this process."""
    results.clear()
    failures.clear()


def catalog_from_environment(environment: Mapping[str, str] = os.environ) -> Catalog:
    """Open the catalog that the environment variables name (see the module's docstring)."""
    properties = environment.get("PHLO_CATALOG_PROPERTIES")
    return open_catalog(
        environment.get("PHLO_CATALOG_NAME") or "phlo",
        json.loads(properties) if properties else embedded_properties(Path(environment.get("PHLO_HOME") or ".phlo")),
    )


class Plugin(BasePlugin):
    """One catalog as views in dbt's in-memory DuckDB."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Open nothing yet: dbt creates the plugin even if it only parses."""
        token = os.environ.get("PHLO_RUN_TOKEN")
        self._branch = branch_name(token) if token else None
        wanted = os.environ.get("PHLO_DBT_TABLES")
        self._wanted = frozenset(wanted.split(",")) if wanted else None

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Create a view for each table."""
        self._connection = conn
        self._catalog = catalog_from_environment()
        tables = [table for table in all_tables(self._catalog) if self._opens(table)]
        # before they are read: what is written must not undo what others publish meanwhile
        self._heads = {table: branch_head(self._catalog.load_table(table)) for table in tables}
        conn.execute(f"CREATE SCHEMA IF NOT EXISTS {SCRATCH_SCHEMA}")
        connect(self._catalog, tables=tables, branch=self._branch, staged=self._staged_views(), connection=conn)

    def _opens(self, table: str) -> bool:
        """Return whether a table is to be opened, if there is one."""
        return self._wanted is None or table in self._wanted

    def _staged_views(self) -> CreateStagedView | None:
        """Return the function that shows models what Trino has yet to merge; imported for a run's branch only."""
        if self._branch is None:
            return None
        from airflow_provider_phlo.iceberg.trino.preview import create_staged_view

        return create_staged_view

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Give every connection the same clock."""
        cursor.execute("SET TimeZone = 'UTC'")

    def store(self, target_config: TargetConfig) -> None:
        """Write the rows of a scratch table to the model's Iceberg table if they differ, and update its view."""
        relation, config = target_config.relation, target_config.config
        identifier = f"{relation.schema}.{relation.identifier}"
        scratch = f"{SCRATCH_SCHEMA}.{quote_identifier(target_config.location.path)}"
        cursor = self._connection.cursor()
        try:
            self.configure_cursor(cursor)
            rows = _exact_rows(identifier, cursor.sql(f"SELECT * FROM {scratch}"))  # noqa: S608 - quoted
            cursor.execute(f"DROP TABLE {scratch}")
            results[identifier] = overwrite_if_changed(
                self._catalog,
                identifier,
                rows,
                branch=self._branch,
                volatile_columns=_volatile_columns(config),
                summary=_summary(),
                expected_head=self._heads.get(identifier, None if self._opens(identifier) else Head.ANY),
            )
            if self._branch is None:
                self._heads[identifier] = results[identifier].snapshot_id
            create_view(cursor, self._catalog, identifier, branch=self._branch)
        except PhloError as error:
            failures[identifier] = error
            raise
        finally:
            cursor.close()


def _exact_rows(identifier: str, relation: duckdb.DuckDBPyRelation) -> pa.Table:
    """
    Return the rows as Arrow has them, if it has them as they are.

    :raises SchemaError: Arrow shows a column's type as another, or has no room for a value.
    """
    large = []
    for name, kind in zip(relation.columns, relation.types, strict=True):
        inside = _types_inside(kind)
        for each in inside:
            if each.id not in _EXACT_TYPES:
                raise SchemaError(
                    f"Column {name} of {identifier} has DuckDB's type {each}, which Iceberg does not know: cast it in "
                    "the SQL."
                )
        if any(each.id == "hugeint" for each in inside):
            large.append(name)
    rows = relation.to_arrow_table()
    for name in large:
        try:
            rows[name].validate(full=True)
        except pa.ArrowInvalid:  # its message holds the value
            raise SchemaError(
                f"Column {name} of {identifier} has values of more than 38 digits, which Iceberg cannot store: cast it "
                "in the SQL."
            ) from None
    return rows


def _types_inside(kind: DuckDBPyType) -> list[DuckDBPyType]:
    if kind.id not in _NESTED_TYPES:
        return [kind]
    # an array has its size among them
    members = [member for _, member in kind.children if isinstance(member, DuckDBPyType)]
    return [kind, *(each for member in members for each in _types_inside(member))]


def _volatile_columns(config: Any) -> tuple[str, ...]:
    meta = config.get("meta") or {}
    return tuple(meta.get("volatile_columns", VOLATILE_COLUMNS))


def _summary() -> dict[str, str]:
    """Return what the snapshot's summary says about the run that wrote it."""
    keys = {
        "phlo.run-token": "PHLO_RUN_TOKEN",
        "phlo.run-id": "PHLO_RUN_ID",
        "phlo.partition-date": "PHLO_PARTITION_DATE",
    }
    return {key: os.environ[name] for key, name in keys.items() if os.environ.get(name)}
