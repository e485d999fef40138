"""The tests of a dbt model's columns, as its YAML declares them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_phlo.exceptions import SchemaError

RANGE_TESTS = ("dbt_expectations.expect_column_values_to_be_between", "dbt_utils.accepted_range")
KNOWN_TESTS = ("not_null", "unique", "accepted_values", *RANGE_TESTS)
# a SQL expression that is not a literal, or a value that is not of its column's type
UNCERTAIN = object()


@dataclass(frozen=True)
class Test:
    """
    A test of a column.

    :param warns: whether a failure is only a warning (``severity: warn``).
    :param inactive: why it does not fail for every bad row: it is disabled, selects some rows, or lets some
        of them fail; empty if it does.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    warns: bool = False
    inactive: str = ""

    def values(self) -> list[Any]:
        """Return the values that the test compares with those of its column; ``UNCERTAIN`` for an expression."""
        if self.name == "accepted_values":
            values = self.arguments.get("values")
            if _is_template(values):
                return [UNCERTAIN]
            quoted = self.arguments.get("quote", True)
            listed = [value for value in (values if isinstance(values, list) else []) if value is not None]
            return [_quoted(value) if quoted else sql_literal(value) for value in listed]
        if self.name in RANGE_TESTS:
            bounds = (self.arguments.get("min_value"), self.arguments.get("max_value"))
            return [sql_literal(value) for value in bounds if value is not None]
        return []


def tests_of(declared: Mapping[str, Any], where: str) -> Iterator[Test]:
    """
    Yield the tests of a column or a model: those below ``tests`` and ``data_tests``.

    :raises SchemaError: if one is neither a name nor a mapping.
    """
    for key in ("tests", "data_tests"):
        listed = declared.get(key) or []
        if not isinstance(listed, list):
            raise SchemaError(f"The {key} of {where} must be a list.")
        for test in listed:
            if isinstance(test, str):
                yield Test(test.removeprefix("dbt."))
            elif isinstance(test, dict) and test:
                yield _test(test, where)
            else:
                raise SchemaError(f"A test of {where} is neither a name nor a mapping.")


def _test(declared: Mapping[str, Any], where: str) -> Test:
    """Read ``{name: arguments}`` and ``{test_name: name, …}``, with arguments beside or below ``arguments:``."""
    name, body = declared.get("test_name"), dict(declared)
    if name is None:
        name, body = next((str(key), value or {}) for key, value in declared.items())
    if not isinstance(body, dict):
        raise SchemaError(f"The test {name} of {where} must be a mapping of its arguments.")
    arguments = {**body, **(body.get("arguments") or {})}
    config = {**body, **(body.get("config") or {})}
    warns = str(config.get("severity", "")).lower() == "warn"
    return Test(name.removeprefix("dbt."), arguments, warns, _inactive(arguments, config))


def _quoted(value: Any) -> Any:
    """Return the value of what dbt puts between quotes in its SQL, where two of them stand for one."""
    if isinstance(value, str):
        return UNCERTAIN if _is_template(value) else value.replace("''", "'")
    return value


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def _inactive(arguments: Mapping[str, Any], config: Mapping[str, Any]) -> str:
    """Return why a test does not fail for every bad row; empty if it does."""
    if not config.get("enabled", True):
        return "it is disabled"
    if config.get("where") or arguments.get("row_condition"):
        return "it applies to some rows only"
    for name in ("error_if", "warn_if"):
        if "".join(str(config.get(name) or "!=0").split()) not in ("!=0", ">0", ">=1", "<>0"):
            return f"{name} lets some rows fail"
    for name, usual in (("fail_calc", "count(*)"), ("limit", None)):
        if config.get(name, usual) != usual:
            return f"{name} says which failures count"
    for name in ("enabled", "severity"):
        if _is_template(config.get(name)):
            return f"its {name} is a template"
    return ""


def sql_literal(value: Any) -> Any:
    """Return the value of a SQL literal; ``UNCERTAIN`` for any other expression."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1].replace("''", "'")
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for parse in (int, float):
        try:
            return parse(text)
        except ValueError:
            continue
    return UNCERTAIN
