"""OpenMetadata by an Airflow connection, whose password is the token: any secrets backend may hold it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from airflow_provider_phlo.connections import find_connection
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection

    from airflow_provider_phlo.catalogs.openmetadata.server import OpenMetadata
    from airflow_provider_phlo.without_airflow import PlainConnection

DEFAULT_CONN_ID = "openmetadata_default"


def openmetadata_server(conn_id: str = DEFAULT_CONN_ID) -> OpenMetadata:
    """
    Return the server of a connection.

    Its address is ``OPENMETADATA_HOST``, else that of the connection; the version of its API
    ``OPENMETADATA_API_VERSION``, else ``v1``.

    :raises ConfigurationError: there is no address, or it is not a URL.
    """
    from airflow_provider_phlo.catalogs.openmetadata.server import OpenMetadata
    from airflow_provider_phlo.sources.address import base_url

    connection = _connection(conn_id)
    address = os.environ.get("OPENMETADATA_HOST", "").strip()
    if not address and connection is not None:
        address = base_url(connection, default="")
    if not address:
        raise ConfigurationError(
            "Nothing says where OpenMetadata is: set OPENMETADATA_HOST=https://openmetadata.example.com, and the "
            f"token of its bot as the password of the connection {conn_id}: AIRFLOW_CONN_{conn_id.upper()}="
            '\'{"conn_type": "http", "password": "…"}\'.'
        )
    token = (connection.password if connection is not None else None) or ""
    version = os.environ.get("OPENMETADATA_API_VERSION", "").strip() or "v1"
    return OpenMetadata(address, token, version, setting=f"OPENMETADATA_HOST, and the connection {conn_id}")


def _connection(conn_id: str) -> Connection | PlainConnection | None:
    """Return the connection, if there is one; Airflow is asked only if it has to be, which takes it seconds."""
    from airflow_provider_phlo.without_airflow import connection_of_environment, is_connection_unset

    if is_connection_unset(conn_id):
        return None
    plain = connection_of_environment(conn_id)
    if plain is not None:
        return plain
    return find_connection(conn_id)
