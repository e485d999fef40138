"""The metrics of the standard: where each may stand, its arguments, the numbers that it is compared with."""

from __future__ import annotations

from typing import Any

from open_data_contract_standard.model import DataQuality

from airflow_provider_phlo.contracts.rules.thresholds import is_percent, is_unit
from airflow_provider_phlo.suggestions import did_you_mean

METRICS = ("nullValues", "missingValues", "invalidValues", "duplicateValues", "rowCount")
_ARGUMENTS = {
    "nullValues": (),
    "missingValues": ("missingValues",),
    "invalidValues": ("validValues", "pattern", "missingValues"),
    "duplicateValues": ("properties",),
    "rowCount": (),
}


def problem_of_metric(rule: DataQuality, metric: str | None, valid: bool | None) -> str:
    """
    Return why a metric cannot be measured as it is written; empty if it can.

    :param valid: whether the column that it is about says which values are valid; None for a table.
    """
    if metric is None or metric not in METRICS:
        return ""
    arguments = rule.arguments or {}
    for name in arguments:
        if name not in _ARGUMENTS[metric]:
            known = _ARGUMENTS[metric]
            hint = did_you_mean(name, known) or (f" Known are {', '.join(known)}." if known else "")
            return f"arguments.{name} is not known to {metric}.{hint}".rstrip(".")
    return _problem_of_place(metric, arguments, valid) or _problem_of_unit(rule, metric) or _problem_of_operand(rule)


def _problem_of_place(metric: str, arguments: dict[str, Any], valid: bool | None) -> str:
    if valid is None and metric == "duplicateValues" and not _is_list(arguments.get("properties")):
        return "duplicateValues of a table needs arguments.properties, a list of columns"
    if valid is None and metric not in ("duplicateValues", "rowCount"):
        return f"{metric} is about a column: write it there"
    if metric == "missingValues" and "missingValues" in arguments and not _is_list(arguments["missingValues"]):
        return "arguments.missingValues has to be a list of values"
    if metric == "invalidValues" and not {"validValues", "pattern"} & set(arguments) and not valid:
        return "invalidValues needs arguments.validValues or arguments.pattern"
    if "validValues" in arguments and not _is_list(arguments["validValues"]):
        return "arguments.validValues has to be a list of values"
    if "pattern" in arguments and not isinstance(arguments["pattern"], str):
        return "arguments.pattern has to be text: write it in quotes"
    return ""


def _problem_of_unit(rule: DataQuality, metric: str) -> str:
    if rule.unit is None:
        return ""
    if not is_unit(rule.unit):
        return f"unit has to be rows or percent, not {rule.unit}"
    if metric == "rowCount" and is_percent(rule.unit):
        return "rowCount is a number of rows, of which there is no share"
    return ""


def _problem_of_operand(rule: DataQuality) -> str:
    numbers = [rule.mustBe, rule.mustNotBe, *(rule.mustBeBetween or ()), *(rule.mustNotBeBetween or ())]
    given = [number for number in numbers if number is not None]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in given):
        return "a metric is compared with a number"
    for pair in (rule.mustBeBetween, rule.mustNotBeBetween):
        if pair and pair[0] > pair[1]:
            return f"nothing lies between {pair[0]} and {pair[1]}: write the smaller number first"
    return ""


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)
