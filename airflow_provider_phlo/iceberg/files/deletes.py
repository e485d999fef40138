"""Which delete files apply to a data file; refused where PyIceberg cannot apply them."""

from __future__ import annotations

from collections.abc import Iterable

from pyiceberg.manifest import INITIAL_SEQUENCE_NUMBER, DataFile, DataFileContent, ManifestEntry
from pyiceberg.table import Table
from pyiceberg.table.delete_file_index import DeleteFileIndex
from pyiceberg.transforms import VoidTransform

from airflow_provider_phlo.iceberg.tables.support import require_readable_deletes


class DeleteFiles:
    """
    The delete files of a snapshot.

    :param entries: the live ones.
    """

    def __init__(self, table: Table, entries: Iterable[ManifestEntry]) -> None:
        self._table = table
        self._by_position = DeleteFileIndex()
        self._by_value: list[ManifestEntry] = []
        for entry in entries:
            if entry.data_file.content == DataFileContent.EQUALITY_DELETES:
                self._by_value.append(entry)
            else:
                self._by_position.add_delete_file(entry, partition_key=entry.data_file.partition)

    def of(self, entry: ManifestEntry) -> set[DataFile]:
        """
        Return those that delete rows of a data file.

        Equality deletes outlive a rewrite of the data files that they applied to: they count only where they still do.

        :raises SchemaError: if PyIceberg cannot apply one of them.
        """
        file, number = entry.data_file, _number(entry)
        found = self._by_position.for_data_file(number, file, partition_key=file.partition)
        for delete in self._by_value:
            if number < _number(delete) and self._is_for(delete.data_file, file):
                found.add(delete.data_file)
        require_readable_deletes(self._table, found)
        return found

    def _is_for(self, delete: DataFile, file: DataFile) -> bool:
        """Return whether equality deletes are for the partition of a file; those of no partition are for all."""
        fields = self._table.specs()[delete.spec_id].fields
        if all(isinstance(item.transform, VoidTransform) for item in fields):
            return True
        return delete.spec_id == file.spec_id and delete.partition == file.partition


def _number(entry: ManifestEntry) -> int:
    return entry.sequence_number or INITIAL_SEQUENCE_NUMBER
