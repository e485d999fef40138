"""
Find bounds of data files that their own row groups do not vouch for.

PyIceberg 0.12 takes the bounds of some row groups for those of the file when a row group has none, as one with a value
longer than 4,096 bytes; early versions of this provider did, too. Readers then leave out files that hold what they look
for. Only text and bytes are that long, and only a file of several row groups can be wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, FileFormat
from pyiceberg.table import Table
from pyiceberg.types import BinaryType, StringType

from airflow_provider_phlo.iceberg.files.manifests import SnapshotFiles
from airflow_provider_phlo.iceberg.files.projection import field_id
from airflow_provider_phlo.iceberg.files.statistics import uncertain_columns
from airflow_provider_phlo.iceberg.merge.changes import in_threads
from airflow_provider_phlo.iceberg.tables.refs import branch_head


def uncertain_bounds(table: Table) -> dict[str, frozenset[int]]:
    """
    Return the files of main that have bounds which are not certain: by path, the field ids of their columns.

    The footers of files with several row groups are read, if they have bounds of text or bytes.
    """
    files = SnapshotFiles(table, branch_head(table))
    long = _long_columns(table)
    entries = chain.from_iterable(map(files.entries, files.manifests))
    suspects = [entry.data_file for entry in entries if _suspected(entry.data_file, long)]
    found = in_threads(lambda file: _uncertain(table, file, long), suspects)
    return {file.file_path: columns for file, columns in zip(suspects, found, strict=True) if columns}


def _long_columns(table: Table) -> set[int]:
    """Return the columns whose values can be too long for bounds; those that were dropped count."""
    kinds = (StringType, BinaryType)
    return {
        key
        for schema in table.schemas().values()
        for key, item in schema._lazy_id_to_field.items()
        if isinstance(item.field_type, kinds)
    }


def _bounded(file: DataFile, columns: set[int]) -> set[int]:
    return columns & {*(file.lower_bounds or ()), *(file.upper_bounds or ())}


def _suspected(file: DataFile, columns: set[int]) -> bool:
    several = file.split_offsets is None or len(file.split_offsets) > 1
    return several and file.file_format == FileFormat.PARQUET and bool(_bounded(file, columns))


def _uncertain(table: Table, file: DataFile, columns: set[int]) -> frozenset[int]:
    with table.io.new_input(file.file_path).open() as source:
        metadata = pq.read_metadata(source)
    bad = uncertain_columns(metadata)
    certain = {key for key, path in _paths(metadata.schema.to_arrow_schema()) if path not in bad}
    return frozenset(_bounded(file, columns) - certain)


def _paths(fields: Iterable[pa.Field], above: str = "") -> Iterator[tuple[int, str]]:
    """Yield the field ids of columns and of members of structs, each with its path in the file."""
    for item in fields:
        key, path = field_id(item), f"{above}{item.name}"
        if key is not None:
            yield key, path
        if pa.types.is_struct(item.type):
            yield from _paths(item.type, f"{path}.")
