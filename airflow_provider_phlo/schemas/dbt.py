"""The columns that a dbt model's YAML declares, as a Pandera model: said once, in the YAML."""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pandera.engines.pandas_engine import DateTime, Decimal

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.schemas.base import PhloSchema, make_model
from airflow_provider_phlo.schemas.columns import DECIMAL

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

# `*_id` and `id` are text as every name is that says nothing: numbers in the column's tests know better.
_SUFFIXES: tuple[tuple[tuple[str, ...], type], ...] = (
    (("_timestamp", "_date", "_at"), datetime.datetime),
    (("_count", "_amount", "_num", "_qty"), int),
    (("_pct", "_percent"), float),
)
_RANGE_TESTS = ("dbt_expectations.expect_column_values_to_be_between", "dbt_utils.accepted_range")
_UNCERTAIN = object()


@dataclass(frozen=True)
class _Test:
    """
    A test of a column.

    :param binding: whether it holds for every row that the model may have; one that is disabled, only warns, or looks
        at some rows does not.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    binding: bool = True


def dbt_model_to_pandera(path: str | Path, model: str, class_name: str | None = None) -> type[PhloSchema]:
    """
    Return the Pandera model of a dbt model: its columns, types, tests and descriptions.

    ``not_null``, ``unique``, ``accepted_values``, ``dbt_expectations.expect_column_values_to_be_between`` and
    ``dbt_utils.accepted_range`` become constraints; a column without ``not_null`` is nullable. Tests that are
    disabled, only warn, or have a ``where`` constrain nothing, and neither do bounds that are SQL expressions. A type
    is ``data_type``, else what the name says, else what the values of the tests say, else str.

    :param path: a YAML file with ``models:``.
    :param model: the name of one of them.
    :param class_name: the name of the class; by default the model's in CamelCase.
    :raises SchemaError: if the file or the model is missing or cannot be understood.
    """
    path = Path(path)
    found = _model(path, model)
    where = f"model {model!r} in {path}"
    columns = _named(found.get("columns") or [], f"columns of {where}")
    if not columns:
        raise SchemaError(f"The {where} declares no columns: list them there, each with its name.")
    fields = {name: _column(name, column, f"column {name!r} of {where}") for name, column in columns.items()}
    return make_model(class_name or _camel_case(model), fields, doc=_text(found), module=__name__)


def _model(path: Path, name: str) -> Mapping[str, Any]:
    try:
        content = yaml.load(path.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - safe
    except OSError as error:
        raise SchemaError(f"The dbt YAML {path} cannot be read ({error.strerror}): give the path of a file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SchemaError(f"The dbt YAML {path} is no valid YAML: {error}") from error
    models = content.get("models") if isinstance(content, dict) else None
    known = _named(models or [], f"models in {path}")
    if name not in known:
        raise SchemaError(f"There is no model {name!r} in {path}: it has {', '.join(known) or 'no models'}.")
    return known[name]


def _named(items: Any, what: str) -> dict[str, Mapping[str, Any]]:
    if not isinstance(items, list) or not all(isinstance(item, dict) and item.get("name") for item in items):
        raise SchemaError(f"The {what} must be a list of mappings, each with a name.")
    return {str(item["name"]): item for item in items}


def _column(name: str, column: Mapping[str, Any], where: str) -> tuple[Any, dict[str, Any]]:
    """Return a column's annotation and the arguments of its ``Field``."""
    tests = list(_tests(column, where))
    kind, precision = _kind(name, column, tests, where)
    binding = [test for test in tests if test.binding]
    constraints: dict[str, Any] = {}
    for test in binding:
        if test.name == "accepted_values":
            constraints.update(_accepted(test, kind, where))
        elif test.name in _RANGE_TESTS:
            constraints.update(_bounds(test, kind))
    annotation, dtype = _annotation(kind, precision, constrained=bool(constraints))
    names = {test.name for test in binding}
    options = {
        "nullable": "not_null" not in names,
        "unique": "unique" in names,
        "description": _text(column),
        "metadata": {"pii": True} if _is_pii(column) else None,
        "dtype_kwargs": dtype,
    }
    return annotation, {**options, **constraints}


def _annotation(
    kind: type, precision: tuple[int, int] | None, *, constrained: bool
) -> tuple[Any, dict[str, Any] | None]:
    """Return what Pandera calls ``kind``, and the arguments of that."""
    if precision:
        return Decimal, {"precision": precision[0], "scale": precision[1]}
    if kind is datetime.datetime and constrained:
        # bounds are moments: they compare with nothing that names no zone
        return DateTime, {"unit": "us", "tz": "UTC"}
    return kind, None


def _text(item: Mapping[str, Any]) -> str | None:
    return str(item.get("description") or "").strip() or None


def _is_pii(column: Mapping[str, Any]) -> bool:
    """Values of such columns never appear in messages; dbt takes tags and meta at the top or below ``config``."""
    places = [column, column.get("config") or {}]
    tags = [place.get("tags") or () for place in places]
    return any((place.get("meta") or {}).get("pii") for place in places) or any(
        "pii" in ([each] if isinstance(each, str) else each) for each in tags
    )


def _tests(column: Mapping[str, Any], where: str) -> Iterator[_Test]:
    for key in ("tests", "data_tests"):
        declared = column.get(key) or []
        if not isinstance(declared, list):
            raise SchemaError(f"The {key} of {where} must be a list.")
        for test in declared:
            if isinstance(test, str):
                yield _Test(test.removeprefix("dbt."))
            elif isinstance(test, dict) and test:
                yield _test(test, where)
            else:
                raise SchemaError(f"A test of {where} is neither a name nor a mapping.")


def _test(declared: Mapping[str, Any], where: str) -> _Test:
    """Read ``{name: arguments}`` and ``{test_name: name, …}``, with arguments beside or below ``arguments:``."""
    name, body = declared.get("test_name"), dict(declared)
    if name is None:
        name, body = next((str(key), value or {}) for key, value in declared.items())
    if not isinstance(body, dict):
        raise SchemaError(f"The test {name} of {where} must be a mapping of its arguments.")
    arguments = {**body, **(body.get("arguments") or {})}
    config = {**body, **(body.get("config") or {})}
    conditional = config.get("where") or arguments.get("row_condition")
    binding = not conditional and config.get("enabled", True) and str(config.get("severity", "")).lower() != "warn"
    return _Test(name.removeprefix("dbt."), arguments, bool(binding))


def _kind(
    name: str, column: Mapping[str, Any], tests: Sequence[_Test], where: str
) -> tuple[type, tuple[int, int] | None]:
    """Return a column's Python type; of a decimal, precision and scale too."""
    declared = column.get("data_type")
    if declared:
        return _declared_kind(str(declared), where)
    for suffixes, kind in _SUFFIXES:
        if name.lower().endswith(suffixes):
            return kind, None
    return _kind_of_values([value for test in tests for value in _values(test)]), None


def _declared_kind(declared: str, where: str) -> tuple[type, tuple[int, int] | None]:
    name = " ".join(_PRECISION.sub(" ", declared).lower().split())
    kind = _TYPE_OF_NAME.get(name)
    if kind is None:
        raise SchemaError(
            f"data_type {declared!r} of {where} is not known: known ones are {', '.join(sorted(_TYPE_OF_NAME))}."
        )
    if kind is not decimal.Decimal:
        return kind, None
    given = _PRECISION.search(declared)
    return kind, (int(given[1]), int(given[2] or 0)) if given else (DECIMAL.precision, DECIMAL.scale)


def _values(test: _Test) -> list[Any]:
    """Return what a test says about the values of its column."""
    if test.name == "accepted_values":
        values = test.arguments.get("values")
        quoted = test.arguments.get("quote", True)
        return [value if quoted else _sql_literal(value) for value in (values if isinstance(values, list) else [])]
    if test.name in _RANGE_TESTS:
        bounds = (test.arguments.get("min_value"), test.arguments.get("max_value"))
        return [_sql_literal(value) for value in bounds if value is not None]
    return []


def _sql_literal(value: Any) -> Any:
    """Return the value of a literal that stands in SQL as it is written; ``_UNCERTAIN`` for another expression."""
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
    return _UNCERTAIN


def _kind_of_values(values: Sequence[Any]) -> type:
    kinds = {type(value) for value in values if value is not _UNCERTAIN}
    if kinds == {int, float}:
        return float
    kind = kinds.pop() if len(kinds) == 1 else str
    return kind if kind in _TYPE_OF_NAME.values() else str


def _accepted(test: _Test, kind: type, where: str) -> dict[str, Any]:
    values = _values(test)
    if not values:
        raise SchemaError(f"The test accepted_values of {where} lists no values.")
    if _UNCERTAIN in values:
        return {}
    accepted = [_convert(value, kind) for value in values]
    if _UNCERTAIN in accepted:
        raise SchemaError(f"accepted_values of {where} are no {kind.__name__}: set the column's data_type.")
    return {"isin": accepted}


def _bounds(test: _Test, kind: type) -> dict[str, Any]:
    """Return the bounds as ``Field`` takes them: inclusive unless the test says otherwise."""
    strict = test.arguments.get("strictly", False) or not test.arguments.get("inclusive", True)
    bounds = {}
    for argument, option in (("min_value", "gt" if strict else "ge"), ("max_value", "lt" if strict else "le")):
        value = _sql_literal(test.arguments.get(argument))
        # numbers compare with texts in no way that anybody means
        bound = _UNCERTAIN if value is None or (kind is str and not isinstance(value, str)) else _convert(value, kind)
        if bound is not _UNCERTAIN:
            bounds[option] = bound
    return bounds


def _convert(value: Any, kind: type) -> Any:
    """Return ``value`` as the column's values compare with it; ``_UNCERTAIN`` if it is of another kind."""
    if value is _UNCERTAIN:
        return value
    try:
        return _CONVERTERS.get(kind, kind)(value)
    except (ValueError, TypeError, KeyError, OverflowError, decimal.InvalidOperation):
        return _UNCERTAIN


def _utc_moment(value: Any) -> datetime.datetime:
    moment = datetime.datetime.fromisoformat(str(value))
    return moment.replace(tzinfo=datetime.UTC) if moment.tzinfo is None else moment.astimezone(datetime.UTC)


def _number(value: Any) -> int | float:
    """Return an integer; a bound between two integers stays where it is."""
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
