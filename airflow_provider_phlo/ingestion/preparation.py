"""Make a table ready for a batch: create it or add its new columns, once it is certain that the rows fit."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import count

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.branches.declared import declare_columns
from airflow_provider_phlo.iceberg.branches.run_branches import SET_BACK_PROPERTY, STATE_PROPERTY
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staged_batches import StagedRows
from airflow_provider_phlo.schemas.conversion.undeclared import JSON, variant_suffix
from airflow_provider_phlo.schemas.conversion.variants import logical_type, variant_of
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg, pandera_to_iceberg
from airflow_provider_phlo.schemas.types import holds, iceberg_type, promotes
from airflow_provider_phlo.terms import MergeStrategy

log = logging.getLogger(__name__)


def table_state(table: Table | None) -> str:
    """Return dlt's state as the last published run of ``table`` left it."""
    return table.properties.get(STATE_PROPERTY, "") if table is not None else ""


def last_set_back(table: Table | None) -> str:
    """Return the id of the last time that main of ``table`` was set back; empty if it never was."""
    return table.properties.get(SET_BACK_PROPERTY, "") if table is not None else ""


def table_types(table: Table | None) -> dict[str, pa.DataType]:
    """Return the Arrow types of the table's columns; of those that hold JSON as their comments say, JSON."""
    if table is None:
        return {}
    columns = schema_to_pyarrow(table.schema(), include_field_ids=False)
    return {item.name: logical_type(item) for item in columns}


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
    renames = _renames_of_variants(table, definition) if table else {}
    schema = _renamed(table.schema(), renames) if table else _new_schema(definition, rows.schema)
    _require_plan_columns(definition, {item.name for item in schema.fields} | set(rows.schema.names))
    if table is not None and _has_rows(table):
        _require_key_of_rows(definition, {item.name for item in schema.fields})
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
    if renames:
        log.info("%s: %s", definition.table, ", ".join(f"{old} is now {new}" for old, new in renames.items()))
        tables.rename_columns(catalog, definition.table, renames)
    table = tables.evolve(catalog, definition.table, rows.schema)
    declared = definition.declared
    personal = {column.name for column in declared.columns if column.pii} if declared else set()
    columns = table.schema().column_names
    pii = [name for name in columns if name in personal or variant_of(name) in personal]
    declare_columns(catalog, table, definition.plan.key, None if declared is None else pii)


def _renames_of_variants(table: Table, definition: TableDefinition) -> dict[str, str]:
    """
    Return the new names of columns where a schema declares a column that has variants, in a type other than its own.

    The variant of the declared type becomes the column, and what was the column becomes a variant of its own type: no
    value changes, and no file is written.
    """
    types = table_types(table)
    renames: dict[str, str] = {}
    for column in definition.declared.columns if definition.declared else ():
        variants = [name for name in types if variant_of(name) == column.name]
        if column.name not in types or not variants or _takes(types[column.name], column.type):
            continue
        former = f"{column.name}__v_{variant_suffix(types[column.name])}"
        if former in types:
            continue
        renames[column.name] = former
        same = next((name for name in variants if _takes(types[name], column.type)), None)
        if same is not None:
            renames[same] = column.name
    return renames


def _takes(present: pa.DataType, wanted: pa.DataType) -> bool:
    """Return whether a column of type ``present`` takes values of ``wanted``, perhaps once it is widened."""
    if JSON in (present, wanted):
        return pa.types.is_string(wanted) or present == wanted
    if pa.types.is_nested(present) and pa.types.is_nested(wanted):  # members are added, or what changes is refused
        return True
    old, new = iceberg_type(present, count(1)), iceberg_type(wanted, count(1))
    return holds(old, new) or promotes(old, new)


def _renamed(schema: Schema, renames: Mapping[str, str]) -> Schema:
    return Schema(*[item.model_copy(update={"name": renames.get(item.name, item.name)}) for item in schema.fields])


def _require_plan_columns(definition: TableDefinition, present: set[str]) -> None:
    """Refuse a plan that names columns which neither table nor batch has, before a table is made for it."""
    named = [*definition.plan.key, *filter(None, (definition.plan.order_by, definition.plan.hard_delete))]
    missing = [name for name in named if name not in present]
    if missing:
        raise ConfigurationError(
            f"{definition.table} has no column(s) {', '.join(missing)}, which unique_key, order_by or hard_delete "
            f"name: write them as dlt does; the columns are {', '.join(sorted(present))}."
            + _declare(definition, missing)
        )


def _declare(definition: TableDefinition, missing: list[str]) -> str:
    """Return what to declare where no record has had a column yet, which a misspelt one would never have."""
    kinds = {definition.plan.order_by: "datetime | None", definition.plan.hard_delete: "bool | None"}
    fields = [f"{name}: {kinds[name]}" for name in missing if name in kinds and name not in definition.plan.key]
    return (
        f" If no record has had one yet, declare it in the validation schema ({', '.join(fields)}, or the type that "
        "it will have): the table has it from the start, empty."
        if fields
        else ""
    )


def _has_rows(table: Table) -> bool:
    snapshot = table.current_snapshot()
    return snapshot is not None and (snapshot.summary is None or snapshot.summary["total-records"] != "0")


def _require_key_of_rows(definition: TableDefinition, present: set[str]) -> None:
    """Refuse to merge by a column that the rows of the table do not have: none of them would ever be found."""
    missing = [name for name in definition.plan.key if name not in present]
    if missing and definition.plan.strategy == MergeStrategy.MERGE:
        raise ConfigurationError(
            f"{definition.table} has rows, but no column(s) {', '.join(missing)}, which unique_key names: those of "
            "the batch would be inserted beside those that they are to replace. If the column was renamed, name it in "
            "unique_key as it is called now, or rename it back; if it is new, add it to the table and fill it in. "
            f"The columns are {', '.join(sorted(present))}."
        )


def _new_schema(definition: TableDefinition, columns: pa.Schema) -> Schema:
    if definition.declared is None:
        return arrow_to_iceberg(column for column in columns if not pa.types.is_null(column.type))
    return pandera_to_iceberg(definition.declared.model, metadata_columns=definition.metadata_columns)
