"""The password of the role that PostgREST logs in as: generated, and written to one private file."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.private_files import write_private
from airflow_provider_phlo.serving.marts import AUTHENTICATOR
from airflow_provider_phlo.sql import literal, quote_identifier

if TYPE_CHECKING:
    import psycopg


def require_new(path: Path) -> None:
    """
    Check that a file is not there yet.

    :raises ConfigurationError: it is.
    """
    if path.exists():
        raise ConfigurationError(
            f"{path} is there already, and is not replaced. Remove it to give {AUTHENTICATOR} a new password."
        )


def give_login(connection: psycopg.Connection, path: Path) -> str:
    """
    Let PostgREST log in, with a new password; return what was done, in words.

    :param path: a file that is not there yet; it gets what PostgREST reads from its environment.
    :raises ConfigurationError: the file is there already, or this connection may not set the password.
    """
    require_new(path)
    from psycopg import errors

    password = secrets.token_urlsafe(24)
    # the server gets what it keeps, so that neither its log nor its list of statements has the password
    kept = connection.pgconn.encrypt_password(password.encode(), AUTHENTICATOR.encode(), b"scram-sha-256").decode()
    info = connection.info
    host = f"[{info.host}]" if ":" in info.host else quote(info.host, safe="")
    uri = f"postgres://{AUTHENTICATOR}:{quote(password)}@{host}:{info.port}/{quote(info.dbname, safe='')}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with connection.transaction():
            connection.execute(f"ALTER ROLE {quote_identifier(AUTHENTICATOR)} LOGIN PASSWORD {literal(kept)}")
            write_private(path, f"PGRST_DB_URI={uri}\n")
    except errors.InsufficientPrivilege:
        raise ConfigurationError(
            f"The role {info.user} may not set the password of {AUTHENTICATOR}: have whoever made that role do it "
            f"(psql: \\password {AUTHENTICATOR})."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}. Nothing was changed.") from None
    return f"{AUTHENTICATOR} may log in now: {path} has PGRST_DB_URI with the password, for PostgREST's environment."
