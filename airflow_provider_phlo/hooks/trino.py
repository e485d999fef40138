"""Trino, by a connection of its own provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_phlo.connections import find_connection
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sql_errors import describe_trino_refusal


def connect_to(trino_conn_id: str = "trino_default") -> Callable[[], Any]:
    """
    Return a function that opens a DB-API connection.

    ::

        with connect_to("trino_default")() as connection:
            connection.cursor().execute("SELECT 1")

    :raises ConfigurationError: when it is called and the connection is unset, or names no catalog.
    """

    def connect() -> Any:
        from airflow.providers.trino.hooks.trino import TrinoHook

        connection = find_connection(trino_conn_id)
        if connection is None:
            raise ConfigurationError(
                f"Connection '{trino_conn_id}' is not set: define it, e.g. AIRFLOW_CONN_{trino_conn_id.upper()}="
                '\'{"conn_type": "trino", "host": "trino.example.com", "port": 8080, "login": "phlo", '
                '"extra": {"catalog": "lake"}}\'.'
            )
        if not connection.extra_dejson.get("catalog"):
            raise ConfigurationError(
                f"Connection '{trino_conn_id}' names no catalog: set its extra 'catalog' to Trino's name of the "
                "Iceberg catalog that the iceberg connection opens."
            )
        hook: Any = TrinoHook(trino_conn_id=trino_conn_id)  # type: ignore[no-untyped-call]
        try:
            return hook.get_conn()
        except Exception as error:  # nothing is sent yet: the client refuses what it is given, each time in another way
            why = (
                describe_trino_refusal(str(error))
                or f"a value of it is not one that Trino's client takes ({type(error).__name__})"
            )
            raise ConfigurationError(
                f"Connection '{trino_conn_id}' cannot be used: {why}. See the extras of Airflow's Trino provider."
            ) from error

    return connect
