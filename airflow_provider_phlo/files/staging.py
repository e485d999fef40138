"""Lines of files as rows in a temporary table, before they are written: which are rows, which are there already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from airflow_provider_phlo.files.database import registered
from airflow_provider_phlo.files.documents import BLANK, NotARowError, has_document_per_line, parsed, strict_document
from airflow_provider_phlo.files.lines import Chunk, Rejected
from airflow_provider_phlo.sql import quote_identifier


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
        strict: dict[int, pa.Table] = {}
        for number, chunk in files.items():
            lines = _without_blank(chunk.lines)
            if not chunk.rejected and has_document_per_line(chunk.data, len(lines)):
                strict[number] = lines
        if not strict:
            return set()
        self._stage(strict)
        doubtful = self._connection.execute(
            f"SELECT DISTINCT file_number FROM {self._name} WHERE reason IS NOT NULL OR NOT plain"  # noqa: S608
        ).fetchall()
        return set(strict) - {number for (number,) in doubtful}

    def stage_chunk(self, chunk: Chunk) -> list[Rejected]:
        """
        Stage the lines of a chunk that are rows, and return the others.
        """
        lines = _without_blank(chunk.lines)
        reasons: dict[int, str] = {}
        if not has_document_per_line(chunk.data, len(lines)):
            lines, reasons = _strict_lines(lines)
        self._stage({0: lines})
        refused = self._judged()
        self._remove(list(refused))
        reasons.update(refused)
        rejected = [*chunk.rejected, *_rejected(chunk.lines, reasons)]
        return sorted(rejected, key=lambda line: line.line_number)

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
        with registered(self._connection, "lines", pa.concat_tables(tables)):
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE {self._name} AS {self._target.rows}")

    def _judged(self) -> dict[int, str]:
        """Return the staged lines that are not rows, and why."""
        doubtful = self._connection.execute(
            f"SELECT line_number, raw, reason FROM {self._name} WHERE reason IS NOT NULL OR NOT plain"  # noqa: S608
        ).fetchall()
        reasons = {}
        for line_number, raw, reason in doubtful:
            why = self._problem(raw) or reason
            if why:
                reasons[line_number] = why
        return reasons

    def _problem(self, raw: str) -> str | None:
        try:
            return self._target.judge(parsed(raw))
        except NotARowError as error:
            return str(error)

    def _remove(self, line_numbers: list[int]) -> None:
        if line_numbers:
            self._connection.execute(
                f"DELETE FROM {self._name} WHERE line_number IN (SELECT unnest($numbers))",  # noqa: S608 - quoted
                {"numbers": line_numbers},
            )


def _strict_lines(lines: pa.Table) -> tuple[pa.Table, dict[int, str]]:
    """Return the lines that are JSON to the letter, and why the others are not."""
    keep, texts, reasons = [], [], {}
    numbers = lines["line_number"].to_pylist()
    for index, raw in enumerate(lines["raw"].to_pylist()):
        try:
            texts.append(strict_document(raw.strip(BLANK), ended=raw.endswith("\n")))
            keep.append(index)
        except NotARowError as error:
            reasons[numbers[index]] = str(error)
    kept = lines.take(pa.array(keep, pa.int64()))
    position = kept.schema.get_field_index("raw")
    return kept.set_column(position, kept.schema.field(position), pa.array(texts, pa.large_string())), reasons


def _without_blank(lines: pa.Table) -> pa.Table:
    shortest = pc.min(pc.binary_length(lines["raw"])).as_py()
    if shortest is None or shortest > len("{}"):
        return lines
    return lines.filter(pc.not_equal(pc.utf8_trim(lines["raw"], characters=BLANK), ""))


def _rejected(lines: pa.Table, reasons: dict[int, str]) -> list[Rejected]:
    """Return what is rejected, with its text as it was in the file."""
    found = lines.filter(pc.is_in(lines["line_number"], pa.array(reasons, pa.int64()))).to_pylist() if reasons else []
    return [
        Rejected(line["line_number"], line["byte_offset"], reasons[line["line_number"]], line["raw"].rstrip("\r\n"))
        for line in found
    ]
