"""PhloSchema: columns whose name starts with an underscore. This file postpones annotations, the next one does not."""

from __future__ import annotations

import typing
from datetime import datetime
from typing import ClassVar, Optional

import pandas as pd
import pandera.pandas as pa
import pytest
from pandera.errors import SchemaErrors, SchemaInitError
from pandera.pandas import Field
from pandera.typing import Series

from airflow_provider_phlo.schemas import PhloSchema
from tests.expect import expect
from tests.unit.schemas import postponed_not


class Reading(PhloSchema):
    _id: str = Field(unique=True, description="the id")
    value: int = Field(ge=1)
    _limit: ClassVar[int] = 5
    _other: typing.ClassVar[int] = 6
    __private: int

    @pa.check("_id", name="long_enough")
    def _long_enough(cls, ids: Series[str]) -> Series[bool]:
        return ids.str.len() > 1


class Later(Reading):
    at: datetime
    _note: Optional[str] = Field(nullable=True)  # noqa: UP045  # the older spelling


class Renamed(PhloSchema):
    _id: int
    _x: str = Field(alias="@x")


def test_underscored_attributes_are_columns() -> None:
    schema = Reading.to_schema()
    assert list(schema.columns) == ["_id", "value"]
    assert schema.columns["_id"].unique
    assert schema.columns["_id"].description == "the id"
    expect(schema, strict=False, coerce=True)


def test_annotations_that_are_not_postponed() -> None:
    assert list(postponed_not.Reading.to_schema().columns) == ["_id", "value"]
    assert list(postponed_not.Inherited.to_schema().columns) == ["_id", "value", "_tag"]


def test_checks_see_the_column() -> None:
    with pytest.raises(SchemaErrors) as caught:
        Reading.validate(pd.DataFrame({"_id": ["a", "bc", "bc"], "value": [1, 2, 0]}), lazy=True)
    cases = caught.value.failure_cases
    assert set(zip(cases["column"], cases["check"], cases["index"], strict=True)) == {
        ("_id", "long_enough", 0),
        ("_id", "field_uniqueness", 1),
        ("_id", "field_uniqueness", 2),
        ("value", "greater_than_or_equal_to(1)", 2),
    }


def test_values_are_converted() -> None:
    frame = Renamed.validate(pd.DataFrame({"_id": ["1", "2"], "@x": [1, 2]}))
    assert frame["_id"].tolist() == [1, 2]
    assert frame["@x"].tolist() == ["1", "2"]


def test_subclasses_inherit_and_override() -> None:
    class Number(Later):
        _id: int = Field(ge=10)

    columns = Number.to_schema().columns
    assert set(columns) == {"_id", "value", "at", "_note"}
    assert str(columns["_id"].dtype) == "int64"
    assert not columns["_id"].unique
    assert not columns["_note"].required
    assert Later.to_schema().columns["_id"].unique


def test_config_is_merged_with_ours() -> None:
    class Strict(Reading):
        class Config:
            strict = True

    class Filtered(Strict):
        more: str

        class Config:
            strict = "filter"
            unique: ClassVar[list[str]] = ["_id", "value"]

    expect(Strict.to_schema(), strict=True, coerce=True)
    assert Filtered.to_schema().strict == "filter"
    assert Filtered.to_schema().unique == ["_id", "value"]


def test_a_value_that_is_not_a_field_is_refused_as_for_any_name() -> None:
    class Wrong(PhloSchema):
        _id: int = 5  # type: ignore[assignment]

    with pytest.raises(SchemaInitError, match="can only be assigned a 'Field'"):
        Wrong.to_schema()


def test_the_attribute_names_the_column() -> None:
    assert str(Reading._id) == "_id"


class _Hidden(PhloSchema):
    __secret: int
    shown: str


def test_private_names_of_any_class_are_not_columns() -> None:
    assert list(_Hidden.to_schema().columns) == ["shown"]
