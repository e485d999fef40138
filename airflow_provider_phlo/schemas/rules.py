"""
The rules of a model that are left to check, once Arrow has looked at the values.

Pandera's own checks of bounds, sets and texts mostly hold for every row of a batch, and one pass of Arrow tells so
several times faster than a data frame does. Only where it cannot tell, or a row breaks the rule, Pandera checks it:
what is reported, and how, is always Pandera's.
"""

from __future__ import annotations

import datetime
import decimal
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pandera.api.function_dispatch import Dispatcher
from pandera.pandas import Check

from airflow_provider_phlo.schemas.columns import ModelColumns


@dataclass(frozen=True)
class Rules:
    """
    Checks that somebody has to run.

    :param columns: by column; those without any are left out.
    :param frame: those about several columns.
    """

    columns: Mapping[str, list[Check]]
    frame: list[Check]

    def __bool__(self) -> bool:
        return bool(self.columns or self.frame)

    @property
    def need_all_columns(self) -> bool:
        """Return whether a check may look at any column."""
        return bool(self.frame) or any(check.groupby for checks in self.columns.values() for check in checks)


def open_rules(table: pa.Table, declared: ModelColumns) -> Rules:
    """Return the checks of which Arrow cannot say that every row passes."""
    columns = {}
    for name, column in declared.schema.columns.items():
        left = [check for check in column.checks if not passes(check, table[name])]
        if left:
            columns[name] = left
    return Rules(columns, list(declared.schema.checks))


def passes(check: Check, values: pa.ChunkedArray) -> bool:
    """Return whether Pandera's own ``check`` certainly holds for all ``values``; False says nothing."""
    answer = _ANSWERS.get(check.name or "") if isinstance(check._check_fn, Dispatcher) else None
    if answer is None or check.groupby or not check.ignore_na:
        return False
    try:
        return bool(answer(values, **(check.statistics or {})))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return False


_LIKE: tuple[tuple[Callable[[pa.DataType], bool], tuple[type, ...]], ...] = (
    (pa.types.is_integer, (int,)),
    (pa.types.is_floating, (int, float)),
    (pa.types.is_decimal, (int, decimal.Decimal)),
    (pa.types.is_date, (datetime.date,)),
    (pa.types.is_timestamp, (datetime.datetime,)),
    (pa.types.is_string, (str,)),
)


def _comparable(bound: Any, kind: pa.DataType) -> Any:
    """Return ``bound`` if comparing it in Python means what Pandera means; raise TypeError if not."""
    allowed = next((types for matches, types in _LIKE if matches(kind)), ())
    if type(bound) not in allowed:
        raise TypeError
    if isinstance(bound, datetime.datetime) and bound.tzinfo is None and kind.tz is not None:
        return bound.replace(tzinfo=datetime.UTC)
    return bound


def _compares(compare: Callable[[Any, Any], bool], end: str) -> Callable[..., bool]:
    def answer(values: pa.ChunkedArray, **statistics: Any) -> bool:
        [bound] = statistics.values()
        bound = _comparable(bound, values.type)
        if pa.types.is_string(values.type):
            raise TypeError  # in whatever order a library has texts
        return bool(_none_or(compare, pc.min_max(values)[end].as_py(), bound))

    return answer


def _none_or(compare: Callable[[Any, Any], bool], value: Any, bound: Any) -> bool:
    return value is None or compare(value, bound)


def _in_range(
    values: pa.ChunkedArray, min_value: Any, max_value: Any, include_min: bool = True, include_max: bool = True
) -> bool:
    above, below = (operator.ge if include_min else operator.gt), (operator.le if include_max else operator.lt)
    return _compares(above, "min")(values, bound=min_value) and _compares(below, "max")(values, bound=max_value)


def _members(values: pa.ChunkedArray, allowed: Any) -> pa.ChunkedArray:
    if pa.types.is_timestamp(values.type):
        raise TypeError  # zones
    return pc.is_in(values, value_set=pa.array([_comparable(item, values.type) for item in allowed], values.type))


def _isin(values: pa.ChunkedArray, allowed_values: Any) -> bool:
    return not pc.any(pc.and_(pc.is_valid(values), pc.invert(_members(values, allowed_values)))).as_py()


def _notin(values: pa.ChunkedArray, forbidden_values: Any) -> bool:
    if pa.types.is_floating(values.type):
        raise TypeError  # to Arrow 0.0 and -0.0 differ
    return not pc.any(_members(values, forbidden_values)).as_py()


def _equal(values: pa.ChunkedArray, value: Any) -> bool:
    return _isin(values, [value])


def _not_equal(values: pa.ChunkedArray, value: Any) -> bool:
    return _notin(values, [value])


def _length(values: pa.ChunkedArray, min_value: Any = None, max_value: Any = None, exact_value: Any = None) -> bool:
    found = pc.min_max(pc.utf8_length(values))
    least, most = found["min"].as_py(), found["max"].as_py()
    if least is None:
        return True
    if exact_value is not None:
        return bool(least == most == exact_value)
    return bool((min_value is None or least >= min_value) and (max_value is None or most <= max_value))


# what Python's expressions and Arrow's (RE2) mean alike: no class of letters beyond ASCII may let more through
_PLAIN_EXPRESSION = re.compile(r"(?:[^\\(]|\((?!\?)|\(\?:|\\[^A-Za-z0-9])*")
_ASCII_EXPRESSION = re.compile(r"(?:[^\\(]|\((?!\?)|\(\?:|\\[^A-Za-z0-9]|\\[dw])*")


def _expression(pattern: Any) -> str:
    if not isinstance(pattern, str):
        raise TypeError
    shape = _PLAIN_EXPRESSION if "[^" in pattern else _ASCII_EXPRESSION
    strange = "[[:" in pattern or "{," in pattern
    if strange or not shape.fullmatch(pattern):
        raise ValueError
    return pattern


def _matches(values: pa.ChunkedArray, pattern: Any) -> bool:
    return _all(pc.match_substring_regex(values, f"^(?:{_expression(pattern)})"))


def _contains(values: pa.ChunkedArray, pattern: Any) -> bool:
    return _all(pc.match_substring_regex(values, _expression(pattern)))


def _starts(values: pa.ChunkedArray, string: str) -> bool:
    return _all(pc.starts_with(values, string))


def _ends(values: pa.ChunkedArray, string: str) -> bool:
    return _all(pc.ends_with(values, string))


def _all(found: pa.ChunkedArray) -> bool:
    answer = pc.all(found).as_py()  # without the NULLs
    return answer is None or bool(answer)


_ANSWERS: dict[str, Callable[..., bool]] = {
    "greater_than": _compares(operator.gt, "min"),
    "greater_than_or_equal_to": _compares(operator.ge, "min"),
    "less_than": _compares(operator.lt, "max"),
    "less_than_or_equal_to": _compares(operator.le, "max"),
    "in_range": _in_range,
    "equal_to": _equal,
    "not_equal_to": _not_equal,
    "isin": _isin,
    "notin": _notin,
    "str_length": _length,
    "str_matches": _matches,
    "str_contains": _contains,
    "str_startswith": _starts,
    "str_endswith": _ends,
}
