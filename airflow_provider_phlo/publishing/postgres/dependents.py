"""What uses a table that is published, and stands in the way of what has to be done to it."""

from __future__ import annotations

from collections.abc import Collection

import psycopg

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.publishing.postgres.tables import (
    SERVED,
    Existing,
    Target,
    dropped_columns,
    retyped_columns,
)
from airflow_provider_phlo.sql import quote_identifier

# what a foreign key does to the rows that refer to a row that is deleted
_ACTIONS = {"c": "ON DELETE CASCADE", "n": "ON DELETE SET NULL", "d": "ON DELETE SET DEFAULT"}
_REFERENCES = """
SELECT conrelid::regclass::text, conname, confdeltype::text FROM pg_constraint
WHERE contype = 'f' AND confrelid = %s AND confdeltype::text = ANY(%s) AND conparentid = 0 ORDER BY 1, 2
"""
_DEPENDENTS = """
SELECT DISTINCT CASE WHEN r.oid IS NULL THEN pg_describe_object(d.classid, d.objid, 0)
    ELSE pg_describe_object('pg_class'::regclass, r.ev_class, 0) END
FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
LEFT JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND r.oid = d.objid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %s AND a.attname = ANY(%s)
    AND d.deptype = 'n' AND d.classid <> 'pg_constraint'::regclass
"""

# what belongs to columns, and goes or is built anew with them
_DECLARED = """
SELECT DISTINCT pg_describe_object(d.classid, d.objid, 0)
FROM pg_depend d JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = %s AND a.attname = ANY(%s)
    AND d.deptype = 'a' AND d.classid <> 'pg_attribute'::regclass
    -- the sequence of a column, which goes with it by its name
    AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class WHERE oid = d.objid AND relkind = 'S'))
ORDER BY 1
"""
_REFERRING = """
SELECT n.nspname, c.relname, k.conname FROM pg_constraint k
JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.confrelid = ANY(%s) AND k.conrelid <> ALL(%s) AND k.conparentid = 0 ORDER BY 1, 2, 3
"""


def declared_on(connection: psycopg.Connection, existing: Existing, columns: Collection[str]) -> list[str]:
    """Return the indexes, constraints, defaults and statistics that are declared on any of these columns."""
    return [name for (name,) in connection.execute(_DECLARED, [existing.oid, sorted(columns)]).fetchall()]


def referring(connection: psycopg.Connection, tables: Collection[Existing]) -> list[tuple[str, str, str]]:
    """Return schema, table and name of each foreign key that another table has upon any of these."""
    numbers = [existing.oid for existing in tables]
    return connection.execute(_REFERRING, [numbers, numbers]).fetchall()


def require_harmless(connection: psycopg.Connection, target: Target, existing: Existing) -> None:
    """
    Check that deleting rows deletes and empties none of other tables: a row that changes is deleted and inserted again.

    :raises SchemaError: a foreign key would.
    """
    found = connection.execute(_REFERENCES, [existing.oid, list(_ACTIONS)]).fetchall()
    if found:
        keys = ", ".join(f"{name} of {table} ({_ACTIONS[action]})" for table, name, action in found)
        raise SchemaError(
            f"Cannot publish {target.name}: rows that change are deleted and inserted again, which would delete or "
            f"empty the rows of other tables that refer to them: {keys}. Nothing was written. Make the foreign key one "
            "without an action, DEFERRABLE INITIALLY DEFERRED: it is checked when the new rows are there."
        )


def require_independent(connection: psycopg.Connection, target: Target, existing: Existing) -> None:
    """
    Check that nothing uses the columns that have to go or get another type, and that PostgreSQL computes none of those
    that are written.

    :raises SchemaError: something does; it is named.
    """
    computed = sorted(existing.generated & target.types.keys())
    if computed:
        raise SchemaError(
            f"Cannot publish {target.name}: PostgreSQL computes its columns {', '.join(computed)} (GENERATED ALWAYS), "
            "and the source has columns of these names. Nothing was written. Drop them there, or give them other names "
            "in the model."
        )
    retyped, dropped = retyped_columns(existing, target.types), dropped_columns(existing, target.types)
    if not (retyped or dropped):
        return
    rows = connection.execute(_DEPENDENTS, [existing.oid, sorted({*retyped, *dropped})]).fetchall()
    dependents = sorted(name for (name,) in rows)
    if dependents:
        what = [
            f"{' and '.join(sorted(names))} {verb}"
            for names, verb in ((dropped, "go"), (retyped, "get another type"))
            if names
        ]
        advice = _advice_for_api(connection, target) or (
            "Drop what uses them, publish again, then create it anew; or keep the columns in the model as they were."
        )
        raise SchemaError(
            f"{target.name}: its columns have to change ({', '.join(what)}), but they are used by "
            f"{', '.join(dependents)}. Nothing was written, the old content stays. {advice}"
        )


def _advice_for_api(connection: psycopg.Connection, target: Target) -> str:
    """Return how a view of the API gets out of the way; nothing if the table is not served."""
    records = f"{quote_identifier(target.schema)}.{quote_identifier(SERVED)}"
    if connection.execute("SELECT has_table_privilege(to_regclass(%s), 'SELECT')", [records]).fetchone() != (True,):
        return ""
    served = records.replace("%", "%%")
    found = connection.execute(
        f"SELECT schema || '.' || name, split_part(model, '.', 3) FROM {served} "  # noqa: S608 - quoted
        "WHERE kind = 'view' AND relation = %s ORDER BY name",
        [target.table],
    ).fetchall()
    if not found:
        return ""
    views, models = (", ".join(dict.fromkeys(names)) for names in zip(*found, strict=True))
    options = " ".join(f"--models {model}" for model in dict.fromkeys(model for _, model in found))
    return (
        f"{views} would not fit any more. Columns that the model {models} does not have any more leave the view by "
        "phlo api generate-views --apply; for those that get another type, take it away (phlo api generate-views "
        f"--withdraw {options}), publish again, then apply it again."
    )
