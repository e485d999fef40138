"""What of a table that other engines write this provider can read, and what it can write: asked before a byte is."""

from __future__ import annotations

from collections.abc import Iterable

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table
from pyiceberg.transforms import UnknownTransform
from pyiceberg.types import UnknownType

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.tables.partitioning import partition_schema
from airflow_provider_phlo.iceberg.tables.properties import require_usable_properties

_DATA_FORMATS = (FileFormat.PARQUET, FileFormat.ORC)
# the formats of position deletes that PyIceberg reads
_DELETE_FORMATS = (FileFormat.PARQUET, FileFormat.ORC, FileFormat.PUFFIN)


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
            f"{'.'.join(table.name())} has {kind}, which PyIceberg does not read: rewrite its data files with an "
            "engine that does (Spark: rewrite_data_files with rewrite-all = true; Trino: ALTER TABLE … EXECUTE "
            "optimize)."
        )


def require_readable_data(table: Table, files: Iterable[DataFile]) -> None:
    """
    Check that these data files can be read.

    :raises SchemaError: if not.
    """
    for file in files:
        if file.file_format not in _DATA_FORMATS:
            raise SchemaError(
                f"{'.'.join(table.name())} has data files of {file.file_format.name}, and only Parquet and ORC are "
                "read: set the table's write.format.default to parquet and write them again with the engine that wrote "
                "them (Spark: rewrite_data_files with rewrite-all = true)."
            )


def require_committable(table: Table) -> None:
    """
    Check that PyIceberg can commit to the table at all.

    :raises ConfigurationError: if it has a newer format version, or properties that nobody can write by.
    """
    require_usable_properties(table)
    if table.metadata.format_version > 2:
        raise ConfigurationError(
            f"{'.'.join(table.name())} has format version {table.metadata.format_version}, which PyIceberg does not "
            "write: create the table with format version 2, or write it with the engine that made it."
        )


def require_writable(table: Table) -> None:
    """
    Check that PyIceberg can write the table and its manifests.

    :raises ConfigurationError: if it cannot be committed to, or has partitions that cannot be computed.
    """
    require_committable(table)
    name = ".".join(table.name())
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
