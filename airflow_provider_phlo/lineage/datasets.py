"""
What datasets are called for programs that read OpenLineage: one name for events of runs and for what is exported.

Names follow OpenLineage's naming conventions where they have the store (PostgreSQL, S3, GCS, files). They have no row
for tables of an Iceberg catalog: these are ``iceberg://<catalog>`` and ``namespace.table``, as their assets are, which
is known before a table exists and is the same wherever its files lie.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import unquote, urlsplit

# stores whose names are the levels of a database, not a path
_DATABASES = frozenset({"iceberg", "postgres"})


class DatasetName(NamedTuple):
    """
    The name of a dataset.

    :param namespace: the store: ``iceberg://phlo``, ``postgres://host:5432``, ``s3://bucket``, ``file``.
    :param name: the dataset in it: ``raw.readings``, ``database.schema.table``, a path.
    """

    namespace: str
    name: str


def table_dataset(catalog: str, table: str) -> DatasetName:
    """
    Return the name of a table of an Iceberg catalog.

    :param catalog: the catalog's name, as in the URIs of assets.
    :param table: ``namespace.table``.
    """
    return DatasetName(f"iceberg://{catalog}", table)


def source_dataset(source: str) -> DatasetName:
    """Return the name of what ingestion reads: a connection, or a function (``fetch()``)."""
    return DatasetName("airflow://connections", source)


def source_field(table: str, column: str) -> str:
    """Return what the field of a source is called that becomes a column: several tables may be filled from it."""
    return f"{table}.{column}"


def mart_dataset(connection: str, table: str, uri: str = "") -> DatasetName:
    """
    Return the name of a table outside the catalog.

    :param connection: the Airflow connection to its database, or ``duckdb``.
    :param table: ``schema.table``; in a DuckDB file, ``file.schema.table``.
    :param uri: of its asset, if it has one of its own.
    """
    return dataset_of(uri) if uri else DatasetName(connection, table)


def dataset_of(uri: str) -> DatasetName:
    """Return the name of the dataset that an asset is, or that lies at a location."""
    parts = urlsplit(uri.replace("?", "%3F"), allow_fragments=False)  # part of a name: neither has a query
    if parts.scheme in ("", "file"):
        return DatasetName(f"file://{parts.netloc}" if parts.netloc else "file", unquote(parts.path))
    levels = [unquote(part) for part in parts.path.strip("/").split("/")]
    store = "s3" if parts.scheme in ("s3a", "s3n") else parts.scheme
    return DatasetName(f"{store}://{parts.netloc}", ("." if store in _DATABASES else "/").join(levels))
