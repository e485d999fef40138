"""Schemas on random input against plain Python: differences of models, rules out of dbt YAML, types there and back."""

from __future__ import annotations

import datetime
import decimal
import os
import random
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IcebergType,
    ListType,
    LongType,
    NestedField,
    StringType,
    StructType,
    TimestamptzType,
    TimeType,
    UUIDType,
)
from typing_extensions import TypedDict, is_typeddict

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas import PhloSchema, dbt_model_to_pandera, schema_diff
from airflow_provider_phlo.schemas.base import make_model
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.iceberg import iceberg_to_pandera, pandera_to_iceberg
from airflow_provider_phlo.schemas.types import without_ids
from airflow_provider_phlo.schemas.validation.batch import validate
from tests.sizes import size

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", size(40, 3000))))
STEP = max(14, len(SEEDS) // 60)
PARTS = [SEEDS[start : start + STEP] for start in SEEDS[::STEP]]
MISSING = object()


def bad_rows(model: type[PhloSchema], values: Iterable[Any]) -> set[int]:
    """Return the positions of the values that the product rejects, each in a row of column ``c``."""
    declared = model_columns(model)
    records = [{"c": value, "n": 1} if value is not MISSING else {"n": 1} for value in values]
    rows, failures = conform(records, declared, str)
    return {row for failure in [*failures, *validate(rows, declared)[1]] for row in failure.rows}


# --- differences of two models ----------------------------------------------------------------------------------------

DOMAINS: dict[type, list[Any]] = {
    int: [*range(-3, 5)],
    float: [number / 4 for number in range(-7, 8)],
    str: ["", "a", "b", "ä"],
}
# some of them, with others around and between them
BOUNDS: dict[type, list[Any]] = {int: [*range(-2, 4)], float: [-1.5, -1.0, 0.0, 0.5, 1.5], str: DOMAINS[str]}
Options = dict[str, Any]


def random_options(chance: random.Random, kind: type) -> Options:
    """Return what a field declares; at least one value is left."""
    domain = BOUNDS[kind]
    bounds = {name: chance.choice(domain) for name in ("ge", "gt", "le", "lt") if chance.random() < 0.25}
    options: Options = bounds if not isinstance(domain[0], str) else {}
    if chance.random() < 0.3:
        options["isin"] = chance.sample(domain, chance.choice([2, 3]))
    if chance.random() < 0.2:
        options["ne"] = chance.choice(domain)
    options |= {name: True for name in ("nullable", "unique") if chance.random() < 0.3}
    good = [value for value in domain if is_good(options, value)]
    if good and chance.random() < 0.2:
        options["default"] = chance.choice(good)
    return options if good else {}


RULES: dict[str, Callable[[Any, Any], bool]] = {
    "ge": lambda value, bound: value >= bound,
    "gt": lambda value, bound: value > bound,
    "le": lambda value, bound: value <= bound,
    "lt": lambda value, bound: value < bound,
    "isin": lambda value, allowed: value in allowed,
    "ne": lambda value, other: value != other,
}


def is_good(options: Options, value: Any) -> bool:
    if value is None or value is MISSING:
        return is_good(options, options["default"]) if "default" in options else "nullable" in options
    return all(rule(value, options[name]) for name, rule in RULES.items() if name in options)


def check_difference(seed: int) -> None:
    chance = random.Random(seed)
    kind = chance.choice(list(DOMAINS))
    before, after = random_options(chance, kind), random_options(chance, kind)
    if chance.random() < 0.5:  # one thing changes
        name = chance.choice(["ge", "gt", "le", "lt", "isin", "nullable", "unique"])
        after = {key: value for key, value in before.items() if key != name} | {
            k: v for k, v in after.items() if k == name
        }
    old, new = (make_model("Model", {"c": (kind, dict(each))}) for each in (before, after))
    values = [*DOMAINS[kind], None, MISSING]
    for model, options in ((old, before), (new, after)):
        expected = {place for place, value in enumerate(values) if not is_good(options, value)}
        assert bad_rows(model, values) == expected, (seed, options)
        assert model_columns(model)["c"].unique == ("unique" in options)  # checked over the whole run
    lost = any(is_good(before, value) and not is_good(after, value) for value in values)
    lost |= "unique" in after and "unique" not in before
    changes = schema_diff(old, new)
    broken = {change.breaks for change in changes if change.breaks}
    assert not lost or "producers" in broken, (seed, before, after, changes)
    declared = {"range" if name in ("ge", "gt", "le", "lt") else name for name in before | after}
    if len(declared & {"range", "isin", "ne"}) < 2 and "default" not in declared:  # none covers for another
        assert lost or "producers" not in broken, (seed, before, after, changes)
    assert ("table" in broken) == ("nullable" in after and "nullable" not in before)


@pytest.mark.parametrize("seeds", PARTS)
def test_a_difference_breaks_producers_if_a_good_row_becomes_bad(seeds):
    for seed in seeds:
        check_difference(seed)


# --- rules out of dbt YAML --------------------------------------------------------------------------------------------

COLUMNS: dict[str, list[Any]] = {
    "bigint": [-1, 0, 1, 2, 2**53 + 1],
    "double": [-1.0, 0.1, 0.5, 1.0, 2.0],
    "decimal(18,2)": [decimal.Decimal(text) for text in ("-1.00", "0.10", "0.50", "1.00", "2.00")],
    "varchar": ["", "a", "b", "it's"],
    "boolean": [True, False],
    "date": [datetime.date(2024, 1, day) for day in (1, 2, 3)],
    "timestamp": [datetime.datetime(2024, 1, day, 6, tzinfo=datetime.UTC) for day in (1, 2, 3)],
}
RANGES = ("dbt_utils.accepted_range", "dbt_expectations.expect_column_values_to_be_between")
Test = tuple[Any, Callable[[Any], bool]]


def spelled(value: Any, quote: bool) -> Any:
    """Return a value as authors of YAML spell it: in SQL, or as dbt puts quotes around it."""
    if isinstance(value, str):
        return value.replace("'", "''") if quote else "'{}'".format(value.replace("'", "''"))
    if isinstance(value, datetime.date):
        text = value.isoformat().replace("+00:00", "")
        return text if quote else f"'{text}'"
    return float(value) if isinstance(value, decimal.Decimal) else value


def random_test(chance: random.Random, domain: list[Any]) -> Test:
    """Return a test of a column, and whether a value passes it."""
    where = chance.choice([{}, {}, {}, {"config": {"severity": "warn"}}, {"config": {"where": "x > 1"}}])
    if chance.random() < 0.5 or isinstance(domain[0], bool):
        allowed, quote = chance.sample(domain, 2), chance.random() < 0.5
        arguments = {"values": [spelled(value, quote) for value in allowed], **({} if quote else {"quote": False})}
        return _test(chance, "accepted_values", arguments, where, lambda value: value in allowed)
    name, strict = chance.choice(RANGES), chance.random() < 0.3
    low, high = chance.choice([None, *domain]), chance.choice(domain)
    bounds = {"min_value": low, "max_value": high}
    arguments = {key: spelled(value, quote=False) for key, value in bounds.items() if value is not None}
    if strict:
        arguments |= {"inclusive": False} if name == RANGES[0] else {"strictly": True}

    def passes(value: Any) -> bool:
        above = low is None or (value > low if strict else value >= low)
        return above and (value < high if strict else value <= high)

    return _test(chance, name, arguments, where, passes)


def _test(chance: random.Random, name: str, arguments: Any, where: Any, passes: Callable[[Any], bool]) -> Test:
    body = {"arguments": arguments} if chance.random() < 0.5 else arguments
    return {name: {**body, **where}}, (lambda value: True) if where else passes


def consistent_model(path: Path) -> type[PhloSchema] | None:
    """Return the model of a file; None if its tests contradict each other."""
    try:
        return dbt_model_to_pandera(path, "m")
    except SchemaError:
        return None


def check_yaml(seed: int, folder: Path) -> None:
    chance = random.Random(seed)
    data_type = chance.choice(list(COLUMNS))
    domain = COLUMNS[data_type]
    tests = [random_test(chance, domain) for _ in range(chance.choice([0, 1, 1, 2]))]
    simple = [name for name in ("not_null", "unique") if chance.random() < 0.4]
    column = {"name": "c", "data_type": data_type, "tests": [*simple, *(test for test, _ in tests)]}
    path = folder / "models.yml"
    path.write_text(yaml.safe_dump({"models": [{"name": "m", "columns": [column, {"name": "n", "data_type": "int"}]}]}))
    good = [value for value in domain if all(passes(value) for _, passes in tests)]
    model = consistent_model(path)
    if model is None:
        assert not good, (seed, column)
        return
    values = [*domain, None]
    expected = {place for place, value in enumerate(domain) if value not in good}
    expected |= {len(domain)} if "not_null" in simple else set()
    assert bad_rows(model, values) == expected, (seed, column)
    assert model_columns(model)["c"].unique == ("unique" in simple)


@pytest.mark.parametrize("seeds", PARTS)
def test_rules_out_of_dbt_yaml_reject_what_dbt_finds(seeds, tmp_path):
    for seed in seeds:
        check_yaml(seed, tmp_path)


# --- types there and back ---------------------------------------------------------------------------------------------

TYPES: dict[Any, IcebergType] = {
    str: StringType(),
    int: LongType(),
    float: DoubleType(),
    bool: BooleanType(),
    bytes: BinaryType(),
    datetime.datetime: TimestamptzType(),
    datetime.date: DateType(),
    datetime.time: TimeType(),
    decimal.Decimal: DecimalType(38, 9),
    dict: StringType(),
    list: StringType(),
}
_number = iter(range(10**9))


def random_annotation(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.choice(["plain", "plain", "list", "dict", "struct"] if depth < 3 else ["plain"])
    if kind == "plain":
        return chance.choice(list(TYPES))
    if kind == "struct":
        members = {f"m{place}": random_annotation(chance, depth + 1) for place in range(chance.choice([1, 2]))}
        return TypedDict(
            f"Struct{next(_number)}",
            {name: each | None if chance.random() < 0.5 else each for name, each in members.items()},
        )
    inner = random_annotation(chance, depth + 1)
    return list[inner] if kind == "list" else dict[str, inner]


def converted(annotation: Any) -> IcebergType:
    """Return the Iceberg type of an annotation, as ``docs/schemas.md`` has it."""
    arguments = get_args(annotation)
    if type(None) in arguments:
        return converted(arguments[0])
    if annotation in TYPES:
        return TYPES[annotation]
    if get_origin(annotation) is list:
        return ListType(0, converted(arguments[0]), element_required=False)
    if get_origin(annotation) is dict:
        return StringType()  # of JSON
    assert is_typeddict(annotation)
    members = annotation.__annotations__.items()
    return StructType(*(NestedField(0, name, converted(each), required=False) for name, each in members))


def check_types(seed: int) -> None:
    chance = random.Random(seed)
    annotations = {f"c{place}": random_annotation(chance) for place in range(3)} | {"u": uuid.UUID}
    nullable = {name: chance.random() < 0.5 for name in annotations}
    model = make_model("Model", {name: (each, {"nullable": nullable[name]}) for name, each in annotations.items()})
    schema = pandera_to_iceberg(model, metadata_columns=False)
    for field in schema.fields:
        expected = UUIDType() if field.name == "u" else converted(annotations[field.name])
        assert without_ids(field.field_type) == without_ids(expected), (seed, annotations)
        assert field.required == (not nullable[field.name])
    back = iceberg_to_pandera(schema)
    assert schema_diff(schema, back) == ()
    types = {column.name: column.type for column in model_columns(model).columns}
    assert {column.name: column.type for column in model_columns(back).columns} == types, seed


@pytest.mark.parametrize("seeds", PARTS)
def test_types_are_those_of_the_table(seeds):
    for seed in seeds:
        check_types(seed)
