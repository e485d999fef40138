"""Delete rows by position, as merge-on-read engines do and PyIceberg does not: a Parquet file and its manifest."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriterV2,
)
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update.snapshot import _FastAppendFiles

PATH_ID, POSITION_ID = 2147483546, 2147483545


class _Writer(ManifestWriterV2):
    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


class _AddDeleteFiles(_FastAppendFiles):
    delete_files: list[DataFile]

    def _process_manifests(self, manifests: list[ManifestFile]) -> list[ManifestFile]:
        spec = self.spec(self.delete_files[0].spec_id)
        writer = _Writer(spec, self.schema(), self.new_manifest_output(), self.snapshot_id, self._compression)
        with writer:
            for file in self.delete_files:
                status = ManifestEntryStatus.ADDED
                writer.add(ManifestEntry.from_args(status=status, snapshot_id=self.snapshot_id, data_file=file))
        self._added_data_files = self.delete_files  # counted in the summary, and written as data no more
        return [*manifests, writer.to_manifest_file()]


def delete_file(
    table: Table,
    positions: dict[DataFile, Iterable[int]],
    *,
    content: DataFileContent = DataFileContent.POSITION_DELETES,
) -> DataFile:
    """Write one delete file for data files of one partition."""
    rows = [(file.file_path, position) for file, each in positions.items() for position in each]
    schema = pa.schema(
        [
            pa.field("file_path", pa.string(), False, {"PARQUET:field_id": str(PATH_ID)}),
            pa.field("pos", pa.int64(), False, {"PARQUET:field_id": str(POSITION_ID)}),
        ]
    )
    path = f"{table.location()}/data/deletes-{uuid.uuid4()}.parquet"
    output = table.io.new_output(path)
    with output.create() as stream:
        pq.write_table(pa.Table.from_pylist([{"file_path": p, "pos": n} for p, n in rows], schema), stream)
    one = next(iter(positions))
    file = DataFile.from_args(
        content=content,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=one.partition,
        record_count=len(rows),
        file_size_in_bytes=len(output),
        column_sizes=None,
        value_counts=None,
        null_value_counts=None,
        nan_value_counts=None,
        lower_bounds=None,
        upper_bounds=None,
        key_metadata=None,
        split_offsets=None,
        equality_ids=[1] if content == DataFileContent.EQUALITY_DELETES else None,
        sort_order_id=None,
    )
    file.spec_id = one.spec_id
    return file


def commit_deletes(catalog: Catalog, identifier: str, *files: DataFile) -> None:
    """Make delete files a snapshot of main."""
    table = catalog.load_table(identifier)
    with table.transaction() as transaction:
        producer = _AddDeleteFiles(operation=Operation.OVERWRITE, transaction=transaction, io=table.io)
        producer.delete_files = list(files)
        producer.commit()
