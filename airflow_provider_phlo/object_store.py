"""Folders of object stores, for staging: Airflow's paths, over PyArrow where no provider serves the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from airflow_provider_phlo.connections import known_extras, mask_secrets
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection, ObjectStoragePath

# Airflow's extras of an AWS connection, by PyIceberg's names of the same
_AWS_EXTRAS = {
    "endpoint_url": "s3.endpoint",
    "region_name": "s3.region",
    "aws_access_key_id": "s3.access-key-id",
    "aws_secret_access_key": "s3.secret-access-key",
    "aws_session_token": "s3.session-token",
}
_ARROW_SCHEMES = ("s3", "s3a", "gs", "gcs")


def open_folder(address: str) -> Any:
    """
    Return the folder at ``address``, as a ``Path`` or an ``ObjectStoragePath``.

    :param address: a path, or a URL for :func:`object_storage_path`.
    """
    return object_storage_path(address) if "://" in address else Path(address)


def object_storage_path(url: str) -> ObjectStoragePath:
    """
    Return the folder at ``url``.

    S3 and Google Cloud Storage go through PyArrow, as tables do, unless an installed provider (amazon with ``s3fs``,
    google) serves them and the connection is one of its own.

    :param url: such as ``s3://conn_id@bucket/staging``. The connection is of type ``aws``, or an ``iceberg`` one, whose
        extras ``s3.…`` or ``gcs.…`` are used. Without one, the machine's own credentials are.
    :raises ConfigurationError: if the connection has extras that are not known, or nothing reads such URLs.
    """
    from airflow.sdk import ObjectStoragePath
    from airflow.sdk.io import attach, has_fs

    parts = urlsplit(url)
    conn_id = parts.netloc.rpartition("@")[0] or None
    connection = BaseHook.get_connection(conn_id) if conn_id else None
    ours = connection is not None and connection.conn_type == "iceberg"
    if ours or not has_fs(parts.scheme):
        if parts.scheme not in _ARROW_SCHEMES:
            raise ConfigurationError(
                f"{url}: no installed provider reads {parts.scheme}:// URLs; install one, or use "
                f"{', '.join(_ARROW_SCHEMES)}."
            )
        attach(parts.scheme, conn_id, fs=_file_system(url, connection))
    return ObjectStoragePath(url)


def _file_system(url: str, connection: Connection | None) -> Any:
    from pyiceberg.io.pyarrow import PyArrowFileIO

    from airflow_provider_phlo.arrow_files import ArrowFiles

    parts = urlsplit(url)
    properties = _properties(connection) if connection else {}
    mask_secrets(properties)
    return ArrowFiles(PyArrowFileIO(properties).fs_by_scheme(parts.scheme, parts.netloc.rpartition("@")[2]))


def _properties(connection: Connection) -> dict[str, str]:
    """Return PyIceberg's properties of the store that a connection speaks of."""
    if connection.conn_type == "iceberg":
        return {name: value for name, value in known_extras(connection).items() if name.startswith(("s3.", "gcs."))}
    extras = connection.extra_dejson
    properties = {ours: str(extras[theirs]) for theirs, ours in _AWS_EXTRAS.items() if extras.get(theirs)}
    if connection.login and connection.password:
        properties |= {"s3.access-key-id": connection.login, "s3.secret-access-key": connection.password}
    return properties
