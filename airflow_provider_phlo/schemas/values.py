"""
Convert one value to the type that a column declares.

Text is read as a number, boolean or date; a number becomes text; nothing is rounded or guessed. A bare number does not
become a time, because its unit is unknown; a boolean does not become a number.
"""

from __future__ import annotations

import datetime
import decimal
import math
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from airflow_provider_phlo.exact_json import ExactNumber, RepeatedNames, read_json
from airflow_provider_phlo.plain_values import PLAIN_TYPES, object_text, plain_value
from airflow_provider_phlo.row_hash import canonical_json, decimal_text

CONVERSION_ERRORS = (ValueError, TypeError, OverflowError, ArithmeticError)
ARROW_ERRORS = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeEncodeError)
NESTED = (dict, list, tuple, set, frozenset, Mapping)
# says whether a text is JSON six times as fast as reading it does
_OPENING = frozenset("{[")
# null, and how Python writes bytes
_MAY_BE_INEXACT = re.compile(r'null|NaN|Infinity|b\\?[\'"]|bytearray|<memory')
_ANY_JSON = msgspec.json.Decoder(msgspec.Raw)

Converter = Callable[[Any], Any]


def is_missing(value: Any) -> bool:
    """Return whether ``value`` stands for a missing value: NaN, NaT or NA, as pandas writes a gap."""
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    return value is pd.NaT or value is pd.NA or (isinstance(value, float) and value != value)


def text(value: Any) -> str:
    """
    Return ``value`` as text: JSON for nested values, ISO 8601 for times.

    What UTF-8 cannot encode (half a surrogate pair, stray bytes) is kept, escaped with a backslash.

    :raises ValueError: if a nested value has members that JSON cannot express, see :func:`nested_text`; or for an
        object that has no text.
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, (*NESTED, np.ndarray)):
        return nested_text(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, decimal.Decimal):
        return decimal_text(value)
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return str(value) if type(value) in PLAIN_TYPES else object_text(value)


def nested_text(value: Any) -> str:
    """
    Return a nested value as JSON.

    :raises ValueError: if NaN, an infinity or bytes are in it, which JSON would have as null or as Python's own text.
    """
    written = canonical_json(value)
    # only where one of them may have been written: looking at every member takes as long as writing them
    if _MAY_BE_INEXACT.search(written) and _has_inexpressible(value):
        raise ValueError("JSON cannot express it")
    return written


def _has_inexpressible(value: Any) -> bool:
    value = plain_value(value)
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, (str, bytes, bytearray, memoryview)):
        return not isinstance(value, str)
    if isinstance(value, Mapping):
        return any(map(_has_inexpressible, value)) or any(map(_has_inexpressible, value.values()))
    if isinstance(value, NESTED):
        return any(map(_has_inexpressible, value))
    return hasattr(value, "tolist") and _has_inexpressible(value.tolist())


def json_text(value: str) -> str:
    """
    Return ``value`` as JSON: an object or a list that is written as JSON stays, any other text becomes a JSON string.

    Engines fail on a column of JSON texts when a single one of them is not JSON.
    """
    return value if _is_json_container(value) else canonical_json(value)


def _is_json_container(text: str) -> bool:
    """Return whether a text is a JSON object or list; nothing of it is built, as most texts of such columns are."""
    return (text[:1] in _OPENING or text.lstrip(" \t\n\r")[:1] in _OPENING) and is_json(text)


def is_json(text: str) -> bool:
    """Return whether a text is JSON, without building anything of it."""
    try:
        _ANY_JSON.decode(text)
    except ValueError:
        return False
    except RecursionError:  # nested about as deep as this decoder goes: where another one ends decides
        return _is_read_by_orjson(text)
    return True


def _is_read_by_orjson(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def _digits(text: str) -> str:
    """Return ``text``, unless it is a number only in Python's source code: ``1_000``."""
    if "_" in text:
        raise ValueError
    return text


def _integer(value: Any) -> int:
    if isinstance(value, str):
        return int(_digits(value))
    if isinstance(value, ExactNumber):
        value = value.exact
    number = int(value)
    if isinstance(value, bool) or number != value:
        raise ValueError
    return number


def _float(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError
    number = float(_digits(value) if isinstance(value, str) else value)
    if math.isinf(number) and not _is_infinity(value):  # more than a float can be: 1e400
        raise OverflowError
    return number


def _is_infinity(value: Any) -> bool:
    if isinstance(value, str):
        return value.strip().lstrip("+-").lower() in ("inf", "infinity")
    return bool(decimal.Decimal(value).is_infinite() if isinstance(value, decimal.Decimal) else math.isinf(value))


def _boolean(value: Any) -> bool:
    found = {"true": True, "1": True, "false": False, "0": False}.get(str(value).strip().lower())
    if found is None:
        raise ValueError
    return found


def timestamp(value: Any) -> datetime.datetime:
    """Read a date-time; one without a zone is UTC."""
    if isinstance(value, str):
        value = datetime.datetime.fromisoformat(value.strip())
    elif isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    if not isinstance(value, datetime.datetime):
        raise TypeError
    return value.replace(tzinfo=datetime.UTC) if value.tzinfo is None else value.astimezone(datetime.UTC)


def _date(value: Any) -> datetime.date:
    """Read a date; for a date-time, its UTC day."""
    if isinstance(value, datetime.date) and not isinstance(value, datetime.datetime):
        return value
    return timestamp(value).date()


def _time(value: Any) -> datetime.time:
    if isinstance(value, str):
        value = datetime.time.fromisoformat(value.strip())
    if not isinstance(value, datetime.time):
        raise TypeError
    if value.tzinfo is not None:  # its instant depends on the day
        raise ValueError
    return value


# Arrow has no type with more; it takes some numbers with more for 0, where it refuses others
_MOST_DECIMALS = 76


def _decimal(value: Any) -> decimal.Decimal:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        raise TypeError
    # the shortest text that means the same float: 0.1, not 0.1000000000000000055…
    text = _digits(value) if isinstance(value, str) else value
    if isinstance(value, ExactNumber):
        value = text = value.text
    number = decimal.Decimal(repr(float(value)) if isinstance(value, float) else text)
    if not number.is_finite() or (number and int(number.as_tuple().exponent) < -_MOST_DECIMALS):
        raise ValueError
    return number


def _bytes(value: Any) -> bytes:
    return value.encode() if isinstance(value, str) else bytes(memoryview(value))


def _uuid(value: Any) -> bytes:
    """Read a UUID: its text, its 16 bytes, or the object itself."""
    if isinstance(value, uuid.UUID):
        return value.bytes
    return (uuid.UUID(value.strip()) if isinstance(value, str) else uuid.UUID(bytes=_bytes(value))).bytes


def _member(kind: pa.DataType) -> Converter:
    """Return a function that converts a member of a nested value, which may be an object or None."""
    convert = converter(kind)

    def read(value: Any) -> Any:
        plain = plain_value(value)
        return None if plain is None else convert(plain)

    return read


def _read(text: str) -> Any:
    try:
        return read_json(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _list_of(kind: pa.DataType) -> Converter:
    convert = _member(kind)

    def read(value: Any) -> list[Any]:
        items = _read(value) if isinstance(value, str) else value
        if isinstance(items, set | frozenset):
            items = sorted(items, key=str)  # in an order of its own, a row would differ from run to run
        if not isinstance(items, list | tuple | np.ndarray):
            raise TypeError
        return [*map(convert, items)]

    return read


def _struct_of(fields: list[pa.Field]) -> Converter:
    converters = [(item.name, _member(item.type)) for item in fields]

    def read(value: Any) -> dict[str, Any]:
        found = _read(value) if isinstance(value, str) else value
        if not isinstance(found, Mapping) or isinstance(found, RepeatedNames):
            raise TypeError
        return {name: convert(found.get(name)) for name, convert in converters}

    return read


def _map_of(kind: pa.MapType) -> Converter:
    convert_key, convert = converter(kind.key_type), _member(kind.item_type)

    def read(value: Any) -> list[tuple[Any, Any]]:
        found = _read(value) if isinstance(value, str) else value
        pairs = found.items() if isinstance(found, Mapping) else found
        return [(convert_key(plain_value(key)), convert(item)) for key, item in pairs]

    return read


_CONVERTERS: tuple[tuple[Callable[[pa.DataType], bool], Converter, str], ...] = (
    (pa.types.is_string, text, "text"),
    (pa.types.is_integer, _integer, "integer"),
    (pa.types.is_floating, _float, "number"),
    (pa.types.is_boolean, _boolean, "boolean"),
    (pa.types.is_timestamp, timestamp, "timestamp"),
    (pa.types.is_date, _date, "date"),
    (pa.types.is_time, _time, "time"),
    (pa.types.is_decimal, _decimal, "decimal"),
    (pa.types.is_binary, _bytes, "bytes"),
    (pa.types.is_fixed_size_binary, _bytes, "bytes"),
    (lambda kind: isinstance(kind, pa.UuidType), _uuid, "uuid"),
)


def converter(kind: pa.DataType) -> Converter:
    """
    Return a function that turns one value, never None, into what Arrow takes for ``kind``, or raises one of
    ``CONVERSION_ERRORS``.

    Members that a struct ``kind`` does not have are left out.

    :raises KeyError: if there is none.
    """
    if pa.types.is_list(kind):
        return _list_of(kind.value_type)
    if pa.types.is_struct(kind):
        return _struct_of(list(kind))
    if pa.types.is_map(kind):
        return _map_of(kind)
    for matches, convert, _ in _CONVERTERS:
        if matches(kind):
            return convert
    raise KeyError(kind)


def type_name(kind: pa.DataType) -> str:
    """Return the everyday name of ``kind``, as messages use it."""
    return next((name for matches, _, name in _CONVERTERS if matches(kind)), "nested_value")
