"""What others let roles of the API read beside what models grant: past a mart's guards it is refused, else named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import AUTHENTICATOR, Served, ServedMart
from airflow_provider_phlo.serving.postgrest.database import Table
from airflow_provider_phlo.serving.postgrest.statements import Target

# views and materialized views that read marts with their owner's rights, themselves or by others, and which columns
_PAST = """
WITH RECURSIVE reading AS (
    SELECT w.ev_class AS view, d.refobjid AS mart, a.attname
    FROM pg_depend d JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
    JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = ANY(%(marts)s::oid[])
    UNION
    SELECT w.ev_class, r.mart, r.attname
    FROM reading r JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = r.view
    JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid AND w.ev_class <> r.view
)
SELECT r.mart::int8, format('%%I.%%I', n.nspname, c.relname), o.rolname, array_agg(DISTINCT r.attname::text)
FROM reading r JOIN pg_class c ON c.oid = r.view JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN pg_roles o
WHERE o.rolname = ANY(%(roles)s) AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
        WHERE option_name = 'security_invoker' AND option_value::boolean)
    AND has_schema_privilege(o.oid, n.oid, 'USAGE') AND has_any_column_privilege(o.oid, c.oid, 'SELECT')
GROUP BY 1, 2, 3 ORDER BY 2, 3
"""
# in the schema that is served, whatever a role reads or calls; elsewhere what it was itself granted
_BESIDE = """
SELECT format('%%I.%%I', n.nspname, c.relname), array_agg(DISTINCT o.rolname::text ORDER BY o.rolname::text), false
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN pg_roles o
WHERE o.rolname = ANY(%(roles)s) AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', %(marts)s)
    AND NOT (n.nspname = %(schema)s AND c.relname = ANY(%(views)s))
    AND has_schema_privilege(o.oid, n.oid, 'USAGE') AND has_any_column_privilege(o.oid, c.oid, 'SELECT')
    AND (n.nspname = %(schema)s OR EXISTS (
        SELECT FROM aclexplode(c.relacl) g WHERE g.grantee = o.oid AND g.privilege_type = 'SELECT'))
GROUP BY 1
UNION ALL
SELECT p.oid::regprocedure::text, array_agg(DISTINCT o.rolname::text ORDER BY o.rolname::text), true
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace CROSS JOIN pg_roles o
WHERE o.rolname = ANY(%(roles)s) AND n.nspname = %(schema)s AND p.prosecdef
    AND has_schema_privilege(o.oid, n.oid, 'USAGE') AND has_function_privilege(o.oid, p.oid, 'EXECUTE')
GROUP BY 1 ORDER BY 1
"""
# what a role may change where views and marts are; PostgREST sends such requests
_WRITES = """
SELECT format('%%I.%%I', n.nspname, c.relname), array_agg(DISTINCT o.rolname::text ORDER BY o.rolname::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN pg_roles o
WHERE o.rolname = ANY(%(roles)s) AND c.relkind IN ('r', 'v', 'f', 'p') AND n.nspname IN (%(schema)s, %(marts)s)
    AND (has_table_privilege(o.oid, c.oid, 'DELETE, TRUNCATE')
        OR has_any_column_privilege(o.oid, c.oid, 'INSERT, UPDATE'))
GROUP BY 1
UNION ALL
SELECT format('the schema %%I', n.nspname), array_agg(DISTINCT o.rolname::text ORDER BY o.rolname::text)
FROM pg_namespace n CROSS JOIN pg_roles o
WHERE o.rolname = ANY(%(roles)s) AND n.nspname IN (%(schema)s, %(marts)s)
    AND has_schema_privilege(o.oid, n.oid, 'CREATE')
GROUP BY 1 ORDER BY 1
"""
# policies of others that hide rows which ours would show
_RESTRICTIVE = """
SELECT format('%%I.%%I', n.nspname, c.relname), p.polname
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE NOT p.polpermissive AND p.polcmd IN ('r', '*') AND c.oid = ANY(%(marts)s::oid[]) AND c.relrowsecurity
    AND (0 = ANY(p.polroles) OR EXISTS (SELECT FROM pg_roles o, unnest(p.polroles) each
        WHERE o.rolname = ANY(%(roles)s) AND each <> 0 AND pg_has_role(o.oid, each, 'MEMBER')))
ORDER BY 1, 2
"""
# what the one that PostgREST logs in as may become beside the roles of the API: a request's claim decides
_BECOMES = """
SELECT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
WHERE r.rolname = %(login)s AND g.rolname <> ALL(%(roles)s) ORDER BY 1
"""


def require_none_past(
    connection: psycopg.Connection, served: Served, target: Target, tables: Mapping[str, Table], roles: Sequence[str]
) -> None:
    """
    Check that no view of somebody else shows a role rows or columns of a mart that its model keeps from it.

    :raises ConfigurationError: one does: it reads with its owner's rights, whom no policy holds back.
    """
    marts = {tables[mart.table].oid: mart for mart in served.marts if mart.table in tables}
    parameters: dict[str, Any] = {"marts": list(marts), "roles": list(roles)}
    for oid, view, role, columns in connection.execute(_PAST, parameters):
        mart = marts[oid]
        if mart.policies or not set(columns) <= _granted(mart, tables[mart.table], role):
            raise ConfigurationError(
                f"{role} can read {target.marts}.{mart.table} by {view}, which reads it with its owner's rights, past "
                f"what {mart.model} says of rows and columns. Have it read as whoever asks (ALTER VIEW {view} SET "
                f"(security_invoker = true)), or revoke it (REVOKE ALL ON {view} FROM PUBLIC, {role}). Nothing was "
                "changed."
            )


def _granted(mart: ServedMart, table: Table, role: str) -> set[str]:
    if role not in mart.roles:
        return set()
    return set(mart.readable_by(role) if mart.columns else table.columns)


def notes(
    connection: psycopg.Connection,
    target: Target,
    views: Sequence[str],
    tables: Mapping[str, Table],
    roles: Sequence[str],
) -> Iterator[str]:
    """
    Yield what roles of the API can do that no model grants, and what hides rows that a model would show.

    :param views: the names of ours.
    :param tables: the marts that are served, by name.
    """
    parameters = {"roles": list(roles), "schema": target.schema, "marts": target.marts, "views": list(views)}
    for name, who in connection.execute(_WRITES, parameters):
        yield f"{' and '.join(who)} can change {name}, which no model grants: revoke it, unless requests are to write."
    for (name,) in connection.execute(_BECOMES, {"login": AUTHENTICATOR, "roles": list(roles)}):
        yield f"{AUTHENTICATOR} may become {name} too, which no model names: a request that claims it does what it may."
    oids = {"marts": [table.oid for table in tables.values()], "roles": list(roles)}
    for name, policy in connection.execute(_RESTRICTIVE, oids):
        yield f"{name} has the restrictive row policy {policy} of somebody else: rows that it hides are not served."
    for name, readers, is_function in connection.execute(_BESIDE, parameters):
        who = " and ".join(readers)
        if is_function:
            yield f"{who} can call {name}, which runs with its owner's rights: what it returns is not checked here."
        else:
            yield f"{who} can read {name} too, which no model grants."
