"""
Objects of classes and libraries as the plain values that they stand for: what tables, JSON and hashes are made of.

A member of an enumeration is its value; a dataclass, a named tuple, a Pydantic model and a NumPy record are mappings; a
deque, a range, a view of a mapping and a column of a data frame are lists; a scalar of Arrow or NumPy is what it holds.
What stands for no value (a function, an iterator, an object that only has an address, a whole data frame) has no text.
"""

from __future__ import annotations

import datetime
import decimal
import enum
import re
import uuid
from collections import UserString
from collections.abc import Mapping, MappingView, Sequence, Set
from dataclasses import fields, is_dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa

_DATES = (datetime.date, datetime.time)
_PLAIN = (str, bytes, bytearray, memoryview, bool, int, float, decimal.Decimal, uuid.UUID, datetime.timedelta, *_DATES)
# of these, nothing needs a second look
PLAIN_TYPES = frozenset({type(None), list, tuple, dict, set, frozenset, datetime.datetime, *_PLAIN})
_YEAR_OF_PYTHON = re.compile(r"(?!0000)\d{4}(-|$)")
_DAYS = ("Y", "M", "W", "D")
_CALENDAR = ("Y", "M", "generic")


def plain_value(value: Any) -> Any:
    """
    Return the plain value that an object stands for; its members stay as they are.

    :returns: ``value`` itself, if nothing is known to be in its place.
    """
    if type(value) in PLAIN_TYPES:
        return value
    if isinstance(value, enum.Enum):
        return plain_value(value.value)
    if isinstance(value, (np.generic, np.ndarray)):
        return _plain_array(value) if isinstance(value, np.ndarray) else _plain_scalar(value)
    if isinstance(value, (pa.Scalar, pa.Array, pa.ChunkedArray)):
        return _plain_arrow(value)
    return _plain_object(value)


def _plain_arrow(value: Any) -> Any:
    try:
        return plain_value(value.as_py()) if isinstance(value, pa.Scalar) else value.to_pylist()
    except (ValueError, OverflowError):  # a time or a date that Python does not have
        return value


def _plain_object(value: Any) -> Any:
    if type(value).__name__ in ("NaTType", "NAType"):  # pandas'
        return None
    if isinstance(value, UserString):
        return value.data
    if isinstance(value, (*_PLAIN, type, Mapping)):
        return value
    if hasattr(value, "model_dump"):
        return value.model_dump()
    if is_dataclass(value):
        return {item.name: getattr(value, item.name) for item in fields(value)}
    if hasattr(value, "_asdict"):
        return dict(value._asdict())
    if isinstance(value, (list, tuple, set, frozenset)) or hasattr(value, "columns"):
        return value
    if isinstance(value, (Sequence, Set, MappingView)):
        return [*value]  # type: ignore[misc]  # views can be iterated over
    to_list = getattr(value, "to_list", None) or getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value


def _plain_array(array: np.ndarray) -> Any:
    if not array.ndim:
        return plain_value(array[()])
    is_numeric = array.dtype.kind in "biuf" and array.dtype.itemsize <= 8
    return array if is_numeric else [*array]  # of other types NumPy's own lists have counts, or no names


def _plain_scalar(value: Any) -> Any:
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return _plain_time(value)
    if isinstance(value, np.longdouble):
        number = float(value)
        return number if number == value or value != value else str(value)
    if isinstance(value, np.complexfloating):
        return complex(value) if complex(value) == value else str(value)
    if isinstance(value, np.void):
        return {name: value[name] for name in value.dtype.names} if value.dtype.names else value.item()
    return value


def _plain_time(value: Any) -> Any:
    """Return a date, a date-time or a duration; one that neither Python nor pandas has exactly stays as it is."""
    if np.isnat(value):
        return None
    unit, _ = np.datetime_data(value.dtype)
    if value.dtype == "M8[ns]":
        return _plain_nanoseconds(value)
    if isinstance(value, np.timedelta64):
        wanted = "m8[us]" if unit not in _CALENDAR else ""  # nobody knows how many days a month has
    else:
        wanted = "M8[D]" if unit in _DAYS else "M8[us]"
    try:
        found = value.astype(wanted) if wanted else value
        is_exact = bool(wanted) and found.astype(value.dtype) == value
    except OverflowError:  # attoseconds
        return value
    return found.item() if is_exact and not isinstance(found.item(), int) else value


def _plain_nanoseconds(value: np.datetime64) -> datetime.datetime:
    import pandas as pd

    moment = pd.Timestamp(value)
    return moment if moment.nanosecond else moment.to_pydatetime()


def object_text(value: Any) -> str:
    """
    Return the text of an object that stands for no plain value.

    :raises ValueError: if its text does not say what it is: of a function, an iterator, a data frame.
    """
    written = str(value)
    has_value = not (
        callable(value)
        or hasattr(value, "__next__")
        or hasattr(value, "columns")
        or isinstance(value, ModuleType)
        or f"{id(value):x}" in written.lower()
    )
    if not has_value or (isinstance(value, np.datetime64) and is_outside_years(value)):
        raise ValueError("an object without a text of its own")
    return written


def is_outside_years(value: np.datetime64) -> bool:
    """Return whether a time of NumPy is before the year 1 or after 9999."""
    return not _YEAR_OF_PYTHON.match(str(value))
