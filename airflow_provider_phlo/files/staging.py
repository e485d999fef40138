"""Lines of files as rows in a temporary table, before they are written: which are rows, which are there already."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.files.lines import Chunk, Rejected
from airflow_provider_phlo.sql import quote_identifier

_BLANK = " \t\r\n"
_CUT_OFF = "is cut off: the file ends in the middle of it"
_STRICT = msgspec.json.Decoder(type=msgspec.Raw)


@dataclass(frozen=True)
class Target:
    """
    A table that files are loaded into.

    :param table: its name.
    :param key: a column; of rows that share its value, the first stays.
    :param columns: those that a line fills; the table also has ``source_file`` and ``loaded_at``.
    :param schema: SQL that creates what is missing of it, ``loaded_files``, ``replaced_files`` and ``rejected_lines``.
    :param rows: SQL of ``file_number, line_number``, the columns, ``reason`` (why values cannot be a row's, or NULL)
        and ``plain`` (true where the values leave no doubt that ``judge`` would accept the line), of the relation
        ``lines (file_number, line_number, raw)``.
    :param judge: says why a line, as Python's ``json`` reads it, is not a row, or None.
    :param to_document: makes of a row of a CSV or Parquet file what a line would hold.
    :param keys: columns of such a file, one of which it must have.
    """

    table: str
    key: str
    columns: tuple[str, ...]
    schema: str
    rows: str
    judge: Callable[[Any], str | None]
    to_document: Callable[[Mapping[str, Any]], Any]
    keys: tuple[str, ...]


class Staging:
    """
    A temporary table of the rows of one or more files.

    :param connection: to the database of ``target``.
    :param name: of the temporary table.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, target: Target, name: str) -> None:
        self._connection = connection
        self._target = target
        self._name = quote_identifier(name)

    def stage_files(self, files: Mapping[int, Chunk]) -> set[int]:
        """
        Stage files by their number, and return the numbers of those that are rows from their first to their last line.

        Of the others nothing may be inserted.
        """
        strict = {number: chunk for number, chunk in files.items() if not chunk.rejected and _is_json(chunk.data)}
        if not strict:
            return set()
        try:
            self._stage({number: _without_blank(chunk) for number, chunk in strict.items()})
        except duckdb.Error:  # DuckDB takes one of them for something else than JSON
            return set()
        doubtful = self._connection.execute(
            f"SELECT DISTINCT file_number FROM {self._name} WHERE reason IS NOT NULL OR NOT plain"  # noqa: S608
        ).fetchall()
        return set(strict) - {number for (number,) in doubtful}

    def stage_chunk(self, chunk: Chunk) -> list[Rejected]:
        """
        Stage the lines of a chunk that are rows, and return the others.
        """
        if self.stage_files({0: chunk}):
            return []
        good, rejected = self._judged(chunk)
        self._stage({0: good})
        found = self._connection.execute(
            f"SELECT line_number, reason FROM {self._name} WHERE reason IS NOT NULL"  # noqa: S608 - quoted
        ).fetchall()
        reasons = dict(found)
        for line in good.to_pylist() if reasons else ():
            if line["line_number"] in reasons:
                rejected.append(_rejected(line, reasons[line["line_number"]]))
        return sorted([*chunk.rejected, *rejected], key=lambda line: line.line_number)

    def repeated(self, *, after: int = -1) -> dict[int, list[int]]:
        """
        Return the lines, by file, whose key is in the table, or was staged before them.

        :param after: only files after this one count.
        """
        key, table = quote_identifier(self._target.key), quote_identifier(self._target.table)
        found = self._connection.execute(
            f"""
            SELECT file_number, line_number FROM {self._name} JOIN {table} USING ({key})
            WHERE reason IS NULL AND file_number > $after
            UNION
            SELECT file_number, line_number FROM (
                SELECT file_number, line_number FROM {self._name} WHERE reason IS NULL AND file_number > $after
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY file_number, line_number) > 1
            )
            """,  # noqa: S608 - quoted
            {"after": after},
        ).fetchall()
        lines: dict[int, list[int]] = defaultdict(list)
        for file_number, line_number in found:
            lines[file_number].append(line_number)
        return lines

    def insert(self, file_number: int, repeated: Sequence[int], source_file: str, loaded_at: Any) -> int:
        """Insert what is staged of a file, without the lines in ``repeated``; return the number of rows."""
        columns = ", ".join(quote_identifier(name) for name in self._target.columns)
        without = "AND line_number NOT IN (SELECT unnest($repeated))" if repeated else ""
        ((count,),) = self._connection.execute(
            f"INSERT INTO {quote_identifier(self._target.table)} ({columns}, source_file, loaded_at) "  # noqa: S608
            f"SELECT {columns}, $source_file, $loaded_at FROM {self._name} "
            f"WHERE file_number = $file_number AND reason IS NULL {without}",
            {
                "source_file": source_file,
                "loaded_at": loaded_at,
                "file_number": file_number,
                **({"repeated": list(repeated)} if repeated else {}),
            },
        ).fetchall()
        return int(count)

    def _stage(self, files: Mapping[int, pa.Table]) -> None:
        tables = [
            lines.append_column("file_number", pa.repeat(pa.scalar(number, pa.int32()), len(lines)))
            for number, lines in files.items()
        ]
        self._connection.register("lines", pa.concat_tables(tables))
        try:
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {self._name} AS {self._target.rows}")
        finally:
            self._connection.unregister("lines")

    def _judged(self, chunk: Chunk) -> tuple[pa.Table, list[Rejected]]:
        """Return the lines that are rows by their structure, and the others but blank ones."""
        keep, rejected = [], []
        lines = chunk.lines.to_pylist()
        for index, line in enumerate(lines):
            text = line["raw"].strip(_BLANK)
            reason = self._problem(text) if text else ""
            if reason and not line["raw"].endswith("\n") and _is_unfinished(text):
                reason = _CUT_OFF
            if reason is None:
                keep.append(index)
            elif reason:
                rejected.append(_rejected(line, reason))
        return chunk.lines.take(pa.array(keep, pa.int64())), rejected

    def _problem(self, text: str) -> str | None:
        if "\0" in text:
            return "has NUL bytes"
        if not _is_json(text.encode()) or not self._connection.execute("SELECT json_valid(?)", [text]).fetchall()[0][0]:
            return "is not valid JSON"
        try:
            return self._target.judge(json.loads(text, object_pairs_hook=_first_wins))
        except (RecursionError, ValueError):  # deeper, or a longer number, than Python reads
            return "is JSON that is nested too deeply, or has a number of thousands of digits"


def _is_json(data: bytes | memoryview) -> bool:
    """Return whether every line is JSON to the letter: DuckDB also takes NaN, Infinity and trailing commas."""
    try:
        _STRICT.decode_lines(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _is_unfinished(text: str) -> bool:
    try:
        msgspec.json.decode(text.encode())
    except msgspec.DecodeError as error:
        return "truncated" in str(error)
    except RecursionError:
        pass
    return False


def _first_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # of a name that is there twice, DuckDB takes the first
    return dict(reversed(pairs))


def _without_blank(chunk: Chunk) -> pa.Table:
    lengths = pc.binary_length(chunk.lines["raw"])
    shortest = pc.min(lengths).as_py()
    if shortest is None or shortest > len("{}"):
        return chunk.lines
    return chunk.lines.filter(pc.not_equal(pc.utf8_trim_whitespace(chunk.lines["raw"]), ""))


def _rejected(line: dict[str, Any], reason: str) -> Rejected:
    return Rejected(line["line_number"], line["byte_offset"], reason, line["raw"].rstrip("\r\n"))
