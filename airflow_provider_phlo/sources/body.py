"""Read the body of an answer within limits, and parse it as JSON."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Callable
from typing import Any, NoReturn

import requests
from urllib3.exceptions import HTTPError, ReadTimeoutError

from airflow_provider_phlo.exact_json import RepeatedNames, read_json, read_quickly

CHUNK_BYTES = 65536
ENCODINGS = frozenset({"", "identity", "gzip", "x-gzip", "deflate"})
# zlib finds out by itself whether what comes is gzip or its own format
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class BodyRefusedError(Exception):
    """The body is beyond what a client takes, however often it asks. The text completes "GET … "."""


class BodyLostError(Exception):
    """The body did not arrive whole, which may pass. The text completes "GET … "."""


def read_body(response: requests.Response, limit: int, seconds: float) -> bytes:
    """
    Return the unpacked body of a streamed response.

    urllib3 unpacks too, but reads on without end where nothing comes out of what it unpacks, and takes the end of a
    gzip stream that was cut for its end.

    :param limit: bytes, as sent and unpacked.
    :param seconds: for the whole body; the timeouts of the connection are between two pieces of it.
    :raises BodyRefusedError: it is larger, or packed in a way that was not asked for.
    :raises BodyLostError: it is cut short, damaged, or takes longer.
    """
    encoding = response.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in ENCODINGS:
        raise BodyRefusedError("answered in an encoding that was not asked for (gzip is)")
    unpack = _Unpacking() if encoding not in ("", "identity") else None
    body, taken, end = bytearray(), 0, time.monotonic() + seconds
    while chunk := _chunk(response):
        taken += len(chunk)
        body += unpack(chunk, limit - len(body)) if unpack else chunk
        if max(taken, len(body)) > limit:
            raise BodyRefusedError(f"answered with more than {limit:,} bytes (unpacked)")
        if time.monotonic() > end:
            raise BodyLostError(f"got an answer that did not end within {seconds:.0f} s")
    if taken and unpack and not unpack.complete:
        raise BodyLostError("got a truncated answer")
    return bytes(body)


def _chunk(response: requests.Response) -> bytes:
    try:
        return response.raw.read1(CHUNK_BYTES, decode_content=False) or b""
    except ReadTimeoutError:
        raise BodyLostError("got no answer in time") from None
    except (HTTPError, OSError):
        raise BodyLostError("got a truncated answer, or lost the connection") from None


class _Unpacking:
    """Unpacks gzip (of several members too) and zlib, no further than a limit."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)

    @property
    def complete(self) -> bool:
        return self._stream.eof

    def __call__(self, data: bytes, room: int) -> bytes:
        """Return what ``data`` holds, at most one byte more than there is ``room`` for."""
        found = bytearray()
        while data and len(found) <= room:
            if self._stream.eof:
                self._stream = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                found += self._stream.decompress(data, room + 1 - len(found))
            except zlib.error:
                raise BodyLostError("got an answer that cannot be decompressed") from None
            data = self._stream.unconsumed_tail or self._stream.unused_data
        return bytes(found)


def parse_json(body: bytes, content_type: str, repeated: bool = False) -> Any:
    """
    Return ``body`` as JSON. A number that Python cannot hold (1e999, thousands of digits) stays text, and an object
    that has a name twice is a :class:`~airflow_provider_phlo.exact_json.RepeatedNames` where that may be.

    :param content_type: names the encoding of a body that is not UTF-8, as RFC 8259 asks for.
    :param repeated: whether the objects in its lists may have a name twice: they are records, and bad ones.
    :raises ValueError: it is not JSON.
    :raises BodyRefusedError: it is nested deeper than Python reads, or an object has a name twice that may not.
    """
    try:
        found = _parsed(body, content_type, RepeatedNames if repeated else _refuse)
        require_plain_envelope(found)
        return found
    except RecursionError:
        raise BodyRefusedError("answered JSON that is nested too deeply to be read") from None


def require_plain_envelope(found: Any) -> None:
    """
    Refuse an answer in which an object that is in no list has a name twice: which of its lists is meant?

    :raises BodyRefusedError: it is so.
    """
    level = [found]
    while level:
        if any(isinstance(each, RepeatedNames) for each in level):
            _refuse([])
        level = [member for each in level if isinstance(each, dict) for member in each.values()]


def _refuse(pairs: list[tuple[str, Any]]) -> NoReturn:
    raise BodyRefusedError("answered JSON in which an object has the same name twice")


def _parsed(body: bytes, content_type: str, repeated: Callable[[list[tuple[str, Any]]], Any]) -> Any:
    text: str | bytes = body
    try:
        return read_quickly(body, repeated=repeated, beyond=str)
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError:
        text = _decoded(body, content_type)
    except ValueError:  # integers of more digits than sys.get_int_max_str_digits()
        pass
    return read_json(text, repeated, beyond=str, parse_int=_integer)


def _decoded(body: bytes, content_type: str) -> str:
    charset = re.search(r"charset\s*=\s*[\"']?([\w.:-]+)", content_type, re.IGNORECASE)
    try:
        return body.decode(charset[1] if charset else "utf-8")
    except LookupError:
        raise ValueError("unknown charset") from None


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text
