"""The SQL catalog, which parses a metadata file once: nobody ever writes one again, and a run asks for it ten times."""

from __future__ import annotations

import time
from collections import OrderedDict
from contextlib import suppress
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import orjson
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import CommitFailedException, NoSuchNamespaceError, NoSuchTableError, ValidationError
from pyiceberg.io import FileIO
from pyiceberg.serializers import Compressor, FromInputFile
from pyiceberg.table import CommitTableResponse, StagedTable, Table
from pyiceberg.table.metadata import TableMetadata, TableMetadataUtil
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AddSchemaUpdate,
    TableRequirement,
    TableUpdate,
    _apply_table_update,
    _TableMetadataUpdateContext,
    _update_table_metadata_log,
)
from pyiceberg.typedef import EMPTY_DICT, Identifier, Properties
from sqlalchemy import Engine, create_engine, event, text

from airflow_provider_phlo.iceberg.catalogs.file_io import file_io, location_provider
from airflow_provider_phlo.iceberg.catalogs.whole_locations import with_whole_locations

# of the tables that a process works with
KEPT = 8
# nothing else in the JSON of a table's metadata can look like this: quotes inside texts are escaped
_NO_SNAPSHOTS = '"snapshots":[]'
Key = TypeVar("Key")
Value = TypeVar("Value")
_UNPARSABLE = (ValidationError, ValueError, LookupError, TypeError, AttributeError)

_FIND_TABLE_V0 = text(
    "SELECT metadata_location FROM iceberg_tables "
    "WHERE catalog_name = :catalog AND table_namespace = :namespace AND table_name = :table"
)
# views of other writers may lie beside the tables
_FIND_TABLE = text(f"{_FIND_TABLE_V0.text} AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)")
_ALL_TABLES_V0 = text(
    "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables "
    "WHERE catalog_name = :catalog AND metadata_location IS NOT NULL"
)
_ALL_TABLES = text(f"{_ALL_TABLES_V0.text} AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL)")
# a namespace exists also as the prefix of another
_FIND_NAMESPACE = text(
    "SELECT 1 FROM iceberg_tables WHERE catalog_name = :catalog "
    "AND (table_namespace = :namespace OR table_namespace LIKE :below ESCAPE '!') "
    "UNION ALL SELECT 1 FROM iceberg_namespace_properties WHERE catalog_name = :catalog "
    "AND (namespace = :namespace OR namespace LIKE :below ESCAPE '!') LIMIT 1"
)


class CachingSqlCatalog(SqlCatalog):
    """
    PyIceberg's SQL catalog, whose costs do not grow with every snapshot that a table keeps.

    Which metadata file is current is asked of the database each time; what is in it, is known once it was read or
    written here. A new version shares with the one before what no commit changes.
    """

    def __init__(self, name: str, **properties: str) -> None:
        super().__init__(name, **properties)
        self._parsed: OrderedDict[str, TableMetadata] = OrderedDict()
        # by table: what each of its snapshots is as JSON
        self._snapshot_texts: OrderedDict[UUID, dict[tuple[int, int | None], str]] = OrderedDict()

    def _init_catalog(self) -> None:
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _keep_journal)
        super()._init_catalog()

    @cached_property
    def lock_engine(self) -> Engine:
        """Return what connects writers that wait for each other: they must not use up the catalog's own connections."""
        return create_engine(self.engine.url, pool_size=1, max_overflow=-1)

    def close(self) -> None:
        super().close()
        if "lock_engine" in self.__dict__:
            self.lock_engine.dispose()

    @staticmethod
    def identifier_to_database_and_table(
        identifier: str | Identifier, err: type[Exception] = ValueError
    ) -> tuple[str, str]:
        """Return namespace and name of a table; PyIceberg refuses namespaces inside others in transactions only."""
        namespace = Catalog.namespace_from(identifier)
        return Catalog.namespace_to_string(namespace), Catalog.table_name_from(identifier)

    def namespace_exists(self, identifier: str | Identifier) -> bool:
        """Return whether the catalog has a namespace; as with tables, writing the SQL costs more than asking."""
        namespace = Catalog.namespace_to_string(Catalog.identifier_to_tuple(identifier), NoSuchNamespaceError)
        below = namespace.replace("!", "!!").replace("_", "!_").replace("%", "!%") + ".%"
        names = {"catalog": self.name, "namespace": namespace, "below": below}
        with self.engine.connect() as connection:
            return connection.execute(_FIND_NAMESPACE, names).first() is not None

    def load_table(self, identifier: str | Identifier) -> Table:
        """
        Load a table with SQL that is written once: PyIceberg's own, made anew each time, is half of what that costs.

        :raises NoSuchTableError: if the catalog has no table of that name.
        """
        namespace, table, location = self._find(identifier)
        return self._convert_orm_to_iceberg(
            IcebergTables(
                catalog_name=self.name,
                table_namespace=namespace,
                table_name=table,
                metadata_location=location,
                previous_metadata_location=None,
            )
        )

    def current_table(self, identifier: str | Identifier) -> Table:
        """
        Return a table as it is now, to be read: snapshots before the current one, which are most of what there is to
        parse, are left out.

        :raises NoSuchTableError: if the catalog has no table of that name.
        """
        namespace, table, location = self._find(identifier)
        io = self._load_file_io(location=location)
        if location.endswith(".gz.metadata.json"):
            metadata = FromInputFile.table_metadata(io.new_input(location))
        else:
            with io.new_input(location).open() as stream:
                metadata = TableMetadataUtil.parse_obj(_without_history(orjson.loads(stream.read())))
        return Table((*Catalog.identifier_to_tuple(namespace), table), metadata, location, io, self)

    def _find(self, identifier: str | Identifier) -> tuple[str, str, str]:
        """Return namespace and name of a table, and where its metadata are."""
        namespace = Catalog.namespace_to_string(Catalog.namespace_from(identifier))
        table = Catalog.table_name_from(identifier)
        statement = _FIND_TABLE if self._schema_version == "v1" else _FIND_TABLE_V0
        names = {"catalog": self.name, "namespace": namespace, "table": table}
        with self.engine.connect() as connection:
            found = connection.execute(statement, names).first()
        if found is None:
            raise NoSuchTableError(f"Table does not exist: {namespace}.{table}")
        return namespace, table, found[0]

    def metadata_locations(self) -> dict[str, str]:
        """Return which metadata file is current of each table, by ``namespace.table``; one query for all of them."""
        statement = _ALL_TABLES if self._schema_version == "v1" else _ALL_TABLES_V0
        with self.engine.connect() as connection:
            rows = connection.execute(statement, {"catalog": self.name}).all()
        return {f"{namespace}.{table}": str(location) for namespace, table, location in rows}

    def table_at(self, identifier: str, location: str) -> Table:
        """
        Return a table as one of its metadata files describes it; the file is not kept in mind, so threads may call it.

        :raises OSError: if there is no such file any more.
        """
        io = self._load_file_io(location=location)
        metadata = FromInputFile.table_metadata(io.new_input(location))
        return Table(Catalog.identifier_to_tuple(identifier), metadata, location, io, self)

    def _load_file_io(self, properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        """Return what opens files; ``properties`` are those of a table, which have no say in it."""
        return file_io(self.properties, location)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        location = orm_table.metadata_location
        known = self._parsed.get(location) if location else None
        if location is None:
            return super()._convert_orm_to_iceberg(orm_table)
        if known is None:
            known = self._read(location)
            self._keep(location, known)
        return Table(
            identifier=(*Catalog.identifier_to_tuple(orm_table.table_namespace), orm_table.table_name),
            metadata=known,
            metadata_location=location,
            io=self._load_file_io(location=location),
            catalog=self,
        )

    def _read(self, location: str) -> TableMetadata:
        """Parse a metadata file; what a snapshot is, is known from the version before."""
        source = self._load_file_io(location=location).new_input(location)
        if self._parsed and not location.endswith(".gz.metadata.json"):
            # what cannot be parsed is said as PyIceberg says it
            with suppress(*_UNPARSABLE), source.open() as stream:
                return self._parsed_with_known(orjson.loads(stream.read()))
        return FromInputFile.table_metadata(source)

    def _parsed_with_known(self, content: dict[str, Any]) -> TableMetadata:
        uuid = content["table-uuid"]
        former = next((each for each in reversed(self._parsed.values()) if str(each.table_uuid) == uuid), None)
        if former is not None:
            known = {_version_of(each): each for each in former.snapshots}
            content["snapshots"] = [
                known.get((each["snapshot-id"], each.get("parent-snapshot-id")), each)
                for each in content.get("snapshots") or ()
            ]
        return TableMetadataUtil.parse_obj(content)

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
        provider = location_provider(metadata.location, metadata.properties)
        new_location = provider.new_table_metadata_file_location(self._parse_metadata_version(location) + 1)
        return StagedTable(
            identifier=table_identifier,
            metadata=metadata,
            metadata_location=new_location,
            io=self._load_file_io(location=new_location),
            catalog=self,
        )

    def _write_metadata(  # type: ignore[override]  # called as a method, everywhere
        self, metadata: TableMetadata, io: FileIO, metadata_path: str
    ) -> None:
        """Write a metadata file as PyIceberg does; a snapshot that is known is not serialized again."""
        content = self.metadata_text(metadata).encode()
        with with_whole_locations(io).new_output(metadata_path).create() as stream:
            stream.write(Compressor.get_compressor(metadata_path).bytes_compressor()(content))

    def metadata_text(self, metadata: TableMetadata) -> str:
        """Return the metadata as JSON, as PyIceberg writes it."""
        known = self._snapshot_texts.get(metadata.table_uuid, {})
        texts = {
            version: known.get(version) or each.model_dump_json(exclude_none=True)
            for version, each in zip(map(_version_of, metadata.snapshots), metadata.snapshots, strict=True)
        }
        _put(self._snapshot_texts, metadata.table_uuid, texts)
        rest = metadata.model_copy(update={"snapshots": []}).model_dump_json(exclude_none=True)
        before, after = rest.split(_NO_SNAPSHOTS)
        return f"{before}{_NO_SNAPSHOTS[:-1]}{','.join(texts.values())}]{after}"

    def _keep(self, location: str, metadata: TableMetadata) -> None:
        _put(self._parsed, location, metadata)


def _without_history(content: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON of a table's metadata with its current snapshot only."""
    current = content.get("current-snapshot-id")
    return {
        **content,
        "snapshots": [each for each in content.get("snapshots") or () if each["snapshot-id"] == current],
        "refs": {name: ref for name, ref in (content.get("refs") or {}).items() if ref["snapshot-id"] == current},
        "snapshot-log": [],
        "metadata-log": [],
    }


def _version_of(snapshot: Snapshot) -> tuple[int, int | None]:
    """Return what no two states of snapshots share: once one is written, only its parent may expire."""
    return snapshot.snapshot_id, snapshot.parent_snapshot_id


def _put(kept: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Keep a value in the place of the one that was used least recently."""
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > KEPT:
        kept.popitem(last=False)


def _keep_journal(connection: Any, _: Any) -> None:
    """Keep SQLite's journal file between commits: as safe as removing it each time, which takes twice as long."""
    connection.execute("PRAGMA journal_mode = PERSIST").close()


def _next_metadata(base: TableMetadata, location: str, updates: tuple[TableUpdate, ...]) -> TableMetadata:
    """Return the metadata after ``updates``; PyIceberg copies every snapshot for it, twice a run."""
    context = _TableMetadataUpdateContext()
    metadata = base
    for update in updates:
        if isinstance(update, AddSchemaUpdate) and metadata.schema_by_id(update.schema_.schema_id) is not None:
            raise CommitFailedException(f"schema {update.schema_.schema_id} was added by another")
        metadata = _apply_table_update(update, metadata, context)
    if context.has_changes():
        metadata = _update_table_metadata_log(metadata, location, base.last_updated_ms)
        if base.last_updated_ms == metadata.last_updated_ms:
            now = int(time.time() * 1000)
            metadata = metadata.model_copy(update={"last_updated_ms": now})
    metadata.spec().check_compatible(metadata.schema())
    metadata.sort_order().check_compatible(metadata.schema())
    return metadata
