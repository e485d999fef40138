"""Who may use the schemas, and whether anybody may read more than models grant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import Served, ServedMart
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
# by a grant that its owner can take back
_USAGE = """
SELECT r.rolname, n.nspname FROM pg_namespace n, aclexplode(n.nspacl) g JOIN pg_roles r ON r.oid = g.grantee
WHERE n.nspname = ANY(%s) AND r.rolname = ANY(%s) AND g.privilege_type = 'USAGE' AND g.grantor = n.nspowner
"""
_NAMES_MARTS = "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s) AND has_schema_privilege(oid, %s, 'USAGE')"


def usage_statements(
    connection: psycopg.Connection, target: Target, roles: Sequence[str], readers: Collection[str]
) -> list[str]:
    """
    Return what gives the schema of views to roles that read something, and to no other; and that of marts to nobody.

    :param roles: all roles of the API, former ones too.
    """
    granted: dict[str, set[str]] = {target.schema: set(), target.marts: set()}
    for role, schema in connection.execute(_USAGE, [list(granted), list(roles)]):
        granted[schema].add(role)
    return [
        *(grant_usage(target.schema, role) for role in sorted(set(readers) - granted[target.schema])),
        *(revoke_usage(target.schema, role) for role in sorted(granted[target.schema] - set(readers))),
        *(revoke_usage(target.marts, role) for role in sorted(granted[target.marts])),
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
    named_by = {role for (role,) in connection.execute(_NAMES_MARTS, [list(roles), target.marts])}
    for mart, table in there.items():
        all_columns = tuple(column.name for column in mart.columns) or table.columns
        for role in roles:
            of_view = mart.readable_by(role) if mart.columns else all_columns
            of_mart = readable.get(table.oid, {}).get(role, ())
            _require(of_mart, all_columns if role in mart.roles else (), role, f"{target.marts}.{mart.table}")
            if role in named_by:
                _require_unnamed(of_mart, of_view, role, target, mart)
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


def _require_unnamed(
    columns: Sequence[str], granted: Sequence[str], role: str, target: Target, mart: ServedMart
) -> None:
    """Check that a role that can name a mart reads no column there that the view does not let it read."""
    more = [column for column in columns if column not in granted]
    if more:
        raise ConfigurationError(
            f"{role} can read {', '.join(more)} in {target.marts}.{mart.table} itself, which {mart.model} grants to "
            f"other roles: its view reads the mart as whoever asks, so {role} must not be able to name it. It may use "
            f"the schema {target.marts} by a grant that is not of this command: to PUBLIC, or by somebody else. Revoke "
            f"that (psql: \\dn+ {target.marts}). Nothing was changed."
        )
