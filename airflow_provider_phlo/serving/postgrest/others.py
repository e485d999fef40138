"""What others let roles of the API read beside what models grant: past a mart's guards it is refused, else named."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import Served, ServedMart
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


def notes(connection: psycopg.Connection, target: Target, views: Sequence[str], roles: Sequence[str]) -> Iterator[str]:
    """
    Yield what roles of the API can read that no model grants.

    :param views: the names of ours.
    """
    parameters = {"roles": list(roles), "schema": target.schema, "marts": target.marts, "views": list(views)}
    for name, readers, is_function in connection.execute(_BESIDE, parameters):
        who = " and ".join(readers)
        if is_function:
            yield f"{who} can call {name}, which runs with its owner's rights: what it returns is not checked here."
        else:
            yield f"{who} can read {name} too, which no model grants."
