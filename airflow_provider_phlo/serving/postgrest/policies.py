"""Row policies of a mart: those of others, which must not undo ours, and what goes when a model has none any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import ServedMart
from airflow_provider_phlo.serving.postgrest.database import Table
from airflow_provider_phlo.serving.postgrest.statements import POLICY, Target, policy_name
from airflow_provider_phlo.sql import quote_identifier

# policies of others by which a role sees rows that ours would not show it
_OTHERS = """
SELECT p.polname FROM pg_policy p WHERE p.polrelid = %s AND p.polpermissive AND p.polcmd IN ('r', '*')
    AND NOT p.polname ^@ %s AND (0 = ANY(p.polroles) OR EXISTS (
        SELECT FROM pg_roles r WHERE r.rolname = ANY(%s) AND (
            SELECT bool_or(pg_has_role(r.oid, each, 'MEMBER')) FROM unnest(p.polroles) each
        )
    ))
ORDER BY p.polname
"""
# roles that read the table, and would see no row of it once row security is enabled: by a grant of its own, or as who
# reads every table (pg_read_all_data)
_BLINDED = """
WITH readers AS (
    SELECT g.grantee FROM pg_class c, aclexplode(c.relacl) g
    WHERE c.oid = %(table)s AND g.privilege_type = 'SELECT'
    UNION
    SELECT g.grantee FROM pg_attribute a, aclexplode(a.attacl) g
    WHERE a.attrelid = %(table)s AND NOT a.attisdropped AND g.privilege_type = 'SELECT'
    UNION
    SELECT r.oid FROM pg_roles r WHERE r.rolcanlogin AND pg_has_role(r.oid, 'pg_read_all_data', 'USAGE')
)
SELECT DISTINCT coalesce(r.rolname, 'PUBLIC') FROM readers LEFT JOIN pg_roles r ON r.oid = readers.grantee
WHERE NOT coalesce(r.rolname = ANY(%(roles)s) OR r.rolsuper OR r.rolbypassrls, false)
    AND NOT coalesce(pg_has_role(r.oid, (SELECT relowner FROM pg_class WHERE oid = %(table)s), 'USAGE'), false)
    AND NOT EXISTS (
        SELECT FROM pg_policy p, unnest(p.polroles) each
        WHERE p.polrelid = %(table)s AND p.polcmd IN ('r', '*') AND p.polpermissive
            AND (each = 0 OR coalesce(pg_has_role(r.oid, each, 'USAGE'), false))
    )
ORDER BY 1
"""


def require_alone(
    connection: psycopg.Connection, target: Target, mart: ServedMart, table: Table, roles: Sequence[str]
) -> None:
    """
    Check that no policy of somebody else shows what ours does not, and that ours hide no row from other readers.

    :param roles: those of the API.
    :raises ConfigurationError: one does, or ours would.
    """
    if not mart.policies:
        return
    name = f"{target.marts}.{mart.table}"
    others = [each for (each,) in connection.execute(_OTHERS, [table.oid, POLICY, list(mart.roles)])]
    if others:
        raise ConfigurationError(
            f"{name} has row policies of somebody else that apply to {', '.join(mart.roles)} too: {', '.join(others)}. "
            "They would show rows that meta.api_policy does not. Drop them, or limit them to other roles. Nothing was "
            "changed."
        )
    if table.guarded:
        return
    blinded = [each for (each,) in connection.execute(_BLINDED, {"table": table.oid, "roles": list(roles)})]
    if blinded:
        named = [each for each in blinded if each != "PUBLIC"]
        readers = ", ".join(map(quote_identifier, named))
        policy = f"CREATE POLICY readers ON {target.table(mart)} FOR SELECT TO {readers} USING (true)"
        advice = f"Say which rows they see ({policy}), or revoke their SELECT" if named else "Revoke their SELECT"
        raise ConfigurationError(
            f"meta.api_policy of {mart.model} needs row security of {name}, which would hide all rows from others who "
            f"read it: {', '.join(blinded)}. {advice}. Nothing was changed."
        )


def lifted(target: Target, mart: ServedMart, table: Table, state: Mapping[str, Any], *, guarded: bool) -> Iterator[str]:
    """
    Yield what removes policies that the model does not have any more.

    :param state: what the database says of the table.
    :param guarded: whether row security was enabled for ours: then it goes with the last of them.
    """
    kept = {policy_name(role) for role in mart.policies}
    for name, *_ in state["policies"] or ():
        if name not in kept:
            yield f"DROP POLICY IF EXISTS {quote_identifier(name)} ON {target.table(mart)}"
    if guarded and table.guarded and not mart.policies:
        yield f"ALTER TABLE {target.table(mart)} DISABLE ROW LEVEL SECURITY"
