"""What of a table that other engines write this provider can read, and what it can write: asked before a byte is."""

from __future__ import annotations

from collections.abc import Iterable

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent
from pyiceberg.table import Table
from pyiceberg.transforms import UnknownTransform
from pyiceberg.types import UnknownType

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.tables.partitioning import partition_schema

# the formats of position deletes that PyIceberg reads
_DELETE_FORMATS = (FileFormat.PARQUET, FileFormat.ORC, FileFormat.PUFFIN)


def require_readable(table: Table, snapshot_id: int | None) -> None:
    """
    Check that the rows of a snapshot can be read; only the manifests of what is deleted are looked at.

    :param snapshot_id: None for a table without any.
    :raises SchemaError: if rows are deleted in a way that PyIceberg does not read.
    """
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    for manifest in snapshot.manifests(table.io) if snapshot else ():
        if manifest.content == ManifestContent.DELETES:
            require_readable_deletes(
                table, (entry.data_file for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True))
            )


def require_readable_deletes(table: Table, files: Iterable[DataFile]) -> None:
    """
    Check that PyIceberg can apply these delete files.

    :raises SchemaError: if not.
    """
    for file in files:
        if file.content == DataFileContent.EQUALITY_DELETES:
            kind = "equality deletes"
        elif file.file_format not in _DELETE_FORMATS:
            kind = f"deletes in files of {file.file_format.name}"
        else:
            continue
        raise SchemaError(
            f"{'.'.join(table.name())} has {kind}, which PyIceberg does not read: "
            "rewrite its data files with the engine that wrote them (Spark: rewrite_data_files)."
        )


def require_writable(table: Table) -> None:
    """
    Check that PyIceberg can write the table and its manifests.

    :raises ConfigurationError: if it has a newer format version, or partitions that cannot be computed.
    """
    name = ".".join(table.name())
    if table.metadata.format_version > 2:
        raise ConfigurationError(
            f"{name} has format version {table.metadata.format_version}, which PyIceberg does not "
            "write: create the table with format version 2, or write it with the engine that made it."
        )
    for item in table.spec().fields:
        if isinstance(item.transform, UnknownTransform):
            raise ConfigurationError(
                f"{name} is partitioned by {item.transform}, which PyIceberg does not compute: write it with the "
                "engine that made it."
            )
    schema = partition_schema(table)
    for spec in table.specs().values():
        for field, kind in zip(spec.fields, spec.partition_type(schema).fields, strict=True):
            if isinstance(kind.field_type, UnknownType):
                raise ConfigurationError(
                    f"{name} was partitioned by {field.name!r}, a column that no schema of it has any more: "
                    "rewrite those files with the engine that wrote them (Spark: rewrite_data_files)."
                )
