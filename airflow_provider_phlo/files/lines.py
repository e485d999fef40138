"""Lines of JSON as Arrow columns: each with its number, its position and its text, and those that are not text."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from airflow_provider_phlo.files.document_files import documents, may_have_documents, problem_of, problem_of_lines

#: A longer line is not a record; it would not fit into memory with its copies.
LINE_BYTES = 16 * 1024 * 1024
#: What is read at a time.
CHUNK_BYTES = 16 * 1024 * 1024
#: How many of these a file may have whose documents are not one on each line.
DOCUMENT_BLOCKS = 2
#: What a compressed file may unpack to.
UNPACKED_BYTES = 8 * 1024**3
# JSON packs 5 to 30 times; more than this, of more than a little, was written by nobody
_RATIO, _RATIO_FROM = 200, 64 * 1024 * 1024
_KEPT_OF_LONG = 64 * 1024
_BOM = b"\xef\xbb\xbf"
LINES = pa.schema([("line_number", pa.int64()), ("byte_offset", pa.int64()), ("raw", pa.large_string())])


class BadFileError(Exception):
    """A file that cannot be read as what its name says; the message holds none of its content."""


@dataclass(frozen=True)
class Rejected:
    """
    A line that is not a row.

    :param line_number: from 1.
    :param byte_offset: where it begins (in the unpacked file); None of a row of a CSV or Parquet file.
    :param reason: what is wrong with it; holds none of its content.
    :param raw: its text; bytes that are not UTF-8 are written as ``\\xNN``.
    """

    line_number: int
    byte_offset: int | None
    reason: str
    raw: str


@dataclass(frozen=True)
class Chunk:
    """
    Consecutive lines of a file.

    :param lines: as :data:`LINES` says.
    :param data: the bytes of all of them.
    :param rejected: lines between them that are not text.
    """

    lines: pa.Table
    data: bytes | memoryview
    rejected: list[Rejected] = field(default_factory=list)


def chunks(stream: BinaryIO, *, packed: bool) -> Iterator[Chunk]:
    """
    Yield the lines of ``stream``, some :data:`CHUNK_BYTES` at a time; or its documents, all at once, if it does not
    have one on each line. A document counts as a line, whose number is that of the document.

    :param packed: it is compressed by gzip.
    :raises BadFileError: it cannot be unpacked, or to more than :data:`UNPACKED_BYTES`, or is something else.
    """
    blocks = _unpacked(stream) if packed else iter(lambda: stream.read(CHUNK_BYTES), b"")
    head = next(blocks, b"")
    if problem := problem_of(head):
        raise BadFileError(problem)
    offset = len(_BOM) if head.startswith(_BOM) else 0
    head = head[offset:]
    if may_have_documents(head):
        head += b"".join(islice(blocks, DOCUMENT_BLOCKS - 1))
        more = next(blocks, b"")
        found = None if more else documents(head)
        if found is not None and all(len(text.encode()) <= LINE_BYTES for _, text in found):
            yield _document_chunk(found, offset)
            return
        blocks = chain([more] if more else [], blocks)
    if problem := problem_of_lines(_whole_lines(head)):
        raise BadFileError(problem)
    yield from _line_chunks(chain([head], blocks), offset)


def _whole_lines(head: bytes) -> bytes:
    """Return ``head`` without the line that goes on behind it."""
    return head if len(head) < CHUNK_BYTES else head[: head.rfind(b"\n") + 1] or head


def _document_chunk(found: list[tuple[int, str]], offset: int) -> Chunk:
    texts = [text for _, text in found]
    columns = [
        pa.array(range(1, len(found) + 1), pa.int64()),
        pa.array([begin + offset for begin, _ in found], pa.int64()),
        pa.array([f"{text}\n" for text in texts], pa.large_string()),
    ]
    return Chunk(pa.table(columns, schema=LINES), "\n".join(texts).encode())


def _line_chunks(blocks: Iterator[bytes], offset: int) -> Iterator[Chunk]:
    number, rest = 1, b""
    for block in blocks:
        data = rest + block
        end = data.rfind(b"\n") + 1
        if not end and len(data) > LINE_BYTES:
            yield Chunk(LINES.empty_table(), b"", [_too_long(number, offset, data)])
            skipped = _skip_line(blocks)
            number, offset, rest = number + 1, offset + len(data) + skipped[0], skipped[1]
            continue
        if end:
            chunk, count = _chunk(data[:end], number, offset)
            yield chunk
            number, offset = number + count, offset + end
        rest = data[end:]
    if rest:
        yield _chunk(rest, number, offset)[0]


def _chunk(data: bytes, number: int, offset: int) -> tuple[Chunk, int]:
    """Return the lines of ``data`` and their number."""
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n")).astype(np.int64) + 1
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    bounds = np.concatenate([np.zeros(1, np.int64), ends])
    count = len(ends)
    texts = pa.LargeStringArray.from_buffers(count, pa.py_buffer(bounds), pa.py_buffer(data))
    columns = [pa.array(np.arange(number, number + count)), pa.array(bounds[:-1] + offset), texts]
    try:
        texts.validate(full=True)
        long = int(np.diff(bounds).max()) > LINE_BYTES
    except pa.ArrowInvalid:  # not UTF-8
        long = True
    if not long:
        return Chunk(pa.table(columns, schema=LINES), data), count
    return _without_bad(data, bounds, number, offset), count


def _without_bad(data: bytes, bounds: np.ndarray, number: int, offset: int) -> Chunk:
    """Return the lines of ``data`` that are text, and those that are not."""
    good: list[tuple[int, int, str]] = []
    rejected = []
    for index, (begin, end) in enumerate(zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)):
        line = data[begin:end]
        try:
            if len(line) > LINE_BYTES:
                rejected.append(_too_long(number + index, offset + begin, line))
            else:
                good.append((number + index, offset + begin, line.decode()))
        except UnicodeDecodeError:
            text = line.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
            rejected.append(Rejected(number + index, offset + begin, "is not UTF-8", text))
    columns = [pa.array(column, field.type) for column, field in zip(zip(*good, strict=True), LINES, strict=False)]
    table = pa.table(columns, schema=LINES) if good else LINES.empty_table()
    return Chunk(table, "".join(text for _, _, text in good).encode(), rejected)


def _too_long(number: int, offset: int, line: bytes) -> Rejected:
    reason = f"is longer than {LINE_BYTES >> 20} MiB; its first {_KEPT_OF_LONG >> 10} KiB are kept"
    return Rejected(number, offset, reason, line[:_KEPT_OF_LONG].decode("utf-8", "backslashreplace"))


def _skip_line(blocks: Iterator[bytes]) -> tuple[int, bytes]:
    """Skip to the end of the line; return how many bytes that took, and what comes after them."""
    skipped = 0
    for block in blocks:
        end = block.find(b"\n") + 1
        if end:
            return skipped + end, block[end:]
        skipped += len(block)
    return skipped, b""


def _unpacked(stream: BinaryIO) -> Iterator[bytes]:
    """Yield what ``stream`` unpacks to; its own size in memory is that of one block."""
    counted = _Counted(stream)
    total = 0
    with gzip.GzipFile(fileobj=io.BufferedReader(counted)) as unpacked:
        while True:
            try:
                block = unpacked.read(CHUNK_BYTES)
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                what = "is cut off" if isinstance(error, EOFError) else "is not gzip, or damaged"
                raise BadFileError(f"the compressed file {what}") from None
            if not block:
                if not counted.count:
                    raise BadFileError("the compressed file is empty, as one is that was not written to its end")
                return
            total += len(block)
            if total > UNPACKED_BYTES or (total > _RATIO_FROM and total > _RATIO * counted.count):
                raise BadFileError(
                    f"unpacks to more than {UNPACKED_BYTES >> 30} GiB or {_RATIO} times its size, as a file that is "
                    "made to fill a disk does"
                )
            yield block


class _Counted(io.RawIOBase):
    """Counts what is read."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        return len(data)
