"""
Content hashes that are stored with the rows, and which of them can be believed.

A stored hash counts only in files that this package wrote, over the columns that the table has today: another writer
that updates a value carries our hash along, and a column that was dropped leaves its trace in the hashes. Files of ours
bear a mark for that in their Parquet metadata, with their own name so that a copy of the metadata is worth nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import sanitize_column_names
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.files.projection import agrees, field_id
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.tables.lookup import column_names
from airflow_provider_phlo.row_hash import row_hashes
from airflow_provider_phlo.terms import METADATA_COLUMNS, MetadataColumn

HASH_TYPE = pa.large_string()
MARK = b"phlo.row-hash"
# what the files of a table would have as columns now, by the table and its schema
_FIELDS: dict[tuple[object, int], dict[int | None, pa.Field]] = {}
TABLES_KEPT = 64


def source_columns(names: Sequence[str]) -> list[str]:
    """Return the columns that are content: all but the metadata."""
    return [name for name in names if name not in METADATA_COLUMNS]


def stored_or_computed_hashes(rows: pa.Table) -> pa.Array:
    """Return the content hashes: those stored with the rows; computed where another writer has stored none."""
    stored = rows[MetadataColumn.ROW_HASH].combine_chunks() if MetadataColumn.ROW_HASH in rows.column_names else None
    if stored is not None and not stored.null_count:
        return stored.cast(HASH_TYPE)
    computed = _computed(rows)
    return computed if stored is None else pc.coalesce(stored.cast(HASH_TYPE), computed)


def fill_missing_hashes(rows: pa.Table) -> pa.Table:
    """Return ``rows`` with their hashes, if the table stores them and the batch came without."""
    if MetadataColumn.ROW_HASH not in rows.column_names or not rows[MetadataColumn.ROW_HASH].null_count:
        return rows
    return _with_hashes(rows, stored_or_computed_hashes(rows))


def mark(path: str) -> dict[bytes, bytes]:
    """Return the Parquet metadata that says: the stored hashes of this file are those of its rows."""
    return {MARK: path.rpartition("/")[2].encode()}


def columns_for_hashes(reader: FileReader, columns: Sequence[str] = ()) -> list[str]:
    """Return ``columns`` of the table and those that :func:`hashes_of` needs."""
    return [*columns, MetadataColumn.ROW_HASH] if _are_current(reader) else column_names(reader.table)


def hashes_of(reader: FileReader, rows: pa.Table) -> pa.Array:
    """
    Return the content hashes of rows of a file.

    :param rows: with the columns that :func:`columns_for_hashes` names.
    """
    return stored_or_computed_hashes(rows) if _are_current(reader) else _computed(rows)


def whole_rows(reader: FileReader) -> Iterator[pa.Table]:
    """Yield the live rows with all columns of the table, ready to be written again: their hashes are true."""
    names = column_names(reader.table)
    anew = MetadataColumn.ROW_HASH in names and not _are_current(reader)
    for rows in reader.rows(names):
        yield _with_hashes(rows, _computed(rows)) if anew else rows


def _computed(rows: pa.Table) -> pa.Array:
    return row_hashes(rows, source_columns(rows.column_names)).cast(HASH_TYPE)


def _with_hashes(rows: pa.Table, hashes: pa.Array) -> pa.Table:
    at = rows.column_names.index(MetadataColumn.ROW_HASH)
    return rows.set_column(at, rows.schema.field(at), hashes.cast(rows.schema.field(at).type))


def _are_current(reader: FileReader) -> bool:
    """Return whether the stored hashes of a file are those of its rows as the table has them now."""
    path, table = reader.task.file.file_path, reader.table
    if reader.schema is None or reader.marks.get(MARK) != mark(path)[MARK]:
        return False
    wanted = _fields(table)
    stored = next((at for at, item in wanted.items() if item.name == MetadataColumn.ROW_HASH), None)
    gaps = reader.task.file.null_value_counts or {}
    if stored is None or gaps.get(stored) != 0:
        return False
    # a column that the file lacks is NULL there, which changes no hash
    return all(
        field_id(item) in wanted and _hashed_alike(item, wanted[field_id(item)])
        for item in reader.schema
        if item.name not in METADATA_COLUMNS
    )


def _fields(table: Table) -> dict[int | None, pa.Field]:
    key = (table.metadata.table_uuid, table.metadata.current_schema_id)
    if key not in _FIELDS:
        if len(_FIELDS) >= TABLES_KEPT:
            _FIELDS.clear()
        _FIELDS[key] = {field_id(item): item for item in schema_to_pyarrow(sanitize_column_names(table.schema()))}
    return _FIELDS[key]


def _hashed_alike(present: pa.Field, wanted: pa.Field) -> bool:
    """Return whether a value has the same part in the hash under both fields: the name, and the text of the value."""
    before, now = present.type, wanted.type
    same = (
        before == now
        or (pa.types.is_integer(before) and pa.types.is_integer(now))
        or (pa.types.is_floating(before) and pa.types.is_floating(now))
        or (pa.types.is_decimal(before) and pa.types.is_decimal(now) and before.scale == now.scale)
    )
    return present.name == wanted.name and same and agrees(present, wanted)
