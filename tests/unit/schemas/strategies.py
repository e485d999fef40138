"""Random schemas and models, for property tests."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Iterable
from itertools import count
from typing import Annotated, Any, Optional

import pandas as pd
import pyarrow as pa
from hypothesis import strategies as st
from pandera.typing import Series
from pyiceberg.schema import Schema
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
from typing_extensions import TypedDict

from airflow_provider_phlo.schemas.base import PhloSchema, make_model
from airflow_provider_phlo.terms import METADATA_COLUMNS

NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=8
) | st.sampled_from(
    ["_id", "__x", "field__id", "class", "validate", "Config", "column_0", "a.b", "_Random__x", "id", "dateString"]
)
# name, type, whether it is required, doc
Column = tuple[str, IcebergType, bool, str | None]
DOCS = st.none() | st.text(min_size=1, max_size=10)
_PLAIN = [
    BooleanType(), IntegerType(), LongType(), FloatType(), DoubleType(), StringType(), BinaryType(), DateType(),
    TimeType(), TimestampType(), TimestamptzType(),
]  # fmt: skip
DECIMALS = st.tuples(st.integers(1, 38), st.integers(0, 38)).filter(lambda each: each[1] <= each[0])
MEMBERS: st.SearchStrategy[IcebergType] = st.one_of(
    DECIMALS.map(lambda each: DecimalType(*each)),
    st.builds(FixedType, st.integers(1, 20)),
    st.sampled_from(_PLAIN),
)


def _nested(inner: st.SearchStrategy[IcebergType]) -> st.SearchStrategy[IcebergType]:
    members = st.lists(
        st.tuples(NAMES, inner, st.booleans(), DOCS), min_size=1, max_size=3, unique_by=lambda each: each[0]
    )
    return st.one_of(
        st.builds(lambda kind, required: ListType(0, kind, required), inner, st.booleans()),
        st.builds(lambda kind, required: MapType(0, StringType(), 0, kind, required), inner, st.booleans()),
        members.map(
            lambda each: StructType(*[NestedField(0, name, kind, required, doc) for name, kind, required, doc in each])
        ),
    )


TYPES = MEMBERS | st.just(UUIDType()) | st.recursive(MEMBERS, _nested, max_leaves=4)


def with_ids(kind: IcebergType, ids: count[int]) -> IcebergType:
    """Number the fields as ``pandera_to_iceberg`` does: a field, then what is inside of it."""
    if isinstance(kind, ListType):
        return ListType(next(ids), with_ids(kind.element_type, ids), kind.element_required)
    if isinstance(kind, MapType):
        key, value = next(ids), next(ids)
        return MapType(key, with_ids(kind.key_type, ids), value, with_ids(kind.value_type, ids), kind.value_required)
    if isinstance(kind, StructType):
        return StructType(
            *[
                NestedField(next(ids), item.name, with_ids(item.field_type, ids), item.required, item.doc)
                for item in kind.fields
            ]
        )
    return kind


def schema(columns: Iterable[Column]) -> Schema:
    ids = count(1)
    return Schema(
        *[NestedField(next(ids), name, with_ids(kind, ids), required, doc) for name, kind, required, doc in columns]
    )


def schemas(
    names: st.SearchStrategy[str] = NAMES, types: st.SearchStrategy[IcebergType] = TYPES
) -> st.SearchStrategy[Schema]:
    """Return schemas of one to four columns."""
    column = st.tuples(names.filter(lambda name: name not in METADATA_COLUMNS), types, st.booleans(), DOCS)
    return st.lists(column, min_size=1, max_size=4, unique_by=lambda each: each[0]).map(schema)


class Inner(TypedDict):
    x: int
    at: datetime.datetime | None


class Outer(TypedDict, total=False):
    inner: Inner
    inners: list[Inner]
    exact: Annotated[int, pa.int32()]


ANNOTATIONS = st.sampled_from(
    [
        str, int, float, bool, bytes, datetime.datetime, datetime.date, datetime.time, decimal.Decimal, uuid.UUID, dict,
        list, dict[str, int], list[str], list[Optional[int]], list[list[float]], Inner, Outer, list[Outer],  # noqa: UP045
        pd.Int64Dtype, pd.Int16Dtype, pd.Float32Dtype, pd.BooleanDtype, pd.StringDtype, Series[int], Series[str],
        int | None, Outer | None, Annotated[pd.ArrowDtype, pa.int8()], Annotated[pd.ArrowDtype, pa.large_string()],
        Annotated[pd.ArrowDtype, pa.timestamp("ns")], Annotated[pd.ArrowDtype, pa.decimal128(9, 4)],
        Annotated[pd.ArrowDtype, pa.map_(pa.string(), pa.list_(pa.int64()))],
    ]
)  # fmt: skip


def _model(columns: list[tuple[str, Any, bool, str | None]]) -> type[PhloSchema]:
    return make_model(
        "Random",
        {name: (kind, {"nullable": nullable, "description": doc}) for name, kind, nullable, doc in columns},
    )


MODELS = st.lists(
    st.tuples(NAMES.filter(lambda name: name not in METADATA_COLUMNS), ANNOTATIONS, st.booleans(), DOCS),
    min_size=1,
    max_size=5,
    unique_by=lambda each: each[0],
).map(_model)
