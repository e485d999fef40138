"""Objects of classes and libraries, and the plain values that they stand for."""

from __future__ import annotations

import array
import collections
import datetime as dt
import enum
import fractions
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pydantic
import pydantic.dataclasses

NOON = dt.datetime(2024, 1, 15, 12)


class Colour(enum.Enum):
    RED = 1


class Size(enum.StrEnum):
    SMALL = "s"


class Pair(NamedTuple):
    a: int
    b: Any = None


class Model(pydantic.BaseModel):
    a: int
    b: Decimal = Decimal("1.10")


@pydantic.dataclasses.dataclass
class Point:
    a: int
    b: Any = None


class Moment(dt.datetime):
    """As pendulum's."""


class Amount(Decimal):
    pass


class Named(str):
    def __str__(self) -> str:
        return "another"


def same(value: Any) -> list[Any]:
    return [value, value]


# an object, and the plain value that it stands for: in a column, and in JSON
OBJECTS: dict[str, tuple[Any, Any, Any]] = {
    "enum": (Colour.RED, *same(1)),
    "string enum": (Size.SMALL, *same("s")),
    "text": (Named("real"), *same("real")),
    "user string": (collections.UserString("a"), *same("a")),
    "decimal": (Amount("1.50"), Decimal("1.5"), "1.50"),
    "date-time": (Moment(2024, 1, 15, 12), NOON, "2024-01-15T12:00:00"),
    "timestamp": (pd.Timestamp(NOON), NOON, "2024-01-15T12:00:00"),
    "nanoseconds": (pd.Timestamp("2024-01-15T12:00:00.000000001"), *same("2024-01-15T12:00:00.000000001")),
    "numpy second": (np.datetime64("2024-01-15T12", "s"), NOON, "2024-01-15T12:00:00"),
    "numpy nanosecond": (np.datetime64("2024-01-15T12", "ns"), NOON, "2024-01-15T12:00:00"),
    "numpy nanoseconds": (np.datetime64("2024-01-15T12:00:00.000000001"), *same("2024-01-15T12:00:00.000000001")),
    "attosecond": (np.datetime64(1, "as"), *same("1970-01-01T00:00:00.000000000000000001")),
    "numpy hour": (np.datetime64("2024-01-15T12", "h"), NOON, "2024-01-15T12:00:00"),
    "numpy day": (np.datetime64("2024-01-15"), dt.date(2024, 1, 15), "2024-01-15"),
    "numpy month": (np.datetime64("2024-01"), dt.date(2024, 1, 1), "2024-01-01"),
    "numpy gap": (np.datetime64("NaT"), *same(None)),
    "gap of durations": (np.timedelta64("NaT"), *same(None)),
    "NaT": (pd.NaT, *same(None)),
    "NA": (pd.NA, *same(None)),
    "arrow gap": (pa.scalar(None, pa.int64()), *same(None)),
    "arrow": (pa.scalar(5, pa.int8()), *same(5)),
    "arrow decimal": (pa.scalar(Decimal("1.5")), Decimal("1.5"), "1.5"),
    "arrow struct": (pa.scalar({"a": 1}), '{"a":1}', {"a": 1}),
    "arrow list": (pa.array([1, None]), "[1,null]", [1, None]),
    "long double": (np.longdouble(0.5), *same(0.5)),
    "longer double": (np.longdouble(2) ** 63 + 1, *same(str(np.longdouble(2) ** 63 + 1))),
    "unsigned": (np.uint64(2**64 - 1), *same(2**64 - 1)),
    "boolean": (np.bool_(True), *same(True)),
    "no dimension": (np.array(5), *same(5)),
    "array": (np.arange(2), "[0,1]", [0, 1]),
    "other way": (np.arange(6).reshape(2, 3).T[:1], "[[0,3]]", [[0, 3]]),
    "other bytes": (np.arange(2, dtype=">i4"), "[0,1]", [0, 1]),
    "array of times": (np.array(["2024-01-15", "NaT"], "M8[D]"), '["2024-01-15",null]', ["2024-01-15", None]),
    "array of objects": (np.array([Pair(1), None], object)[1:], "[null]", [None]),
    "records": (np.array([(1, 2.0)], [("a", int), ("b", float)]), '[{"a":1,"b":2.0}]', [{"a": 1, "b": 2.0}]),
    "record": (np.array([(1, 2.0)], [("a", int), ("b", float)])[0], '{"a":1,"b":2.0}', {"a": 1, "b": 2.0}),
    "complex": (np.complex128(1j), *same("1j")),
    "fraction": (fractions.Fraction(1, 3), *same("1/3")),
    "period": (pd.Period("2024-01"), *same("2024-01")),
    "named tuple": (Pair(1), '{"a":1,"b":null}', {"a": 1, "b": None}),
    "nested tuple": (Pair(1, Pair(2)), '{"a":1,"b":{"a":2,"b":null}}', {"a": 1, "b": {"a": 2, "b": None}}),
    "dataclass": (Point(1, {2}), '{"a":1,"b":[2]}', {"a": 1, "b": [2]}),
    "model": (Model(a=1), '{"a":1,"b":"1.10"}', {"a": 1, "b": "1.10"}),
    "deque": (collections.deque([1, 2]), "[1,2]", [1, 2]),
    "array of C": (array.array("i", [1]), "[1]", [1]),
    "range": (range(2), "[0,1]", [0, 1]),
    "keys": ({"b": 1, "a": 2}.keys(), '["b","a"]', ["b", "a"]),
    "values": ({"b": 1}.values(), "[1]", [1]),
    "series": (pd.Series([1, None], dtype="Int64"), "[1,null]", [1, None]),
    "polars": (pl.Series([1, None]), "[1,null]", [1, None]),
    "chain": (collections.ChainMap({"a": 1}), '{"a":1}', {"a": 1}),
}
