"""The columns that a dbt model's YAML declares, as a Pandera model, so that they are declared only once."""

from __future__ import annotations

import datetime
import decimal
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pandera.api.checks import Check
from pandera.engines.pandas_engine import DateTime, Decimal

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.base import PhloSchema, make_model
from airflow_provider_phlo.schemas.columns import DECIMAL
from airflow_provider_phlo.schemas.constraints import constraints
from airflow_provider_phlo.schemas.dbt_tests import KNOWN_TESTS, UNCERTAIN, Test, sql_literal, tests_of
from airflow_provider_phlo.schemas.personal import is_pii
from airflow_provider_phlo.yaml_lines import plain_yaml

log = logging.getLogger(__name__)
_SKIPPED = "__skipped_tests__"

_DATA_TYPES: dict[type, tuple[str, ...]] = {
    str: ("char", "character", "character varying", "json", "nvarchar", "string", "text", "uuid", "varchar"),
    int: (
        "bigint", "hugeint", "int", "int2", "int4", "int8", "int16", "int32", "int64", "integer", "long", "smallint",
        "tinyint",
    ),
    float: ("double", "double precision", "float", "float4", "float8", "float32", "float64", "real"),
    bool: ("bool", "boolean"),
    bytes: ("binary", "blob", "bytea", "bytes", "varbinary"),
    datetime.date: ("date",),
    datetime.datetime: (
        "datetime", "timestamp", "timestamp with time zone", "timestamp without time zone", "timestamp_ltz",
        "timestamp_ntz", "timestamp_tz", "timestamptz",
    ),
    decimal.Decimal: ("decimal", "number", "numeric"),
}  # fmt: skip
_TYPE_OF_NAME = {name: kind for kind, names in _DATA_TYPES.items() for name in names}
_PRECISION = re.compile(r"\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)")

# `*_id` and `id` are text like every name without a known suffix, unless the column's tests have numbers
_SUFFIXES: tuple[tuple[tuple[str, ...], type], ...] = (
    (("_timestamp", "_date", "_at"), datetime.datetime),
    (("_count", "_amount", "_num", "_qty"), int),
    (("_pct", "_percent"), float),
)


@dataclass(frozen=True)
class SkippedTest:
    """
    A test in the YAML that does not become a constraint of the class.

    :param column: the tested column; None for a test of the model.
    :param reason: why it does not.
    """

    column: str | None
    test: str
    reason: str

    def __str__(self) -> str:
        return f"{self.column or 'the model'}: {self.test} ({self.reason})"


def dbt_model_to_pandera(path: str | Path, model: str, class_name: str | None = None) -> type[PhloSchema]:
    """
    Return a Pandera model for a dbt model, with its columns, types, tests and descriptions.

    ``not_null``, ``unique``, ``accepted_values``, ``dbt_expectations.expect_column_values_to_be_between`` and
    ``dbt_utils.accepted_range`` become constraints; a column without ``not_null`` is nullable. Ranges and values with
    ``severity: warn`` become rules that only warn. The log and :func:`skipped_tests` list what does not become a
    constraint: unknown tests; tests that are disabled, have a ``where``, or a bound that is a SQL expression;
    ``not_null`` and ``unique`` that only warn. The type is ``data_type``, else inferred from the name, else from
    the values of the tests, else str.

    :param path: a YAML file with ``models:``.
    :param model: the name of one of these models.
    :param class_name: the name of the class; the model's name in CamelCase by default.
    :raises SchemaError: if the file or the model is missing or cannot be understood, or the tests of a column
        contradict each other or its type.

    ::

        FactReading = dbt_model_to_pandera("include/dbt/models/glucose/glucose.yml", "fct_glucose_readings")
    """
    path = Path(path)
    found = _model(path, model)
    where = f"model {model!r} in {path}"
    columns = _named(found.get("columns") or [], f"columns of {where}")
    if not columns:
        raise SchemaError(f"The {where} declares no columns: list them there, each with its name.")
    skipped = [SkippedTest(None, test.name, "a test of the whole model") for test in tests_of(found, where)]
    fields = {name: _column(name, column, f"column {name!r} of {where}", skipped) for name, column in columns.items()}
    if skipped:
        log.info("Tests of the %s that did not become constraints: %s", where, "; ".join(map(str, skipped)))
    made = make_model(class_name or _camel_case(model), fields, doc=_text(found), module=__name__)
    setattr(made, _SKIPPED, tuple(skipped))
    return made


def skipped_tests(model: type) -> tuple[SkippedTest, ...]:
    """Return the tests that :func:`dbt_model_to_pandera` could not turn into constraints of ``model``."""
    return getattr(model, _SKIPPED, ())


def model_names(path: Path) -> list[str]:
    """
    Return the names of the models that a YAML file describes.

    :raises SchemaError: if it cannot be read.
    """
    return list(models_of(path))


def _model(path: Path, name: str) -> Mapping[str, Any]:
    known = models_of(path)
    if name not in known:
        raise SchemaError(f"{path} does not have a model {name!r}: it has {', '.join(known) or 'no models'}.")
    return known[name]


def models_of(path: Path) -> dict[str, Mapping[str, Any]]:
    """
    Return what a YAML file says of each of its models.

    :raises SchemaError: if it cannot be read.
    """
    try:
        content = plain_yaml(path)
    except OSError as error:
        raise SchemaError(f"The dbt YAML {path} cannot be read ({error.strerror}): give the path of a file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SchemaError(f"The dbt YAML {path} is not valid YAML: {error}") from error
    models = content.get("models") if isinstance(content, dict) else None
    return _named(models or [], f"models in {path}")


def _named(items: Any, what: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(items, list) or not all(isinstance(item, dict) and item.get("name") for item in items):
        raise SchemaError(f"The {what} must be a list of mappings, each with a name.")
    names = [str(item["name"]) for item in items]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise SchemaError(f"The {what} list {', '.join(repeated)} more than once: keep one of each.")
    return dict(zip(names, items, strict=True))


def _column(name: str, column: Mapping[str, Any], where: str, skipped: list[SkippedTest]) -> tuple[Any, dict[str, Any]]:
    """Return a column's annotation and the arguments of its ``Field``; add what is left out to ``skipped``."""
    tests = list(tests_of(column, where))
    kind, precision = _kind(name, column, tests, where)
    simple: set[str] = set()
    checks: list[Check] = []
    for test in tests:
        reason = _skips(test)
        if reason:
            skipped.append(SkippedTest(name, test.name, reason))
        elif test.name in ("not_null", "unique"):
            simple.add(test.name)
        else:
            found, left_out = _checks(test, kind, where)
            checks += found
            skipped += [SkippedTest(name, test.name, reason) for reason in left_out]
    annotation, dtype = _annotation(kind, precision, constrained=bool(checks))
    options = {
        "nullable": "not_null" not in simple,
        "unique": "unique" in simple,
        "description": _text(column),
        "metadata": {"pii": True} if is_pii(column) else None,
        "dtype_kwargs": dtype,
        "checks": [check for check in checks if check.raise_warning],
    }
    return annotation, {**options, **_field_arguments(checks, kind, where)}


def _skips(test: Test) -> str:
    """Return why a test does not become a constraint; empty if it does."""
    if test.name not in KNOWN_TESTS:
        return "unknown test"
    if test.warns and test.name in ("not_null", "unique"):
        return "it only warns"
    return test.inactive


def _field_arguments(checks: Sequence[Check], kind: type, where: str) -> dict[str, Any]:
    """Return what all tests together require, as arguments of ``Field``."""
    found = constraints(checks)
    contradiction = found.contradiction(whole=kind is int)
    if contradiction:
        raise SchemaError(f"The tests of {where} contradict each other: {contradiction}. Correct them in the YAML.")
    arguments: dict[str, Any] = {}
    if found.allowed is not None:
        arguments["isin"] = list(found.allowed)
    if found.low is not None:
        arguments["gt" if found.low.exclusive else "ge"] = found.low.value
    if found.high is not None:
        arguments["lt" if found.high.exclusive else "le"] = found.high.value
    return arguments


def _annotation(
    kind: type, precision: tuple[int, int] | None, *, constrained: bool
) -> tuple[Any, dict[str, Any] | None]:
    """Return Pandera's type for ``kind``, and its arguments."""
    if precision:
        return Decimal, {"precision": precision[0], "scale": precision[1]}
    if kind is datetime.datetime and constrained:
        # bounds have a time zone, and cannot be compared with values that have none
        return DateTime, {"unit": "us", "tz": "UTC"}
    return kind, None


def _text(item: Mapping[str, Any]) -> str | None:
    return str(item.get("description") or "").strip() or None


def _kind(
    name: str, column: Mapping[str, Any], tests: Sequence[Test], where: str
) -> tuple[type, tuple[int, int] | None]:
    """Return a column's Python type, and for a decimal its precision and scale."""
    declared = column.get("data_type")
    if declared:
        return _declared_kind(str(declared), where)
    for suffixes, kind in _SUFFIXES:
        if name.lower().endswith(suffixes):
            return kind, None
    return _kind_of_values([value for test in tests for value in test.values()]), None


def _declared_kind(declared: str, where: str) -> tuple[type, tuple[int, int] | None]:
    name = " ".join(_PRECISION.sub(" ", declared).lower().split())
    kind = _TYPE_OF_NAME.get(name)
    if kind is None:
        raise SchemaError(
            f"data_type {declared!r} of {where} is not known: write one of {', '.join(sorted(_TYPE_OF_NAME))}."
        )
    if kind is not decimal.Decimal:
        return kind, None
    given = _PRECISION.search(declared)
    precision, scale = (int(given[1]), int(given[2] or 0)) if given else (DECIMAL.precision, DECIMAL.scale)
    if not 1 <= precision <= DECIMAL.precision or scale > precision:
        raise SchemaError(
            f"data_type {declared!r} of {where}: a decimal has 1 to {DECIMAL.precision} digits, and no more of them "
            "after the point."
        )
    return kind, (precision, scale)


def _kind_of_values(values: Sequence[Any]) -> type:
    kinds = {type(value) for value in values if value is not UNCERTAIN}
    if kinds == {int, float}:
        return float
    kind = kinds.pop() if len(kinds) == 1 else str
    return kind if kind in _TYPE_OF_NAME.values() else str


def _checks(test: Test, kind: type, where: str) -> tuple[list[Check], list[str]]:
    """Return the checks for a test of values, and why parts of it become none."""
    return _accepted(test, kind, where) if test.name == "accepted_values" else _bounds(test, kind, where)


def _accepted(test: Test, kind: type, where: str) -> tuple[list[Check], list[str]]:
    values = test.values()
    if not values:
        raise SchemaError(f"The test accepted_values of {where} lists no values.")
    if UNCERTAIN in values:
        return [], ["a value is a SQL expression"]
    accepted = [_convert(value, kind) for value in values]
    if UNCERTAIN in accepted:
        raise SchemaError(
            f"accepted_values of {where} are not all of type {kind.__name__}: set the column's data_type."
        )
    return [Check.isin(accepted, raise_warning=test.warns)], []


def _bounds(test: Test, kind: type, where: str) -> tuple[list[Check], list[str]]:
    """Return the bounds as checks; they are inclusive unless the test says otherwise."""
    strict = test.arguments.get("strictly", False) or not test.arguments.get("inclusive", True)
    checks, left_out = [], []
    ends = (("min_value", Check.gt if strict else Check.ge), ("max_value", Check.lt if strict else Check.le))
    for argument, check in ends:
        value = sql_literal(test.arguments.get(argument))
        if value is None:
            continue
        if value is UNCERTAIN:
            left_out.append(f"{argument} is a SQL expression")
        elif kind is str and not isinstance(value, str):
            left_out.append("a number cannot bound text")
        else:
            checks.append(check(_bound(value, kind, argument, test, where), raise_warning=test.warns))
    return checks, left_out or ([] if checks else ["it has no bounds"])


def _bound(value: Any, kind: type, argument: str, test: Test, where: str) -> Any:
    bound = _convert(value, kind)
    if bound is UNCERTAIN:
        raise SchemaError(
            f"{argument} of {test.name} of {where} is not of type {kind.__name__}: correct it or the data_type."
        )
    return bound


def _convert(value: Any, kind: type) -> Any:
    """Return ``value`` in a form that compares with the column's values; ``UNCERTAIN`` if it is of another kind."""
    if value is UNCERTAIN:
        return value
    try:
        found = _CONVERTERS.get(kind, kind)(value)
        return found if found == found else UNCERTAIN  # nothing can be compared with NaN
    except (ValueError, TypeError, KeyError, OverflowError, decimal.InvalidOperation):
        return UNCERTAIN


def _utc_moment(value: Any) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)


def _number(value: Any) -> int | float:
    """Return an integer, or a bound between two integers as it is."""
    number = float(value)
    return int(value) if number.is_integer() else number


_CONVERTERS: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: {"true": True, "1": True, "false": False, "0": False}[str(value).lower()],
    bytes: lambda value: str(value).encode(),
    datetime.date: lambda value: _utc_moment(value).date(),
    datetime.datetime: _utc_moment,
    decimal.Decimal: lambda value: decimal.Decimal(str(value)),
    int: _number,
}


def _camel_case(name: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"\W+|_+", name))
