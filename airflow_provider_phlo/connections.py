"""The PyIceberg properties that an ``iceberg`` connection sets; its secrets reach no log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError

if TYPE_CHECKING:
    from airflow.sdk import Connection

# Everything a connection may set. Named one by one: an extra such as py-io-impl or s3.retry-strategy-impl would run
# code of its choosing, header.* would send what it likes, auth would bypass login and password.
ALLOWED_EXTRAS = frozenset(
    {
        "type",
        "uri",
        "warehouse",
        "catalog_name",
        # REST: OAuth2 client (login and password), a token instead of it, or AWS signatures (Glue, S3 Tables)
        "prefix",
        "token",
        "scope",
        "audience",
        "resource",
        "oauth2-server-uri",
        "rest.sigv4-enabled",
        "rest.signing-region",
        "rest.signing-name",
        "client.region",
        "client.access-key-id",
        "client.secret-access-key",
        "client.session-token",
        "client.role-arn",
        "client.role-session-name",
        "s3.endpoint",
        "s3.region",
        "s3.resolve-region",
        "s3.access-key-id",
        "s3.secret-access-key",
        "s3.session-token",
        "s3.role-arn",
        "s3.role-session-name",
        "s3.anonymous",
        "s3.force-virtual-addressing",
        "s3.proxy-uri",
        "s3.connect-timeout",
        "s3.request-timeout",
        "gcs.project-id",
        "gcs.oauth2.token",
        "gcs.oauth2.token-expires-at",
        "gcs.service.host",
        "gcs.default-bucket-location",
    }
)
# when connections were found not to be set, by this process's clock; long-lived processes ask again soon
_UNSET: dict[str, float] = {}
_KNOWN_SECONDS = 10.0
_SECRETS = ("credential", "token", "secret-access-key", "session-token", "oauth2.token")


def known_extras(connection: Connection) -> dict[str, str]:
    """
    Return the extras of an ``iceberg`` connection.

    :raises ConfigurationError: if it has unknown ones; their values are not repeated.
    """
    extra: dict[str, Any] = connection.extra_dejson
    unknown = sorted(set(extra) - ALLOWED_EXTRAS)
    if unknown:
        raise ConfigurationError(
            f"Connection '{connection.conn_id}' has unknown extras: {', '.join(unknown)}. "
            f"Known ones: {', '.join(sorted(ALLOWED_EXTRAS))}."
        )
    # a form leaves what nobody has filled in empty
    return {name: str(value) for name, value in extra.items() if value not in (None, "")}


def find_connection(conn_id: str) -> Connection | None:
    """
    Return a connection, or None where it is not set.

    A task asks for one several times, and each time is two requests to Airflow's server: what was unset a moment ago
    still is.

    :raises ConfigurationError: an environment variable has it, in neither of the forms that Airflow reads.
    :raises TransientError: a secrets backend, or Airflow's own server, could not be asked.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    if _is_known_to_be_unset(conn_id):
        return None
    try:
        return BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        require_unset(conn_id)
        return None


def require_unset(conn_id: str) -> None:
    """
    Check that a connection is not set, where Airflow says so: it says the same of one that could not be read.

    Whoever takes the embedded catalog or the bundled server for an unset connection would else work there while a
    secrets backend is down, or because of a typing error in an environment variable.

    :raises ConfigurationError: if an environment variable has it, in neither of the forms that Airflow reads.
    :raises TransientError: if a secrets backend, or Airflow's own server, could not be asked.
    """
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        name = type(backend).__name__
        reason = ""
        try:
            if name == "ExecutionAPISecretsBackend":
                reason = _server_error(conn_id)
            else:
                backend.get_connection(conn_id=conn_id)
        except Exception as error:  # noqa: BLE001 - of any secrets backend
            if name == "EnvironmentVariablesBackend":
                raise ConfigurationError(
                    f"Connection '{conn_id}' cannot be read: AIRFLOW_CONN_{conn_id.upper()} is neither a URI nor JSON "
                    f"({type(error).__name__}). Correct it, or unset it."
                ) from None
            reason = type(error).__name__
        if reason:
            raise TransientError(
                f"Whether connection '{conn_id}' is set, cannot be seen: {name} failed ({reason}). A retry may help."
            )
    _UNSET[conn_id] = time.monotonic()


def _is_known_to_be_unset(conn_id: str) -> bool:
    """Return whether this task has just found out, by :func:`require_unset`, that a connection is not set."""
    at = _UNSET.get(conn_id)
    if at is None or time.monotonic() - at > _KNOWN_SECONDS or f"AIRFLOW_CONN_{conn_id.upper()}" in os.environ:
        return False
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")


def _server_error(conn_id: str) -> str:
    """Return what Airflow's server answers instead of a connection, but that there is none."""
    from airflow.sdk.exceptions import ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, GetConnection
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = SUPERVISOR_COMMS.send(GetConnection(conn_id=conn_id))
    if isinstance(answer, ErrorResponse) and answer.error != ErrorType.CONNECTION_NOT_FOUND:
        return str(answer.error.value)
    return ""


def mask_secrets(properties: Mapping[str, str]) -> None:
    """
    Keep the secrets among PyIceberg's properties out of every log of the task, also where URLs encode them.

    Airflow masks the password of a connection and extras whose names suggest a secret, but not an address that
    contains a password.
    """
    from airflow.sdk.log import mask_secret

    for name, value in properties.items():
        if name.endswith(_SECRETS):
            mask_secret(value)
            mask_secret(value.partition(":")[2])
        elif "://" in value and (password := urlsplit(value).password):
            mask_secret(password)
            mask_secret(unquote(password))


def catalog_properties(connection: Connection) -> dict[str, str]:
    """
    Return the properties with which PyIceberg opens the catalog of a connection, secrets included.

    :raises ConfigurationError: if it has unknown extras, or does not say where the catalog is.
    """
    extra = known_extras(connection)
    if not connection.host and "uri" not in extra:
        raise ConfigurationError(
            f"Connection '{connection.conn_id}' does not say where the catalog is: set its host (the address of a REST "
            "catalog, the database server of a SQL one) or the extra 'uri'."
        )
    properties = {"type": "rest", **extra}
    if properties["type"] == "sql":
        properties.setdefault("uri", _sql_uri(connection))
    elif connection.host:
        properties["uri"] = connection.host.rstrip("/")
        if connection.login and connection.password:
            properties["credential"] = f"{connection.login}:{connection.password}"
    mask_secrets(properties)
    return properties


def _sql_uri(connection: Connection) -> str:
    """Return the SQLAlchemy address of a SQL catalog; a host with ``://`` is taken as it is."""
    from sqlalchemy.engine import URL

    if connection.host and "://" in connection.host:
        return connection.host
    return URL.create(
        "postgresql+psycopg2",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
    ).render_as_string(hide_password=False)
