"""Make a table ready for a batch: create it or add its new columns, once it is certain that the rows fit."""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.branches import SET_BACK_PROPERTY, STATE_PROPERTY
from airflow_provider_phlo.iceberg.declared import declare_columns
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staged_batches import StagedRows
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg, pandera_to_iceberg


def table_state(table: Table | None) -> str:
    """Return dlt's state as the last published run of ``table`` left it."""
    return table.properties.get(STATE_PROPERTY, "") if table is not None else ""


def last_set_back(table: Table | None) -> str:
    """Return the id of the last time that main of ``table`` was set back; empty if it never was."""
    return table.properties.get(SET_BACK_PROPERTY, "") if table is not None else ""


def table_types(table: Table | None) -> dict[str, pa.DataType]:
    """Return the Arrow types of the table's columns."""
    if table is None:
        return {}
    return {item.name: item.type for item in schema_to_pyarrow(table.schema(), include_field_ids=False)}


def table_comments(table: Table | None) -> dict[str, str | None]:
    """Return the comments on the table's columns."""
    return {item.name: item.doc for item in table.schema().fields} if table is not None else {}


def prepare_table(catalog: Catalog, definition: TableDefinition, rows: StagedRows) -> None:
    """
    Create or evolve the table, once it is certain that the rows go in.

    :raises SchemaError: if they do not fit.
    :raises ConfigurationError: if the plan names columns that neither table nor batch has.
    """
    table = tables.find_table(catalog, definition.table)
    schema = table.schema() if table else _new_schema(definition, rows.schema)
    _require_plan_columns(definition, {item.name for item in schema.fields} | set(rows.schema.names))
    tables.require_fit(rows.schema.empty_table(), schema, definition.table)
    for part in rows:
        tables.require_fit(part, schema, definition.table)
    tables.ensure_table(
        catalog,
        definition.table,
        schema,
        partition_by=definition.partitioning,
        sort_by=definition.sort_by,
        properties=definition.properties,
    )
    table = tables.evolve(catalog, definition.table, rows.schema)
    declared = definition.declared
    pii = None if declared is None else [column.name for column in declared.columns if column.pii]
    declare_columns(catalog, table, definition.plan.key, pii)


def _require_plan_columns(definition: TableDefinition, present: set[str]) -> None:
    """Refuse a plan that names columns which neither table nor batch has, before a table is made for it."""
    named = [*definition.plan.key, *filter(None, (definition.plan.order_by, definition.plan.hard_delete))]
    missing = [name for name in named if name not in present]
    if missing:
        raise ConfigurationError(
            f"{definition.table} has no column(s) {', '.join(missing)}, which unique_key, order_by or hard_delete "
            f"name: write them as dlt does; the columns are {', '.join(sorted(present))}."
        )


def _new_schema(definition: TableDefinition, columns: pa.Schema) -> Schema:
    if definition.declared is None:
        return arrow_to_iceberg(column for column in columns if not pa.types.is_null(column.type))
    return pandera_to_iceberg(definition.declared.model, metadata_columns=definition.metadata_columns)
