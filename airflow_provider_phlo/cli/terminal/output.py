"""What commands share: the catalog they read, and how they print."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_phlo.cli.terminal import styles
from airflow_provider_phlo.cli.terminal.errors import discard
from airflow_provider_phlo.printable_text import printable

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_CELL_WIDTH = 60
# columns that say what is wrong and where: what is cut off there is what the reader came for
_NEVER_CUT = frozenset({"message", "problem", "where", "why", "reason", "error", "held", "what to do"})
# numbers that are not amounts
_IDENTITY = re.compile(r"(^|[_ ])(id|snapshot|pid|port|position)$")


@dataclass(frozen=True)
class Result:
    """
    What a command found: column names (made unique) and rows of Python values.

    :param right: the columns of text that a table aligns to the right, as it does numbers.
    :param exact: whether a table shows values as SQL has them, NULL and JSON too, and every column. Otherwise it is
        for people: what is empty in all rows is left out.
    :param counted: whether a table ends with the number of its rows.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    right: tuple[str, ...] = ()
    exact: bool = False
    counted: bool = True


def open_catalog(iceberg_conn_id: str = "iceberg_default") -> Catalog:
    """Return the catalog of a connection, or the embedded one."""
    from airflow_provider_phlo import settings
    from airflow_provider_phlo.without_airflow import is_connection_unset

    if iceberg_conn_id == "iceberg_default" and is_connection_unset(iceberg_conn_id):
        from airflow_provider_phlo.iceberg.catalogs import opening

        properties = {**opening.embedded_properties(settings.home()), **settings.catalog_options()}
        return opening.open_catalog(settings.catalog_name(), properties)
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

    return PhloIcebergHook(iceberg_conn_id).catalog


def show(result: Result, output: str) -> None:
    """Print ``result`` as ``table``, ``json`` or ``csv``."""
    with _to_stdout() as out:
        WRITERS[output](result, out)


def write_lines(lines: Iterable[str], *, live: bool = False) -> None:
    """
    Print lines as they are, until the reader closes the pipe.

    :param live: whether each is shown as soon as there is one.
    """
    with _to_stdout() as out:
        for line in lines:
            out.write(f"{line}\n")
            if live:
                out.flush()


@contextmanager
def _to_stdout() -> Iterator[TextIO]:
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)


def plain(value: Any) -> Any:
    """Return ``value`` in a form that JSON has: ISO 8601 times, exact decimals as text, NaN and infinity as null."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value.hex() if isinstance(value, bytes) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, float):  # a cell has NaN and infinity, which JSON lacks
        return str(value)
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


def write_json(result: Result, out: TextIO) -> None:
    """Write a list of objects, one per line."""
    lines = (
        json.dumps(dict(zip(result.columns, map(plain, row), strict=True)), ensure_ascii=False) for row in result.rows
    )
    out.write("[" + ",\n ".join(lines) + "]\n")


def write_csv(result: Result, out: TextIO) -> None:
    """Write a header and the rows; NULL is an empty field, and empty text two quotes."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    for row in result.rows:
        # a reader may skip an empty line: of a single column, NULL is in quotes as well
        if len(row) > 1 and "" in row:
            out.write(",".join(_csv_field(value) for value in row) + "\n")
        else:
            writer.writerow("" if value is None else _text(value) for value in row)


def _csv_field(value: Any) -> str:
    """Return one field as :mod:`csv` writes it, which makes no difference between NULL and empty text."""
    if value is None:
        return ""
    if value == "":
        return '""'
    field = io.StringIO()
    csv.writer(field, lineterminator="").writerow([_text(value)])
    return field.getvalue()


def terminal_width(out: TextIO | None = None) -> int | None:
    """Return how many columns the terminal has; None where the output goes elsewhere."""
    stream = sys.stdout if out is None else out
    return shutil.get_terminal_size().columns if stream.isatty() else None


def write_table(result: Result, out: TextIO) -> None:
    """
    Write aligned columns for people: long cells are cut (but for what is wrong), control characters shown as dots.

    Where a terminal is too narrow for that, each row is a block of lines.
    """
    shown = result if result.exact else _without_empty(result)
    cells = [
        [_cell(value, shown.exact, column) for value, column in zip(row, shown.columns, strict=True)]
        for row in shown.rows
    ]
    header = [printable(column if shown.exact else column.replace("_", " ")) for column in shown.columns]
    widths = [max(map(text_width, column)) for column in zip(header, *cells, strict=True)]
    width = terminal_width(out)
    if width is not None and sum(widths) + 2 * (len(widths) - 1) > width and cells:
        lines = list(_blocks(header, cells, width))
    else:
        lines = list(_columns(header, cells, widths, _right(shown), styles.has_colours(out)))
    if shown.counted:
        lines.append(f"({len(cells)} row{'' if len(cells) == 1 else 's'})")
    out.write("".join(f"{line}\n" for line in lines))


def _without_empty(result: Result) -> Result:
    """Return the result without the columns that say nothing in any row."""
    kept = [
        number
        for number in range(len(result.columns))
        if not result.rows or any(row[number] not in (None, "", [], {}, ()) for row in result.rows)
    ]
    rows = [tuple(row[number] for number in kept) for row in result.rows]
    return replace(result, columns=[result.columns[number] for number in kept], rows=rows)


def _right(result: Result) -> list[bool]:
    columns = zip(*result.rows, strict=True) if result.rows else [()] * len(result.columns)
    return [
        name in result.right or all(value is None or type(value) in (int, float) for value in column)
        for name, column in zip(result.columns, columns, strict=True)
    ]


def _columns(
    header: list[str], cells: list[list[str]], widths: list[int], right: list[bool], colours: bool
) -> Iterator[str]:
    def line(texts: Iterable[str]) -> str:
        aligned = (
            " " * (width - text_width(text)) + text if ends else text + " " * (width - text_width(text))
            for text, width, ends in zip(texts, widths, right, strict=True)
        )
        return "  ".join(aligned).rstrip()

    yield styles.paint(line(header), "bold", shown=colours)
    yield styles.paint("  ".join("-" * width for width in widths), "dim", shown=colours)
    yield from map(line, cells)


def _blocks(header: list[str], cells: list[list[str]], width: int) -> Iterator[str]:
    """Yield the lines of rows, one below the other: ``column  value``, wrapped."""
    label = min(max(map(text_width, header)), width // 3)
    room = max(width - label - 2, 10)
    for row in cells:
        for name, text in zip(header, row, strict=True):
            if not (name and text):  # a chart has no name, and no room
                continue
            start = name[: label - 1] + "…" if text_width(name) > label else name
            first, *more = textwrap.wrap(text, room) or [""]
            yield start + " " * (label - text_width(start)) + f"  {first}"
            yield from (" " * (label + 2) + each for each in more)
        yield "-" * min(width, 20)


def _cell(value: Any, exact: bool, column: str) -> str:
    if not exact and type(value) is int and not _IDENTITY.search(column):
        return f"{value:,}"
    text = _exact_text(value) if exact else _words(value)
    text = printable(text)
    return text if len(text) <= _CELL_WIDTH or (not exact and column in _NEVER_CUT) else text[: _CELL_WIDTH - 1] + "…"


def _exact_text(value: Any) -> str:
    return f"{value:.10g}" if isinstance(value, float) else "NULL" if value is None else _text(value)


def _words(value: Any) -> str:
    """Return a value as people write it: no NULL, no JSON."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}{' UTC' if value.utcoffset() is not None and not value.utcoffset() else ''}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_words(item)}" for name, item in value.items())
    if isinstance(value, list | tuple | set):
        return ", ".join(map(_words, value))
    return _exact_text(value)


def text_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian letters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


WRITERS: dict[str, Callable[[Result, TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "csv": write_csv,
}
