"""The functions by which PostgREST embeds one view in another: which there are to be, and which there are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import Served
from airflow_provider_phlo.serving.postgrest.records import FUNCTION, Record
from airflow_provider_phlo.serving.postgrest.statements import Embedding, Target, embeddings
from airflow_provider_phlo.sql import quote_identifier

_STATE = """
SELECT jsonb_build_object('definition', pg_get_functiondef(p.oid), 'grants', (
    SELECT jsonb_agg(jsonb_build_array(coalesce(r.rolname, 'PUBLIC'), g.privilege_type) ORDER BY 1)
    FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) g LEFT JOIN pg_roles r ON r.oid = g.grantee
    WHERE g.grantee <> p.proowner AND (g.grantee = 0 OR r.rolname = ANY(%(roles)s))
)) FROM pg_proc p WHERE p.oid = %(oid)s
"""


@dataclass(frozen=True)
class Calls:
    """
    What has to change about functions.

    :param drops: what goes before views change.
    :param statements: what is made when they are there.
    :param made: the functions that are made.
    :param gone: what is recorded of those that are not to be any more.
    """

    target: Target
    drops: tuple[str, ...]
    statements: tuple[str, ...]
    made: tuple[Embedding, ...]
    gone: tuple[Record, ...]

    @property
    def changed(self) -> bool:
        """Return whether anything changes."""
        return bool(self.drops or self.statements or self.gone)


# before PostgreSQL 16, a signature with a type that does not exist is an error
_OIDS = """
SELECT CASE WHEN to_regtype(argument) IS NOT NULL THEN to_regprocedure(signature)::oid END
FROM unnest(%s::text[], %s::text[]) AS functions (signature, argument)
"""


def function_oids(connection: psycopg.Connection, target: Target, records: Iterable[Record]) -> list[int]:
    """Return those of the recorded functions that are there."""
    known = [each for each in records if each.kind == FUNCTION]
    arguments = [f"{quote_identifier(target.schema)}.{quote_identifier(each.model)}" for each in known]
    rows = connection.execute(_OIDS, [[each.name for each in known], arguments])
    return [oid for (oid,) in rows if oid is not None]


def plan(
    connection: psycopg.Connection,
    target: Target,
    served: Served,
    published: Set[str],
    recorded: Mapping[tuple[str, str], Record],
    roles: Sequence[str],
    gone: Set[str],
) -> Calls:
    """
    Return what has to change.

    :param published: the tables that are there.
    :param gone: the views that are dropped, to be made anew or not: functions that use them go first.
    :raises ConfigurationError: somebody else has made a function of that name.
    """
    possible = [each for each in served.relationships if {each.one.table, each.many.table} <= published]
    wanted = {each.signature(target): each for each in embeddings(possible)}
    names = {mart.name for mart in served.marts}
    drops: list[str] = []
    statements: list[str] = []
    made: list[Embedding] = []
    forgotten: list[Record] = []
    for (kind, name), record in recorded.items():
        if kind != FUNCTION:
            continue
        ends = {record.model, record.relation}
        # of views that were not selected this time, nothing is known
        unwanted = name not in wanted and (ends <= names or bool(ends & gone))
        if unwanted:
            forgotten.append(record)
        if unwanted or ends & gone:
            drops.append(f"DROP FUNCTION IF EXISTS {name}")
    for name, each in wanted.items():
        lines = tuple(each.statements(target, roles))
        known = recorded.get((FUNCTION, name))
        state = _state(connection, each, target, roles)
        if f"DROP FUNCTION IF EXISTS {name}" not in drops and state is not None:
            if known is not None and known.statements == _declared(each, target) and known.state == state:
                continue
            if known is None and each.query(target) not in state["definition"]:
                raise ConfigurationError(
                    f"The function {name} is there already, and was not made by this command: drop it, or give one of "
                    "the two models another meta.api_name. Nothing was changed."
                )
        statements += lines
        made.append(each)
    return Calls(target, tuple(drops), tuple(statements), tuple(made), tuple(forgotten))


def records(connection: psycopg.Connection, calls: Calls, roles: Sequence[str]) -> list[Record]:
    """Return what is to be recorded of functions that were made."""
    return [
        Record(
            kind=FUNCTION,
            name=each.signature(calls.target),
            model=each.source.name,
            relation=each.found.name,
            statements=_declared(each, calls.target),
            roles=each.source.roles,
            state=_state(connection, each, calls.target, roles) or {},
            guarded=False,
            version=connection.info.server_version // 10_000,
        )
        for each in calls.made
    ]


def _declared(each: Embedding, target: Target) -> str:
    return "\n".join(each.statements(target, ()))


def _state(
    connection: psycopg.Connection, each: Embedding, target: Target, roles: Sequence[str]
) -> dict[str, Any] | None:
    oid = connection.execute(_OIDS, [[each.signature(target)], [target.view(each.source)]]).fetchone()
    found = connection.execute(_STATE, {"roles": list(roles), "oid": oid[0] if oid else None}).fetchone()
    return None if found is None else dict(found[0])
