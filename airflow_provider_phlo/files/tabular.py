"""Rows of CSV and Parquet files as lines of JSON, so that they are judged and written as lines are."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from airflow_provider_phlo.files.documents import NotARowError
from airflow_provider_phlo.files.lines import LINE_BYTES, LINES, BadFileError, Chunk, Rejected

#: Makes of a row (column → value) the document that a line would hold; raises NotARowError.
ToDocument = Callable[[Mapping[str, Any]], Any]
_ROWS = 5_000


def csv_chunks(stream: BinaryIO, to_document: ToDocument, keys: tuple[str, ...]) -> Iterator[Chunk]:
    """
    Yield the rows of a CSV file with a header.

    An empty field, quoted or not, is a missing value; words such as NULL are text.

    :param keys: columns, one of which there must be.
    :raises BadFileError: there is no header, none of ``keys`` in it, or a name twice.
    """
    text = io.TextIOWrapper(stream, "utf-8-sig", "surrogateescape", newline="")
    try:
        yield from _csv_chunks(_Lines(text), to_document, keys)
    finally:
        text.detach()  # it would close the stream, whose hash is still to be asked for


def _csv_chunks(lines: _Lines, to_document: ToDocument, keys: tuple[str, ...]) -> Iterator[Chunk]:
    csv.field_size_limit(LINE_BYTES)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error:
        header = []
    _require_columns(header, keys)
    while True:
        rows: list[tuple[int, str]] = []
        rejected: list[Rejected] = []
        ended = False
        while len(rows) + len(rejected) < _ROWS:
            number = lines.begin()
            row, reason = _next_row(reader)
            if row is None:
                ended = True
                break
            try:
                if reason:
                    raise NotARowError(reason)
                if row:
                    rows.append((number, json.dumps(to_document(_csv_values(row, header, lines.text)))))
            except NotARowError as error:
                rejected.append(Rejected(number, None, str(error), _printable(lines.text)))
        if rows or rejected:
            yield _chunk(rows, rejected)
        if ended:
            return


def parquet_chunks(stream: BinaryIO, to_document: ToDocument, keys: tuple[str, ...]) -> Iterator[Chunk]:
    """
    Yield the rows of a Parquet file.

    :param stream: can be read from anywhere.
    :param keys: columns, one of which there must be.
    :raises BadFileError: it is not Parquet, or damaged or encrypted, or has none of ``keys``, or a name twice.
    """
    try:
        with pq.ParquetFile(stream) as file:
            _require_readable(file.schema_arrow, keys)
            number = 1
            for batch in file.iter_batches(_ROWS):
                yield _batch_chunk(batch, number, to_document)
                number += len(batch)
    except (pa.ArrowException, OSError):
        raise BadFileError("is not Parquet, or damaged, or encrypted") from None


def _batch_chunk(batch: pa.RecordBatch, number: int, to_document: ToDocument) -> Chunk:
    try:
        values: list[Any] = batch.to_pylist()
    except (ValueError, ArithmeticError, pa.ArrowException):  # a value that Python cannot hold
        values = [None] * len(batch)
    rows, rejected = [], []
    for index, row in enumerate(values):
        try:
            row = row if row is not None else _row(batch, index)
            document = to_document({name: _cell(name, value) for name, value in row.items()})
            rows.append((number + index, json.dumps(document, default=_plain)))
        except NotARowError as error:
            rejected.append(Rejected(number + index, None, str(error), _readable(batch, index)))
    return _chunk(rows, rejected)


def _row(batch: pa.RecordBatch, index: int) -> dict[str, Any]:
    """
    Return a row.

    :raises NotARowError: it has a value that Python cannot hold; names its column.
    """
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[index].as_py()
        except UnicodeDecodeError:
            raise NotARowError(f"{name} is not UTF-8") from None
        except (ValueError, ArithmeticError, pa.ArrowException):
            raise NotARowError(f"{name} has a value of {column.type} that is out of bounds") from None
    return row


def _readable(batch: pa.RecordBatch, index: int) -> str:
    """Return as much of a row as there is to be read, as JSON; for what is not, its bytes or its number."""
    row = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        scalar = column[index]
        try:
            row[name] = scalar.as_py()
        except UnicodeDecodeError:
            row[name] = scalar.as_buffer().to_pybytes() if hasattr(scalar, "as_buffer") else None
        except (ValueError, ArithmeticError, pa.ArrowException):
            row[name] = getattr(scalar, "value", None)
    return json.dumps(row, default=_printed)


def _printed(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    with suppress(NotARowError):
        return _plain(value)
    return str(value)


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


def _next_row(reader: Iterator[list[str]]) -> tuple[list[str] | None, str | None]:
    """Return the next row, None at the end, and what is wrong with it."""
    try:
        return next(reader, None), None
    except csv.Error as error:
        return [], f"is not CSV: {error}"


def _csv_values(row: list[str], header: list[str], text: str) -> dict[str, str | None]:
    if len(row) != len(header):
        raise NotARowError(f"has {len(row)} fields, and the header has {len(header)}")
    if not _is_unicode(text):
        raise NotARowError("is not UTF-8")
    return {name: value or None for name, value in zip(header, row, strict=True)}


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _printable(text: str) -> str:
    return text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _require_columns(names: Sequence[str], keys: tuple[str, ...]) -> None:
    if not set(names) & set(keys):
        raise BadFileError(f"has no column {' or '.join(keys)}")
    for name, count in Counter(names).items():
        if count > 1:
            raise BadFileError(f"has {count} columns {name or 'without a name'}; which one counts is not known")


def _require_readable(schema: pa.Schema, keys: tuple[str, ...]) -> None:
    _require_columns(schema.names, keys)
    for column in schema:
        _require_type(column.name, column.type)


def _require_type(name: str, type_: pa.DataType) -> None:
    """Refuse what makes each value of a column unreadable: members of one name, a time zone that is not known."""
    if pa.types.is_timestamp(type_) and type_.tz is not None:
        _require_zone(name, type_.tz)
    members = [type_.field(index) for index in range(type_.num_fields)]
    if pa.types.is_struct(type_) and len({member.name for member in members}) < len(members):
        raise BadFileError(f"column {name} has two members of one name")
    for member in members:
        _require_type(f"{name}.{member.name}", member.type)


def _require_zone(name: str, zone: str) -> None:
    try:
        pa.scalar(0, pa.timestamp("s", zone)).as_py()
    except Exception:  # noqa: BLE001 - of whichever library of time zones Arrow finds
        raise BadFileError(f"column {name} has times of a time zone that is not known") from None


def _chunk(rows: list[tuple[int, str]], rejected: list[Rejected]) -> Chunk:
    numbers, texts = [number for number, _ in rows], [text for _, text in rows]
    columns = [
        pa.array(numbers, pa.int64()),
        pa.nulls(len(rows), pa.int64()),
        pa.array([f"{text}\n" for text in texts], pa.large_string()),
    ]
    return Chunk(pa.table(columns, schema=LINES), "\n".join(texts).encode(), rejected)


def _cell(name: str, value: Any) -> Any:
    """Return a value of a column: text of what is stored as bytes, and None of pandas' NaN."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise NotARowError(f"{name} has bytes that are not UTF-8") from None
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain(value: Any) -> Any:
    """Return a value of Parquet as JSON has it; times without a zone are UTC."""
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return _number(value)
    return _cell("a member", value) if isinstance(value, bytes) else str(value)


def _number(value: Decimal) -> int | float | str:
    """Return the number that JSON has; text of one with more digits than a reader would keep."""
    if not value.is_finite():
        return str(value)
    whole = int(value)
    if whole == value:
        return whole
    near = float(value)
    return near if Decimal(repr(near)) == value else str(value)
