"""Try connections by really connecting: for ``phlo doctor``."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.connections import find_connection
from airflow_provider_phlo.diagnosis import Finding, Verdict
from airflow_provider_phlo.diagnosis.machine import compare_clocks
from airflow_provider_phlo.exceptions import PhloError

_PREFIX = "AIRFLOW_CONN_"
_PATIENCE = 10


def check_catalog() -> Iterator[Finding]:
    """Open the catalog of tables, and list what is in it."""
    from airflow_provider_phlo.cli.terminal.output import open_catalog
    from airflow_provider_phlo.iceberg.tables.lookup import table_names

    catalog = open_catalog()
    count = sum(1 for _ in table_names(catalog))
    yield Finding("catalog", Verdict.OK, f"{type(catalog).__name__} {catalog.name} with {count:,} tables")


def check_postgres(home: Path) -> Iterator[Finding]:
    """Log into the server of the marts, and compare its clock."""
    import psycopg

    from airflow_provider_phlo.hooks.postgres import postgres_coordinates
    from airflow_provider_phlo.services.postgres.server import postgres_pid

    if find_connection("postgres_default") is None and postgres_pid(home) is None:
        yield Finding("postgres_default", Verdict.SKIPPED, "unset, and the bundled server does not run")
        return
    with psycopg.connect(**{"connect_timeout": _PATIENCE, **postgres_coordinates()}) as connection:
        began = time.time()
        said = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8, version()").fetchone()
        assert said is not None
        skew = said[0] - (began + time.time()) / 2
    yield Finding("postgres_default", Verdict.OK, " ".join(said[1].split()[:2]))
    yield compare_clocks(skew, "the server of postgres_default")


def check_trino() -> Iterator[Finding]:
    """Run a statement on Trino."""
    from airflow_provider_phlo.hooks.trino import connect_to

    if find_connection("trino_default") is None:
        yield Finding("trino_default", Verdict.SKIPPED, "unset: DuckDB and PyIceberg do the work")
        return
    with connect_to("trino_default")() as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT version()")
        yield Finding("trino_default", Verdict.OK, f"Trino {cursor.fetchone()[0]}")


def check_github() -> Iterator[Finding]:
    """Ask GitHub how much of its limit is left."""
    from airflow_provider_phlo.hooks.github import github_arguments
    from airflow_provider_phlo.sources.github_api import github_client
    from airflow_provider_phlo.sources.http import RetryPolicy

    connection = find_connection("github_default")
    if connection is None:
        yield Finding("github_default", Verdict.SKIPPED, "unset: GitHub is read without a token, 60 requests an hour")
        return
    client = github_client(**github_arguments("github_default"), retry=RetryPolicy(attempts=1))
    try:
        core = client.get(f"{client.root}/rate_limit").body["resources"]["core"]
        found = f"{core['remaining']:,} of {core['limit']:,} requests left this hour"
    except PhloError:
        # a GitHub Enterprise without limits says 404
        if not connection.login:
            raise
        client.get(f"{client.root}/users/{quote(connection.login, safe='')}")
        found = "it answers"
    yield Finding("github_default", Verdict.OK, found)


def check_nightscout() -> Iterator[Finding]:
    """Read one entry from Nightscout."""
    from airflow_provider_phlo.sources.http import JsonClient, RetryPolicy
    from airflow_provider_phlo.sources.nightscout import ADVICE, ENTRIES, connection_arguments, credentials

    connection = find_connection("nightscout_default")
    if connection is None:
        yield Finding("nightscout_default", Verdict.SKIPPED, "unset")
        return
    said = connection_arguments(connection)
    headers, params = credentials(said["secret"], said["auth"], said["conn_id"])
    root = said["base_url"].rstrip("/").removesuffix("/api/v1")
    client = JsonClient(root, said["conn_id"], headers=headers, advice=ADVICE, retry=RetryPolicy(attempts=1))
    client.get(f"{client.root}{ENTRIES}", params={**params, "count": "1"})
    yield Finding("nightscout_default", Verdict.OK, "it answers")


#: Connections that the provider itself uses.
OWN: dict[str, Callable[[], Iterator[Finding]]] = {
    "trino_default": check_trino,
    "github_default": check_github,
    "nightscout_default": check_nightscout,
}


def other_connections() -> list[str]:
    """Return the other connections that the environment sets."""
    names = {
        name.removeprefix(_PREFIX).lower() for name, text in os.environ.items() if name.startswith(_PREFIX) and text
    }
    return sorted(names - {*OWN, "iceberg_default", "postgres_default"})


def variable(conn_id: str) -> str:
    """Return the variable that sets a connection."""
    return f"{_PREFIX}{conn_id.upper()}"


def check_other(conn_id: str) -> Iterator[Finding]:
    """Let the hook of a connection try it."""
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowException

    wrong = _malformed(os.environ.get(variable(conn_id), ""))
    if wrong:
        advice = "Write it as type://user:password@host:port, or as JSON with conn_type."
        yield Finding(conn_id, Verdict.PROBLEM, f"{variable(conn_id)} {wrong}", advice)
        return
    connection: Any = BaseHook.get_connection(conn_id)
    try:
        hook = connection.get_hook()
    except AirflowException:
        found = f"no installed provider knows connections of type {connection.conn_type}: it was not tried"
        advice = (
            f"If a DAG uses its hook, install the provider, such as apache-airflow-providers-{connection.conn_type}."
        )
        yield Finding(conn_id, Verdict.WARNING, found, advice)
        return
    if not hasattr(hook, "test_connection"):
        yield Finding(conn_id, Verdict.SKIPPED, f"{type(hook).__name__} has no way to try it")
        return
    works, _ = hook.test_connection()
    # what a hook says may hold the password; how it ended does not
    verdict = Verdict.OK if works else Verdict.PROBLEM
    yield Finding(conn_id, verdict, f"{type(hook).__name__} {'connects' if works else 'does not connect'}", "" if works
                  else f"airflow connections test {conn_id}")  # fmt: skip


def _malformed(value: str) -> str:
    """Return what is wrong with how a variable sets a connection, without its value; nothing if nothing is."""
    if not value.lstrip().startswith("{"):
        return "" if "://" in value else "is neither a URI nor JSON"
    try:
        found = json.loads(value)
    except ValueError as error:
        at = f" (column {error.colno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        return f"is not JSON{at}"
    return "" if isinstance(found, dict) and found.get("conn_type") else "is JSON without conn_type"
