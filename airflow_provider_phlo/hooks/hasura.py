"""The Hasura of an Airflow connection, whose password is the admin secret: any secrets backend may hold it."""

from __future__ import annotations

from airflow_provider_phlo.connections import find_connection
from airflow_provider_phlo.exceptions import ConfigurationError


def hasura_address(conn_id: str = "hasura_default") -> tuple[str, str]:
    """
    Return the address and the admin secret of a connection: ``host`` a URL, or a host name beside ``schema`` and
    ``port``.

    :raises ConfigurationError: there is no such connection, or its host is not that of a server.
    """
    from airflow_provider_phlo.sources.address import base_url

    connection = find_connection(conn_id)
    if connection is None:
        raise ConfigurationError(
            f"Where Hasura answers is not known: set HASURA_GRAPHQL_ENDPOINT and HASURA_GRAPHQL_ADMIN_SECRET, or the "
            f"connection {conn_id} (host a URL, password the admin secret)."
        )
    return base_url(connection), connection.password or ""
