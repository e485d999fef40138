"""Pandera models and Arrow schemas as Iceberg schemas, and back."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain, count
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
from pandera.pandas import DataFrameModel
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.base import PhloSchema, make_model
from airflow_provider_phlo.schemas.columns import TIMESTAMP, model_columns
from airflow_provider_phlo.schemas.types import arrow_type, iceberg_field, iceberg_type
from airflow_provider_phlo.terms import METADATA_COLUMNS, MetadataColumn

FIRST_METADATA_ID = 100
METADATA_FIELDS: tuple[tuple[str, pa.DataType, str], ...] = (
    (MetadataColumn.DLT_LOAD_ID, pa.string(), "load that staged the row"),
    (MetadataColumn.DLT_ID, pa.string(), "id of the staged row"),
    (MetadataColumn.INGESTED_AT, TIMESTAMP, "when the row was staged"),
    (MetadataColumn.RUN_ID, pa.string(), "Airflow run that last changed the row"),
    (MetadataColumn.PARTITION_DATE, pa.date32(), "partition date of the run that last changed the row"),
    (MetadataColumn.ROW_HASH, pa.string(), "content hash over the source columns"),
)


def pandera_to_iceberg(model: type[DataFrameModel], *, metadata_columns: bool = True) -> Schema:
    """
    Return the Iceberg schema of ``model``, with field ids from 1 and metadata fields from 100.

    A catalog may assign ids of its own when it creates the table.

    :param metadata_columns: whether to add ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :raises SchemaError: if a type has no Iceberg counterpart, or a column has the name of a metadata column.

    ::

        catalog.create_table("raw.readings", pandera_to_iceberg(Reading))
    """
    last = FIRST_METADATA_ID + len(METADATA_FIELDS)
    ids = chain(range(1, FIRST_METADATA_ID), count(last))  # a wide or deep model continues after the metadata
    declared = model_columns(model)
    fields = [
        NestedField(
            next(ids),
            column.name,
            iceberg_type(column.type, ids),
            required=not column.nullable,
            doc=column.description,
        )
        for column in declared.columns
    ]
    if not metadata_columns:
        return Schema(*fields)
    taken = [name for name in METADATA_COLUMNS if name in declared]
    if taken:
        raise SchemaError(
            f"{model.__name__} declares {', '.join(taken)}, which is a metadata column of every table: leave it "
            "out, or write with add_metadata_columns=False."
        )
    metadata = (
        NestedField(FIRST_METADATA_ID + position, name, iceberg_type(kind, ids), required=False, doc=doc)
        for position, (name, kind, doc) in enumerate(METADATA_FIELDS)
    )
    return Schema(*fields, *metadata)


def arrow_to_iceberg(fields: Iterable[pa.Field]) -> Schema:
    """Return the Iceberg schema of Arrow ``fields``, all optional."""
    ids = count(1)
    return Schema(*[iceberg_field(next(ids), item.with_nullable(True), ids) for item in fields])


def iceberg_to_pandera(
    schema: Schema | Table, class_name: str = "TableSchema", *, metadata_columns: bool = False
) -> type[PhloSchema]:
    """
    Return a Pandera model for the rows of a table, with its names, exact types, nullability and descriptions.

    It can be subclassed and used like any model: as ``validation_schema``, in ``SchemaCheck``, or in
    :func:`pandera_to_iceberg`, which gives the same schema again.

    :param schema: an Iceberg schema, or a table with its current schema.
    :param metadata_columns: whether ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*`` are columns of the model.
    :raises SchemaError: if a column has a type that only Iceberg's format version 3 has.

    ::

        class Stricter(iceberg_to_pandera(catalog.load_table("raw.readings"), "Readings")):
            value: float = Field(ge=20)
    """
    fields = schema.schema().fields if isinstance(schema, Table) else schema.fields
    columns: dict[str, tuple[Any, dict[str, Any]]] = {
        item.name: (_annotation(item), {"nullable": not item.required, "description": item.doc})
        for item in fields
        if metadata_columns or item.name not in METADATA_COLUMNS
    }
    return make_model(class_name, columns)


def _annotation(item: NestedField) -> Any:
    try:
        return Annotated[pd.ArrowDtype, arrow_type(item.field_type)]
    except SchemaError as error:
        raise SchemaError(f"Column {item.name!r}: {error}") from error
