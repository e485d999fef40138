"""A contract from a table as it is: its columns, key and partitioning."""

from __future__ import annotations

from pyiceberg.table import Table

from airflow_provider_phlo.contracts.conversion.iceberg_columns import contract_columns
from airflow_provider_phlo.contracts.conversion.identity import contract_of
from airflow_provider_phlo.contracts.model.contract import Contract, Promise
from airflow_provider_phlo.terms import METADATA_COLUMNS


def read(table: Table) -> Contract:
    """Return what a table could promise; the metadata columns of this package are left to it."""
    schema = table.schema()
    partitions = (schema.find_column_name(field.source_id) for field in table.spec().fields)
    keys = (schema.find_column_name(number) for number in schema.identifier_field_ids)
    promise = Promise(
        table=".".join(table.name()),
        columns=contract_columns(schema.fields, METADATA_COLUMNS),
        description=table.properties.get("comment", ""),
        primary_key=tuple(filter(None, keys)),
        partitioned_by=tuple(name for name in partitions if name and name not in METADATA_COLUMNS),
    )
    return contract_of(promise)
