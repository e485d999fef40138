"""Lines that are JSON to the letter: one document each, as DuckDB and every other reader understand it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

#: What may stand around a document.
BLANK = " \t\r\n"
_NOT_JSON = "is not valid JSON"
_NO_NUMBER = "has NaN or Infinity, which JSON does not have"
_CUT_OFF = "is cut off: the file ends in the middle of it"
_TOO_DEEP = "is JSON that is nested too deeply"
_TOO_LONG = "has a number of thousands of digits"
_STRICT = msgspec.json.Decoder(type=msgspec.Raw)
_ESCAPE = re.compile(r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[dD][89a-fA-F][0-9a-fA-F]{2}|.)")
_ESCAPE_LENGTH = len(r"\ud83d")


class NotARowError(ValueError):
    """A line or row that is not a row of the table; the message says why and holds none of its content."""


def has_document_per_line(data: bytes | memoryview, count: int) -> bool:
    """
    Return whether each line is one JSON document: DuckDB also takes NaN, Infinity and trailing commas.

    :param data: lines.
    :param count: how many of them are not blank.
    """
    try:
        documents = _STRICT.decode_lines(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    # the decoder takes several documents on a line, and one on several lines, as well
    return len(documents) == count and not any(b"\n" in bytes(document) for document in documents)


def strict_document(text: str, *, ended: bool) -> str:
    """
    Return the document that a line has, as DuckDB reads it.

    Half of a surrogate pair, which is not a character, becomes the text of its escape (``\\\\ud83d``).

    :param text: the line without blanks around it.
    :param ended: the line has an end, which the last line of a file that was cut off lacks.
    :raises NotARowError: it is not JSON to the letter.
    """
    if "\0" in text:
        raise NotARowError("has NUL bytes")
    whole = _ESCAPE.sub(_keep_half, text) if "\\u" in text else text
    try:
        _STRICT.decode(whole)
    except RecursionError:
        raise NotARowError(_TOO_DEEP) from None
    except msgspec.DecodeError as error:
        if not ended and "truncated" in str(error):
            raise NotARowError(_CUT_OFF) from None
        raise NotARowError(_NO_NUMBER if _is_python_json(whole) else _NOT_JSON) from None
    return whole


def parsed(text: str) -> Any:
    """
    Return what a strict document says; of a name that is there twice, the first, as DuckDB does.

    :raises NotARowError: Python cannot read it.
    """
    try:
        return json.loads(text, object_pairs_hook=_first_wins)
    except RecursionError:
        raise NotARowError(_TOO_DEEP) from None
    except ValueError:
        raise NotARowError(_TOO_LONG) from None


def _keep_half(escape: re.Match[str]) -> str:
    half = len(escape[0]) == _ESCAPE_LENGTH
    return f"\\{escape[0]}" if half else escape[0]


def _is_python_json(text: str) -> bool:
    """Return whether ``text`` is JSON but for the numbers that Python takes as well."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        document.update(reversed(pairs))
    return document
