"""The Airflow asset of a PostgreSQL table, in the form of Airflow's own provider: ``postgres://host:port/db/schema/table``."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote, urlsplit

if TYPE_CHECKING:
    from airflow.sdk import Asset

_PORT = 5432
# the database of the bundled server, and what stands for one that the DAG file cannot know
_DATABASE = "phlo"


class _Address(NamedTuple):
    host: str
    port: int
    database: str


def postgres_asset(table: str, schema: str = "marts", postgres_conn_id: str = "postgres_default") -> Asset:
    """
    Return the asset of a table: without login and password, named ``<connection>:<schema>.<table>``.

    Host and database are those of the environment variable ``AIRFLOW_CONN_<ID>``. A connection that is defined
    elsewhere is not looked up, as DAG files are parsed all the time: there the connection's id stands for its host, and
    ``phlo``, the database of the bundled server, for its database.

    ::

        schedule=[postgres_asset("daily")]
    """
    from airflow.sdk import Asset

    host, port, database = _address(postgres_conn_id)
    path = "/".join(quote(part, safe="") for part in (database, schema, table))
    return Asset(name=f"{postgres_conn_id}:{schema}.{table}", uri=f"postgres://{host}:{port}/{path}")


def _address(postgres_conn_id: str) -> _Address:
    defined = os.environ.get(f"AIRFLOW_CONN_{postgres_conn_id.upper()}", "")
    try:
        if defined.startswith("{"):
            fields = json.loads(defined)
            return _known(postgres_conn_id, fields.get("host"), fields.get("port"), fields.get("schema"))
        parts = urlsplit(defined)
        return _known(postgres_conn_id, unquote(parts.hostname or ""), parts.port, unquote(parts.path.strip("/")))
    except (ValueError, AttributeError):  # the task says what is wrong with it
        return _known(postgres_conn_id, None, None, None)


def _known(postgres_conn_id: str, host: str | None, port: int | str | None, database: str | None) -> _Address:
    # a host may be a socket's folder
    plain = host if host and "/" not in host else postgres_conn_id
    address = f"[{plain}]" if ":" in plain and not plain.startswith("[") else plain  # IPv6
    return _Address(address, int(port or _PORT), database or _DATABASE)
