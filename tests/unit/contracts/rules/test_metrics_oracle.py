"""
Every metric, with every operator and unit, beside the same counted in plain Python: NULL, NaN, no rows, one row.

And what was reported of other tools: numbers that were rounded before they were compared, NULL taken for a value, an
empty table divided by, a rule that one bad neighbour kept from being judged.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.rules.checks import checks_of
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.scan import run_checks_on_frame

HEAD = (
    "{apiVersion: v3.1.0, kind: DataContract, id: c, version: 1.0.0, status: active, "
    "schema: [{name: t, properties: [%s], quality: [%s]}]}"
)
NAN = float("nan")
OPERATORS: dict[str, Callable[..., bool]] = {
    "mustBe": lambda found, wanted: found == wanted,
    "mustNotBe": lambda found, wanted: found != wanted,
    "mustBeGreaterThan": lambda found, wanted: found > wanted,
    "mustBeGreaterOrEqualTo": lambda found, wanted: found >= wanted,
    "mustBeLessThan": lambda found, wanted: found < wanted,
    "mustBeLessOrEqualTo": lambda found, wanted: found <= wanted,
    "mustBeBetween": lambda found, low, high: low <= found <= high,
    "mustNotBeBetween": lambda found, low, high: not low <= found <= high,
}
COLUMNS: dict[str, tuple[pa.DataType, Sequence[Any]]] = {
    "text": (pa.string(), ["a", "a", "", None, None, "N/A", "b", "ab1"]),
    "number": (pa.int64(), [1, 1, 1, None, 0, -5, 2**53 + 1, 7]),
    "real": (pa.float64(), [NAN, NAN, 0.1, None, -0.0, 0.0, math.inf, 2.5]),
}
METRICS = {
    "nullValues": ["{}"],
    "missingValues": ["{}", "{missingValues: [null, '', N/A]}", "{missingValues: [0, .nan]}"],
    "invalidValues": ["{validValues: [a, b, '1', 0.1]}", "{pattern: '^[0-9a]'}"],
    "duplicateValues": ["{}"],
}


def is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def same(value: Any, other: Any) -> bool:
    """Return whether a value of a column is one of a contract, which may be written as text or as a number."""
    if isinstance(value, str) or value is None:
        return value is not None and value == str(other)
    try:
        number = float(other)
    except (TypeError, ValueError):
        return False
    return (is_nan(value) and is_nan(number)) or value == number


def counted(metric: str, arguments: dict[str, Any], values: Sequence[Any]) -> int:
    there = [value for value in values if value is not None]
    if metric == "duplicateValues":
        return len(there) - len({"nan" if is_nan(value) else value for value in there})
    missing = len(values) - len(there)
    if metric == "nullValues":
        return missing
    if metric == "missingValues":
        return missing + sum(any(same(value, each) for each in arguments.get("missingValues", ())) for value in there)
    if "pattern" in arguments:
        return sum(not re.search(arguments["pattern"], str(value)) for value in there)
    return sum(not any(same(value, each) for each in arguments["validValues"]) for value in there)


def judged(column: str, rules: Sequence[str], rows: pa.Table, folder: Path) -> list[Any]:
    path = folder / "contract.yaml"
    path.write_text(HEAD % (f"{{name: {column}, quality: [{', '.join(rules)}]}}", ""))
    contract = read_contract(path)
    return run_checks_on_frame(rows, checks_of(contract, contract.promises[0]), {"table": "t"})[1:]


CASES = [
    (metric, arguments, column, operator, unit, rows)
    for metric, all_arguments in METRICS.items()
    for arguments in all_arguments
    for column in COLUMNS
    for rows in (0, 1, 8)
    for operator, unit in itertools.product(OPERATORS, ("rows", "percent"))
    if not ("pattern" in arguments and column == "real") and not ("validValues" in arguments and column == "number")
]


@pytest.mark.long
@pytest.mark.parametrize("column", list(COLUMNS))
@pytest.mark.parametrize("size", [0, 1, 8])
def test_every_metric_operator_and_unit(tmp_path: Path, column: str, size: int) -> None:
    import yaml

    kind, values = COLUMNS[column]
    values = list(values[len(values) - size :] if size == 1 else values[:size])
    rules, wanted = [], []
    for metric, arguments, _, operator, unit, _ in [each for each in CASES if each[2] == column and each[5] == size]:
        given = yaml.safe_load(arguments)
        if "validValues" in given and column == "real":
            given, arguments = {"validValues": [0.1, 2.5]}, "{validValues: [0.1, 2.5]}"
        if column == "text" and "missingValues" in given and 0 in given["missingValues"]:
            continue
        found = counted(metric, given, values)
        measured = Fraction(100 * found, size) if unit == "percent" and size else Fraction(found)
        for operand in {0, 1, 25, 37.5, float(measured)}:
            pair = operator.endswith("Between")
            written = f"[{operand}, {operand + 10}]" if pair else f"{operand}"
            bounds = (Fraction(str(operand)), Fraction(str(operand + 10))) if pair else (Fraction(str(operand)),)
            rules.append(f"{{metric: {metric}, arguments: {arguments}, {operator}: {written}, unit: {unit}}}")
            wanted.append((rules[-1], found, OPERATORS[operator](measured, *bounds)))
    results = judged(column, rules, pa.table({column: pa.array(values, kind)}), tmp_path)
    assert [(rule, each.failed, each.passed) for (rule, *_), each in zip(wanted, results, strict=True)] == wanted
    assert len(wanted) > 200


@pytest.mark.parametrize("size", [0, 1, 3])
def test_the_number_of_rows(tmp_path: Path, size: int) -> None:
    rules = [
        f"{{metric: rowCount, {operator}: {f'[{operand}, 2]' if operator.endswith('Between') else operand}}}"
        for operator in OPERATORS
        for operand in (0, 1)
    ]
    path = tmp_path / "contract.yaml"
    path.write_text(HEAD % ("{name: x}", ", ".join(rules)))
    contract = read_contract(path)
    frame = pa.table({"x": pa.array([None] * size, pa.int64())})
    found = run_checks_on_frame(frame, checks_of(contract, contract.promises[0]), {"table": "t"})[1:]
    wanted = [
        OPERATORS[operator](size, *((operand, 2) if operator.endswith("Between") else (operand,)))
        for operator in OPERATORS
        for operand in (0, 1)
    ]
    assert [each.passed for each in found] == wanted


def test_a_share_is_not_rounded_before_it_is_compared(tmp_path: Path) -> None:
    """3 of 1,864,458 rows are more than none, and fewer than a millionth part of a percent more than the limit."""
    rows = pa.table({"x": pa.array([None] * 3 + [1] * 1_864_455, pa.int64())})
    some, none, limit = judged(
        "x",
        [
            "{metric: nullValues, mustBeGreaterThan: 0, unit: percent}",
            "{metric: nullValues, mustBe: 0, unit: '%'}",
            "{metric: nullValues, mustBeLessOrEqualTo: 0.00016090466, unit: percent}",
        ],
        rows,
        tmp_path,
    )
    assert (some.passed, none.passed, limit.passed) == (True, False, False)
    assert "0.0001609 %" in none.message


def test_a_rule_that_cannot_be_judged_keeps_no_other_from_being_judged(tmp_path: Path) -> None:
    path = tmp_path / "contract.yaml"
    column = "{name: x, required: true, logicalTypeOptions: {minimum: 1}, quality: [{metric: nullValues, mustBe: 0}]}"
    path.write_text(HEAD % (column, "{metric: rowCount, mustBe: 2}, {type: sql, query: SELECT nope FROM t, mustBe: 1}"))
    contract = read_contract(path)
    rows = pa.table({"x": ["a", None]})
    found = {
        each.check_name: (each.passed, each.failed)
        for each in run_checks_on_frame(rows, checks_of(contract, contract.promises[0]), {"table": "t"})
    }
    assert found == {
        "c: columns": (True, None),
        "c: x required": (False, 1),
        "c: x range": (False, None),
        "c: x nullValues": (False, 1),
        "c: rowCount": (True, None),
        "c: rule 2": (False, None),
    }


@pytest.mark.parametrize(
    ("kind", "options", "values", "failed"),
    [
        (pa.decimal128(9, 2), "{minimum: 0.1}", ["0.10", "0.09"], 1),
        (pa.float32(), "{maximum: 0.1}", [0.1, 0.2], 1),
        (pa.int8(), "{exclusiveMinimum: 127}", [127, 1], 2),
        (pa.int64(), "{exclusiveMaximum: 9007199254740993}", [2**53 + 1, 2**53], 1),
        (pa.float64(), "{exclusiveMinimum: 9007199254740993}", [2.0**53, 2.0**53 + 2], 1),
        (pa.float64(), "{minimum: 0, exclusiveMinimum: true}", [0.0, -0.0, NAN, 1.0], 3),
        (pa.date32(), "{minimum: 2024-01-02}", ["2024-01-01", "2024-01-02"], 1),
        (pa.string(), "{minLength: 2, maxLength: 3}", ["é", "日本", "abcd", None], 2),
        (pa.list_(pa.int64()), "{minLength: 1}", [[], [1], None], 1),
        (pa.string(), "{enum: [1, yes, 2024-01-01]}", ["1", "2024-01-01", "x"], None),  # yes is a truth value in YAML
        (pa.string(), "{enum: [1, 'yes', 2024-01-01]}", ["1", "2024-01-01", "x"], 1),
        (pa.bool_(), "{enum: [true]}", [True, False, None], 1),
    ],
)
def test_values_at_their_bounds(
    tmp_path: Path, kind: pa.DataType, options: str, values: list[Any], failed: int | None
) -> None:
    from datetime import date
    from decimal import Decimal

    made = [
        Decimal(each) if pa.types.is_decimal(kind) else date.fromisoformat(each) if kind == pa.date32() else each
        for each in values
    ]
    path = tmp_path / "contract.yaml"
    path.write_text(HEAD % (f"{{name: x, logicalTypeOptions: {options}}}", ""))
    contract = read_contract(path)
    rows = pa.table({"x": pa.array(made, kind)})
    (result,) = run_checks_on_frame(rows, checks_of(contract, contract.promises[0]), {"table": "t"})[1:]
    assert (result.failed, result.passed) == (failed, False)


@pytest.mark.parametrize(
    ("column", "table", "problem"),
    [
        ("{metric: nullValue, mustBe: 0}", "", "metric has to be one of"),
        ("{metric: nullValues, mustBe: 0, mustNotBe: 1}", "", "write one of mustBe"),
        ("{metric: nullValues}", "", "write one of mustBe"),
        ("{metric: invalidValues, mustBe: 0}", "", "needs arguments.validValues or arguments.pattern"),
        ("{metric: invalidValues, mustBe: 0, arguments: {validVales: [a]}}", "", "Did you mean validValues?"),
        ("{metric: missingValues, mustBe: 0, arguments: {missingValues: x}}", "", "has to be a list"),
        ("{metric: nullValues, mustBe: 0, unit: permille}", "", "unit has to be rows or percent, not permille"),
        ("{metric: nullValues, mustBe: none}", "", "a metric is compared with a number"),
        ("{metric: nullValues, mustBeBetween: [2, 1]}", "", "write the smaller number first"),
        ("", "{metric: nullValues, mustBe: 0}", "nullValues is about a column: write it there"),
        ("", "{metric: duplicateValues, mustBe: 0}", "needs arguments.properties"),
        ("", "{metric: rowCount, mustBe: 1, unit: percent}", "of which there is no share"),
        ("{metric: nullValues, mustBe: 0, severty: warning}", "", "Did you mean severity?"),
        ("", "{metric: rowCount, mustBe: 1, mustBe: 2}", "is there twice"),
        ("&a [*a]", "", "anchors"),
    ],
)
def test_a_rule_that_cannot_be_measured_is_refused_by_line(
    tmp_path: Path, column: str, table: str, problem: str
) -> None:
    path = tmp_path / "contract.yaml"
    path.write_text(HEAD % (f"{{name: x, quality: [{column}]}}", table))
    with pytest.raises(ConfigurationError) as raised:
        read_contract(path)
    assert problem in str(raised.value)
    assert "line 1" in str(raised.value)
