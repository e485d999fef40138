"""Pandera models and Arrow schemas as Iceberg schemas, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, count
from typing import Any

import pyarrow as pa
from pandera.pandas import Column as PanderaColumn
from pandera.pandas import DataFrameModel, DataFrameSchema
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.columns import TIMESTAMP, model_columns

FIRST_METADATA_ID = 100
METADATA_FIELDS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("_dlt_load_id", pa.string(), "load that staged the row"),
    ("_dlt_id", pa.string(), "id of the staged row"),
    ("_cascade_ingested_at", TIMESTAMP, "when the row was staged"),
    ("_phlo_run_id", pa.string(), "Airflow run that last changed the row"),
    ("_phlo_partition_date", pa.date32(), "partition date of the run that last changed the row"),
    ("_phlo_row_hash", pa.string(), "content hash over the source columns"),
)
METADATA_COLUMNS = tuple(name for name, _, _ in METADATA_FIELDS)

_SIMPLE: tuple[tuple[Any, IcebergType], ...] = (
    (pa.types.is_boolean, BooleanType()),
    (pa.types.is_int64, LongType()),
    (pa.types.is_uint32, LongType()),
    (pa.types.is_uint64, DecimalType(20, 0)),
    (pa.types.is_integer, IntegerType()),
    (pa.types.is_float64, DoubleType()),
    (pa.types.is_floating, FloatType()),
    (pa.types.is_date, DateType()),
    (pa.types.is_time, TimeType()),
    (pa.types.is_string, StringType()),
    (pa.types.is_large_string, StringType()),
    (pa.types.is_string_view, StringType()),
    (pa.types.is_binary, BinaryType()),
    (pa.types.is_large_binary, BinaryType()),
    (lambda kind: isinstance(kind, pa.UuidType), UUIDType()),
    (pa.types.is_fixed_size_binary, BinaryType()),
)


def pandera_to_iceberg(model: type[DataFrameModel], *, metadata_columns: bool = True) -> Schema:
    """
    Return the Iceberg schema of ``model``: ids from 1, metadata fields from 100.

    A catalog may assign ids of its own when it creates the table.

    :param metadata_columns: whether to add ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    """
    last = FIRST_METADATA_ID + len(METADATA_FIELDS)
    ids = chain(range(1, FIRST_METADATA_ID), count(last))  # a wide or deep model goes on after the metadata
    fields = [
        NestedField(
            next(ids),
            column.name,
            iceberg_type(column.type, ids),
            required=not column.nullable,
            doc=column.description,
        )
        for column in model_columns(model).columns
    ]
    if metadata_columns:
        fields += [
            NestedField(FIRST_METADATA_ID + position, name, iceberg_type(kind, ids), required=False, doc=doc)
            for position, (name, kind, doc) in enumerate(METADATA_FIELDS)
        ]
    return Schema(*fields)


def arrow_to_iceberg(fields: Iterable[pa.Field]) -> Schema:
    """Return the Iceberg schema of Arrow ``fields``, all optional."""
    ids = count(1)
    return Schema(*[NestedField(next(ids), item.name, iceberg_type(item.type, ids), required=False) for item in fields])


def iceberg_type(kind: pa.DataType, ids: Iterator[int]) -> IcebergType:
    """
    Return the Iceberg type of an Arrow type.

    :param ids: where nested fields take their ids from.
    :raises SchemaError: if Iceberg has no such type.
    """
    for matches, found in _SIMPLE:
        if matches(kind):
            return found
    if pa.types.is_timestamp(kind):
        return TimestamptzType() if kind.tz else TimestampType()
    if pa.types.is_decimal(kind):
        return DecimalType(kind.precision, kind.scale)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return ListType(next(ids), iceberg_type(kind.value_type, ids), element_required=False)
    if pa.types.is_struct(kind):
        return StructType(*[NestedField(next(ids), item.name, iceberg_type(item.type, ids)) for item in kind])
    if pa.types.is_dictionary(kind):
        return iceberg_type(kind.value_type, ids)
    raise SchemaError(f"Arrow type {kind} has no Iceberg counterpart: convert the column in a transform.")


_PANDERA_TYPES: dict[type[IcebergType], str] = {
    BooleanType: "boolean",
    IntegerType: "Int32",
    LongType: "Int64",
    FloatType: "float32",
    DoubleType: "float64",
    StringType: "string",
    DateType: "date",
    TimestampType: "datetime64[us]",
    TimestamptzType: "datetime64[us, UTC]",
}


def iceberg_to_pandera(schema: Schema) -> DataFrameSchema:
    """Return a Pandera schema that accepts the rows of a table with ``schema``; metadata fields are left out."""
    return DataFrameSchema(
        {
            item.name: PanderaColumn(
                _PANDERA_TYPES.get(type(item.field_type)),
                nullable=not item.required,
                description=item.doc,
                coerce=True,
            )
            for item in schema.fields
            if item.name not in METADATA_COLUMNS
        }
    )
