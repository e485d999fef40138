"""Pandera models as Iceberg schemas, and back."""

from __future__ import annotations

import datetime
import decimal
import uuid
from itertools import count

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from pandera.errors import SchemaErrors
from pandera.pandas import Field
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UnknownType,
    UUIDType,
)
from typing_extensions import TypedDict

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema, schema_diff
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.iceberg import (
    arrow_to_iceberg,
    iceberg_to_pandera,
    pandera_to_iceberg,
)
from airflow_provider_phlo.schemas.types import iceberg_type
from airflow_provider_phlo.terms import METADATA_COLUMNS
from tests.unit.schemas.strategies import MODELS, schemas


class Actor(TypedDict):
    id: int
    names: list[str]


class Event(PhloSchema):
    _id: str = Field(unique=True, description="the id")
    value: int
    share: float | None = Field(nullable=True, description="part of one")
    at: datetime.datetime
    flag: bool
    day: datetime.date
    amount: decimal.Decimal
    raw: bytes
    actor: Actor


def test_fields_ids_docs_and_nullability() -> None:
    schema = pandera_to_iceberg(Event)
    found = {field.name: (type(field.field_type), field.required, field.doc) for field in schema.fields[:9]}
    assert found == {
        "_id": (StringType, True, "the id"),
        "value": (LongType, True, None),
        "share": (DoubleType, False, "part of one"),
        "at": (TimestamptzType, True, None),
        "flag": (BooleanType, True, None),
        "day": (DateType, True, None),
        "amount": (DecimalType, True, None),
        "raw": (BinaryType, True, None),
        "actor": (StructType, True, None),
    }
    assert [field.field_id for field in schema.fields[:9]] == list(range(1, 10))
    assert [(field.field_id, field.name, field.required) for field in schema.fields[9:]] == [
        (100, "_dlt_load_id", False),
        (101, "_dlt_id", False),
        (102, "_cascade_ingested_at", False),
        (103, "_phlo_run_id", False),
        (104, "_phlo_partition_date", False),
        (105, "_phlo_row_hash", False),
    ]


def test_without_metadata_columns() -> None:
    assert len(pandera_to_iceberg(Event, metadata_columns=False).fields) == 9


def test_ids_of_a_wide_and_deep_model_are_unique() -> None:
    annotations = {f"c{number}": Actor if number % 10 == 0 else int for number in range(120)}
    wide = type("Wide", (PhloSchema,), {"__annotations__": annotations})
    schema = pandera_to_iceberg(wide)
    ids = [field.field_id for field in schema.fields]
    nested = [
        child.field_id for field in schema.fields if field.field_type.is_struct for child in field.field_type.fields
    ]
    assert len({*ids, *nested}) == len(ids) + len(nested)
    assert schema.find_field("_dlt_load_id").field_id == 100


def test_a_catalog_takes_the_schema(catalog: Catalog) -> None:
    catalog.create_namespace("raw")
    table = catalog.create_table("raw.events", pandera_to_iceberg(Event))
    assert [field.name for field in table.schema().fields][-6:] == list(METADATA_COLUMNS)
    assert table.schema().find_field("_id").doc == "the id"
    assert table.schema().find_field("_id").required


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (pa.int8(), IntegerType()),
        (pa.uint16(), IntegerType()),
        (pa.uint32(), LongType()),
        (pa.uint64(), DecimalType(20, 0)),
        (pa.float16(), "float"),
        (pa.float32(), "float"),
        (pa.large_string(), StringType()),
        (pa.string_view(), StringType()),
        (pa.binary(4), FixedType(4)),
        (pa.uuid(), UUIDType()),
        (pa.binary_view(), BinaryType()),
        (pa.map_(pa.string(), pa.int64()), MapType(1, StringType(), 2, LongType(), value_required=False)),
        (pa.list_(pa.int64(), 3), ListType(1, LongType(), element_required=False)),
        (
            pa.struct([pa.field("a", pa.string(), nullable=False, metadata={"doc": "which"})]),
            StructType(NestedField(1, "a", StringType(), required=True, doc="which")),
        ),
        (pa.large_binary(), BinaryType()),
        (pa.date64(), DateType()),
        (pa.time32("s"), TimeType()),
        (pa.timestamp("ns"), TimestampType()),
        (pa.timestamp("s", "Europe/Berlin"), TimestamptzType()),
        (pa.decimal128(12, 3), DecimalType(12, 3)),
        (pa.dictionary(pa.int8(), pa.string()), StringType()),
        (pa.list_(pa.int64()), ListType(1, LongType(), element_required=False)),
        (pa.struct([("a", pa.string())]), StructType(NestedField(1, "a", StringType(), required=False))),
    ],
)
def test_arrow_types(kind: pa.DataType, expected: object) -> None:
    found = iceberg_type(kind, count(1))
    assert (str(found) if isinstance(expected, str) else found) == expected


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.null(), pa.decimal256(50, 2), pa.decimal128(5, -2)])
def test_arrow_types_without_counterpart(kind: pa.DataType) -> None:
    with pytest.raises(SchemaError, match="no Iceberg counterpart"):
        arrow_to_iceberg([pa.field("x", kind)])


# --- back to Pandera, and round --------------------------------------------------------------------------------------


def test_back_to_pandera() -> None:
    schema = Schema(
        NestedField(1, "id", LongType(), required=True, doc="the id"),
        NestedField(2, "small", IntegerType()),
        NestedField(3, "name", StringType()),
        NestedField(4, "at", TimestamptzType()),
        NestedField(5, "flag", BooleanType()),
        NestedField(6, "day", DateType()),
        NestedField(7, "amount", DecimalType(10, 2)),
        NestedField(8, "tags", ListType(9, StringType(), element_required=False)),
        NestedField(10, "raw", BinaryType()),
        NestedField(11, "clock", TimeType()),
        NestedField(12, "local", TimestampType()),
        NestedField(13, "ref", UUIDType()),
        NestedField(14, "code", FixedType(4)),
        NestedField(15, "counts", MapType(16, StringType(), 17, LongType(), value_required=False)),
        NestedField(18, "actor", StructType(NestedField(19, "id", LongType(), required=False))),
        NestedField(100, "_dlt_id", StringType()),
    )
    model = iceberg_to_pandera(schema, "Readings")
    assert issubclass(model, PhloSchema)
    assert model.__name__ == "Readings"
    columns = model.to_schema().columns
    assert list(columns) == [field.name for field in schema.fields if field.name != "_dlt_id"]
    assert columns["id"].description == "the id"
    assert "_dlt_id" in iceberg_to_pandera(schema, metadata_columns=True).to_schema().columns
    good = {
        "id": [1, 2],
        "small": [1, None],
        "name": ["x", None],
        "at": pd.to_datetime(["2024-01-01T00:00:00Z", None]),
        "flag": [True, None],
        "day": [datetime.date(2024, 1, 1), None],
        "amount": [decimal.Decimal("1.50"), None],
        "tags": [["a"], None],
        "raw": [b"x", None],
        "clock": [datetime.time(1), None],
        "local": [datetime.datetime(2024, 1, 1), None],
        "ref": [uuid.UUID(int=1), None],
        "code": [b"abcd", None],
        "counts": [[("a", 1)], None],
        "actor": [{"id": 1}, None],
    }
    assert len(model.validate(pd.DataFrame(good))) == 2
    with pytest.raises(SchemaErrors):
        model.validate(pd.DataFrame({**good, "id": [1, None]}), lazy=True)


def test_a_model_of_a_table_can_be_made_stricter(catalog: Catalog) -> None:
    catalog.create_namespace("raw")
    table = catalog.create_table("raw.events", pandera_to_iceberg(Event))
    base = iceberg_to_pandera(table)

    class Stricter(base):  # type: ignore[valid-type, misc]
        value: int = Field(ge=1)

    assert schema_diff(table, base) == schema_diff(table, Stricter) == ()
    with pytest.raises(SchemaErrors, match="greater_than_or_equal_to"):
        Stricter.validate(
            pd.DataFrame(
                {
                    "_id": ["a"], "value": [0], "share": [None], "at": [pd.Timestamp("2024-01-01", tz="UTC")],
                    "flag": [True], "day": [datetime.date(2024, 1, 1)], "amount": [decimal.Decimal(1)], "raw": [b""],
                    "actor": [{"id": 1, "names": []}],
                }
            ),
            lazy=True,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (TimestamptzNanoType(), "Column 'x': Iceberg type timestamptz_ns has no"),
        (UnknownType(), "Column 'x': Iceberg type unknown"),
        (ListType(2, UUIDType(), element_required=False), "Column 'x': A uuid inside a nested value"),
    ],
)
def test_what_pandera_has_no_type_for(kind: IcebergType, message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        iceberg_to_pandera(Schema(NestedField(1, "x", kind, required=False)))


def test_a_metadata_column_cannot_be_declared() -> None:
    class Wrong(PhloSchema):
        _dlt_id: str

    with pytest.raises(SchemaError, match="Wrong declares _dlt_id, which is a metadata column of every table"):
        pandera_to_iceberg(Wrong)
    assert [field.name for field in pandera_to_iceberg(Wrong, metadata_columns=False).fields] == ["_dlt_id"]


@pytest.mark.long
@given(schemas())
@settings(max_examples=150, deadline=None)
def test_iceberg_to_model_and_back(schema: Schema) -> None:
    model = iceberg_to_pandera(schema)
    assert pandera_to_iceberg(model, metadata_columns=False) == schema


@pytest.mark.long
@given(MODELS)
@settings(max_examples=150, deadline=None)
def test_model_to_iceberg_and_back(model: type[PhloSchema]) -> None:
    schema = pandera_to_iceberg(model)
    back = iceberg_to_pandera(schema)
    assert pandera_to_iceberg(back) == schema
    wanted = [(column.name, column.type, column.nullable) for column in model_columns(model).columns]
    assert [(column.name, column.type, column.nullable) for column in model_columns(back).columns] == wanted
