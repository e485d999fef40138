"""
The content hash of a row: the same for the same values, whatever the run, column order, engine or library version.

Definition. Columns in the order of their names; a NULL contributes nothing, so a new column that is still empty changes
no hash. Every other value contributes ``<name length>:<name>=<value length>:<value>;`` with lengths in bytes and the
value as text:

- integers in decimal, booleans ``true`` and ``false``, text as UTF-8, bytes in hexadecimal;
- floats as the decimal text of their IEEE 754 binary64 bits (-0.0 counts as 0.0, every NaN as the one quiet NaN);
- timestamps as microseconds, dates as days since 1970-01-01, times as microseconds since midnight;
- decimals in plain notation without trailing zeros, nested values as JSON with sorted keys, in which -0.0 counts as
  0.0 and ``NaN``, ``Infinity`` and ``-Infinity`` stand for the floats that JSON cannot express.

The hash is BLAKE2b (RFC 7693) of that, 16 bytes, in hexadecimal.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.exact_json import ExactNumber
from airflow_provider_phlo.plain_values import object_text, plain_value

_JSON_OPTIONS = orjson.OPT_SORT_KEYS
_OF_ARRAYS = _JSON_OPTIONS | orjson.OPT_SERIALIZE_NUMPY
_BINARY = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_binary_view,
)
# what orjson writes
MAX_DEPTH = 254
_SURROGATE = re.compile("[\ud800-\udfff]")
_FLOAT_NAN = np.float64("nan").view(np.int64).item()


def row_hashes(table: pa.Table, columns: Iterable[str] | None = None) -> pa.Array:
    """
    Return the content hash of every row.

    :param table: any Arrow table.
    :param columns: the source columns; all when None.
    :returns: strings of 32 hexadecimal digits, one per row.
    """
    names = sorted(table.column_names if columns is None else columns)
    if not names:
        return pa.array([blake2b(b"", digest_size=16).hexdigest()] * len(table), pa.string())
    chunks = encoded_rows(table, names).chunks
    return pa.array([digest for chunk in chunks for digest in _digests(chunk)], pa.string())


def _digests(contents: pa.LargeBinaryArray) -> Iterator[str]:
    """Yield the digest of each, reading Arrow's memory in place."""
    _, offsets, data = contents.buffers()
    ends = np.frombuffer(offsets, np.int64)[contents.offset : contents.offset + len(contents) + 1].tolist()
    content = memoryview(data)
    return (blake2b(content[start:end], digest_size=16).hexdigest() for start, end in pairwise(ends))


def encoded_rows(table: pa.Table, names: Iterable[str]) -> pa.ChunkedArray:
    """Return the bytes that the definition above hashes, one per row: equal bytes mean equal rows."""
    parts: list[Any] = []
    ending = b""
    for name in names:
        text = _value_text(table[name]).cast(pa.large_binary())
        length = pc.binary_length(text).cast(pa.string()).cast(pa.large_binary())
        beginning = f"{len(name.encode())}:{name}=".encode()
        if text.null_count:
            whole = _join([_constant(beginning), length, _constant(b":"), text, _constant(b";")])
            parts += [_constant(ending), pc.fill_null(whole, _constant(b""))]
            ending = b""
        else:  # joined once, with all the others
            parts += [_constant(ending + beginning), length, _constant(b":"), text]
            ending = b";"
    return _join([*parts, _constant(ending)])


def _join(parts: Sequence[Any]) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*parts, _constant(b""))


def _constant(text: bytes) -> pa.Scalar:
    return pa.scalar(text, pa.large_binary())


def _value_text(values: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = values.type
    if pa.types.is_dictionary(kind):
        return _value_text(values.cast(kind.value_type))
    if pa.types.is_floating(kind):
        return _float_bits(values).cast(pa.large_string())
    if pa.types.is_timestamp(kind):
        return values.cast(pa.timestamp("us", kind.tz), safe=False).cast(pa.int64()).cast(pa.large_string())
    if pa.types.is_date(kind):
        return values.cast(pa.date32()).cast(pa.int32()).cast(pa.large_string())
    if pa.types.is_time(kind):
        return pc.cast(values, pa.time64("us"), safe=False).cast(pa.int64()).cast(pa.large_string())
    if any(matches(kind) for matches in _BINARY):
        return _mapped(values, lambda value: value.hex())
    if pa.types.is_nested(kind):
        return _mapped(values, _nested_text if _has_floats(kind) else canonical_json)
    if isinstance(kind, pa.BaseExtensionType):
        return _value_text(values.cast(kind.storage_type))
    if pa.types.is_decimal(kind):
        return _mapped(values, decimal_text)
    return values.cast(pa.large_string())


def _float_bits(values: pa.ChunkedArray) -> pa.ChunkedArray:
    return pa.chunked_array([float_bits(chunk) for chunk in values.chunks], pa.int64())


def float_bits(values: pa.Array) -> pa.Array:
    """Return the bits of floats as integers that are equal where the definition above has equal values."""
    numbers = pc.add(values.cast(pa.float64()), 0.0)  # -0.0 + 0.0 is 0.0
    return pc.if_else(pc.is_nan(numbers), pa.scalar(_FLOAT_NAN, pa.int64()), numbers.view(pa.int64()))


def _has_floats(kind: pa.DataType) -> bool:
    if pa.types.is_nested(kind):
        return any(_has_floats(kind.field(position).type) for position in range(kind.num_fields))
    return pa.types.is_floating(kind)


def _nested_text(value: Any) -> str:
    """Return JSON text in which NaN and the infinities, which JSON lacks, differ from each other and from NULL."""
    plain, finite = _plain_floats(value)
    if finite:
        return canonical_json(plain)
    return json.dumps(plain, default=_plain_object, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _plain_floats(value: Any) -> tuple[Any, bool]:
    """Return ``value`` with 0.0 for -0.0, and whether all its floats are finite."""
    if isinstance(value, float):
        return value + 0.0, math.isfinite(value)
    if isinstance(value, Mapping):
        members = {name: _plain_floats(member) for name, member in value.items()}
        return {name: plain for name, (plain, _) in members.items()}, all(finite for _, finite in members.values())
    if isinstance(value, (list, tuple)):
        parts = [_plain_floats(part) for part in value]
        return [plain for plain, _ in parts], all(finite for _, finite in parts)
    return value, True


def _mapped(values: pa.ChunkedArray, text: Callable[[Any], str]) -> pa.ChunkedArray:
    return pa.chunked_array(
        [pa.array([None if value is None else text(value) for value in values.to_pylist()], pa.large_string())]
    )


def canonical_json(value: object) -> str:
    """
    Return ``value`` as JSON text with sorted keys: equal values give equal text.

    Half a surrogate pair becomes the six characters of its escape (``\\ud83d``), as in text columns: DuckDB refuses
    JSON that escapes it.

    :raises ValueError: if it is nested more than 254 levels deep, has an integer of more than 4300 digits, two keys
        that JSON has as one, or an object that has no text.
    """
    try:
        return orjson.dumps(value, default=_for_orjson, option=_JSON_OPTIONS).decode()
    except TypeError:  # names that are not text, integers beyond 64 bits, halves of surrogate pairs
        if is_deep(value):
            raise ValueError("nested too deeply") from None
        plain = _plain_members(value)
        written = json.dumps(plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return _SURROGATE.sub(lambda half: f"\\\\u{ord(half[0]):04x}", written)


def _for_orjson(value: Any) -> Any:
    if isinstance(value, ExactNumber):
        return orjson.Fragment(value.text)
    if isinstance(value, (np.generic, np.ndarray)) and value.dtype.kind in "biuf" and value.dtype.itemsize <= 8:
        try:
            return orjson.Fragment(orjson.dumps(value, option=_OF_ARRAYS))
        except TypeError:  # not in order in memory, or in the other order of bytes
            return value.tolist()
    return _plain_object(value)


def _plain_members(value: Any) -> Any:
    """Return ``value`` as Python's own JSON takes it, with None for NaN and the infinities, as orjson writes them."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        if isinstance(value, ExactNumber):
            return value.text
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        members = {_name(name): _plain_members(member) for name, member in value.items()}
        if len(members) < len(value):
            raise ValueError("two names that JSON has as one")
        return members
    if isinstance(value, list) or (isinstance(value, tuple) and not hasattr(value, "_asdict")):
        return [_plain_members(item) for item in value]
    plain = plain_value(value)
    if plain is value:
        plain = value.tolist() if isinstance(value, np.ndarray) else _plain_object(value)
    return _plain_members(plain)


def _name(name: Any) -> str:
    """Return the name of a member as text, as orjson writes it: of 1 and of True too."""
    if isinstance(name, str):
        return str.__str__(name)
    plain = plain_value(name)
    plain = plain.item() if isinstance(plain, np.generic) else plain
    if isinstance(plain, int) and not isinstance(plain, bool):
        return str(plain)
    [found] = orjson.loads(orjson.dumps({plain: 0}, option=orjson.OPT_NON_STR_KEYS))
    return str(found)


def is_deep(value: Any) -> bool:
    """Return whether ``value`` is nested more than 254 levels deep."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            member
            for item in map(plain_value, level)
            if isinstance(item, (Mapping, list, tuple))
            for member in (item.values() if isinstance(item, Mapping) else item)
        ]
        if not level:
            return False
    return True


def _plain_object(value: Any) -> Any:
    """Return a value that JSON can express in place of one that it cannot."""
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=str)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, memoryview):
        return str(bytes(value))
    found = plain_value(value)
    if found is not value:
        return found
    if isinstance(value, (datetime.date, datetime.time)):  # of a library
        return value.isoformat()
    return value.item() if isinstance(value, np.generic) and value.dtype.kind in "biufSU" else object_text(value)


def decimal_text(value: decimal.Decimal) -> str:
    """Return ``value`` in plain notation without trailing zeros: equal numbers give equal text."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
