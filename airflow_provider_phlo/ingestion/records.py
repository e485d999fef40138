"""
Records as their source had them: lines of JSON become records, bad records are kept as text that can be read back.

The text is JSON. A value that JSON cannot express is an object with one name that begins with a dollar sign:
``$bytes`` (base64), ``$datetime``, ``$timestamp`` (with nanoseconds, as pandas has them), ``$date``, ``$time``,
``$decimal``, ``$float`` (``nan``, ``inf``, ``-inf``), ``$int`` (hexadecimal, for very many digits), ``$object`` (pairs
of name and value, where names are not text or could be mistaken for one of these).
"""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from airflow_provider_phlo.exact_json import ExactNumber, RepeatedNames, finite_number, members_of, read_quickly
from airflow_provider_phlo.plain_values import plain_value
from airflow_provider_phlo.schemas.conversion.records import Malformed

# Python neither reads nor writes integers of more than 4300 digits in decimal
_LONG_INTEGER = 10**4000


@dataclass(frozen=True)
class Origin:
    """
    Where in the quarantine a replayed record comes from.

    :param arrived_at: when the run that set it aside began to read.
    """

    quarantine_id: str
    arrived_at: datetime.datetime


class Replayed(dict[str, Any]):
    """A record from the quarantine."""

    def __init__(self, values: Mapping[str, Any], origin: Origin) -> None:
        super().__init__(values)
        self.origin = origin


class MalformedReplay(Malformed):
    """A record from the quarantine that was not one when it came: a number, a broken line."""

    def __init__(self, raw: Any, check: str, origin: Origin) -> None:
        super().__init__(raw, check)
        self.origin = origin


def replayed(text: str, origin: Origin) -> Mapping[str, Any]:
    """Return the record that :func:`raw_text` made ``text`` from."""
    try:
        record = record_of(read_raw(text))
    except ValueError:
        return MalformedReplay(text, "is_json", origin)
    if isinstance(record, Malformed):
        return MalformedReplay(record.raw, record.check, origin)
    return Replayed(record, origin)


class _Refused(Exception):
    """In a line of JSON, an object has a name twice."""


def record_of(item: Any) -> Mapping[str, Any]:
    """
    Return ``item`` as a record: a mapping as it is, a line of JSON (text or UTF-8) parsed.

    A name that occurs twice, or a number that no float can hold, would change silently: such a line is not a record.
    """
    if isinstance(item, RepeatedNames):
        return Malformed(item, "unique_names")
    if isinstance(item, Mapping):
        return item
    if not isinstance(item, (str, bytes, bytearray)):
        return Malformed(item, "is_record")
    try:
        found = read_quickly(item.encode() if isinstance(item, str) else bytes(item), repeated=_refuse)
    except _Refused:
        return Malformed(item, "unique_names")
    except (ValueError, RecursionError):
        return Malformed(item, "is_json")
    return found if isinstance(found, dict) else Malformed(item, "is_record")


def _refuse(pairs: list[tuple[str, Any]]) -> None:
    raise _Refused


def raw_text(record: Any) -> str:
    """Return a record as the source had it, as text: :func:`read_raw` reads it back."""
    pieces: list[str] = []
    waiting: list[Any] = [_plain(record.raw if isinstance(record, Malformed) else record)]
    while waiting:  # nesting may be deeper than Python's stack
        item = waiting.pop()
        if isinstance(item, _Piece):
            pieces.append(item.text)
        elif isinstance(item, dict):
            pieces.append("{")
            waiting += reversed([*_members(item), _Piece("}")])
        elif isinstance(item, list):
            pieces.append("[")
            waiting += reversed([*_elements(item), _Piece("]")])
        else:
            pieces.append(_scalar(item))
    return "".join(pieces)


class _Piece:
    def __init__(self, text: str) -> None:
        self.text = text


def _members(item: dict[str, Any]) -> Iterator[Any]:
    for number, name in enumerate(sorted(item)):
        yield _Piece(f"{',' if number else ''}{_scalar(name)}:")
        yield _plain(item[name])


def _elements(item: list[Any]) -> Iterator[Any]:
    for number, value in enumerate(item):
        if number:
            yield _Piece(",")
        yield _plain(value)


def _scalar(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # halves of surrogate pairs
        return json.dumps(value)
    return text


# in this order: a timestamp of pandas is a datetime, and a datetime is a date
_TAGGED: tuple[tuple[type | tuple[type, ...], str, Callable[[Any], str]], ...] = (
    (pd.Timestamp, "$timestamp", lambda value: value.isoformat()),
    (datetime.datetime, "$datetime", lambda value: value.isoformat()),
    (datetime.date, "$date", lambda value: value.isoformat()),
    (datetime.time, "$time", lambda value: value.isoformat()),
    (decimal.Decimal, "$decimal", str),
    ((bytes, bytearray, memoryview), "$bytes", lambda value: base64.b64encode(bytes(value)).decode()),
)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON expresses it; only its outermost level."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # for a member of an enumeration, its value
    if isinstance(value, (int, float)):
        return _Piece(value.text) if isinstance(value, ExactNumber) else _plain_number(value)
    if isinstance(value, Mapping):
        return _plain_mapping(value)
    if isinstance(value, (list, tuple)) and not hasattr(value, "_asdict"):
        return list(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    return _plain_object(value)


def _plain_object(value: Any) -> Any:
    if isinstance(value, pd.Timestamp) and not value.nanosecond:
        value = value.to_pydatetime()
    for kind, name, text in _TAGGED:
        if isinstance(value, kind):
            found = text(value)
            return None if found == "NaT" else {name: found}
    found = plain_value(value)
    if found is not value:
        return _plain(found)
    is_array = hasattr(value, "tolist") and not isinstance(value, (np.datetime64, np.timedelta64))
    return _plain(value.tolist()) if is_array else str(value)


def _plain_number(value: int | float) -> Any:
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"$float": str(float(value))}
    return int(value) if abs(value) < _LONG_INTEGER else {"$int": hex(value)}


def _plain_mapping(value: Mapping[Any, Any]) -> dict[str, Any]:
    if isinstance(value, RepeatedNames):
        return {"$object": [[name, member] for name, member in value.pairs]}
    names = list(value)
    if all(isinstance(name, str) for name in names) and not (len(names) == 1 and names[0].startswith("$")):
        return dict(value)
    return {"$object": [[name, member] for name, member in value.items()]}


def read_raw(text: str) -> Any:
    """
    Return the record that :func:`raw_text` turned into text.

    :raises ValueError: if it is nested too deeply for Python to read.
    """
    try:
        return json.loads(text, object_hook=_untagged, parse_float=finite_number)
    except RecursionError:
        raise ValueError("the record is nested too deeply to be read back") from None


_READERS: dict[str, Callable[[Any], Any]] = {
    "$timestamp": pd.Timestamp,
    "$datetime": datetime.datetime.fromisoformat,
    "$date": datetime.date.fromisoformat,
    "$time": datetime.time.fromisoformat,
    "$decimal": decimal.Decimal,
    "$bytes": base64.b64decode,
    "$float": float,
    "$int": lambda text: int(text, 16),
    "$object": lambda pairs: members_of([(_name(name), member) for name, member in pairs]),
}


def _name(name: Any) -> Any:
    return tuple(map(_name, name)) if isinstance(name, list) else name


def _untagged(found: dict[str, Any]) -> Any:
    if len(found) == 1:
        [(name, value)] = found.items()
        if name in _READERS:
            return _READERS[name](value)
    return found
