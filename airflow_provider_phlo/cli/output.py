"""What commands share: the catalog they read, and how they print."""

from __future__ import annotations

import csv
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_CELL_WIDTH = 60


@dataclass(frozen=True)
class Result:
    """
    What a command found: column names (made unique) and rows of Python values.

    :param right: the columns of text that a table aligns to the right, as it does numbers.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]
    right: tuple[str, ...] = ()


def open_catalog(iceberg_conn_id: str = "iceberg_default") -> Catalog:
    """Return the catalog of a connection, or the embedded one."""
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

    return PhloIcebergHook(iceberg_conn_id).catalog


def show(result: Result, output: str) -> None:
    """Print ``result`` as ``table``, ``json`` or ``csv``."""
    with _to_stdout() as out:
        WRITERS[output](result, out)


def write_lines(lines: Iterable[str]) -> None:
    """Print lines as they are."""
    with _to_stdout() as out:
        out.writelines(f"{line}\n" for line in lines)


@contextmanager
def _to_stdout() -> Iterator[TextIO]:
    try:
        yield sys.stdout
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has closed the pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    """Write a header and the rows; NULL is an empty field."""
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(result.columns)
    writer.writerows([("" if value is None else _text(value)) for value in row] for row in result.rows)


def write_table(result: Result, out: TextIO) -> None:
    """Write aligned columns for people: long cells are cut, control characters shown as dots."""
    cells = [[_cell(value) for value in row] for row in result.rows]
    columns = zip(*result.rows, strict=True) if result.rows else [()] * len(result.columns)
    numeric = [
        name in result.right or all(value is None or type(value) in (int, float) for value in column)
        for name, column in zip(result.columns, columns, strict=True)
    ]
    header = [_cell(column) for column in result.columns]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]

    def line(texts: Iterable[str]) -> str:
        aligned = (
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(texts, widths, numeric, strict=True)
        )
        return "  ".join(aligned).rstrip()

    rule = "  ".join("-" * width for width in widths)
    count = f"({len(cells)} row{'' if len(cells) == 1 else 's'})"
    out.write("\n".join([line(header), rule, *map(line, cells), count]) + "\n")


def _cell(value: Any) -> str:
    text = f"{value:.10g}" if isinstance(value, float) else "NULL" if value is None else _text(value)
    text = printable(text)
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 1] + "…"


def printable(text: str) -> str:
    """Return a text that cannot send control sequences to the terminal."""
    return "".join(character if character.isprintable() else "·" for character in text)


WRITERS: dict[str, Callable[[Result, TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "csv": write_csv,
}
