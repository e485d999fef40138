"""Who may use the schemas, and whether anybody may read more than models grant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import Served
from airflow_provider_phlo.serving.postgrest.database import Table, find_tables
from airflow_provider_phlo.serving.postgrest.statements import Target, grant_usage, revoke_usage

# columns of views and marts that a role of the API can read, by whatever grant
_READABLE = """
SELECT c.oid::int8, r.rolname, array_agg(a.attname ORDER BY a.attnum)
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN pg_roles r
WHERE c.oid = ANY(%s) AND r.rolname = ANY(%s) AND has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')
GROUP BY c.oid, r.rolname
"""
_USAGE = """
SELECT r.rolname, n.nspname FROM pg_namespace n, aclexplode(n.nspacl) g JOIN pg_roles r ON r.oid = g.grantee
WHERE n.nspname = ANY(%s) AND r.rolname = ANY(%s) AND g.privilege_type = 'USAGE'
"""


def usage_statements(
    connection: psycopg.Connection, target: Target, roles: Sequence[str], readers: Collection[str]
) -> list[str]:
    """
    Return what gives the schemas to roles that read something, and takes them from those that do not any more.

    :param roles: all roles of the API, former ones too.
    """
    schemas = {target.schema, target.marts}
    granted: dict[str, set[str]] = {}
    for role, schema in connection.execute(_USAGE, [list(schemas), list(roles)]):
        granted.setdefault(role, set()).add(schema)
    return [
        *(grant_usage(target, role) for role in sorted(readers) if granted.get(role) != schemas),
        *(revoke_usage(target, role) for role in sorted(granted.keys() - set(readers))),
    ]


def require_no_more(
    connection: psycopg.Connection, served: Served, target: Target, tables: Mapping[str, Table], roles: Sequence[str]
) -> None:
    """
    Check that no role of the API reads a column that the models do not grant it, by a grant of somebody else.

    :raises ConfigurationError: one does.
    """
    there = {mart: tables[mart.table] for mart in served.marts if mart.table in tables}
    views = find_tables(connection, target.schema, [mart.name for mart in there])
    oids = [each.oid for each in (*tables.values(), *views.values())]
    readable: dict[int, dict[str, list[str]]] = {}
    for oid, role, columns in connection.execute(_READABLE, [oids, list(roles)]):
        readable.setdefault(oid, {})[role] = columns
    for mart, table in there.items():
        all_columns = tuple(column.name for column in mart.columns) or table.columns
        for role in roles:
            of_view = mart.readable_by(role) if mart.columns else all_columns
            _require(
                readable.get(table.oid, {}).get(role, ()),
                all_columns if role in mart.roles else (),
                role,
                f"{target.marts}.{mart.table}",
            )
            _require(
                readable.get(views[mart.name].oid, {}).get(role, ()),
                of_view if role in mart.roles else (),
                role,
                f"{target.schema}.{mart.name}",
            )


def _require(columns: Sequence[str], granted: Sequence[str], role: str, name: str) -> None:
    more = [column for column in columns if column not in granted]
    if more:
        raise ConfigurationError(
            f"{role} can read {', '.join(more)} of {name} by a grant that is not of this command: to PUBLIC, or to a "
            f"role that {role} belongs to. The models do not grant it: revoke that (psql: \\dp {name}). Nothing was "
            "changed."
        )
