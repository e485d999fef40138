"""Frames under check: values of every type are those of the frame, and not counts, cut digits or other instants."""

from __future__ import annotations

import datetime as dt
import enum
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality import NullCheck, RangeCheck, UniqueCheck
from airflow_provider_phlo.quality.engines.frames import to_arrow

NOON = dt.datetime(2024, 1, 15, 12)
NANOSECONDS = [pd.Timestamp("2024-01-15T12:00:00.000000001"), pd.Timestamp("2024-01-15T12:00:00.000000002")]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


def ends(*values: Any) -> pa.Array:
    return pa.RunEndEncodedArray.from_arrays(pa.array(range(1, len(values) + 1), pa.int32()), pa.array(values))


# two values, the first of which is less
DIFFERENT: dict[str, tuple[Any, Any]] = {
    "nanoseconds of objects": (pd.Series(NANOSECONDS, dtype=object), NOON),
    "nanoseconds of objects in a zone": (
        pd.Series([each.tz_localize("Asia/Tokyo") for each in NANOSECONDS], dtype=object),
        pd.Timestamp(NOON, tz="Asia/Tokyo").to_pydatetime(),
    ),
    "nanoseconds": (pd.Series(NANOSECONDS), NOON),
    "milliseconds of a date": (pa.array([1, 2], pa.date64()), dt.datetime(1970, 1, 1)),
    "periods": (pd.Series(pd.PeriodIndex(["2024-01", "2024-02"], freq="M")), "2023-12"),
    "sparse": (pd.Series(pd.arrays.SparseArray([6, 7])), 5),
    "enumeration": ([Colour.RED, Colour.BLUE], 0),
    "NumPy days": ([np.datetime64("2024-01-15"), np.datetime64("2024-01-16")], dt.date(2024, 1, 14)),
    "Arrow scalars": ([pa.scalar(6), pa.scalar(7)], 5),
    "runs": (ends(6, 7), 5),
    "runs of nanoseconds": (ends(*(each.asm8 for each in NANOSECONDS)), NOON),
    "dictionary of nanoseconds": (pa.array(NANOSECONDS, pa.timestamp("ns")).dictionary_encode(), NOON),
    "large": (pd.Series([2**53, 2**53 + 1], dtype=object), 5),
    "decimals": ([Decimal("0.1"), Decimal("0.10000000000000000001")], 0),
}


def frame_of(values: Any) -> Any:
    if isinstance(values, list):
        return [{"v": value} for value in values]
    return pd.DataFrame({"v": values}) if isinstance(values, pd.Series) else pa.table({"v": values})


@pytest.mark.parametrize("case", DIFFERENT)
def test_case_73_values_of_every_type_are_told_apart(case: str) -> None:
    values, below = DIFFERENT[case]
    frame = frame_of(values)
    assert UniqueCheck(columns=["v"]).execute(frame).passed
    assert NullCheck(columns=["v"]).execute(frame).passed
    result = RangeCheck(column="v", max_value=below).execute(frame)
    assert (result.passed, result.failed) == (False, 2)


@pytest.mark.parametrize(
    "values",
    [[dt.time(1, tzinfo=dt.UTC), None], [NOON, NOON.replace(tzinfo=dt.UTC)]],
)
def test_case_65_zones_that_arrow_would_drop_are_refused(values: list[Any]) -> None:
    for frame in ([{"v": value} for value in values], pd.DataFrame({"v": pd.Series(values, dtype=object)})):
        with pytest.raises(ConfigurationError, match="values of one type in each column"):
            to_arrow(frame)


def test_gaps_of_objects_are_null() -> None:
    objects = pd.Series([None, np.nan, pd.NA, pd.NaT, "a"], dtype=object)
    assert to_arrow(pd.DataFrame({"v": objects}))["v"].to_pylist() == [None] * 4 + ["a"]
    frame = pd.DataFrame([[1, "a"], [2, None]], columns=["n", 5])
    assert to_arrow(frame).to_pydict() == {"n": [1, 2], "5": ["a", None]}
