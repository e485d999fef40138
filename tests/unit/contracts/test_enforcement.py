"""Contracts beside tables: what is broken, by how many rows, and for whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from airflow_provider_phlo.contracts import Contract, read_contract
from airflow_provider_phlo.contracts.enforcement import ContractReport, check_contract
from airflow_provider_phlo.contracts.rules import sql_rules
from airflow_provider_phlo.contracts.rules.sql_aggregates import shared_aggregate
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.engines.duckdb import DuckDBEngine
from airflow_provider_phlo.sql import Query
from tests.lake import create_table, open_lake

HEAD = """
apiVersion: v3.1.0
kind: DataContract
id: sales-contract
name: sales
version: 1.0.0
status: active
team: [{username: ada, role: Owner}]
customProperties: [{property: consumers, value: [finance, dashboard]}]
schema:
  - name: orders
    physicalName: raw.orders
"""


def contract_of(folder: Path, rest: str) -> Contract:
    path = folder / "sales.yaml"
    path.write_text(HEAD + rest)
    return read_contract(path)


def check(folder: Path, rest: str, rows: pa.Table | None, **options: Any) -> ContractReport:
    catalog = open_lake(folder)
    if rows is not None:
        create_table(catalog, "raw.orders", rows)
    return check_contract(catalog, contract_of(folder, rest), **options)


def broken(report: ContractReport) -> dict[str, int | None]:
    return {breach.rule: breach.failed for breach in report.breaches}


def test_every_kind_of_promise_about_values(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        """
    properties:
      - {name: id, logicalType: string, primaryKey: true}
      - {name: total, logicalType: number, required: true, logicalTypeOptions: {minimum: 0, exclusiveMaximum: 10}}
      - {name: code, logicalType: string, unique: true, logicalTypeOptions: {minLength: 2, pattern: "^[A-Z]+$"}}
      - {name: kind, logicalType: string, enum: [{value: a}, {value: b}]}
      - {name: short, logicalType: string, physicalType: varchar(2)}
""",
        pa.table(
            {
                "id": ["1", "1", None, "4"],
                "total": [None, 10.0, -1.0, float("nan")],
                "code": ["AB", "AB", "c", None],
                "kind": ["a", "c", None, "b"],
                "short": ["äö", "abc", None, ""],
            }
        ),
    )
    assert broken(report) == {
        "short length": 1,
        "id required": 1,
        "primary key": 1,
        "total required": 1,
        "total range": 3,
        "code length": 1,
        "code pattern": 1,
        "code unique": 1,
        "kind allowed values": 1,
    }
    assert not report.passed
    assert report.consumers == ("finance", "dashboard")
    by_rule = {breach.rule: breach for breach in report.breaches}
    assert (
        by_rule["total range"].message
        == "total must be >= 0 and < 10: broken by 3 of 4 rows; for example id 1, id 4, id NULL"
    )
    assert (by_rule["total range"].line, by_rule["total range"].column) == (16, "total")


def test_members_of_structs_and_lists(tmp_path: Path) -> None:
    line = pa.struct({"sku": pa.string(), "price": pa.int64()})
    rows = pa.table(
        {
            "id": ["1", "2", "3", "4"],
            "buyer": pa.array([{"name": "x"}, {"name": None}, None, {"name": ""}], pa.struct({"name": pa.string()})),
            "lines": pa.array(
                [[{"sku": None, "price": 1}, {"sku": None, "price": -1}], [], None, [{"sku": "a", "price": 5}]],
                pa.list_(line),
            ),
        }
    )
    report = check(
        tmp_path,
        """
    properties:
      - {name: id, logicalType: string}
      - name: buyer
        logicalType: object
        properties: [{name: name, logicalType: string, required: true, logicalTypeOptions: {minLength: 1}}]
      - name: lines
        logicalType: array
        items:
          logicalType: object
          properties:
            - name: sku
              logicalType: string
              required: true
              quality: [{id: skus, metric: nullValues, mustBeLessThan: 50, unit: percent}]
            - {name: price, logicalType: integer, logicalTypeOptions: {minimum: 0}}
            - {name: vat, logicalType: integer, required: true}
""",
        rows,
    )
    # a row breaks a promise once, a metric counts values: two of the three skus are NULL
    assert broken(report) == {
        "columns": None,
        "buyer.name required": 1,
        "buyer.name length": 1,
        "lines.sku required": 1,
        "lines.sku skus": 2,
        "lines.price range": 1,
    }
    assert [breach.message for breach in report.breaches if breach.rule == "columns"] == [
        "the table has no such column"
    ]
    skus = next(breach for breach in report.breaches if breach.rule == "lines.sku skus")
    assert skus.message.endswith("broken by 2 of 3 values (66.67 %; less than 50 % is promised)")


def test_a_rule_about_a_column_that_is_not_there_names_it(tmp_path: Path) -> None:
    report = check(
        tmp_path,
        """
    quality:
      - {id: key, metric: duplicateValues, mustBe: 0, arguments: {properties: [id, totla]}}
    properties:
      - {name: id, logicalType: string}
      - {name: totla, logicalType: number, required: true}
""",
        pa.table({"id": ["1"], "total": [1.0]}),
    )
    said = [(breach.rule, breach.column, breach.message) for breach in report.breaches]
    assert said == [("columns", "totla", "the table has no such column. Did you mean total?")]


SQL = """
    quality:
      - {{id: rule, type: sql, query: "{query}", {operator}}}
    properties: [{{name: id, logicalType: string}}, {{name: total, logicalType: number}}]
"""


@pytest.mark.parametrize(
    ("query", "operator", "passed"),
    [
        ("SELECT count(*) FROM ${table} WHERE total < 0", "mustBe: 1", True),
        ("SELECT count(*) FROM {object} WHERE total < 0", "mustBe: 0", False),
        ("SELECT max(total) - min(total) FROM raw.orders", "mustBeBetween: [3, 3]", True),
        ("WITH t AS (SELECT * FROM orders) SELECT count(*) > 1 FROM t;", "mustBe: true", True),
        ("SELECT avg(total) FROM ${schema}.${model} o WHERE o.id = 'none'", "mustNotBe: 5", False),  # NULL
        ("SELECT id FROM ${table}", "mustBe: 1", False),  # several rows
        ("SELECT count(*), 1 FROM ${table}", "mustBe: 2", False),
        ("SELECT count(*) FROM ${table} -- all of them", "mustBeGreaterOrEqualTo: 2", True),
        ("SELECT sum(regexp_matches(id, '^[0-9]{1}$')::INT) FROM ${table}", "mustBe: 2", True),
    ],
)
def test_sql(tmp_path: Path, query: str, operator: str, passed: bool) -> None:
    rest = SQL.format(query=query, operator=operator)
    report = check(tmp_path, rest, pa.table({"id": ["1", "2"], "total": [-1.0, 2.0]}))
    assert (report.passed, [breach.rule for breach in report.breaches]) == (passed, [] if passed else ["rule"])


def test_sql_that_takes_too_long_is_ended_and_the_other_rules_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_rules, "LONGEST_SECONDS", 0.05)
    rest = SQL.format(query="SELECT sum(range) FROM range(100000000000)", operator="mustBe: 1")
    rest = rest.replace("name: total", "name: total, required: true")
    report = check(tmp_path, rest, pa.table({"id": ["1"], "total": pa.array([None], pa.float64())}))
    assert len(report.breaches) == 2
    [late] = [breach for breach in report.breaches if breach.rule == "rule"]
    assert late.message == "the query was ended: it took longer than 0.05 s"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("DROP TABLE raw.orders", "Only reading is allowed here"),
        ("SELECT 1; DELETE FROM ${table}", "Give one SQL statement, not 2"),
        ("SELEC 1", "Cannot read the SQL"),
        ("SELECT count(*) FROM read_csv('/etc/passwd')", "it reads read_csv(…): only tables may be read"),
        ("SELECT count(*) FROM '/etc/passwd.csv'", "it reads the file /etc/passwd.csv: only tables may be read"),
        ("SELECT getenv('HOME')", "the function getenv is not allowed"),
        ("SELECT count(*) FROM ${tabel}", "${tabel} is not a placeholder. Did you mean table?"),
        ("SELECT count(${column}) FROM ${table}", "${column} stands for a column, and the rule is about a table"),
        ("SELECT * FROM (SELECT 1) AS q) AS x; DROP TABLE a; --", "Cannot read the SQL"),
    ],
)
def test_sql_that_is_refused_before_anything_runs(tmp_path: Path, query: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        check(tmp_path, SQL.format(query=query, operator="mustBe: 0"), None)
    said = str(raised.value)
    assert "sales.yaml, line 15: rule: " in said
    assert reason in said


def test_a_table_that_does_not_exist_is_a_breach(tmp_path: Path) -> None:
    report = check(tmp_path, "    properties: [{name: id, logicalType: string}]", None)
    assert [(breach.table, breach.message) for breach in report.breaches] == [("raw.orders", "there is no such table")]


def test_ten_thousand_failing_rows_are_one_breach_with_some_keys(tmp_path: Path) -> None:
    rows = pa.table({"id": [f"{number:05}" for number in range(10_000)], "total": [-1] * 10_000})
    options = "{name: total, logicalType: integer, classification: %s, logicalTypeOptions: {minimum: 0}}"
    rest = f"""
    properties:
      - {{name: id, logicalType: string, primaryKey: true}}
      - {options % "public"}
"""
    (breach,) = check(tmp_path, rest, rows).breaches
    assert (breach.failed, breach.row_count) == (10_000, 10_000)
    assert breach.message.endswith("for example id 00000, id 00001, id 00002, id 00003, id 00004")
    masked = rest.replace("primaryKey: true", "primaryKey: true, classification: pii")
    (breach,) = check_contract(open_lake(tmp_path), contract_of(tmp_path, masked)).breaches
    assert breach.message.endswith("broken by 10000 of 10000 rows")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any) -> None:
    folder = tmp_path / "include" / "contracts"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / ".phlo"))
    contract_of(folder, "    properties: [{name: id, logicalType: string, required: true}]")
    create_table(open_lake(tmp_path / ".phlo"), "raw.orders", pa.table({"id": ["1", None]}))
    code, out, err = run_phlo("contract", "check")
    assert code == 1
    assert "id must have a value: broken by 1 of 2 rows" in out
    assert "sales is broken: it is relied on by finance, dashboard." in err
    row, _ = json.loads(run_phlo("contract", "check", "--output", "json")[1])
    assert (row["rule"], row["passed"], row["failed"]) == ("id required", False, 1)
    suites = ElementTree.fromstring(run_phlo("contract", "check", "sales", "-o", "junit")[1])
    assert (suites.get("tests"), suites.get("failures")) == ("2", "1")


@pytest.mark.parametrize(
    ("query", "shared"),
    [
        ("SELECT count(*) FROM orders", "count(*)"),
        ("SELECT COUNT(*) AS n FROM Orders o WHERE o.total < 0", "count(CASE WHEN (total < 0) THEN 1 END)"),
        ("SELECT max(total) FROM orders WHERE id = 'a'", "max(CASE WHEN (id = 'a') THEN total END)"),
        ("SELECT sum(CASE WHEN total > 1 THEN 1 ELSE 0 END) FROM orders", True),
        ("SELECT count(DISTINCT id) FROM orders", None),
        ("SELECT count(*) FROM others", None),
        ("SELECT count(*) FROM raw.orders", None),
        ("SELECT count(*) FROM orders, others", None),
        ("SELECT count(*) FROM orders GROUP BY id", None),
        ("SELECT count(*) FROM orders HAVING count(*) > 1", None),
        ("SELECT count(*) FROM orders LIMIT 0", None),
        ("SELECT count(*) + 1 FROM orders", None),
        ("SELECT max(sum(total)) FROM orders", None),
        ("SELECT count(*) FROM orders WHERE id IN (SELECT id FROM others)", None),
        ("SELECT count(*) FROM orders WHERE nope = 1", None),
        ("SELECT sum(total) OVER () FROM orders", None),
        ("SELECT count(*) FROM orders USING SAMPLE 10%", None),
        ("WITH orders AS (SELECT 1 AS id) SELECT count(*) FROM orders", None),
        ("SELECT list(id) FROM orders", None),
    ],
)
def test_sql_that_the_scan_of_the_other_rules_answers(query: str, shared: str | bool | None) -> None:
    found = shared_aggregate(query, frozenset({"orders"}), frozenset({"id", "total"}))
    assert (found is not None) if shared is True else (found == shared)


def test_one_scan_answers_rules_and_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    fetch = DuckDBEngine.fetch

    def counting(engine: DuckDBEngine, query: Query) -> Any:
        asked.append(query.sql)
        return fetch(engine, query)

    monkeypatch.setattr(DuckDBEngine, "fetch", counting)
    rest = """
    quality:
      - {metric: rowCount, mustBe: 2}
      - {type: sql, query: "SELECT count(*) FROM {table} WHERE total < 0", mustBe: 1}
      - {type: sql, query: "SELECT min(orders.total) FROM orders WHERE id <> '1'", mustBe: 2}
    properties:
      - {name: id, logicalType: string, required: true}
      - {name: total, logicalType: number, logicalTypeOptions: {minimum: -1}}
"""
    report = check(tmp_path, rest, pa.table({"id": ["1", "2"], "total": [-1.0, 2.0]}))
    assert report.breaches == ()
    assert [sql for sql in asked if not sql.startswith("DESCRIBE")] == [asked[-1]]


def test_a_contract_that_changes_while_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_phlo: Any
) -> None:
    folder = tmp_path / "include" / "contracts"
    folder.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / ".phlo"))
    contract = contract_of(folder, "    properties: [{name: id, logicalType: string}]")
    create_table(open_lake(tmp_path / ".phlo"), "raw.orders", pa.table({"id": ["1"]}))
    fetch = DuckDBEngine.fetch

    def edited(engine: DuckDBEngine, query: Query) -> Any:
        contract.source.write_text("name: other\n")
        return fetch(engine, query)

    monkeypatch.setattr(DuckDBEngine, "fetch", edited)
    code, _, err = run_phlo("contract", "check", "sales")
    assert (code, "sales.yaml has changed while it was checked: check it again." in err) == (1, True)


def test_a_table_that_is_dropped_between_list_and_check(tmp_path: Path) -> None:
    catalog = open_lake(tmp_path)
    create_table(catalog, "raw.orders", pa.table({"id": ["1"]}))
    contract = contract_of(tmp_path, "    properties: [{name: id, logicalType: string, unique: true}]\n")
    assert check_contract(catalog, contract).passed
    catalog.drop_table("raw.orders")
    report = check_contract(catalog, contract)
    (breach,) = report.breaches
    assert (breach.rule, breach.message, report.passed) == ("columns", "there is no such table", False)


def test_results_say_who_owns_the_contract_and_who_relies_on_it(tmp_path: Path) -> None:
    text = "    properties: [{name: id, logicalType: integer}]\n"
    for rows in (pa.table({"id": ["1"]}), None):
        (tmp_path / str(rows is None)).mkdir()
        (said,) = check(tmp_path / str(rows is None), text, rows).results
        assert (said.metrics["owner"], said.metrics["consumers"]) == ("ada", ["finance", "dashboard"])
