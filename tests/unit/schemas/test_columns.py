"""What a model declares, as columns with Arrow types."""

from __future__ import annotations

import decimal
import enum
from datetime import date, datetime, time
from typing import Annotated, Any, Required
from uuid import UUID

import numpy as np
import pandas as pd
import pandera.polars as polars_pandera
import pyarrow as pa
import pytest
from pandera import dtypes
from pandera.pandas import DataFrameModel, Field
from pandera.typing import Series
from typing_extensions import TypedDict

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import TIMESTAMP, load_model, model_columns, require_key
from tests.expect import expect


class Actor(TypedDict):
    id: int
    login: str
    seen: list[datetime]


class Parts(TypedDict, total=False):
    actor: Actor | None
    small: Annotated[int, pa.int32()]
    clock: time
    json: dict
    n: Required[int]


class Color(enum.Enum):
    red = "red"


class Level(enum.IntEnum):
    low = 1


class Size(enum.StrEnum):
    small = "s"


class Itself(TypedDict):
    children: list[Itself]


class Everything(PhloSchema):
    _id: str = Field(unique=True, description="the id")
    count: int
    share: float
    flag: bool
    at: datetime
    day: date
    amount: decimal.Decimal
    raw: bytes
    tags: list[str]
    actor: Actor
    actors: list[Actor]
    payload: dict
    items: list
    typed: dict[str, int]
    series: Series[int]
    small: Series[pd.Int16Dtype]
    half: Series[pd.Float32Dtype]
    text: Series[pd.StringDtype]
    exact: Annotated[dtypes.Decimal, 10, 2, None]
    zoned: Annotated[pd.DatetimeTZDtype, "ns", "UTC"]
    kind: pd.CategoricalDtype
    clock: time
    ref: UUID
    local: Annotated[pd.ArrowDtype, pa.timestamp("us")]
    nanos: Annotated[pd.ArrowDtype, pa.timestamp("ns", "Europe/Berlin")]
    narrow: Series[Annotated[pd.ArrowDtype, pa.int8()]]
    code: Annotated[pd.ArrowDtype, pa.binary(4)]
    counts: Annotated[pd.ArrowDtype, pa.map_(pa.string(), pa.int64())]
    unsigned: np.uint32
    huge: np.uint64
    noted: Annotated[list[str], "a note"]
    parts: Parts


ACTOR = pa.struct([("id", pa.int64()), ("login", pa.string()), ("seen", pa.list_(TIMESTAMP))])
PARTS = pa.struct(
    [("actor", ACTOR), ("small", pa.int32()), ("clock", pa.time64("us")), ("json", pa.string()), ("n", pa.int64())]
)


def model(annotation: Any, **field: Any) -> type[PhloSchema]:
    return type("Model", (PhloSchema,), {"__annotations__": {"x": annotation}, "x": Field(**field)})


def test_types() -> None:
    declared = model_columns(Everything)
    assert {column.name: column.type for column in declared.columns} == {
        "_id": pa.string(),
        "count": pa.int64(),
        "share": pa.float64(),
        "flag": pa.bool_(),
        "at": TIMESTAMP,
        "day": pa.date32(),
        "amount": pa.decimal128(38, 9),
        "raw": pa.binary(),
        "tags": pa.list_(pa.string()),
        "actor": ACTOR,
        "actors": pa.list_(ACTOR),
        "payload": pa.string(),
        "items": pa.string(),
        "typed": pa.string(),
        "series": pa.int64(),
        "small": pa.int32(),
        "half": pa.float32(),
        "text": pa.string(),
        "exact": pa.decimal128(10, 2),
        "zoned": TIMESTAMP,
        "kind": pa.string(),
        "clock": pa.time64("us"),
        "ref": pa.uuid(),
        "local": pa.timestamp("us"),
        "nanos": TIMESTAMP,
        "narrow": pa.int32(),
        "code": pa.binary(4),
        "counts": pa.map_(pa.string(), pa.int64()),
        "unsigned": pa.int64(),
        "huge": pa.decimal128(20, 0),
        "noted": pa.list_(pa.string()),
        "parts": pa.struct(
            [
                ("actor", ACTOR),
                ("small", pa.int32()),
                ("clock", pa.time64("us")),
                ("json", pa.string()),
                ("n", pa.int64()),
            ]
        ),
    }


@pytest.mark.parametrize(
    "annotation", [str, int, float, bool, datetime, date, decimal.Decimal, bytes, dict, list[int], Actor, Series[int]]
)
def test_optional_means_nullable_and_changes_no_type(annotation: Any) -> None:
    plain = model_columns(model(annotation)).columns[0]
    optional = model_columns(model(annotation | None)).columns[0]
    assert plain.type == optional.type
    assert (plain.nullable, optional.nullable) == (False, True)


def test_field_arguments() -> None:
    column = model_columns(model(int, nullable=True, unique=True, default=3, description="d", metadata={"pii": True}))[
        "x"
    ]
    expect(column, nullable=True, unique=True, default=3, description="d", pii=True)
    assert model_columns(model(int, metadata={"tags": ["pii"]}))["x"].pii
    assert not model_columns(model(int))["x"].pii


def test_a_plain_model_works_too() -> None:
    class Plain(DataFrameModel):
        id: Series[int] = Field(unique=True)
        name: str

        class Config:
            strict = True
            unique = ["id", "name"]

    declared = model_columns(Plain)
    assert declared.strict is True
    assert declared.unique_sets() == [("id",), ("id", "name")]
    assert "id" in declared
    assert "nothing" not in declared


def test_a_key_that_pandera_drops_is_an_error() -> None:
    class Plain(DataFrameModel):
        _id: str = Field(unique=True)
        value: int

    class Below(Plain):
        more: int

    for lost in (Plain, Below):
        with pytest.raises(SchemaError, match=r"Key column '_id' of .*PhloSchema, which keeps them"):
            require_key(model_columns(lost), ("_id",))
    require_key(model_columns(Plain), ("value", "undeclared"))
    require_key(model_columns(Everything), ("_id",))


@pytest.mark.parametrize(
    "annotation",
    [
        complex,
        pd.Timedelta,
        list[complex],
        Series[Any],
        set[int],
        tuple[int, str],
        Itself,
        list[UUID],
        Annotated[pd.ArrowDtype, pa.duration("s")],
    ],
)
def test_a_type_without_counterpart_is_named(annotation: Any) -> None:
    with pytest.raises(
        SchemaError, match=r"Column 'x' of Model .* (no Iceberg counterpart|contains itself)|Invalid annotation 'x"
    ):
        model_columns(model(annotation))


POLARS = polars_pandera.DataFrameModel


@pytest.mark.parametrize(
    ("base", "annotation"),
    [*((PhloSchema, each) for each in (Color, Level, Size, Color | None, Series[Size], list[Color])), (POLARS, Color)],
)
def test_an_enum_is_refused_with_what_to_write(base: Any, annotation: Any) -> None:
    made = type("Model", (base,), {"__annotations__": {"x": annotation}})
    with pytest.raises(SchemaError, match=r"Column 'x' of Model .* for an enum, str or int with isin=\[…\]"):
        model_columns(made)


def test_patterns_are_refused() -> None:
    with pytest.raises(SchemaError, match="declare each column"):
        model_columns(model(int, regex=True, alias="col_.*"))


def test_a_mistake_in_the_config_names_the_model() -> None:
    class Model(PhloSchema):
        x: int

        class Config:
            strickt = True

    with pytest.raises(SchemaError, match=r"Model cannot be used as validation schema: .*'strickt'"):
        model_columns(Model)


@pytest.mark.parametrize("alias", [("a", "b"), 5])
def test_a_name_is_text(alias: Any) -> None:
    with pytest.raises(SchemaError, match=r"Model has a column named .*: names must be text"):
        model_columns(model(int, alias=alias))


@pytest.mark.parametrize("wrong", [None, dict, "Model", Everything.to_schema()])
def test_what_is_not_a_model_is_refused(wrong: Any) -> None:
    with pytest.raises(SchemaError, match="must be a Pandera DataFrameModel class"):
        model_columns(wrong)


def test_models_by_name() -> None:
    assert load_model("include.schemas.github:UserEvents").__name__ == "UserEvents"
    assert load_model(Everything) is Everything
    for wrong in ("include.schemas.github:Nobody", "nowhere:Model", "include.schemas.github", ""):
        with pytest.raises(SchemaError, match=r"write 'package\.module:Class'"):
            load_model(wrong)
