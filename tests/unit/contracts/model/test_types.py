"""Which columns keep which promised types."""

from __future__ import annotations

import pytest
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

from airflow_provider_phlo.contracts.model.types import known_types, promised_type

ALL: dict[str, IcebergType] = {
    "boolean": BooleanType(),
    "int": IntegerType(),
    "long": LongType(),
    "float": FloatType(),
    "double": DoubleType(),
    "decimal(9, 2)": DecimalType(9, 2),
    "date": DateType(),
    "time": TimeType(),
    "timestamp": TimestampType(),
    "timestamptz": TimestamptzType(),
    "string": StringType(),
    "uuid": UUIDType(),
    "fixed[16]": FixedType(16),
    "binary": BinaryType(),
    "struct": StructType(NestedField(1, "a", LongType())),
    "list": ListType(1, LongType()),
    "map": MapType(1, StringType(), 2, LongType()),
}
KEPT_BY = {
    "boolean": {"boolean"},
    "LONG": {"int", "long"},
    "integer": {"int", "long"},
    "int": {"int"},
    "int32": {"int"},
    "float": {"float"},
    "real": {"float"},
    "double precision": {"float", "double"},
    "float32": {"float"},
    "number": {"int", "long", "float", "double", "decimal(9, 2)"},
    "decimal(9,2)": {"int", "long", "decimal(9, 2)"},
    "NUMERIC( 12 , 2 )": {"int", "long", "decimal(9, 2)"},
    "decimal(8, 2)": {"int", "long"},
    "decimal(9, 3)": {"int", "long"},
    "varchar(255)": {"string"},
    "json": {"string"},
    "timestamp": {"timestamp", "timestamptz"},
    "timestamp with time zone": {"timestamptz"},
    "timestamp_ntz(9)": {"timestamp"},
    "date": {"date"},
    "time": {"time"},
    "uuid": {"uuid"},
    "bytea": {"binary", "fixed[16]"},
    "array": {"list"},
    "array<string>": set(),
    "list<long>": {"list"},
    "bigint[]": {"list"},
    "object": {"struct"},
    "struct<a: long>": {"struct"},
    "ROW(a bigint)": {"struct"},
    "struct<1: a: optional long>": {"struct"},
    "struct<A: long>": set(),
    "struct<a: string>": set(),
    "struct<a: long, b: int>": set(),
    "map<string, long>": {"map"},
    "map<long, long>": set(),
    "map(varchar, int)": set(),
}


@pytest.mark.parametrize("text", KEPT_BY)
def test_a_promise_is_kept_by_what_its_readers_can_read(text: str) -> None:
    promised = promised_type(text)
    assert promised is not None
    assert {name for name, kind in ALL.items() if promised.keeps(kind)} == KEPT_BY[text]


@pytest.mark.parametrize("name", ALL)
def test_icebergs_own_names_are_kept_by_the_type_itself(name: str) -> None:
    promised = promised_type(name)
    assert promised is not None
    assert promised.keeps(ALL[name])


NO_TYPES = ["", "strin", "decimal(", "int8range", "(9)", "a b c", "long;drop", "list<strin>", "map<long>", "struct<a>"]


@pytest.mark.parametrize(
    "text", [*NO_TYPES, "list<" * 5000 + "int" + ">" * 5000, "[]" * 5000], ids=lambda text: text[:20]
)
def test_what_is_not_a_type(text: str) -> None:
    assert promised_type(text) is None


def test_every_known_name_is_kept_by_something() -> None:
    for name in known_types():
        promised = promised_type(name)
        assert promised is not None
        assert any(promised.keeps(kind) for kind in ALL.values())


def nested(kind: IcebergType) -> IcebergType:
    return ListType(1, StructType(NestedField(2, "a", MapType(3, StringType(), 4, kind))))


def test_what_is_held_is_compared_at_any_depth() -> None:
    promised = promised_type("array(row(a map(varchar, decimal(9, 2))))")
    assert promised is not None
    assert promised == promised_type("list<struct<a: map<string, decimal(9,2)>>>")
    assert promised.keeps(nested(DecimalType(9, 2)))
    assert not promised.keeps(nested(DecimalType(9, 3)))
    assert not promised.keeps(nested(StringType()))
