"""Views of ours that no model has any more: named, and dropped where that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.postgrest.database import Table, find_states, find_tables, readers_of
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
    Return what drops a view.

    :raises ConfigurationError: somebody's view or function needs it, or it was changed by hand.
    """
    existing = find_tables(connection, target.schema, [record.name]).get(record.name)
    if existing is None:
        return []
    _require_ours(connection, target, record, existing)
    return [f"DROP VIEW {quote_identifier(target.schema)}.{quote_identifier(record.name)}"]


def _require_ours(connection: psycopg.Connection, target: Target, record: Record, existing: Table) -> None:
    """Check that a view is the one that was made here, and that nobody reads it."""
    name = f"{target.schema}.{record.name}"
    if existing.kind != "v":
        raise ConfigurationError(f"{name} is not the view that was made here: it is left alone. Nothing was changed.")
    definition = find_states(connection, [existing.oid], ())[existing.oid]["definition"]
    same_server = record.version == connection.info.server_version // 10_000
    if same_server and definition != record.state["view"]["definition"]:
        raise ConfigurationError(
            f"{name} is to be dropped, but somebody has changed by hand what it selects, or has made another view of "
            "that name. Drop it yourself if nobody needs it, then do this again. Nothing was changed."
        )
    everything = Records(connection, target).read().values()
    readers = readers_of(connection, existing.oid, function_oids(connection, target, everything))
    if readers:
        raise ConfigurationError(
            f"{name} is to be dropped, but {', '.join(readers)} would go with it. Drop that first. Nothing was changed."
        )


def released(
    connection: psycopg.Connection, target: Target, records: Iterable[Record], kept: Set[str]
) -> Iterator[str]:
    """
    Yield what takes back what was granted for views on marts that no view of ours is over any more.

    :param records: what is recorded of views.
    :param kept: the marts that views of ours are over.
    """
    left = [each for each in records if each.kind == VIEW and each.relation not in kept]
    tables = find_tables(connection, target.marts, [each.relation for each in left])
    for record in left:
        table = tables.get(record.relation)
        if table is None:
            continue
        mart = f"{quote_identifier(target.marts)}.{quote_identifier(record.relation)}"
        there = [role for role in record.roles if _is_role(connection, role)]
        if there:
            yield f"REVOKE ALL ON {mart} FROM {names(there)}"
        policies = connection.execute(
            "SELECT polname FROM pg_policy WHERE polrelid = %s AND polname ^@ %s ORDER BY polname", [table.oid, POLICY]
        )
        for (policy,) in policies:
            yield f"DROP POLICY IF EXISTS {quote_identifier(policy)} ON {mart}"
        if record.guarded:
            yield f"ALTER TABLE {mart} DISABLE ROW LEVEL SECURITY"


def _is_role(connection: psycopg.Connection, role: str) -> bool:
    return connection.execute("SELECT to_regrole(%s)", [quote_identifier(role)]).fetchone() != (None,)


def notes(records: Sequence[Record], target: Target) -> Iterator[str]:
    """Yield what is left of views that no model has any more."""
    for record in records:
        yield f"{target.schema}.{record.name} has no model any more ({record.model}): --prune drops it."
