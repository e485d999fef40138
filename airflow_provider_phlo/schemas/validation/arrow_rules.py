"""
The rules of a model that Arrow can evaluate, and those that are left to Pandera.

Pandera's own checks of bounds, sets and texts mostly hold for every row of a batch, and Arrow confirms that several
times faster than a data frame does. For bounds, sets and lengths, Arrow also finds the rows that break them, as Pandera
would. Where Arrow's answer is not certain, Pandera checks.
"""

from __future__ import annotations

import datetime
import decimal
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pandera.api.function_dispatch import Dispatcher
from pandera.pandas import Check

from airflow_provider_phlo.schemas.columns import ModelColumns
from airflow_provider_phlo.schemas.failures import Failure

# True if the rule holds for all rows, else its answer for each row; NULL counts as holding
Answer: TypeAlias = "pa.ChunkedArray | bool"


@dataclass(frozen=True)
class Rules:
    """
    Checks that are still to be run.

    :param columns: the checks of each column that has any.
    :param frame: the checks about several columns.
    """

    columns: Mapping[str, list[Check]]
    frame: list[Check]

    def __bool__(self) -> bool:
        return bool(self.columns or self.frame)

    @property
    def need_all_columns(self) -> bool:
        """Return whether a check may look at any column."""
        return bool(self.frame) or any(check.groupby for checks in self.columns.values() for check in checks)


def check_with_arrow(table: pa.Table, declared: ModelColumns) -> tuple[list[Failure], Rules]:
    """Return the failures that Arrow finds, and the checks that are left to Pandera."""
    failures: list[Failure] = []
    columns: dict[str, list[Check]] = {}
    for name, column in declared.schema.columns.items():
        for check in column.checks:
            held = evaluate(check, table[name])
            if held is None or (held is not True and check.raise_warning):
                columns.setdefault(name, []).append(check)
            elif held is not True:
                broken = np.flatnonzero(pc.invert(pc.fill_null(held, True)).to_numpy())
                failures.append(Failure(name, check.error or str(check.name), tuple(broken.tolist())))
    return failures, Rules(columns, list(declared.schema.checks))


def evaluate(check: Check, values: pa.ChunkedArray) -> pa.ChunkedArray | bool | None:
    """
    Return whether ``values`` keep one of Pandera's own checks.

    :returns: True if all do, else the answer for each value; None if Arrow cannot decide it as Pandera would.
    """
    ask = _ANSWERS.get(check.name or "") if isinstance(check._check_fn, Dispatcher) else None
    if ask is None or check.groupby or not check.ignore_na:
        return None
    try:
        return ask(values, **(check.statistics or {}))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


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


def _compares(compare: str, end: str) -> Callable[..., Answer]:
    def ask(values: pa.ChunkedArray, **statistics: Any) -> Answer:
        [bound] = statistics.values()
        if pa.types.is_string(values.type):
            raise TypeError  # the order of texts depends on the library
        bound = _comparable(bound, values.type)
        extreme = pc.min_max(values)[end].as_py()
        if extreme is None or getattr(operator, compare)(extreme, bound):
            return True
        return getattr(pc, _COMPARISONS[compare])(values, pa.scalar(bound, values.type))

    return ask


_COMPARISONS = {"ge": "greater_equal", "gt": "greater", "le": "less_equal", "lt": "less"}


def _in_range(
    values: pa.ChunkedArray, min_value: Any, max_value: Any, include_min: bool = True, include_max: bool = True
) -> Answer:
    above = _compares("ge" if include_min else "gt", "min")(values, bound=min_value)
    below = _compares("le" if include_max else "lt", "max")(values, bound=max_value)
    if above is True or below is True:
        return below if above is True else above
    return pc.and_(above, below)


def _members(values: pa.ChunkedArray, allowed: Any) -> pa.ChunkedArray:
    if pa.types.is_timestamp(values.type) or pa.types.is_floating(values.type):
        raise TypeError  # time zones; and Arrow takes 0.0 and -0.0 for different values
    return pc.is_in(values, value_set=pa.array([_comparable(item, values.type) for item in allowed], values.type))


def _isin(values: pa.ChunkedArray, allowed_values: Any) -> Answer:
    return _all_or_rows(pc.or_(_members(values, allowed_values), pc.is_null(values)))


def _notin(values: pa.ChunkedArray, forbidden_values: Any) -> Answer:
    return _all_or_rows(pc.invert(_members(values, forbidden_values)))


def _equal(values: pa.ChunkedArray, value: Any) -> Answer:
    return _isin(values, [value])


def _not_equal(values: pa.ChunkedArray, value: Any) -> Answer:
    return _notin(values, [value])


def _length(values: pa.ChunkedArray, min_value: Any = None, max_value: Any = None, exact_value: Any = None) -> Answer:
    lengths = pc.utf8_length(values).cast(pa.int64())
    if exact_value is not None:
        return _isin(lengths, [exact_value])
    ends = pc.min_max(lengths)
    low = ends["min"].as_py() if min_value is None else min_value
    high = ends["max"].as_py() if max_value is None else max_value
    return True if low is None else _in_range(lengths, low, high)


# expressions that mean the same to Python and to Arrow (RE2): no class may match letters beyond ASCII in only one
_PLAIN_EXPRESSION = re.compile(r"(?:[^\\(]|\((?!\?)|\(\?:|\\[^A-Za-z0-9])*")
_ASCII_EXPRESSION = re.compile(r"(?:[^\\(]|\((?!\?)|\(\?:|\\[^A-Za-z0-9]|\\[dw])*")


def _expression(pattern: Any) -> str:
    if not isinstance(pattern, str):
        raise TypeError
    shape = _PLAIN_EXPRESSION if "[^" in pattern else _ASCII_EXPRESSION
    ambiguous = "[[:" in pattern or "{," in pattern
    if ambiguous or not shape.fullmatch(pattern):
        raise ValueError
    return pattern


def _matches(values: pa.ChunkedArray, pattern: Any) -> Answer:
    return _all_or_unknown(pc.match_substring_regex(values, f"^(?:{_expression(pattern)})"))


def _contains(values: pa.ChunkedArray, pattern: Any) -> Answer:
    return _all_or_unknown(pc.match_substring_regex(values, _expression(pattern)))


def _starts(values: pa.ChunkedArray, string: str) -> Answer:
    return _all_or_rows(pc.starts_with(values, string))


def _ends(values: pa.ChunkedArray, string: str) -> Answer:
    return _all_or_rows(pc.ends_with(values, string))


def _all_or_rows(held: pa.ChunkedArray) -> Answer:
    return True if pc.all(held).as_py() is not False else held  # NULL counts as holding


def _all_or_unknown(held: pa.ChunkedArray) -> Answer:
    if pc.all(held).as_py() is False:
        raise ValueError  # Python may decide differently
    return True


_ANSWERS: dict[str, Callable[..., Answer]] = {
    "greater_than": _compares("gt", "min"),
    "greater_than_or_equal_to": _compares("ge", "min"),
    "less_than": _compares("lt", "max"),
    "less_than_or_equal_to": _compares("le", "max"),
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
