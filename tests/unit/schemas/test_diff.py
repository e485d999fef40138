"""What differs between two schemas; and that a merge does what the difference says."""

from __future__ import annotations

import datetime
import decimal
import itertools
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pandera.pandas import Field
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import (
    BinaryType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    NestedField,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    UUIDType,
)
from typing_extensions import TypedDict

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.schemas import PhloSchema, schema_diff
from airflow_provider_phlo.schemas.diff import SchemaChange
from airflow_provider_phlo.schemas.types import arrow_type
from tests.expect import expect
from tests.lake import open_lake
from tests.sizes import size
from tests.unit.schemas.strategies import schema as numbered

# --- a merge does what the difference says ---------------------------------------------------------------------------

# types that may become each other, and some that may not
_FAMILIES = (
    (IntegerType(), LongType(), StringType()),
    (FloatType(), DoubleType(), LongType()),
    (StringType(), BinaryType(), FixedType(4)),
    (FixedType(16), UUIDType(), FixedType(4)),
    (DecimalType(9, 2), DecimalType(12, 2), DecimalType(12, 4)),
    (DateType(), TimestampType(), TimestamptzType()),
)

_LEAVES = st.sampled_from(_FAMILIES).flatmap(lambda family: st.tuples(st.sampled_from(family), st.sampled_from(family)))
_MEMBERS = _LEAVES.filter(lambda pair: UUIDType() not in pair)
# in both, or in one of them
_PRESENT = st.sampled_from([(True, True), (True, True), (True, False), (False, True)])


def _struct(members: Any, side: int) -> StructType:
    kept = [(name, pair[side]) for name, (pair, present) in members.items() if present[side]]
    return StructType(*[NestedField(0, name, kind, False) for name, kind in kept or [("always", LongType())]])


def _nested(pairs: Any) -> Any:
    members = st.dictionaries(st.sampled_from("xyz"), st.tuples(pairs, _PRESENT), min_size=1)
    keys = st.sampled_from([(StringType(), StringType()), (IntegerType(), LongType()), (LongType(), IntegerType())])
    return st.one_of(
        pairs.map(lambda pair: tuple(ListType(0, kind, False) for kind in pair)),
        members.map(lambda each: (_struct(each, 0), _struct(each, 1))),
        st.tuples(keys, pairs).map(
            lambda each: tuple(MapType(0, key, 0, kind, False) for key, kind in zip(*each, strict=True))
        ),
    )


_COLUMN = st.tuples(_LEAVES | st.recursive(_MEMBERS, _nested, max_leaves=3), st.booleans(), st.booleans(), _PRESENT)


@st.composite
def pairs_of_schemas(draw: Any) -> tuple[Schema, Schema]:
    """Return two schemas, one a change of the other."""
    columns = draw(st.dictionaries(st.sampled_from("abc"), _COLUMN, min_size=1))
    sides: tuple[list[Any], list[Any]] = [("k", LongType(), False, None)], [("k", LongType(), False, None)]
    for name, (pair, *required, present) in columns.items():
        for side in (0, 1):
            if present[side]:
                sides[side].append((name, pair[side], required[side], None))
    return numbered(sides[0]), numbered(draw(st.permutations(sides[1])))


EXTREMES: dict[pa.DataType, Any] = {
    pa.int32(): 2**31 - 1,
    pa.int64(): 2**63 - 1,
    pa.float32(): 1.5,
    pa.float64(): 1e300,
    pa.string(): "é",
    pa.binary(): b"\xff",
    pa.date32(): datetime.date(2024, 1, 1),
    pa.timestamp("us"): datetime.datetime(2024, 1, 1),
    pa.timestamp("us", "UTC"): datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    pa.uuid(): uuid.UUID(int=7),
}


def extreme(kind: pa.DataType) -> Any:
    """Return a value that only a type at least as large holds."""
    if pa.types.is_list(kind):
        return [extreme(kind.value_type), None]
    if pa.types.is_map(kind):
        return [(extreme(kind.key_type), extreme(kind.item_type))]
    if pa.types.is_struct(kind):
        return {item.name: extreme(item.type) for item in kind}
    if pa.types.is_decimal(kind):
        return decimal.Decimal("9" * (kind.precision - kind.scale)) + decimal.Decimal(1).scaleb(-kind.scale)
    if pa.types.is_fixed_size_binary(kind):
        return b"\xff" * kind.byte_width
    return EXTREMES[kind]


def batch(schema: Schema) -> pa.Table:
    """Return rows of a model with ``schema``: one full to the brim, one with a NULL wherever one may be."""
    columns = {}
    for item in schema.fields:
        kind = arrow_type(item.field_type)
        full = extreme(kind)
        columns[item.name] = pa.array([full, full if item.required else None], kind)
    return pa.table(columns)


@pytest.fixture(scope="module")
def catalog() -> Iterator[Catalog]:
    with tempfile.TemporaryDirectory() as home:
        found = open_lake(Path(home))
        yield found


_numbers = itertools.count()


def merges(catalog: Catalog, old: Schema, rows: pa.Table) -> bool:
    """Return whether rows go into a table with the schema ``old``, as a merge makes them fit."""
    name = f"raw.t{next(_numbers)}"
    tables.ensure_table(catalog, name, old)
    try:
        tables.require_fit(rows, old, name)
        table = tables.evolve(catalog, name, rows.schema)
        table.append(tables.fit(rows, table))
    except SchemaError:
        return False
    assert len(catalog.load_table(name).scan().to_arrow()) == len(rows)
    return True


@pytest.mark.long
@given(pairs_of_schemas())
@settings(max_examples=size(80, 800), deadline=None)
def test_the_difference_says_what_a_merge_does(catalog: Catalog, pair: tuple[Schema, Schema]) -> None:
    old, new = pair
    broken = [change for change in schema_diff(old, new) if change.breaks == "table"]
    assert merges(catalog, old, batch(new)) == (not broken), broken


@given(pairs_of_schemas())
@settings(max_examples=30, deadline=None)
def test_nothing_differs_from_itself(pair: tuple[Schema, Schema]) -> None:
    old, new = pair
    assert schema_diff(old, old) == ()
    assert bool(schema_diff(old, new)) == (old.as_struct() != new.as_struct())


# --- what models say beyond the table --------------------------------------------------------------------------------


class Actor(TypedDict):
    id: int
    login: str


class WiderActor(TypedDict):
    id: int
    login: str
    site: str | None


def model(annotation: Any = int, config: dict[str, Any] | None = None, **field: Any) -> type[PhloSchema]:
    namespace = {"__annotations__": {"x": annotation}, "x": Field(**field)}
    return type("Model", (PhloSchema,), {**namespace, **({"Config": type("Config", (), config)} if config else {})})


def only(old: Any, new: Any) -> tuple[Any, ...]:
    """Return the one change there is."""
    (change,) = schema_diff(old, new)
    return change.name, change.kind, change.old, change.new, change.breaks


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"ge": 1}, ("range", None, "≥ 1", "producers")),
        ({"ge": 1}, {}, ("range", "≥ 1", None, None)),
        ({"ge": 1, "le": 1000}, {"ge": 20, "le": 600}, ("range", "1 ≤ x ≤ 1000", "20 ≤ x ≤ 600", "producers")),
        ({"ge": 20, "le": 600}, {"ge": 1, "le": 600}, ("range", "20 ≤ x ≤ 600", "1 ≤ x ≤ 600", None)),
        ({"ge": 1}, {"gt": 1}, ("range", "≥ 1", "> 1", "producers")),
        ({"lt": 9}, {"le": 9}, ("range", "< 9", "≤ 9", None)),
        ({"ge": 5, "le": 9}, {"ge": 1, "le": 8}, ("range", "5 ≤ x ≤ 9", "1 ≤ x ≤ 8", "producers")),
        ({"isin": [1, 2]}, {"isin": [1]}, ("allowed_values", ("1", "2"), ("1",), "producers")),
        ({"isin": [1]}, {"isin": [1, 2]}, ("allowed_values", ("1",), ("1", "2"), None)),
        ({"isin": [1]}, {}, ("allowed_values", ("1",), None, None)),
        ({}, {"isin": [1]}, ("allowed_values", None, ("1",), "producers")),
        ({"isin": [1]}, {"eq": 2}, ("allowed_values", ("1",), ("2",), "producers")),
        ({}, {"unique": True}, ("unique", False, True, "producers")),
        ({"unique": True}, {}, ("unique", True, False, None)),
        ({"default": 5}, {}, ("default", "5", None, "producers")),
        ({}, {"default": 5}, ("default", None, "5", None)),
        ({}, {"ne": 5}, ("rule", None, "not_equal_to(5)", "producers")),
        ({"ne": 5}, {}, ("rule", "not_equal_to(5)", None, None)),
        ({}, {"ge": 5, "raise_warning": True}, ("rule", None, "greater_than_or_equal_to(5) (warns)", None)),
        ({"metadata": {"pii": True}}, {}, ("pii", True, False, None)),
        ({"description": "a"}, {"description": "b"}, ("doc", "a", "b", None)),
        ({"nullable": True}, {}, ("nullability", "optional", "required", "producers")),
        ({}, {"nullable": True}, ("nullability", "required", "optional", "table")),
    ],
)
def test_constraints(old: dict[str, Any], new: dict[str, Any], expected: tuple[Any, ...]) -> None:
    assert only(model(**old), model(**new)) == ("x", *expected)


def test_the_order_of_allowed_values_is_not_a_difference() -> None:
    assert schema_diff(model(isin=[1, 2]), model(isin=[2, 1])) == ()


def test_bounds_that_leave_the_same_whole_numbers_are_not_a_difference() -> None:
    assert schema_diff(model(gt=1, le=5), model(ge=2, lt=6)) == ()
    assert only(model(float, gt=1), model(float, ge=2))[-1] == "producers"


def test_rules_about_the_whole_model() -> None:
    assert only(model(), model(config={"strict": True})) == ("", "strict", False, True, "producers")
    assert only(model(config={"strict": True}), model()) == ("", "strict", True, False, None)
    assert only(model(), model(config={"strict": "filter"}))[-1] == "consumers"
    assert only(model(), model(config={"unique": ["x"]})) == ("", "rule", None, "unique together: x", "producers")


def test_members_of_nested_columns_have_a_path() -> None:
    assert only(model(Actor), model(WiderActor)) == ("x.site", "added", None, "string", None)
    assert only(model(list[WiderActor]), model(list[Actor])) == (
        "x.element.site",
        "removed",
        "string",
        None,
        "consumers",
    )
    small, large = (Annotated[pd.ArrowDtype, pa.map_(pa.string(), kind)] for kind in (pa.int32(), pa.int64()))
    assert only(model(small), model(large)) == ("x.value", "type", "int", "long", None)
    assert only(model(large), model(small)) == ("x.value", "type", "long", "int", "producers")


def test_a_required_member_is_reported(catalog: Catalog) -> None:
    def with_member(required: bool) -> Schema:
        member = NestedField(0, "a", LongType(), required)
        return numbered([("s", StructType(member), False, None)])

    change = schema_diff(with_member(True), with_member(False))[0]
    expect(change, path=("s", "a"), kind="nullability", breaks="table")
    kind = pa.struct([("a", pa.int64())])
    assert merges(catalog, with_member(True), pa.table({"s": pa.array([{"a": 1}], kind)}))
    assert not merges(catalog, with_member(True), pa.table({"s": pa.array([{"a": None}], kind)}))


def test_tables_and_models_compare(catalog: Catalog) -> None:
    class Reading(PhloSchema):
        id: str = Field(unique=True)
        value: int = Field(ge=1, description="mg/dL")

    class Later(Reading):
        value: float = Field(ge=1, description="mg/dL")
        note: str | None = Field(nullable=True)

    from airflow_provider_phlo.schemas import pandera_to_iceberg

    table = tables.ensure_table(catalog, "raw.compared", pandera_to_iceberg(Reading))
    assert schema_diff(table, Reading) == schema_diff(Reading, table) == schema_diff(table, table.schema()) == ()
    assert [(change.name, change.kind, change.compatible) for change in schema_diff(table, Later)] == [
        ("value", "type", False),
        ("note", "added", True),
    ]


def test_changes_come_in_the_order_of_the_columns() -> None:
    old = numbered([("c", LongType(), False, None), ("a", LongType(), False, None), ("b", LongType(), False, None)])
    new = numbered([("b", StringType(), False, None), ("d", LongType(), False, None), ("c", StringType(), False, None)])
    changes = schema_diff(old, new)
    assert [(change.name, change.kind) for change in changes] == [
        ("c", "type"), ("a", "removed"), ("b", "type"), ("d", "added"), ("", "order"),
    ]  # fmt: skip
    assert changes[-1].old == ("c", "b")


@pytest.mark.parametrize("wrong", [None, dict, "Model", 5, model().to_schema()])
def test_what_cannot_be_compared(wrong: Any) -> None:
    with pytest.raises(SchemaError, match="cannot be compared: give a Pandera model, an Iceberg schema or a table"):
        schema_diff(model(), wrong)


def test_every_change_has_a_reason() -> None:
    for change in schema_diff(model(unique=True, ge=5, default=6), model(str, isin=["a"], description="d")):
        assert isinstance(change, SchemaChange)
        assert change.reason
        assert change.compatible == (change.breaks is None)
