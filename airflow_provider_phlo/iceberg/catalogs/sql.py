"""The SQL catalog, which parses a metadata file once: nobody ever writes one again, and a run asks for it ten times."""

from __future__ import annotations

import time
from collections import OrderedDict

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.table import CommitTableResponse, StagedTable, Table
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    TableRequirement,
    TableUpdate,
    _apply_table_update,
    _TableMetadataUpdateContext,
    _update_table_metadata_log,
)
from pyiceberg.typedef import Identifier

# of the tables that a process works with
KEPT = 8


class CachingSqlCatalog(SqlCatalog):
    """
    PyIceberg's SQL catalog, whose costs do not grow with every snapshot that a table keeps.

    Which metadata file is current is asked of the database each time; what is in it, is known once it was read or
    written here. A new version shares with the one before what no commit changes.
    """

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self._parsed: OrderedDict[str, TableMetadata] = OrderedDict()

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        location = orm_table.metadata_location
        known = self._parsed.get(location) if location else None
        if known is None or location is None:
            table = super()._convert_orm_to_iceberg(orm_table)
            self._keep(table.metadata_location, table.metadata)
            return table
        return Table(
            identifier=(*Catalog.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name),
            metadata=known,
            metadata_location=location,
            io=self._load_file_io(known.properties, location),
            catalog=self,
        )

    def commit_table(
        self, table: Table, requirements: tuple[TableRequirement, ...], updates: tuple[TableUpdate, ...]
    ) -> CommitTableResponse:
        """
        Commit, and remove the metadata files that the table does not keep, as PyIceberg does for commits of its own.

        :raises CommitFailedException: if another writer was faster.
        """
        response = super().commit_table(table, requirements, updates)
        written, log = response.metadata_location not in self._parsed, response.metadata.metadata_log
        self._keep(response.metadata_location, response.metadata)
        base = self._parsed.get(log[-1].metadata_file) if log else None
        if written and base is not None:
            super()._delete_old_metadata(table.io, base, response.metadata)
        return response

    @staticmethod
    def _delete_old_metadata(io: FileIO, base: TableMetadata, metadata: TableMetadata) -> None:
        """Do nothing: the commit has done it."""

    def _update_and_stage_table(
        self,
        current_table: Table | None,
        table_identifier: Identifier,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> StagedTable:
        if current_table is None:
            return super()._update_and_stage_table(current_table, table_identifier, requirements, updates)
        base, location = current_table.metadata, current_table.metadata_location
        for requirement in requirements:
            requirement.validate(base)
        metadata = _next_metadata(base, location, updates)
        provider = load_location_provider(metadata.location, metadata.properties)
        new_location = provider.new_table_metadata_file_location(self._parse_metadata_version(location) + 1)
        return StagedTable(
            identifier=table_identifier,
            metadata=metadata,
            metadata_location=new_location,
            io=self._load_file_io(properties=metadata.properties, location=new_location),
            catalog=self,
        )

    def _keep(self, location: str, metadata: TableMetadata) -> None:
        self._parsed[location] = metadata
        self._parsed.move_to_end(location)
        while len(self._parsed) > KEPT:
            self._parsed.popitem(last=False)


def _next_metadata(base: TableMetadata, location: str, updates: tuple[TableUpdate, ...]) -> TableMetadata:
    """Return the metadata after ``updates``; PyIceberg copies every snapshot for it, twice a run."""
    context = _TableMetadataUpdateContext()
    metadata = base
    for update in updates:
        metadata = _apply_table_update(update, metadata, context)
    if context.has_changes():
        metadata = _update_table_metadata_log(metadata, location, base.last_updated_ms)
        if base.last_updated_ms == metadata.last_updated_ms:
            now = int(time.time() * 1000)
            metadata = metadata.model_copy(update={"last_updated_ms": now})
    metadata.spec().check_compatible(metadata.schema())
    metadata.sort_order().check_compatible(metadata.schema())
    return metadata
