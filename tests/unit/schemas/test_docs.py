"""``docs/schemas.md``: its tables say what the code does."""

from __future__ import annotations

import datetime
import decimal
import html
import re
import typing
import uuid
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from pandera.pandas import Field
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
    TimestampNanoType,
    TimestampType,
    TimestamptzNanoType,
    TimestamptzType,
    TimeType,
    UnknownType,
    UUIDType,
)
from typing_extensions import TypedDict

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema, dbt_model_to_pandera, pandera_to_iceberg, schema_diff
from airflow_provider_phlo.schemas.columns import model_columns, spelling
from airflow_provider_phlo.schemas.dbt_yaml import _DATA_TYPES
from airflow_provider_phlo.schemas.iceberg import iceberg_to_pandera
from airflow_provider_phlo.schemas.types import arrow_type, iceberg_type, without_ids

PAGE = (Path(__file__).parents[3] / "docs" / "schemas.md").read_text()


class Actor(TypedDict):
    id: int
    login: str
    born: datetime.date | None


NAMES = {
    "Actor": Actor, "Annotated": typing.Annotated, "Decimal": decimal.Decimal, "Field": Field, "Series": Series,
    "UUID": uuid.UUID, "date": datetime.date, "datetime": datetime.datetime, "time": datetime.time, "np": np, "pa": pa,
    "pd": pd, "PhloSchema": PhloSchema,
}  # fmt: skip


def rows(header: str) -> list[list[str]]:
    """Return the cells of the table with this first header, without their code marks."""
    (table,) = re.findall(rf"^\| {re.escape(header)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
    return [[html.unescape(cell.strip().replace("\\|", "|")) for cell in line] for line in cells]


def code(cell: str) -> str:
    return cell.strip("`")


def model(declarations: str) -> type[PhloSchema]:
    """Return a model of what stands in a cell."""
    space: dict[str, Any] = {}
    text = f"class Model(PhloSchema):\n    always: int\n    {code(declarations) or 'pass'}\n"
    exec(compile(text, "docs/schemas.md", "exec", dont_inherit=True), dict(NAMES), space)
    return space["Model"]


@pytest.mark.parametrize(("written", "iceberg"), rows("you write"))
def test_types(written: str, iceberg: str) -> None:
    field = pandera_to_iceberg(model(f"x: {code(written)}")).find_field("x")
    assert without_ids(field.field_type) == iceberg


def test_every_python_type_is_in_the_table() -> None:
    from airflow_provider_phlo.schemas.columns import _PYTHON_TYPES

    assert {kind.__name__ for kind in _PYTHON_TYPES} <= {code(written) for written, _ in rows("you write")}


def test_metadata_fields() -> None:
    fields = pandera_to_iceberg(model("")).fields[1:]
    written = [[f"`{item.name}`", str(item.field_id), str(item.field_type)] for item in fields]
    assert written == rows("metadata field")


ICEBERG: tuple[IcebergType, ...] = (
    BooleanType(), IntegerType(), LongType(), FloatType(), DoubleType(), DecimalType(38, 9), DecimalType(10, 2),
    DateType(), TimeType(), TimestampType(), TimestamptzType(), StringType(), UUIDType(), FixedType(4), BinaryType(),
    ListType(1, StringType(), element_required=False), MapType(1, StringType(), 2, LongType(), value_required=False),
    StructType(NestedField(1, "a", LongType(), required=False)), TimestampNanoType(), TimestamptzNanoType(),
    UnknownType(),
)  # fmt: skip


def test_every_iceberg_type_is_in_the_table() -> None:
    assert [without_ids(kind) for kind in ICEBERG] == [line[0] for line in rows("Iceberg")]


@pytest.mark.parametrize(("kind", "written"), zip(ICEBERG, (line[1] for line in rows("Iceberg")), strict=True))
def test_types_back(kind: IcebergType, written: str) -> None:
    schema = Schema(NestedField(1, "x", kind, required=False))
    if written == "none":
        with pytest.raises(SchemaError, match="'x'"):
            iceberg_to_pandera(schema)
        return
    assert spelling(arrow_type(kind)) == code(written)
    assert without_ids(pandera_to_iceberg(iceberg_to_pandera(schema)).find_field("x").field_type) == without_ids(kind)


@pytest.mark.parametrize(("old", "new", "kind", "breaks"), rows("old"))
def test_differences(old: str, new: str, kind: str, breaks: str) -> None:
    (change,) = schema_diff(model(old), model(new))
    assert (change.kind, change.breaks or "") == (kind, breaks)


def test_dbt_data_types() -> None:
    written = {kind: re.findall(r"`([^`]+)`", names) for names, kind in rows("`data_type`")}
    written["Decimal"].remove("decimal(10, 2)")
    assert written == {kind.__name__: list(names) for kind, names in _DATA_TYPES.items()}


@pytest.mark.parametrize(("names", "kind"), rows("name"))
def test_dbt_names(tmp_path: Path, names: str, kind: str) -> None:
    columns = [{"name": name} for name in re.findall(r"`([^`]+)`", names)]
    (tmp_path / "m.yml").write_text(yaml.safe_dump({"models": [{"name": "m", "columns": columns}]}))
    made = dbt_model_to_pandera(tmp_path / "m.yml", "m")
    assert {spelling(column.type) for column in model_columns(made).columns} == {kind}


def test_arrow_and_iceberg_types_are_each_others() -> None:
    for kind in ICEBERG[:-3]:
        assert without_ids(iceberg_type(arrow_type(kind), count(1))) == without_ids(kind)
