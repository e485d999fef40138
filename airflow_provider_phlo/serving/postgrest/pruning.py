"""Views of ours that no model has any more: named, and dropped where that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.postgrest.database import find_tables, readers_of
from airflow_provider_phlo.serving.postgrest.functions import function_oids
from airflow_provider_phlo.serving.postgrest.records import VIEW, Record, Records
from airflow_provider_phlo.serving.postgrest.statements import POLICY, Target, names
from airflow_provider_phlo.sql import quote_identifier


def stale(recorded: Mapping[tuple[str, str], Record], models: Mapping[str, str]) -> list[Record]:
    """
    Return the views that no model has any more.

    :param models: dbt's id of each model that there is → its name in the API. Of another project nothing is known.
    """
    packages = set(map(package_of, models))
    return [
        each
        for each in recorded.values()
        if each.kind == VIEW and models.get(each.model) != each.name and package_of(each.model) in packages
    ]


def package_of(model: str) -> str:
    """Return the dbt project that a model is of, by dbt's id of it."""
    return model.split(".")[1]


def statements(connection: psycopg.Connection, target: Target, record: Record) -> list[str]:
    """
    Return what drops a view, and takes back what was granted on its mart for it.

    :raises ConfigurationError: somebody's view or function needs it, or it was changed by hand.
    """
    name = f"{target.schema}.{record.name}"
    existing = find_tables(connection, target.schema, [record.name]).get(record.name)
    found = []
    if existing is not None:
        if existing.kind != "v":
            raise ConfigurationError(
                f"{name} is not the view that was made here: it is left alone. Nothing was changed."
            )
        ours = function_oids(connection, target, Records(connection, target).read().values())
        readers = readers_of(connection, existing.oid, ours)
        if readers:
            raise ConfigurationError(
                f"{name} is to be dropped, but {', '.join(readers)} would go with it. Drop that first. Nothing was "
                "changed."
            )
        found.append(f"DROP VIEW {quote_identifier(target.schema)}.{quote_identifier(record.name)}")
    table = find_tables(connection, target.marts, [record.relation]).get(record.relation)
    if table is not None and not _is_used(connection, target, record):
        mart = f"{quote_identifier(target.marts)}.{quote_identifier(record.relation)}"
        there = [role for role in record.roles if _is_role(connection, role)]
        found += [f"REVOKE ALL ON {mart} FROM {names(there)}"] if there else []
        policies = connection.execute(
            "SELECT polname FROM pg_policy WHERE polrelid = %s AND polname ^@ %s ORDER BY polname", [table.oid, POLICY]
        )
        found += [f"DROP POLICY {quote_identifier(policy)} ON {mart}" for (policy,) in policies]
        found += [f"ALTER TABLE {mart} DISABLE ROW LEVEL SECURITY"] if record.guarded else []
    return found


def _is_used(connection: psycopg.Connection, target: Target, record: Record) -> bool:
    """Return whether another view of ours is over the same mart."""
    others = Records(connection, target).read().values()
    return any(each.relation == record.relation and each != record for each in others if each.kind == VIEW)


def _is_role(connection: psycopg.Connection, role: str) -> bool:
    return connection.execute("SELECT to_regrole(%s)", [quote_identifier(role)]).fetchone() != (None,)


def notes(records: Sequence[Record], target: Target) -> Iterator[str]:
    """Yield what is left of views that no model has any more."""
    for record in records:
        yield f"{target.schema}.{record.name} has no model any more ({record.model}): --prune drops it."
