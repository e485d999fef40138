"""
Files of JSON that do not have one document on each line, and files that are something else.

``curl`` saves an answer of GitHub's as an array, ``jq`` and ``json.tool`` write a document on many lines, ``gh api
--paginate`` writes arrays one after the other, and so are the documents of GitHub's archive of 2012.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator

import msgspec

_MAGIC = {
    b"\x1f\x8b": "is compressed by gzip, as names that end in .gz say: rename it",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd: unpack it",
    b"\xfd7zXZ\x00": "is compressed by xz: unpack it",
    b"BZh": "is compressed by bzip2: unpack it",
    b"PK\x03\x04": "is a zip archive: unpack it",
    b"PAR1": "is Parquet, as names that end in .parquet say: rename it",
    b"\xff\xfe": "is UTF-16: save it as UTF-8",
    b"\xfe\xff": "is UTF-16: save it as UTF-8",
}
_NOT_BLANK = re.compile(r"[^ \t\r\n]")
_DECODER = json.JSONDecoder()
_RAW = msgspec.json.Decoder(type=msgspec.Raw)
_CLOSED = re.compile(r"[ \t\r\n]*([,\]])")
_OPENING = (b"[", b"{")
_BLANK = b" \t\r\n"
_DAMAGED_ARRAY = (
    "is a JSON array that is damaged, cut off, of something else than objects, or too large to be loaded as one: write "
    "one document on each line (jq -c '.[]')"
)


def problem_of(head: bytes) -> str | None:
    """Return what a file that begins with ``head`` is instead of lines of JSON, None if nothing is known."""
    if head.startswith(b"\0") and not head.strip(b"\0"):
        return "has only NUL bytes, as a file that lost its content in a power cut"
    return next((what for magic, what in _MAGIC.items() if head.startswith(magic)), None)


def may_have_documents(head: bytes) -> bool:
    """
    Return whether a file that begins with ``head`` may have documents that are not one on each line.

    :param head: without a byte order mark.
    """
    line, _, rest = head.lstrip(_BLANK).partition(b"\n")
    if not line.startswith(_OPENING):
        return False
    # an array on one line is that line where there are others
    return not _is_document(line) or (line.startswith(b"[") and not rest.strip(_BLANK))


def problem_of_lines(data: bytes) -> str | None:
    """
    Return why the lines of ``data`` are not to be judged one by one, None if they are.

    Where not one is an object, or commas stand between them, the file as a whole is something else: to reject all its
    lines would hide that. A single line is judged as such, unless it is markup: the page of a server's error.

    :param data: whole lines at the beginning of a file, without a byte order mark.
    """
    first = _first_line(data)
    opening = first.lstrip(_BLANK)[:1]
    if opening == b"{" and _is_document(first):
        return None
    lines = [line.rstrip(_BLANK) for line in data.split(b"\n") if line.strip(_BLANK)]
    # what stands deeper is a part of a document
    indent = first[: len(first) - len(first.lstrip(_BLANK))]
    own = [line for line in lines if line.startswith(indent + b"{")]
    objects = sum(map(_is_object, own))
    separated = sum(_is_object(line[:-1]) for line in own if line.endswith(b","))
    if objects > separated:
        return None
    if opening == b"[":
        return _DAMAGED_ARRAY
    if separated:
        return "has objects with commas between them: write one document on each line, and nothing else (jq -c)"
    if not lines or (len(lines) == 1 and opening != b"<"):
        return None
    if opening == b"{":
        return (
            "is JSON whose documents are not one on each line, and that is damaged, cut off or too large to be read as "
            "such: write one document on each line (jq -c .)"
        )
    return "is not JSON: none of its lines is an object"


def documents(data: bytes) -> list[tuple[int, str]] | None:
    """
    Return the documents of a file, the elements of arrays among them, each with the byte at which it begins.

    :param data: the whole file, without a byte order mark.
    :return: None if it is not a row of documents, or an array of something else than objects.
    """
    try:
        text = data.decode()
        spans = list(_spans(text))
    except (ValueError, RecursionError):
        return None
    found, at, offset = [], 0, 0
    for begin, end in spans:
        offset += len(text[at:begin].encode())
        found.append((offset, text[begin:end]))
        at = begin
    return found


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """
    Yield where documents begin and end.

    :raises ValueError: it is not JSON.
    """
    at = 0
    while (begin := _NOT_BLANK.search(text, at)) is not None:
        at = begin.start()
        if text[at] == "[":
            at = yield from _elements(text, at + 1)
        else:
            end = _DECODER.raw_decode(text, at)[1]
            yield at, end
            at = end


def _elements(text: str, at: int) -> Generator[tuple[int, int], None, int]:
    """Yield where the objects of an array begin and end, ``at`` being behind its bracket; return where it ends."""
    closed = _CLOSED.match(text, at)
    if closed is not None and closed[1] == "]":
        return closed.end()
    while True:
        element = _NOT_BLANK.search(text, at)
        if element is None or element[0] != "{":
            raise ValueError
        end = _DECODER.raw_decode(text, element.start())[1]
        yield element.start(), end
        closed = _CLOSED.match(text, end)
        if closed is None:
            raise ValueError
        at = closed.end()
        if closed[1] == "]":
            return at


def _first_line(data: bytes) -> bytes:
    """Return the first line that is not blank."""
    start = len(data) - len(data.lstrip(_BLANK))
    start = data.rfind(b"\n", 0, start) + 1
    end = data.find(b"\n", start)
    return data[start:] if end < 0 else data[start:end]


def _is_object(line: bytes) -> bool:
    """Return whether a line is an object as Python reads it, which takes NaN and half characters too."""
    try:
        return isinstance(json.loads(line), dict)
    except RecursionError:
        return True
    except ValueError:
        return False


def _is_document(line: bytes) -> bool:
    try:
        _RAW.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return bool(line.strip(_BLANK))
