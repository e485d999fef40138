"""``phlo query``: read-only SQL over every table of the catalog."""

from __future__ import annotations

import csv
import difflib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import TYPE_CHECKING, Any, TextIO

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from pyiceberg.catalog import Catalog

FAILED = 1
REFUSED = 2
_CELL_WIDTH = 60
# statements and schemas that list tables: all of them have to be there
_METADATA = re.compile(r"^\s*show\b|\b(information_schema|pg_catalog|duckdb_\w+\s*\(|sqlite_master)", re.I)


@dataclass(frozen=True)
class Result:
    """The answer to a query: column names (made unique) and rows of Python values."""

    columns: list[str]
    rows: list[tuple[Any, ...]]


def query(args: argparse.Namespace) -> None:
    """
    Run ``args.sql`` and print the result as ``args.output``.

    Ends the process with code 1 when the statement fails and with 2 when it is no statement that only reads.
    """
    import duckdb

    from airflow_provider_phlo.iceberg.duckdb import assert_read_only

    try:
        assert_read_only(args.sql)
    except ConfigurationError as error:
        _exit(str(error), REFUSED)
    try:
        result = run(_catalog(), args.sql)
    except (ConfigurationError, duckdb.Error) as error:
        _exit(str(error), FAILED)
    try:
        WRITERS[args.output](result, sys.stdout)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader (head, less) has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(catalog: Catalog, sql: str) -> Result:
    """
    Run one statement over the tables of ``catalog``.

    :param catalog: where the tables are; only those the statement names are opened.
    :param sql: one statement that only reads.
    :raises ConfigurationError: the statement names a table that does not exist, or is refused.
    """
    from airflow_provider_phlo.iceberg.duckdb import assert_read_only, connect

    assert_read_only(sql)
    with connect(catalog, tables=_tables(catalog, sql), locked=True) as connection:
        cursor = connection.execute(sql)
        columns = [str(column[0]) for column in cursor.description or ()]
        return Result(_unique(columns), cursor.fetchall())


def _catalog() -> Catalog:
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

    return PhloIcebergHook().catalog


def _tables(catalog: Catalog, sql: str) -> list[str] | None:
    """Return the tables a statement needs; None means all."""
    from airflow_provider_phlo.iceberg.duckdb import all_tables, referenced_tables

    if _METADATA.search(sql):
        return None
    wanted = referenced_tables(sql)
    if not wanted:
        return []
    existing = all_tables(catalog)
    by_name = {name.casefold(): name for name in existing}
    unknown = sorted(name for name in wanted if name.casefold() not in by_name)
    if unknown:
        raise ConfigurationError("\n".join(_unknown(name, existing) for name in unknown))
    return [by_name[name.casefold()] for name in wanted]


def _unknown(name: str, existing: Sequence[str]) -> str:
    if not existing:
        return f"Table {name} does not exist: the catalog is empty. Run a pipeline first (make demo)."
    same = [table for table in existing if table.partition(".")[2] == name]
    near = same or difflib.get_close_matches(name, existing, n=3, cutoff=0.5)
    hint = f"Did you mean {', '.join(near)}?" if near else f"Tables: {', '.join(existing[:20])}."
    return f"Table {name} does not exist. {hint}"


def _unique(columns: Sequence[str]) -> list[str]:
    """Number repeated names (``id``, ``id_2``): a JSON object holds each name once."""
    result: list[str] = []
    for column in columns:
        name, number = column, 2
        while name in result:
            name, number = f"{column}_{number}", number + 1
        result.append(name)
    return result


def _exit(message: str, code: int) -> None:
    print(f"phlo query: {message}", file=sys.stderr)
    raise SystemExit(code)


# --- output -------------------------------------------------------------------------------------------------


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can say it: ISO 8601 times, exact decimals as text, NaN and infinity as null."""
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
    value = plain(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)


def write_json(result: Result, out: TextIO) -> None:
    """Write a list of objects, one a line."""
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
    numeric = [all(value is None or type(value) in (int, float) for value in column) for column in columns]
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
    # a value must not be able to steer the terminal
    text = "".join(character if character.isprintable() else "·" for character in text)
    return text if len(text) <= _CELL_WIDTH else text[: _CELL_WIDTH - 1] + "…"


WRITERS: dict[str, Callable[[Result, TextIO], None]] = {
    "table": write_table,
    "json": write_json,
    "csv": write_csv,
}
