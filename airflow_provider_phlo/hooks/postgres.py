"""Where marts are published: the PostgreSQL of a connection, or the bundled one where none is set."""

from __future__ import annotations

from typing import Any

from airflow_provider_phlo import settings
from airflow_provider_phlo.connections import find_connection
from airflow_provider_phlo.exceptions import ConfigurationError

DEFAULT_CONN_ID = "postgres_default"
# Extras that reach libpq. Named one by one: "options" and the like would change what a session may do.
ALLOWED_EXTRAS = (
    "application_name",
    "connect_timeout",
    "keepalives_idle",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "target_session_attrs",
)


def postgres_coordinates(postgres_conn_id: str = DEFAULT_CONN_ID, *, roles: bool = False) -> dict[str, Any]:
    """
    Return libpq's parameters for a connection; an unset ``postgres_default`` means the bundled server, started here.

    ::

        connection = psycopg.connect(**postgres_coordinates("warehouse"))

    :param roles: whether the role that logs in has to be able to make others; the bundled server then lets it.
    :raises ConfigurationError: the connection is unset, and is not the default one.
    """
    connection = find_connection(postgres_conn_id)
    if connection is None:
        if postgres_conn_id != DEFAULT_CONN_ID:
            raise ConfigurationError(
                f"Connection '{postgres_conn_id}' is not set: define it, e.g. "
                f"AIRFLOW_CONN_{postgres_conn_id.upper()}='postgresql://user:password@host:5432/database'."
            )
        return _bundled(roles=roles)
    parameters = {
        "host": connection.host,
        "port": connection.port,
        "user": connection.login,
        "password": connection.password,
        "dbname": connection.schema,
        **{name: value for name, value in connection.extra_dejson.items() if name in ALLOWED_EXTRAS},
    }
    return {name: value for name, value in parameters.items() if value not in (None, "")}


def _bundled(*, roles: bool) -> dict[str, Any]:
    from dataclasses import asdict

    from airflow_provider_phlo.services.postgres.server import allow_roles, ensure_postgres

    return asdict((allow_roles if roles else ensure_postgres)(settings.home()))
