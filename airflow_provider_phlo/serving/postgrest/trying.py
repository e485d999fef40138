"""
Whether roles can ask the views at all: each one is asked as each of its roles, for no row, in the same transaction.

PostgreSQL takes policies with which every request then fails: one that reads a table that the role may not read, or the
mart that it guards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
from psycopg import errors

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import ServedMart
from airflow_provider_phlo.serving.postgrest.statements import Target, names
from airflow_provider_phlo.sql import quote_identifier

# what PostgREST says of a request whose token has a role and nothing else
_REQUEST = """
SELECT set_config('request.jwt.claims', jsonb_build_object('role', %(role)s::text)::text, true),
    set_config('request.headers', '{}', true), set_config('request.cookies', '{}', true),
    set_config('request.method', 'GET', true), set_config('request.path', '/', true), set_config('role', %(role)s, true)
"""
_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"


def require_answers(connection: psycopg.Connection, target: Target, marts: Sequence[ServedMart]) -> Iterator[str]:
    """
    Check that each role can ask the views with row policies; yield those as which that could not be tried.

    :raises ConfigurationError: a request of a role would fail.
    """
    for role in sorted({role for mart in marts for role in mart.policies}):
        with _become(connection, role) as became:
            if not became:
                yield (
                    f"Whether row policies work was not tried as {role}: {connection.info.user} may not become it "
                    f"(GRANT {quote_identifier(role)} TO {quote_identifier(connection.info.user)})."
                )
                continue
            for mart in marts:
                if role in mart.policies:
                    _ask(connection, target, mart, role)


@contextmanager
def _become(connection: psycopg.Connection, role: str) -> Iterator[bool]:
    """Do what follows as a role, if that can be, for a moment: nothing of it is kept."""
    with connection.transaction(force_rollback=True):
        try:
            with connection.transaction():
                user = quote_identifier(connection.info.user)
                if connection.execute(_SUPERUSER).fetchone() != (True,):
                    connection.execute(f"GRANT {quote_identifier(role)} TO {user}")
                connection.execute(_REQUEST, {"role": role})
            became = True
        except errors.InsufficientPrivilege:
            became = False
        yield became


def _ask(connection: psycopg.Connection, target: Target, mart: ServedMart, role: str) -> None:
    columns = names(mart.readable_by(role)) if mart.columns else "*"
    if not columns:
        return
    try:
        connection.execute(f"SELECT {columns} FROM {target.view(mart)} LIMIT 0")
    except errors.OperationalError:
        raise
    except psycopg.Error as error:
        raise ConfigurationError(
            f"{mart.model}: with meta.api_policy, every request of {role} would fail: {error.diag.message_primary}. "
            "A policy reads what it names with the rights of whoever asks: put what it needs into the mart itself, or "
            "into a function that runs with its owner's rights; a setting that may be missing is read by "
            "current_setting(name, true). Nothing was changed."
        ) from None
