"""Rows of CSV and Parquet files as lines of JSON, so that they are judged and written as lines are."""

from __future__ import annotations

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_phlo.files.lines import LINE_BYTES, LINES, BadFileError, Chunk, Rejected

#: Makes of a row (column → value) the document that a line would hold.
ToDocument = Callable[[Mapping[str, Any]], Any]
_ROWS = 5_000


def csv_chunks(stream: BinaryIO, to_document: ToDocument, keys: tuple[str, ...]) -> Iterator[Chunk]:
    """
    Yield the rows of a CSV file with a header; an empty field is a missing value.

    :param keys: columns, one of which there must be.
    :raises BadFileError: there is no header, or none of ``keys`` in it.
    """
    lines = _Lines(io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline=""))
    csv.field_size_limit(LINE_BYTES)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error:
        header = []
    _require_key(header, keys)
    while True:
        rows: list[tuple[int, str]] = []
        rejected: list[Rejected] = []
        ended = False
        while len(rows) + len(rejected) < _ROWS:
            number = lines.begin()
            try:
                row = next(reader, None)
                reason = None if row is None else _csv_problem(row, header, lines.text)
            except csv.Error as error:
                row, reason = [], f"is not CSV: {error}"
            if row is None:
                ended = True
                break
            if reason:
                rejected.append(Rejected(number, None, reason, _printable(lines.text)))
            elif row:
                values = {name: value or None for name, value in zip(header, row, strict=True)}
                rows.append((number, json.dumps(to_document(values))))
        if rows or rejected:
            yield _chunk(rows, rejected)
        if ended:
            return


def parquet_chunks(stream: BinaryIO, to_document: ToDocument, keys: tuple[str, ...]) -> Iterator[Chunk]:
    """
    Yield the rows of a Parquet file.

    :param stream: can be read from anywhere.
    :param keys: columns, one of which there must be.
    :raises BadFileError: it is not Parquet, or damaged, or has none of ``keys``.
    """
    try:
        with pq.ParquetFile(stream) as file:
            _require_key(file.schema_arrow.names, keys)
            rows = (row for batch in file.iter_batches(_ROWS) for row in batch.to_pylist())
            numbered = ((number, json.dumps(to_document(row), default=_plain)) for number, row in enumerate(rows, 1))
            while part := list(islice(numbered, _ROWS)):
                yield _chunk(part, [])
    except (pa.ArrowException, OSError):
        raise BadFileError("is not Parquet, or damaged") from None


class _Lines:
    """The lines of a text; it remembers those that were read for one row."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._number = 0
        self.text = ""

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self._number += 1
        if len(self.text) < LINE_BYTES:
            self.text += line
        return line

    def begin(self) -> int:
        """Begin a row; return the number of its first line."""
        self.text = ""
        return self._number + 1


def _csv_problem(row: list[str], header: list[str], text: str) -> str | None:
    if row and len(row) != len(header):
        return f"has {len(row)} fields, and the header has {len(header)}"
    return None if _is_unicode(text) else "is not UTF-8"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    return text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _require_key(names: list[str], keys: tuple[str, ...]) -> None:
    if not set(names) & set(keys):
        raise BadFileError(f"has no column {' or '.join(keys)}")


def _chunk(rows: list[tuple[int, str]], rejected: list[Rejected]) -> Chunk:
    numbers, texts = [number for number, _ in rows], [text for _, text in rows]
    columns = [
        pa.array(numbers, pa.int64()),
        pa.nulls(len(rows), pa.int64()),
        pa.array([f"{text}\n" for text in texts], pa.large_string()),
    ]
    return Chunk(pa.table(columns, schema=LINES), "\n".join(texts).encode(), rejected)


def _plain(value: Any) -> Any:
    """Return a value of Parquet as JSON has it; times without a zone are UTC."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
