"""Roles of the API in a server: those that are not there are made, those that could do more are refused by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import AUTHENTICATOR
from airflow_provider_phlo.serving.postgrest.statements import create_role, grant_role, grant_role_only
from airflow_provider_phlo.sql import quote_identifier

_RIGHTS = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}
_ROLES = f"""
SELECT r.rolname, {", ".join(f"r.{right}" for right in _RIGHTS)}, r.rolcanlogin, r.rolinherit, coalesce((
    SELECT array_agg(DISTINCT g.rolname ORDER BY g.rolname) FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
    WHERE m.member = r.oid
), '{{}}') FROM pg_roles r WHERE r.rolname = ANY(%s)
"""
# what a role that is still to be made may do, everybody may
_CONNECTS = """
SELECT has_database_privilege(coalesce((SELECT rolname FROM pg_roles WHERE rolname = %s), 'public'),
    current_database(), 'CONNECT')
"""
_MAY_CREATE = "SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user"
# what a role may become that PostgREST logs in as: none that can do more than read what it was granted
_POWERFUL = f"""
SELECT r.rolname FROM pg_roles r WHERE r.rolname = ANY(%s) AND (
    {" OR ".join(f"r.{right}" for right in _RIGHTS)} OR r.rolname ^@ 'pg_'
    OR EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid)
) ORDER BY r.rolname
"""
# roles that the one of PostgREST has otherwise than to become them: before PostgreSQL 16 its INHERIT decides for all
_OTHERWISE = """
SELECT g.rolname, bool_or((to_jsonb(m) ->> 'inherit_option')::boolean) AS inherits
FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
WHERE r.rolname = %s AND g.rolname = ANY(%s) AND to_jsonb(m) ? 'inherit_option'
GROUP BY g.rolname
HAVING bool_or((to_jsonb(m) ->> 'inherit_option')::boolean) OR NOT bool_or((to_jsonb(m) ->> 'set_option')::boolean)
ORDER BY 1
"""


class Role(NamedTuple):
    """A role that is there."""

    name: str
    rights: tuple[str, ...]
    login: bool
    inherits: bool
    member_of: tuple[str, ...]


def find_roles(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, Role]:
    """Return those of the roles that are there."""
    found = {}
    for name, *rights, login, inherits, groups in connection.execute(_ROLES, [list(names)]):
        has = tuple(word for word, right in zip(_RIGHTS.values(), rights, strict=True) if right)
        found[name] = Role(name, has, login, inherits, tuple(groups))
    return found


def role_statements(connection: psycopg.Connection, names: Sequence[str]) -> list[str]:
    """
    Return what makes the roles of the API, and lets the one that PostgREST logs in as become each of the others.

    :param names: the others.
    :raises ConfigurationError: a role is there and could do more, or this connection may not make what is missing.
    """
    roles = find_roles(connection, [*names, AUTHENTICATOR])
    problems = [problem for role in roles.values() for problem in _problems(connection, role)]
    if problems:
        raise ConfigurationError("Nothing was changed. " + " ".join(problems))
    missing = [name for name in (*names, AUTHENTICATOR) if name not in roles]
    member_of = roles[AUTHENTICATOR].member_of if AUTHENTICATOR in roles else ()
    otherwise = _find_otherwise(connection, names)
    grant = grant_role_only if connection.info.server_version >= 160_000 else grant_role
    statements = [
        *(create_role(name) for name in missing),
        *(grant(name) for name in names if name not in member_of or name in otherwise),
    ]
    if statements and connection.execute(_MAY_CREATE).fetchone() != (True,):
        script = "; ".join(statements)
        raise ConfigurationError(
            f"Nothing was changed. The role {connection.info.user} may not make roles (CREATEROLE): have an "
            f"administrator of the server run: {script};"
        )
    if connection.execute(_CONNECTS, [AUTHENTICATOR]).fetchone() != (True,):
        database = quote_identifier(connection.info.dbname)
        statements.append(f"GRANT CONNECT ON DATABASE {database} TO {quote_identifier(AUTHENTICATOR)}")
    return statements


def _find_otherwise(connection: psycopg.Connection, names: Sequence[str]) -> dict[str, bool]:
    """Return the roles that authenticator inherits from, or may not become → whether it inherits."""
    return dict(connection.execute(_OTHERWISE, [AUTHENTICATOR, list(names)]).fetchall())


def require_only_becomes(connection: psycopg.Connection, names: Sequence[str]) -> None:
    """
    Check that the role of PostgREST reads nothing of the others before it becomes one.

    :raises ConfigurationError: somebody else granted it one with INHERIT.
    """
    inherited = [name for name, inherits in _find_otherwise(connection, names).items() if inherits]
    if inherited:
        raise ConfigurationError(
            f"{AUTHENTICATOR} itself reads what {', '.join(inherited)} may read: somebody else granted that with "
            f"INHERIT. Whoever did takes it back: REVOKE INHERIT OPTION FOR {quote_identifier(inherited[0])} FROM "
            f"{quote_identifier(AUTHENTICATOR)}. Nothing was changed."
        )


def _problems(connection: psycopg.Connection, role: Role) -> Iterator[str]:
    advice = f'Look at it (psql: \\du "{role.name}"), then alter it, or give it another name.'
    if role.rights:
        yield f"The role {role.name} is there already, with {' and '.join(role.rights)}. {advice}"
    if role.name == AUTHENTICATOR:
        if role.inherits:
            yield (
                f"The role {role.name} is there already, with INHERIT: it would itself read what those may that it can "
                f"become. ALTER ROLE {role.name} NOINHERIT, if it is the one of PostgREST."
            )
        powerful = [name for (name,) in connection.execute(_POWERFUL, [list(role.member_of)])]
        if powerful:
            yield f"The role {role.name} is there already, and may become {', '.join(powerful)}. {advice}"
        return
    if role.login:
        yield f"The role {role.name} is there already, with LOGIN: requests come as it, nobody logs in. {advice}"
    if role.member_of:
        yield f"The role {role.name} is there already, and is a member of {', '.join(role.member_of)}. {advice}"
