"""Verdicts that users of other tools have reported as wrong, each kind once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.enforcement import check_contract
from tests.lake import create_table, open_lake

HEAD = (
    "{apiVersion: v3.1.0, kind: DataContract, id: c, version: 1.0.0, status: active, team: {name: t}, "
    "schema: [{name: orders, %s}]}"
)
KEY = "properties: [{name: a, primaryKey: true, primaryKeyPosition: 1}, {name: b, primaryKey: true}]"
COLUMNS: dict[str, Any] = {"a": ["1", "1", "2"], "b": [1, 2, 1]}


@pytest.mark.parametrize(
    ("said", "columns", "wanted"),
    [
        pytest.param(KEY, COLUMNS, {}, id="a key of two columns is unique together, not each"),
        pytest.param(KEY, {**COLUMNS, "b": [1, 1, 1]}, {"primary key": 1}, id="a key is checked without a rule for it"),
        pytest.param(
            "quality: [{metric: duplicateValues, mustBe: 0, arguments: {properties: [a, b]}}]",
            {"a": ["1", "1", "1"], "b": pa.array([None, None, 2], pa.int64())},
            {},
            id="NULL repeats nothing",
        ),
        pytest.param(
            "properties: [{name: a}, {name: totla, required: true, unique: true, quality: "
            "[{id: q, type: sql, query: 'SELECT max({property}) FROM {object}', mustBe: 1}]}]",
            COLUMNS,
            {"columns": None},
            id="a column that is not there is one breach, whatever its rules are",
        ),
        pytest.param(
            "properties: [{name: b, logicalType: integer, required: false, quality: "
            "[{type: sql, query: 'SELECT count(*) FROM {model} WHERE b IS NULL', mustBeGreaterThan: 0}]}]",
            COLUMNS,
            {"b rule 1": None},
            id="SQL of a column is run, whatever the operator",
        ),
        pytest.param(
            "properties: [{name: a, quality: [{metric: missingValues, mustBe: 0, arguments: "
            "{missingValues: ['', n/a]}}]}, {name: b, quality: [{metric: missingValues, mustBe: 0, arguments: "
            "{missingValues: ['', n/a]}}]}]",
            {"a": ["", "x", "y"], "b": [1, 2, 3]},
            {"a missingValues": 1},
            id="texts that stand for nothing do not break numbers",
        ),
        pytest.param(
            "quality: [{type: sql, query: 'SELECT sum(b) FROM orders WHERE b > 100', mustBe: 0}]",
            COLUMNS,
            {"rule 1": None},
            id="the sum of nothing is not 0",
        ),
        pytest.param(
            "quality: [{id: r, type: sql, query: 'SELECT count(*) FROM orders WHERE c > 1', mustBe: 0}]",
            COLUMNS,
            {"r": None},
            id="SQL that cannot be evaluated does not pass",
        ),
    ],
)  # fmt: skip
def test_verdicts(tmp_path: Path, said: str, columns: dict[str, Any], wanted: dict[str, int | None]) -> None:
    catalog = open_lake(tmp_path)
    create_table(catalog, "raw.orders", pa.table(columns))
    path = tmp_path / "c.yaml"
    path.write_text(HEAD % said)
    report = check_contract(catalog, read_contract(path))
    assert {breach.rule: breach.failed for breach in report.breaches} == wanted


def test_sql_that_names_a_column_that_is_not_there(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    create_table(catalog, "raw.orders", pa.table({"total": [1]}))
    path = tmp_path / "c.yaml"
    path.write_text(HEAD % "quality: [{type: sql, query: 'SELECT count(*) FROM orders WHERE totla < 0', mustBe: 0}]")
    (breach,) = check_contract(catalog, read_contract(path)).breaches
    assert breach.message.endswith("there is no column totla. Did you mean total?")
