"""The ``logicalTypeOptions`` of the standard: which a type has, what they may be, and what no value can keep."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from open_data_contract_standard.model import SchemaProperty

from airflow_provider_phlo.contracts.forms.standard_fields import OPTIONS
from airflow_provider_phlo.contracts.model.types import PromisedType, promised_type
from airflow_provider_phlo.suggestions import did_you_mean

_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties", "dimensions")
_ENDS = (("minimum", "maximum"), ("minLength", "maxLength"), ("minItems", "maxItems"))


def problem_of_options(item: SchemaProperty) -> Iterator[str]:
    """Yield what is wrong with the options of a column, each beginning with the option."""
    options = item.logicalTypeOptions or {}
    kind = item.logicalType or ""
    known = OPTIONS.get(kind) or frozenset[str]().union(*OPTIONS.values())
    for name, value in options.items():
        if name not in known:
            hint = did_you_mean(name, sorted(known)) or f" Known are {', '.join(sorted(known))}."
            about = f" of {kind}" if kind in OPTIONS else ""
            yield f"logicalTypeOptions.{name} is not an option{about}.{hint}".rstrip(".")
        elif wrong := _problem_of_value(name, value):
            yield f"logicalTypeOptions.{name} {wrong}"
    for low, high in _ENDS:
        if _is_beyond(options.get(low), options.get(high)):
            yield f"logicalTypeOptions: no value is at least {low} and at most {high}"


def zoned(item: SchemaProperty) -> PromisedType | None:
    """Return the type of a timestamp that says whether it has a zone; None for one that does not, and others."""
    has_zone = (item.logicalTypeOptions or {}).get("timezone")
    if item.logicalType != "timestamp" or not isinstance(has_zone, bool):
        return None
    return promised_type("timestamptz" if has_zone else "timestamp_ntz")


def _problem_of_value(name: str, value: Any) -> str:
    if name in _COUNTS and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
        return "has to be a number, 0 or more"
    if name in ("uniqueItems", "timezone") and not isinstance(value, bool):
        return "has to be true or false"
    if name == "required" and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
        return "has to be a list of members"
    if isinstance(value, float) and not math.isfinite(value):
        return "has to be a finite number"
    if name == "pattern":
        return _problem_of_pattern(value)
    return ""


def _problem_of_pattern(value: Any) -> str:
    if not isinstance(value, str):
        return "has to be text: write it in quotes"
    try:
        re.compile(value)
    except (re.error, OverflowError, RecursionError) as error:
        return f"is not a pattern: {error}"
    return ""


def _is_beyond(low: Any, high: Any) -> bool:
    numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in (low, high))
    return bool(numbers and low > high)
