"""
JSON read without loss: numbers with all their digits, and with a mark on objects that have a name twice.

A number that a float would print otherwise is an :class:`ExactNumber`: a float that knows its digits. An object in
which a name occurs twice, of which every parser drops one value, is :class:`RepeatedNames`: it has no plain value, so
its record is bad.
"""

from __future__ import annotations

import decimal
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import orjson

# digits in which any two floats differ: a number of no more may be meant as a float
FLOAT_DIGITS = 17
# what a quick look is not certain of, once all digits and points are zeros: many digits, tiny numbers, escaped colons
_AS_ZEROS = bytes.maketrans(b"123456789.", b"0" * 10)
_UNCERTAIN = (b"0" * FLOAT_DIGITS, b"e-000", b"E-000", b"\\u000")
# below, floats have fewer digits
_TINY = 1e-290
# this many characters are at most fifteen digits, which any float prints again
_SHORT = 16


class ExactNumber(float):
    """
    A number of JSON that a float prints otherwise.

    :param text: the number as it was written.
    """

    text: str

    def __new__(cls, text: str | float) -> ExactNumber:
        found = super().__new__(cls, text)
        found.text = str(text)
        return found

    def __str__(self) -> str:
        return self.text

    @property
    def exact(self) -> decimal.Decimal:
        return decimal.Decimal(self.text)

    @property
    def plain(self) -> float | decimal.Decimal:
        """The number as a column of its own holds it: a float if it may be meant as one, else a decimal."""
        digits = "".join(map(str, self.exact.as_tuple().digits)).rstrip("0")
        is_float = len(digits) <= FLOAT_DIGITS and abs(self) >= _TINY
        return float(self) if is_float else self.exact


class RepeatedNames(Mapping[str, Any]):
    """
    An object of JSON in which a name occurs twice.

    What it is made of can be looked up, the last value of each name, but not listed: whoever would make anything of
    it gets a ValueError.
    """

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        self.pairs = pairs
        self._last = dict(pairs)

    def __getitem__(self, name: str) -> Any:
        return self._last[name]

    def __len__(self) -> int:
        return len(self._last)

    def __iter__(self) -> Iterator[str]:
        raise ValueError("an object of JSON has the same name twice")


def read_json(
    text: str | bytes,
    repeated: Callable[[list[tuple[str, Any]]], Any] = RepeatedNames,
    beyond: Callable[[str], Any] | None = None,
    **more: Any,
) -> Any:
    """
    Return what a JSON document says.

    :param repeated: makes what stands for an object in which a name occurs twice, of its names and values.
    :param beyond: reads a number that no float can hold (1e999); without it, that is an error.
    :param more: arguments of :func:`json.loads`.
    :raises ValueError: it is not JSON.
    :raises RecursionError: it is nested deeper than Python reads.
    """

    def number(digits: str) -> Any:
        found = read_number(digits)
        return found if math.isfinite(found) else beyond(digits)  # type: ignore[misc]

    decoded = text if isinstance(text, str) else text.decode("utf-8-sig")  # json would guess another encoding
    members = partial(members_of, repeated=repeated)
    return json.loads(decoded, parse_float=number if beyond else finite_number, object_pairs_hook=members, **more)


def read_quickly(text: bytes, **arguments: Any) -> Any:
    """
    Return what :func:`read_json` returns, sooner where no number is long and no name there twice.

    A name that is there twice takes a colon with it, and any other is written again; in text, others may escape it.

    :param arguments: those of :func:`read_json`.
    :raises ValueError: it is not JSON.
    :raises RecursionError: it is nested deeper than Python reads.
    """
    zeros = text.translate(_AS_ZEROS)
    if not any(sign in zeros for sign in _UNCERTAIN):
        with suppress(ValueError, TypeError):  # TypeError: nested deeper than orjson writes
            found = orjson.loads(text)
            if orjson.dumps(found).count(b":") == text.count(b":"):
                return found
    return read_json(text, **arguments)


def members_of(pairs: list[tuple[str, Any]], repeated: Callable[[list[tuple[str, Any]]], Any] = RepeatedNames) -> Any:
    """
    Return an object of JSON, for :func:`json.loads` as ``object_pairs_hook``.

    :param repeated: makes what stands for an object in which a name occurs twice.
    """
    found = dict(pairs)
    return found if len(found) == len(pairs) else repeated(pairs)


def finite_number(digits: str) -> float:
    """
    Return a number of JSON that has a fraction or an exponent.

    :raises ValueError: no float can hold it.
    """
    found = read_number(digits)
    if not math.isfinite(found):
        raise ValueError("a number that no float can hold")
    return found


def read_number(digits: str) -> float:
    """Return a number of JSON that has a fraction or an exponent; infinity for one that no float can hold."""
    found = float(digits)
    if (len(digits) <= _SHORT and abs(found) >= _TINY) or repr(found) == digits or not math.isfinite(found):
        return found
    written = decimal.Decimal(digits)
    return found if written in (decimal.Decimal(repr(found)), decimal.Decimal(found)) else ExactNumber(digits)
