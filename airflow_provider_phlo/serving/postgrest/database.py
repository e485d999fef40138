"""What there is in the database: marts, and views of the API with all that was said about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from airflow_provider_phlo.serving.postgrest.statements import POLICY

_TABLES = """
SELECT c.relname, c.oid, c.relkind, c.relrowsecurity, pg_has_role(c.relowner, 'USAGE'), (
    SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = ANY(%(names)s)
"""
# what the statements of a view decide, as JSON; nothing in it is another one after a dump and a restore
_STATES = """
WITH everybody AS (SELECT unnest(%(roles)s::text[]) AS name UNION ALL SELECT 'PUBLIC'),
granted AS (
    SELECT c.oid, NULL AS attname, coalesce(r.rolname, 'PUBLIC') AS name, g.privilege_type
    FROM pg_class c, aclexplode(c.relacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee
    WHERE c.oid = ANY(%(oids)s) AND g.grantee <> c.relowner
    UNION ALL
    SELECT a.attrelid, a.attname, coalesce(r.rolname, 'PUBLIC'), g.privilege_type
    FROM pg_attribute a, aclexplode(a.attacl) g LEFT JOIN pg_roles r ON r.oid = g.grantee
    WHERE a.attrelid = ANY(%(oids)s) AND NOT a.attisdropped
)
SELECT c.oid, jsonb_build_object(
    'definition', CASE c.relkind WHEN 'v' THEN pg_get_viewdef(c.oid) END,
    'options', c.reloptions,
    'columns', CASE c.relkind WHEN 'v' THEN (
        SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod),
            col_description(a.attrelid, a.attnum)) ORDER BY a.attnum)
        FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    ) END,
    'comment', CASE c.relkind WHEN 'v' THEN obj_description(c.oid, 'pg_class') END,
    'grants', (
        SELECT jsonb_agg(jsonb_build_array(g.name, g.attname, g.privilege_type)
            ORDER BY g.name, g.attname, g.privilege_type)
        FROM granted g WHERE g.oid = c.oid AND (g.name IN (SELECT name FROM everybody))
    ),
    'row security', c.relrowsecurity,
    'policies', (
        SELECT jsonb_agg(jsonb_build_array(p.polname, p.polcmd, p.polpermissive, pg_get_expr(p.polqual, p.polrelid),
            (SELECT array_agg(r.rolname ORDER BY r.rolname) FROM pg_roles r WHERE r.oid = ANY(p.polroles)))
            ORDER BY p.polname)
        FROM pg_policy p WHERE p.polrelid = c.oid AND p.polname ^@ %(policy)s
    )
)
FROM pg_class c WHERE c.oid = ANY(%(oids)s)
"""
# views and functions that read a view, and columns of its type
_READERS = """
SELECT DISTINCT CASE WHEN r.oid IS NULL THEN pg_describe_object(d.classid, d.objid, d.objsubid)
    ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END
FROM pg_depend d LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.deptype = 'n' AND coalesce(r.ev_class <> %(oid)s, true)
    AND NOT (d.classid = 'pg_proc'::regclass AND d.objid = ANY(%(ours)s::oid[])) AND (
    d.refclassid = 'pg_class'::regclass AND d.refobjid = %(oid)s
    OR d.refclassid = 'pg_type'::regclass AND d.refobjid IN (
        SELECT t.oid FROM pg_type t WHERE t.typrelid = %(oid)s
        UNION ALL SELECT t.typarray FROM pg_type t WHERE t.typrelid = %(oid)s
    )
)
"""


@dataclass(frozen=True)
class Table:
    """
    A relation that is there.

    :param kind: PostgreSQL's letter for what it is: ``r`` a table, ``v`` a view.
    :param guarded: whether row security is enabled.
    :param owned: whether this connection may change it.
    """

    oid: int
    kind: str
    guarded: bool
    owned: bool
    columns: tuple[str, ...]


def find_tables(connection: psycopg.Connection, schema: str, names: Sequence[str]) -> dict[str, Table]:
    """Return those of the names that are relations."""
    found = connection.execute(_TABLES, {"schema": schema, "names": list(names)})
    return {
        name: Table(oid, kind, guarded, owned, tuple(columns or ()))
        for name, oid, kind, guarded, owned, columns in found
    }


def find_states(connection: psycopg.Connection, oids: Sequence[int], roles: Sequence[str]) -> dict[int, dict[str, Any]]:
    """Return what is said about views and tables: definition, comments, grants to the API's roles, our policies."""
    parameters = {"oids": list(oids), "roles": list(roles), "policy": POLICY}
    return {oid: dict(state) for oid, state in connection.execute(_STATES, parameters)}


def readers_of(connection: psycopg.Connection, oid: int, functions: Sequence[int]) -> list[str]:
    """
    Return what others have made of a view, and would go with it.

    :param functions: those that are ours.
    """
    rows = connection.execute(_READERS, {"oid": oid, "ours": list(functions)})
    return sorted(name for (name,) in rows)
