"""GitHub's API by an Airflow connection, whose password is the token: any secrets backend may hold it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.connections import find_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection

log = logging.getLogger(__name__)


def github_connection(conn_id: str) -> Connection | None:
    """
    Return the connection, None where there is none: GitHub's own API is then read without a token.

    :raises ConfigurationError: it is there, but cannot be read.
    """
    connection = find_connection(conn_id)
    if connection is None:
        log.info("There is no connection %s: GitHub's API is read without a token.", conn_id)
    return connection


def github_arguments(conn_id: str) -> dict[str, Any]:
    """
    Return ``base_url, token, conn_id`` for sources of GitHub; without a connection only the last.

    :raises ConfigurationError: the connection cannot be read, or its host is not a URL.
    """
    from airflow_provider_phlo.sources.github_api import connection_arguments

    connection = github_connection(conn_id)
    return {"conn_id": conn_id} if connection is None else connection_arguments(connection)
