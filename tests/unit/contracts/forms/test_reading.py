"""Contracts of both forms from files, and files that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_phlo.contracts import Contract, find_contracts, read_contract
from airflow_provider_phlo.contracts.model.contract import Bounds, Consumer, Form, ServiceLevel
from airflow_provider_phlo.exceptions import ConfigurationError
from tests.canary import CANARY, has_canary

ROOT = Path(__file__).parents[4]
SHORT = """
name: readings
version: 1.2.0
owner: data-platform
table: raw.readings
schema:
  required_columns:
    - name: id
      type: string
      constraints: {required: true, unique: true, min_length: 1, pattern: "[a-z]+"}
    - name: value
      type: long
      constraints: {min: 20, max: 600}
      pii: true
    - name: kind
      constraints: {allowed_values: [sgv, mbg]}
sla: {freshness_hours: 2, quality_threshold: 0.99}
consumers: [{name: dashboard, usage: Daily figures}]
"""
ODCS = """
apiVersion: v3.0.2
kind: DataContract
id: 53581432-6c55-4ba2-a65f-72344a91553a
name: orders
version: 2.0.0
status: active
description: {purpose: What was sold.}
servers:
  - {server: production, type: snowflake, account: abc, database: d, schema: s}
schema:
  - name: orders
    physicalName: raw.orders
    quality:
      - {metric: rowCount, mustBeGreaterThan: 0, name: there are orders}
      - {type: text, description: Orders look right.}
      - {type: sql, query: "SELECT count(*) FROM ${table} WHERE total < 0", mustBe: 0, severity: warning}
    properties:
      - {name: order_id, logicalType: string, physicalType: uuid, primaryKey: true, primaryKeyPosition: 1}
      - name: total
        logicalType: number
        physicalType: money
        logicalTypeOptions: {minimum: 0, exclusiveMaximum: 100000}
        quality: [{metric: nullValues, mustBeLessThan: 1, unit: percent}]
      - {name: day, logicalType: date, partitioned: true, partitionKeyPosition: 1}
      - {name: email, logicalType: string, classification: restricted, tags: [pii]}
      - name: lines
        logicalType: array
        items: {logicalType: object, properties: [{name: sku, logicalType: string, required: true}]}
slaProperties:
  - {property: freshness, value: 24, unit: h, element: orders.day}
team: [{username: ada, role: Data Owner}]
customProperties:
  - {property: consumers, value: [finance, {name: dashboard, usage: Sales}]}
"""


def read(folder: Path, text: str) -> Contract:
    path = folder / "contract.yaml"
    path.write_text(text)
    return read_contract(path)


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigurationError) as raised:
        read(folder, text)
    return str(raised.value).replace(f"{folder}/", "")


def test_the_short_form(tmp_path: Path) -> None:
    contract = read(tmp_path, SHORT)
    assert (contract.name, contract.version, contract.owner, contract.form) == (
        *("readings", "1.2.0", "data-platform"),
        Form.SHORT,
    )
    (promise,) = contract.promises
    assert promise.table == "raw.readings"
    key, value, kind = promise.columns
    assert (key.required, key.unique, key.pattern, key.lengths, key.line) == (True, True, "^(?:[a-z]+)$", Bounds(1), 8)
    assert (value.values, value.pii, value.required) == (Bounds(20, 600), True, False)
    assert (kind.type, kind.allowed) == (None, ("sgv", "mbg"))
    assert contract.service_levels == (ServiceLevel("freshness", 2, "hours"), ServiceLevel("quality", 0.99, "share"))
    assert contract.consumers == (Consumer("dashboard", "Daily figures"),)


def test_the_standard(tmp_path: Path) -> None:
    contract = read(tmp_path, ODCS)
    assert (contract.name, contract.owner, contract.form, contract.description) == (
        *("orders", "ada"),
        Form.ODCS,
        "What was sold.",
    )
    (promise,) = contract.promises
    assert (promise.table, promise.primary_key, promise.partitioned_by) == ("raw.orders", ("order_id",), ("day",))
    rows, sql = promise.rules
    assert (rows.metric, rows.operator, rows.operand) == ("rowCount", "mustBeGreaterThan", 0)
    assert (sql.query, sql.operator, sql.severity) == (
        *("SELECT count(*) FROM ${table} WHERE total < 0", "mustBe"),
        "warning",
    )
    key, total, _, email, lines = promise.columns
    assert key.required  # a key has a value
    assert (total.type and total.type.text) == "number"  # money is another engine's
    assert total.values == Bounds(0, 100_000, exclusive_high=True)
    assert total.rules[0].unit == "percent"
    assert email.pii
    assert [member.name for member in lines.members] == ["sku"]
    assert contract.service_levels == (ServiceLevel("freshness", 24, "h", "orders.day"),)
    assert contract.consumers == (Consumer("finance"), Consumer("dashboard", "Sales"))


def test_the_examples_of_the_repository() -> None:
    found = {path.name: read_contract(path) for path in find_contracts(ROOT / "include" / "contracts")}
    assert {name: (each.form, each.promises[0].table) for name, each in found.items()} == {
        "glucose_overview.odcs.yaml": (Form.ODCS, "marts.mrt_glucose_overview"),
        "glucose_readings.yaml": (Form.SHORT, "raw.glucose_entries"),
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("owner:", "ownr:", "line 4: ownr is not known. Did you mean owner?"),
        ("{min: 20,", "{minimum: 20,", "line 13: schema.required_columns.1.constraints.minimum is not known."),
        ("version: 1.2.0", "version: 1.2", "line 3: version: write a semantic version, of three numbers: 1.2.0."),
        ("version: 1.2.0", "version: one", "line 3: version: write a semantic version"),
        ("version: 1.2.0", "version: 1.2.0\n---\na: b", "line 4: a second document begins: write one file for each."),
        ("owner: data", "\towner: data", "line 4: this is not YAML (a tab: indent by spaces)."),
        ("owner: data-platform", "owner: data: platform", "line 4: this is not YAML (a colon within a value"),
        ("type: long", "type: lnog", "line 12: schema.required_columns.1.type: lnog is not a type. Did you mean long?"),
        ("min: 20, max: 600", "min: 20, max: 6", "no value is at least min and at most max"),
        ("min: 20, max: 600", "min: a, max: 6", "min and max cannot be compared"),
        ("max: 600", "max: 99999999999999999.97", "99999999999999999.97 has more digits than are kept: 1e+17 is left"),
        ("name: value", "name: id", "id is there twice"),
        ("min: 20,", "min: .nan,", "line 13: schema.required_columns.1.constraints: a bound has to be a finite number"),
        ("max: 600", "max: .inf", "a bound has to be a finite number"),
        ("freshness_hours: 2", "freshness_hours: .inf", "line 17: sla.freshness_hours: "),
        ("min: 20, max: 600", "allowed_values: [x]", "line 11: value: allowed values: it is BIGINT, and has none of"),
        ("type: long", "type: timestamp", "line 11: value: range: it is TIMESTAMP"),
        ("type: long", "type: string", "line 11: value: range: it is VARCHAR: a bound must be text, not int"),
        ('"[a-z]+"', '"(a+"', "line 8: id: pattern: "),
        (
            "- name: kind\n      constraints: {allowed_values: [sgv, mbg]}",
            "- {name: kind, type: string, constraints: {allowed_values: [sgv, NO]}}",
            "has none of the values False",
        ),
        ("quality_threshold: 0.99", "quality_threshold: 99", "line 17: sla.quality_threshold: "),
        ("name: readings", "name: readings\nname: other", "name is there twice"),
        ("owner: data-platform", "owner: &a [*a]", "anchors"),
        ("sla: {", "sla: [", "this is not YAML"),
        ("name: dashboard", "name: no", "line 18: consumers.0.name: has to be text: write it in quotes."),
    ],
)
def test_a_wrong_key_or_value_is_named_with_its_line(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in SHORT
    assert said in refusal(tmp_path, SHORT.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("v3.0.2", "v2.2.2", "apiVersion has to be v3.0.0 or a later 3"),
        ("kind: DataContract\n", "", "kind is missing, which the standard requires"),
        ("status: active\n", "", "status is missing, which the standard requires"),
        ("version: 2.0.0\n", "", "version is missing, which the standard requires"),
        ("apiVersion: v3.0.2\n", "", "apiVersion has to be v3.0.0 or a later 3"),
        ("kind: DataContract", "kind: Dataset", "kind has to be DataContract"),
        ("version: 2.0.0", "versoin: 2.0.0", "line 6: versoin is not known. Did you mean version?"),
        ("id: 5", "tenant: 5", "id is missing, which the standard requires"),
        ("exclusiveMaximum: 100000}", "minimum: 1}", "is there twice"),
        ("minimum: 0,", "minimum: .nan,", "logicalTypeOptions.minimum has to be a finite number"),
        ("logicalTypeOptions: {minimum: 0,", "logicalTypeOptions: {minimum: a,", "total: range: "),
        ("metric: rowCount", "metric: rows", "metric has to be one of nullValues"),
        ("mustBeGreaterThan: 0, ", "", "write one of mustBe, "),
        ("mustBe: 0, ", "mustBe: 0, mustNotBe: 1, ", "write one of mustBe, "),
        ("logicalType: date", "logicalType: day", "day is not a logical type"),
        ("mustBeGreaterThan: 0, ", "mustBeGreaterThan: many, ", "quality.0.mustBeGreaterThan: has to be a number.\n"),
        ("mustBeGreaterThan: 0, ", "mustBeBetween: [a, 2], ", "quality.0.mustBeBetween.0: has to be a number.\n"),
        ("classification:", "clasification:", "is not known. Did you mean classification?"),
        ("{name: sku,", "{nmae: sku,", "nmae is not known. Did you mean name?"),
    ],
)
def test_what_the_standard_does_not_have_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in ODCS
    assert said in refusal(tmp_path, ODCS.replace(old, new, 1)) + "\n"


def test_all_problems_are_said_at_once(tmp_path: Path) -> None:
    said = refusal(
        tmp_path, SHORT.replace("owner:", "ownr:").replace("type: long", "type: lnog").replace("min:", "mn:")
    )
    assert len(said.splitlines()) == 3


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    ["", "[]", "- a", "a", pytest.param("[" * 5000, id="nested"), "\x00", "a: {b: [&x 1, *x]}"],
)
def test_a_file_of_something_else(tmp_path: Path, text: str) -> None:
    assert "contract.yaml" in refusal(tmp_path, text)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no contract"):
        read_contract(tmp_path / "missing.yaml")
    (tmp_path / "contract.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError, match=r"contract\.yaml"):
        read_contract(tmp_path / "contract.yaml")


def test_no_value_is_in_a_message(tmp_path: Path) -> None:
    for key in ("freshness_hours: 2", "quality_threshold: 0.99", "min_length: 1"):
        assert not has_canary(refusal(tmp_path, SHORT.replace(key, f"{key.partition(':')[0]}: [{CANARY}]")))
