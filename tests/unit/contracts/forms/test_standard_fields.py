"""Every field of the standard: enforced, named as not judged, or named as kept in the file only."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from open_data_contract_standard import model as standard
from pydantic import BaseModel

from airflow_provider_phlo.contracts.changes import compare
from airflow_provider_phlo.contracts.forms.standard_fields import FIELDS, OPTIONS, unread
from airflow_provider_phlo.contracts.versions import Step
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.unit.contracts.test_enforcement import HEAD, broken, check, contract_of

DOCS = Path(__file__).parents[4] / "docs" / "contracts.md"
MODELS: dict[str, tuple[type[BaseModel], ...]] = {
    "": (standard.OpenDataContractStandard,),
    "description": (standard.Description,),
    "team": (standard.Team, standard.TeamMember),
    "team.members": (standard.TeamMember,),
    "customProperties": (standard.CustomProperty,),
    "slaProperties": (standard.ServiceLevelAgreementProperty,),
    "schema": (standard.SchemaObject,),
    "properties": (standard.SchemaProperty,),
    "held": (standard.SchemaProperty,),
    "map": (standard.MapDefinition,),
    "quality": (standard.DataQuality,),
    "enum": (standard.EnumValue,),
}
# how a file leads to a part, which is put where the dots are
PLACES: dict[str, Any] = {
    "": ...,
    "description": {"description": ...},
    "team": {"team": ...},
    "team.members": {"team": {"members": [...]}},
    "customProperties": {"customProperties": [...]},
    "slaProperties": {"slaProperties": [...]},
    "schema": {"schema": [...]},
    "properties": {"schema": [{"properties": [...]}]},
    "held": {"schema": [{"properties": [{"map": {"value": ...}}]}]},
    "map": {"schema": [{"properties": [{"map": ...}]}]},
    "quality": {"schema": [{"quality": [...]}]},
    "enum": {"schema": [{"properties": [{"enum": [...]}]}]},
    "logicalTypeOptions": {"schema": [{"properties": [{"logicalTypeOptions": ...}]}]},
}


def fields() -> Iterator[tuple[str, str, str]]:
    for part, found in FIELDS.items():
        for kind in ("read", "unjudged", "in_file"):
            yield from ((part, name, kind) for name in sorted(getattr(found, kind)))


def placed(value: Any, place: Any) -> Any:
    if place is ...:
        return value
    if isinstance(place, list):
        return [placed(value, place[0])]
    return {name: placed(value, below) for name, below in place.items()}


@pytest.mark.parametrize("part", MODELS)
def test_every_field_of_the_pinned_standard_is_decided(part: str) -> None:
    there = {field.alias or name for model in MODELS[part] for name, field in model.model_fields.items()}
    decided = FIELDS[part]
    assert decided.read | decided.unjudged | decided.in_file == there
    assert not decided.read & decided.unjudged | decided.unjudged & decided.in_file | decided.read & decided.in_file


def test_every_option_of_the_pinned_standard_is_decided() -> None:
    rules = json.loads(standard.OpenDataContractStandard.json_schema())["$defs"]["SchemaBaseProperty"]
    found: dict[str, set[str]] = {name: {"enum"} for name in rules["properties"]["logicalType"]["enum"]}
    for each in rules["allOf"][1:]:
        there = each["then"]["properties"].get("logicalTypeOptions", {}).get("properties", {})
        for condition in each["if"].get("anyOf", [each["if"]]):
            found[condition["properties"]["logicalType"]["const"]] |= set(there)
    assert {name: set(options) for name, options in OPTIONS.items()} == found
    decided = FIELDS["logicalTypeOptions"]
    assert decided.read | decided.unjudged | decided.in_file == set().union(*found.values())


def test_every_part_is_reached() -> None:
    assert set(PLACES) == set(FIELDS)


@pytest.mark.parametrize(("part", "name", "kind"), fields())
def test_what_is_not_read_is_named(part: str, name: str, kind: str) -> None:
    named = [each for each in unread(placed({name: "x"}, PLACES[part])) if each.kind.rpartition(".")[2] == name]
    assert [each.promise for each in named] == ([] if kind == "read" else [kind == "unjudged"])


@pytest.mark.parametrize(("part", "name", "kind"), fields())
def test_the_documentation_has_it(part: str, name: str, kind: str) -> None:
    rows = [line.split("|")[1:-1] for line in DOCS.read_text().splitlines() if line.startswith(f"| `{part or '/'}` ")]
    (row,) = rows
    column = 1 + ("read", "unjudged", "in_file").index(kind)
    assert f"`{name}`" in row[column]


UNJUDGED = """
    relationships: [{type: foreignKey, from: total, to: customers.id}]
    quality: [{type: custom, engine: soda, implementation: "checks: []", name: soda's}]
    properties:
      - {name: id, logicalType: string, primaryKey: true, businessName: Number}
      - {name: total, logicalType: number, logicalTypeOptions: {multipleOf: 0.5}}
      - {name: at, physicalType: moment}
      - {name: by, logicalType: map, map: {key: {logicalType: string}, value: {logicalType: integer, required: true}}}
      - {name: sales, semanticType: measure, transformLogic: sum(total)}
slaProperties: [{property: freshness, value: 5, unit: d, valueExt: 6, driver: regulatory}]
price: {priceAmount: 1}
"""
NAMED = [
    "raw.orders: relationships to customers.id",
    "raw.orders: rule of type custom: soda's",
    "raw.orders.total: multipleOf 0.5",
    "raw.orders.by.value: required True",
    "raw.orders: measure sales",
    "freshness: valueExt 6",
    "raw.orders.at: physicalType moment",
]
ROWS = {"id": ["1"], "total": [0.3], "at": [1], "by": pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int32()))}


def test_a_check_and_a_diff_name_what_is_not_judged(tmp_path: Path) -> None:
    report = check(tmp_path, UNJUDGED, pa.table(ROWS), sla=False)
    assert (list(report.not_judged), broken(report)) == (NAMED, {})
    old = contract_of(tmp_path, UNJUDGED)
    new = contract_of(tmp_path, UNJUDGED.replace("multipleOf: 0.5", "multipleOf: 0.1"))
    changed = [(each.old, each.new, each.step) for each in compare(old, new)]
    assert changed == [
        ("raw.orders.total: multipleOf 0.5", None, Step.MAJOR),
        (None, "raw.orders.total: multipleOf 0.1", Step.MINOR),
    ]


OPTIONS_OF_LISTS = """
    properties:
      - {name: id, logicalType: string, primaryKey: true}
      - name: tags
        logicalType: array
        logicalTypeOptions: {minItems: 1, maxItems: 2, uniqueItems: true}
        items: {logicalType: string, required: true, logicalTypeOptions: {minLength: 2}, quality: [
          {metric: invalidValues, arguments: {validValues: [aa, bb, c]}, mustBe: 0, name: known}]}
      - {name: grid, logicalType: array, items: {logicalType: array, items: {
          logicalType: integer, logicalTypeOptions: {maximum: 9}}, logicalTypeOptions: {maxItems: 2}}}
      - {name: point, logicalType: object, logicalTypeOptions: {required: [x]}, properties: [
          {name: x, logicalType: integer}]}
      - {name: vec, logicalType: vector, logicalTypeOptions: {dimensions: 2}}
      - {name: seen, logicalType: timestamp, logicalTypeOptions: {timezone: true}}
"""


def test_options_of_lists_and_what_they_hold_are_enforced(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        OPTIONS_OF_LISTS,
        pa.table(
            {
                "id": ["1", "2", "3", "4"],
                "tags": [["aa"], [], ["c", None], ["aa", "aa", None]],
                "grid": [[[1, 2], [9]], [[10]], None, [[1, 2, 3], []]],
                "point": [{"x": 1}, {"x": None}, None, {"x": 2}],
                "vec": [[1.0, 2.0], [1.0], None, []],
                "seen": pa.array([None] * 4, pa.timestamp("us")),
            }
        ),
    )
    assert broken(report) == {
        "columns": None,  # seen has no zone
        "tags length": 2,
        "tags distinct items": 1,
        "tags[] required": 2,
        "tags[] length": 1,
        "grid[] length": 1,
        "grid[][] range": 1,
        "point.x required": 1,
        "vec length": 2,
    }
    assert not report.not_judged


def test_show_names_what_is_not_judged_and_what_is_only_in_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text(HEAD + UNJUDGED)
    code, out, err = run_phlo("contract", "show", "c.yaml")
    assert (code, err) == (0, "")
    said = out.splitlines()
    assert [f"Not judged: {each}" for each in NAMED] == [line for line in said if line.startswith("Not judged")]
    (only,) = [line for line in said if line.startswith("Only in the file: ")]
    assert {"price", "schema.properties.businessName", "slaProperties.driver"} <= set(
        only.partition(": ")[2].split(", ")
    )


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (
            "string",
            "{minItems: 1}",
            "minItems is not an option of string. Known are enum, format, maxLength, minLength",
        ),
        ("number", "{minimun: 1}", "minimun is not an option of number. Did you mean minimum?"),
        ("integer", "{minimum: 5, maximum: 1}", "no value is at least minimum and at most maximum"),
        ("array", "{minItems: 2, maxItems: 1}", "no value is at least minItems and at most maxItems"),
        ("array", "{minItems: -1}", "minItems has to be a number, 0 or more"),
        ("array", "{uniqueItems: 1}", "uniqueItems has to be true or false"),
        ("string", "{pattern: '(a'}", "pattern is not a pattern: "),
        ("object", "{required: x}", "required has to be a list of members"),
    ],
)
def test_options_that_contradict_are_refused(tmp_path: Path, kind: str, options: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=r"line 14") as raised:
        contract_of(
            tmp_path, f"    properties:\n      - {{name: a, logicalType: {kind}, logicalTypeOptions: {options}}}\n"
        )
    assert said in str(raised.value)


def test_the_default_element_of_service_levels(tmp_path: Path) -> None:
    text = """
    properties: [{name: day, logicalType: date}]
slaDefaultElement: orders.day
slaProperties: [{property: retention, value: 5, unit: d}, {property: availability, value: 99}]
"""
    assert [level.element for level in contract_of(tmp_path, text).service_levels] == ["orders.day", None]
