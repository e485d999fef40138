"""Contracts in other forms and back: what both can say stays, and what one cannot say is named."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.conversion import Target, write_contract
from airflow_provider_phlo.contracts.model.contract import (
    Bounds,
    Column,
    Consumer,
    Contract,
    Promise,
    Rule,
    ServiceLevel,
)
from airflow_provider_phlo.contracts.model.types import promised_type
from airflow_provider_phlo.exceptions import ConfigurationError

# words that YAML, Python and SQL each read as something else
NAMES = [
    "id",
    "date",
    "order",
    "class",
    "int",
    "Naïve Größe",
    "a-b",
    "_id",
    "null",
    "1st",
    "on",
    "schema",
    "x.y",
    "名前",
]
TEXTS = st.sampled_from(["", "plain", "it's", 'say "x"', "a: b", "two\nlines", "back\\slash", "{{ x }}", "# no", '"""'])
INTEGERS = st.integers(-(2**40), 2**40)
PATTERNS = st.sampled_from(["^[a-z]+$", r"^(?:\d{3}-\d|b)$", "it's", "a|b$", '"', r"^a\$"])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "long": INTEGERS,
    "int": INTEGERS,
    "double": st.floats(-1e9, 1e9, allow_nan=False),
    "decimal(12, 2)": INTEGERS,
    "string": st.sampled_from(["a", "b", "it's", "yes", "1", "2024-01-01"]),
    "date": st.dates(),
}
OTHERS = (
    *("boolean", "timestamp", "timestamptz", "time", "uuid", "binary", "float32", "timestamp_ntz", "int32"),
    *("list<string>", "long[]", "map<string, double>", "list<list<decimal(9, 2)>>", "map<string, list<date>>"),
    *("struct<a: long, b: struct<c: list<string>>>", "list<struct<a: long>>", "list<list<struct<a: timestamptz>>>"),
)


@st.composite
def bounds(draw: st.DrawFn, values: st.SearchStrategy[Any], exclusive: bool) -> Bounds:
    low, high = draw(st.none() | values), draw(st.none() | values)
    if low is not None and high is not None and low > high:
        low, high = high, low
    strict = st.booleans() if exclusive else st.just(False)
    return Bounds(low, high, low is not None and draw(strict), high is not None and low != high and draw(strict))


@st.composite
def columns(draw: st.DrawFn, name: str, exclusive: bool) -> Column:
    kind = draw(st.sampled_from([*VALUES, *OTHERS]))
    text, values = kind == "string", VALUES.get(kind)
    allowed = None
    if values is not None and kind != "date":
        allowed = draw(st.none() | st.lists(values, min_size=1, max_size=3, unique=True))
    bounded = values is not None and not text and allowed is None
    return Column(
        name=name,
        type=promised_type(kind),
        description=draw(TEXTS),
        required=draw(st.booleans()),
        unique=draw(st.booleans()),
        values=draw(bounds(values, exclusive)) if values is not None and bounded else Bounds(),
        lengths=draw(bounds(st.integers(0, 50), exclusive=False)) if text else Bounds(),
        pattern=draw(st.none() | PATTERNS) if text else None,
        allowed=tuple(allowed) if allowed is not None else None,
        classification=draw(st.none() | st.just("internal")),
        pii=draw(st.booleans()),
        tags=draw(st.sampled_from([(), ("red",), ("red", "blue")])),
    )


@st.composite
def contracts(draw: st.DrawFn, target: Target) -> Contract:
    """Draw a contract of which every word has a place in ``target``."""
    short = target is Target.SHORT
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=5, unique=True))
    described = draw(TEXTS)
    found = tuple(draw(columns(name, exclusive=not short)) for name in names)
    key = () if short else tuple(draw(st.lists(st.sampled_from(names), max_size=2, unique=True)))
    levels = [ServiceLevel("freshness", draw(st.integers(1, 99)), "hours"), ServiceLevel("quality", 0.5, "share")]
    if not short:
        levels += [ServiceLevel("retention", 1, "y"), ServiceLevel("freshness", 2, "d", "t.date")]
    return Contract(
        name=draw(st.sampled_from(["readings", "my contract", "on"])),
        version="1.2.3",
        owner=draw(st.sampled_from(["", "data-platform", "it's us"])),
        promises=(
            Promise(
                "raw.readings",
                tuple(replace(each, required=True) if each.name in key else each for each in found),
                " ".join(described.split()),
                primary_key=key,
                partitioned_by=() if short else tuple(names[:1]),
            ),
        ),
        form=None,
        source=Path(),
        status=draw(st.sampled_from(["active", "draft"])),
        description=" ".join(described.split()),
        service_levels=tuple(levels),
        consumers=(Consumer("a dashboard", "figures: daily"), Consumer("b")),
        tags=("green",),
    )


@pytest.mark.long
@pytest.mark.parametrize("target", Target)
def test_what_both_can_say_is_not_lost(target: Target) -> None:
    @settings(max_examples=40, deadline=None)
    @given(contracts(target))
    def holds(contract: Contract) -> None:
        assert write_contract(contract, target).left_out == ()

    holds()


RULE = Rule("few", "rowCount", None, "mustBeGreaterThan", 3)
EVERYTHING = Contract(
    name="orders",
    version="2.0.0",
    owner="ada",
    promises=(
        Promise(
            "raw.orders",
            (
                Column("id", promised_type("uuid"), required=True, rules=(RULE,)),
                Column("total", promised_type("decimal(9, 2)"), values=Bounds(0, 5, exclusive_high=True)),
                Column("lines", promised_type("array"), members=(Column("sku", promised_type("string")),)),
                Column("_phlo_partition_date", promised_type("date")),
            ),
            primary_key=("id",),
            partitioned_by=("total",),
            rules=(RULE,),
        ),
    ),
    form=None,
    source=Path(),
    service_levels=(ServiceLevel("retention", 3, "y"),),
)
RULES = ("rule few", "id: rule few")


@pytest.mark.parametrize(
    ("target", "lost"),
    [
        (Target.ODCS, set()),
        (Target.PANDERA, {*RULES, "_phlo_partition_date: column"}),
        (Target.DBT, {*RULES}),
        (
            Target.SHORT,
            {
                *(*RULES, "primary key", "partitioning", "service level retention"),
                "total: greatest value",
            },
        ),
    ],
)
def test_what_a_form_cannot_say_is_named(target: Target, lost: set[str]) -> None:
    assert set(write_contract(EVERYTHING, target).left_out) == lost


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (Column("a"), "raw.orders.a has no type, which a model needs"),
        (Column("a", promised_type("object")), "raw.orders.a is object without what it holds"),
        (Column("a", promised_type("array")), "raw.orders.a is array without what it holds"),
        (Column("a", promised_type("list<uuid>")), "raw.orders.a holds a uuid inside a nested value"),
        (Column("a", promised_type("map")), "raw.orders.a is map without what it holds"),
    ],
)
def test_a_column_that_no_model_can_have_is_refused(column: Column, message: str) -> None:
    contract = replace(EVERYTHING, promises=(Promise("raw.orders", (column,)),))
    with pytest.raises(ConfigurationError, match=message):
        write_contract(contract, Target.PANDERA)


MEMBERS = (Column("a", promised_type("long")), Column("b", promised_type("list<string>")))


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("kind", ["struct", "list"])
def test_members_come_back_from_every_form(target: Target, kind: str) -> None:
    inner = Column("deep", promised_type("struct"), members=MEMBERS)
    column = Column("c", promised_type(kind), members=(*MEMBERS, inner))
    contract = replace(EVERYTHING, promises=(Promise("raw.orders", (column,)),), service_levels=())
    assert write_contract(contract, target).left_out == ()


@pytest.mark.parametrize("target", [Target.SHORT, Target.DBT])
def test_what_a_type_cannot_say_of_members_is_named(target: Target) -> None:
    said = Column("c", promised_type("struct"), members=(replace(MEMBERS[0], required=True),))
    odd = Column("d", promised_type("struct"), members=(Column("a b", promised_type("long")), MEMBERS[0]))
    contract = replace(EVERYTHING, promises=(Promise("raw.orders", (said, odd)),), service_levels=())
    assert write_contract(contract, target).left_out == ("c.a: required", "d.a b: column", "d.a: column")


@pytest.mark.parametrize("target", Target)
@pytest.mark.parametrize("said", ["tags: [PII]", "tags: [Sensitive]", "classification: restricted", "pii: true"])
def test_personal_data_stay_personal_however_they_are_said(tmp_path: Path, target: Target, said: str) -> None:
    path = tmp_path / "people.yaml"
    path.write_text(
        "name: people\nversion: 1.0.0\nowner: ann\ntable: raw.people\n"
        f"schema: {{required_columns: [{{name: email, type: string, {said}}}]}}\n"
    )
    contract = read_contract(path)
    assert contract.promises[0].columns[0].pii
    assert write_contract(replace(contract, form=None), target).left_out == ()


def test_a_member_without_a_type_is_refused_in_a_model() -> None:
    column = Column("c", promised_type("struct"), members=(Column("a"),))
    contract = replace(EVERYTHING, promises=(Promise("raw.orders", (column,)),))
    with pytest.raises(ConfigurationError, match=r"raw.orders.a has no type"):
        write_contract(contract, Target.PANDERA)


def test_what_the_short_form_does_not_allow_is_refused_by_the_contracts_name() -> None:
    contract = replace(EVERYTHING, version="v2", promises=(Promise("raw.orders", (Column("id"),)),))
    with pytest.raises(
        ConfigurationError, match=r"^orders in the short form, line \d: version: write a semantic version"
    ):
        write_contract(contract, Target.SHORT)


def test_a_table_without_columns_is_refused_in_the_short_form() -> None:
    with pytest.raises(ConfigurationError, match=r"^orders: raw.orders has no columns: the short form needs one"):
        write_contract(replace(EVERYTHING, promises=(Promise("raw.orders", ()),)), Target.SHORT)


@pytest.mark.parametrize("word", ["name", "version", "status", "owner", "description"])
def test_no_word_of_a_contract_is_code_of_the_model(word: str) -> None:
    said = '1"""\nraise SystemExit\n"""\\'
    table = Promise("raw.orders", (Column(said, promised_type("string"), said, tags=(said,)),), said)
    text = write_contract(replace(EVERYTHING, **{word: said}, promises=(table,)), Target.PANDERA).text
    kinds = {type(each) for each in ast.parse(text).body[1:]}
    assert kinds == {ast.ImportFrom, ast.ClassDef}


def test_every_table_has_a_model_of_its_own() -> None:
    tables = ("raw.order-lines", "raw.order_lines", "shop.order_lines", "raw.field", "raw.UUID", "raw.½", "raw.class")
    promises = tuple(Promise(each, (Column("id", promised_type("uuid")),)) for each in tables)
    written = write_contract(replace(EVERYTHING, promises=promises, service_levels=()), Target.PANDERA)
    assert written.left_out == ()
    names = [each.name for each in ast.parse(written.text).body if isinstance(each, ast.ClassDef)]
    assert names == ["OrderLines", "OrderLines_2", "OrderLines_3", "TableField", "TableUUID", "Table", "Class"]


def test_several_tables_are_refused_in_the_short_form() -> None:
    contract = replace(EVERYTHING, promises=(*EVERYTHING.promises, Promise("raw.lines", ())))
    with pytest.raises(
        ConfigurationError, match=r"orders is about raw.orders, raw.lines: a contract in the short form"
    ):
        write_contract(contract, Target.SHORT)


def test_models_of_several_tables() -> None:
    second = Promise("raw.order_lines", (Column("sku", promised_type("string"), required=True),))
    contract = replace(EVERYTHING, promises=(EVERYTHING.promises[0], second))
    for target in (Target.PANDERA, Target.DBT, Target.ODCS):
        assert not [each for each in write_contract(contract, target).left_out if each.startswith("raw.order_lines")]
