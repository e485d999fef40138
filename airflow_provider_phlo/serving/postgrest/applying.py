"""
Make a database serve what models declare: compare, and change what differs, in one transaction.

What is as it is to be is not touched. What somebody else has made, or has changed by hand in a way that would be lost,
is refused by name before anything is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

import psycopg
from psycopg import errors

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError, TransientError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.serving.marts import Served
from airflow_provider_phlo.serving.postgrest import functions, others, pruning, rights
from airflow_provider_phlo.serving.postgrest.database import Table, find_tables
from airflow_provider_phlo.serving.postgrest.records import FUNCTION, VIEW, Record, Records
from airflow_provider_phlo.serving.postgrest.roles import require_only_becomes, role_statements
from airflow_provider_phlo.serving.postgrest.statements import Target, policy_role
from airflow_provider_phlo.serving.postgrest.trying import require_answers
from airflow_provider_phlo.serving.postgrest.views import Change, Views
from airflow_provider_phlo.sql import quote_identifier

OLDEST = 15
_LOCK_SECONDS = 10
# what PostgREST listens to
_RELOAD = "NOTIFY pgrst, 'reload schema'"


class Action(StrEnum):
    """What became of a view."""

    CREATED = "created"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    DROPPED = "dropped"
    NOT_PUBLISHED = "not published"


@dataclass(frozen=True)
class ViewResult:
    """
    What became of one view.

    :param reason: why it was changed, or not.
    """

    view: str
    mart: str
    action: Action
    reason: str = ""


@dataclass(frozen=True)
class Applied:
    """
    What was applied.

    :param changed: whether anything in the database was.
    :param notes: what somebody should know, a sentence each.
    """

    views: tuple[ViewResult, ...]
    changed: bool
    notes: tuple[str, ...]


def apply_served(
    connection: psycopg.Connection, served: Served, target: Target, names: Mapping[str, str], *, prune: bool = False
) -> Applied:
    """
    Make the database serve what is declared.

    :param connection: without an open transaction, as the owner of the marts.
    :param names: dbt's id of each model that there is → its name in the API; what others of our views belong to is
        gone.
    :param prune: drop views of ours that no model has any more.
    :raises ConfigurationError: something is in the way; it is named, and nothing was changed.
    :raises CommitConflictError: somebody holds a view or a mart; nothing was changed.
    """
    version = connection.info.server_version // 10_000
    if version < OLDEST:
        raise ConfigurationError(
            f"The server is PostgreSQL {version}. Views that read with the rights of whoever asks (security_invoker) "
            f"need {OLDEST} or later; before, they read with their owner's, whom no row policy holds back. Nothing was "
            "changed."
        )
    with _one_at_a_time(connection, target):
        return _apply(connection, served, target, names, prune=prune)


def withdraw(connection: psycopg.Connection, models: Collection[str], target: Target) -> list[str]:
    """
    Drop the views of models, and what was granted for them, until they are applied again; return their names.

    :param models: dbt's ids.
    :raises ConfigurationError: somebody's view or function reads one; nothing was changed.
    """
    with _one_at_a_time(connection, target):
        records = Records(connection, target)
        recorded = records.read().values()
        dropped = [each for each in recorded if each.kind == VIEW and each.model in models]
        names = {each.name for each in dropped}
        functions_of = [each for each in recorded if each.kind == FUNCTION and {each.model, each.relation} & names]
        _run(connection, [f"DROP FUNCTION IF EXISTS {each.name}" for each in functions_of])
        for record in dropped:
            _run(connection, pruning.statements(connection, target, record))
        kept = _views_kept(recorded, dropped)
        _run(connection, [*pruning.released(connection, target, dropped, {each.relation for each in kept})])
        gone = {role for each in dropped for role in each.roles} - {role for each in kept for role in each.roles}
        _run(connection, rights.usage_statements(connection, target, sorted(gone), ()))
        if dropped:
            records.forget([*dropped, *functions_of])
            connection.execute(_RELOAD)
    return sorted(names)


@contextmanager
def _one_at_a_time(connection: psycopg.Connection, target: Target) -> Iterator[None]:
    """Do what follows in one transaction, after whoever does the same; errors say that nothing was changed."""
    with _translated_errors(), connection.transaction():
        connection.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        connection.execute(f"SET LOCAL lock_timeout = '{_LOCK_SECONDS}s'")
        connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"phlo api {target.schema}"])
        yield


def _apply(
    connection: psycopg.Connection, served: Served, target: Target, names: Mapping[str, str], *, prune: bool
) -> Applied:
    tables = _published(connection, served, target)
    records = Records(connection, target)
    _require_undivided(records.over(list(tables)), served, target)
    recorded = records.read()
    taken = {mart.name for mart in served.marts if mart.table in tables}
    stale = [each for each in pruning.stale(recorded, names) if each.name not in taken]
    # those that read something before are held to reading no more of it
    roles = tuple(sorted({*served.roles, *(role for each in recorded.values() for role in each.roles)}))
    dropped = stale if prune else []
    before = _statements_before(connection, served, target, roles, _readers(served, tables, recorded, dropped))
    _run(connection, before)
    require_only_becomes(connection, served.roles)
    views = Views(connection, target, served, recorded, roles)
    changes = [views.plan(mart, tables[mart.table]) for mart in served.marts if mart.table in tables]
    pending = [change for change in changes if change.statements]
    gone = {*(record.name for record in dropped), *(change.mart.name for change in pending if change.replaced)}
    calls = functions.plan(connection, target, served, set(tables), recorded, roles, gone)
    _run(connection, calls.drops)
    for record in dropped:
        _run(connection, pruning.statements(connection, target, record))
    _run(
        connection,
        [*pruning.released(connection, target, recorded.values(), _marts_kept(served, tables, recorded, dropped))],
    )
    for change in pending:
        _run_declared(connection, change)
    _run(connection, calls.statements)
    untried = list(require_answers(connection, target, [change.mart for change in changes]))
    if before or pending or dropped or calls.changed:
        records.create()
        records.forget([*dropped, *calls.gone])
        records.write([*views.records(pending), *functions.records(connection, calls, roles)])
        connection.execute(_RELOAD)
    rights.require_no_more(connection, served, target, tables, roles)
    others.require_none_past(connection, served, target, tables, roles)
    ours = {*(change.mart.name for change in changes), *(name for kind, name in recorded if kind == VIEW)}
    beside = list(others.notes(connection, target, sorted(ours), tables, roles))
    return Applied(
        views=tuple(_results(served, target, changes, tables, dropped)),
        changed=bool(before or pending or dropped or calls.changed),
        notes=tuple([*_notes(served, changes), *untried, *beside, *pruning.notes([] if prune else stale, target)]),
    )


def _published(connection: psycopg.Connection, served: Served, target: Target) -> dict[str, Table]:
    """
    Return the tables that marts are published to.

    :raises ConfigurationError: one is not a table, or not ours.
    """
    tables = find_tables(connection, target.marts, [mart.table for mart in served.marts])
    for name, table in tables.items():
        if table.kind not in ("r", "p"):
            raise ConfigurationError(f"{target.marts}.{name} is not a table: it was not published by phlo.")
        if not table.owned:
            raise ConfigurationError(
                f"{target.marts}.{name} is not owned by {connection.info.user}, who therefore cannot let others read "
                "it. Apply as its owner: the role that publishes it."
            )
    if not tables:
        raise ConfigurationError(
            f"None of the marts is published to the schema {target.marts} of this database: "
            f"{', '.join(mart.table for mart in served.marts)}. Publish them first (phlo materialize), each to a table "
            "that is called as its model's, or say where they are (--marts-schema)."
        )
    return tables


def _require_undivided(over: Sequence[tuple[str, str, str, str]], served: Served, target: Target) -> None:
    """
    Check that marts are served by one project in one schema: grants and policies are the mart's, for all its views.

    :param over: schema, name, model and mart of the views that are there.
    """
    models = {mart.table: mart.model for mart in served.marts}
    for schema, name, model, table in over:
        if schema != target.schema:
            raise ConfigurationError(
                f"{target.marts}.{table} is served as {schema}.{name} already. Who may read it and which rows are said "
                f"of the mart, so that {schema} and {target.schema} would undo each other. Serve it in one schema: "
                f"--withdraw --schema {schema} takes it away there. Nothing was changed."
            )
        if pruning.package_of(model) != pruning.package_of(models[table]):
            raise ConfigurationError(
                f"{target.marts}.{table} is served as {schema}.{name} already, for {model}, of another dbt project. "
                f"Give {models[table]} another alias; or drop that view, if that project is gone or has another name "
                "now. Nothing was changed."
            )


def _readers(
    served: Served,
    tables: Mapping[str, Table],
    recorded: Mapping[tuple[str, str], Record],
    dropped: Sequence[Record],
) -> set[str]:
    """Return the roles that read something afterwards: also of views that were not chosen this time."""
    chosen = {mart.name for mart in served.marts}
    others = _views_kept(recorded.values(), dropped)
    return {
        *(role for mart in served.marts if mart.table in tables for role in mart.roles),
        *(role for each in others if each.name not in chosen for role in each.roles),
    }


def _marts_kept(
    served: Served,
    tables: Mapping[str, Table],
    recorded: Mapping[tuple[str, str], Record],
    dropped: Sequence[Record],
) -> set[str]:
    """Return the marts that views of ours are over afterwards: also of views that were not chosen this time."""
    chosen = {mart.name for mart in served.marts if mart.table in tables}
    others = _views_kept(recorded.values(), dropped)
    return {*tables, *(each.relation for each in others if each.name not in chosen)}


def _views_kept(recorded: Iterable[Record], dropped: Sequence[Record]) -> list[Record]:
    """Return the records of the views that stay."""
    return [each for each in recorded if each.kind == VIEW and each not in dropped]


def _statements_before(
    connection: psycopg.Connection, served: Served, target: Target, roles: Sequence[str], readers: Collection[str]
) -> list[str]:
    """Return what roles and schemas lack before there can be views."""
    statements = role_statements(connection, served.roles)
    if connection.execute("SELECT to_regnamespace(%s)", [quote_identifier(target.schema)]).fetchone() == (None,):
        statements.append(f"CREATE SCHEMA {quote_identifier(target.schema)}")
    elif connection.execute("SELECT has_schema_privilege(%s, 'CREATE')", [target.schema]).fetchone() != (True,):
        raise ConfigurationError(
            f"The schema {target.schema} is somebody else's: {connection.info.user} may not make views in it. Nothing "
            "was changed."
        )
    return [*statements, *rights.usage_statements(connection, target, roles, readers)]


def _run(connection: psycopg.Connection, statements: Sequence[str]) -> None:
    for statement in statements:
        connection.execute(statement)


def _run_declared(connection: psycopg.Connection, change: Change) -> None:
    """Run what a model declares; an error says which model, and which role's policy."""
    for statement in change.statements:
        try:
            connection.execute(statement)
        except (errors.InsufficientPrivilege, errors.OperationalError):
            raise
        except psycopg.Error as error:
            role = policy_role(statement, change.mart)
            where = f"{change.mart.model}: meta.api_policy ({role})" if role else change.mart.model
            raise ConfigurationError(
                f"{where}: PostgreSQL refuses what the model declares: {error.diag.message_primary}. Nothing was "
                "changed."
            ) from None


def _results(
    served: Served,
    target: Target,
    changes: Sequence[Change],
    tables: Mapping[str, Table],
    dropped: Sequence[Record],
) -> Iterator[ViewResult]:
    by_name = {change.mart.name: change for change in changes}
    for mart in served.marts:
        view, table = f"{target.schema}.{mart.name}", f"{target.marts}.{mart.table}"
        if mart.table not in tables:
            yield ViewResult(view, table, Action.NOT_PUBLISHED)
            continue
        change = by_name[mart.name]
        action = Action.UNCHANGED if not change.statements else Action.CHANGED if change.existed else Action.CREATED
        yield ViewResult(view, table, action, change.reason)
    for record in dropped:
        if record.kind == VIEW:
            yield ViewResult(
                f"{target.schema}.{record.name}", f"{target.marts}.{record.relation}", Action.DROPPED, "no model has it"
            )


def _notes(served: Served, changes: Sequence[Change]) -> Iterator[str]:
    for change in changes:
        yield from change.notes
    for mart in served.marts:
        if not mart.roles:
            yield f"{mart.name} is read by nobody: its meta.api_roles is empty."


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (errors.LockNotAvailable, errors.DeadlockDetected, errors.SerializationFailure):
        raise CommitConflictError(
            f"Somebody held a view or a mart for {_LOCK_SECONDS} s: a publication, or a session that is idle in a "
            "transaction. Nothing was changed; try again later."
        ) from None
    except errors.UniqueViolation:
        raise CommitConflictError(
            "Somebody made the same role or schema at the same time. Nothing was changed; try again."
        ) from None
    except errors.InsufficientPrivilege as error:
        raise ConfigurationError(f"Nothing was changed: {error.diag.message_primary}.") from None
    except (psycopg.OperationalError, psycopg.InternalError) as error:
        raise TransientError(f"{describe(error)}. Nothing was changed; try again when the server answers.") from None
    except psycopg.Error as error:
        raise ConfigurationError(f"PostgreSQL refuses: {describe(error)}. Nothing was changed.") from None
