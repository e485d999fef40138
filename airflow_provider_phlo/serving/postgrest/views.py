"""What has to change about a view so that it is what its model declares."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.marts import Served, ServedMart
from airflow_provider_phlo.serving.postgrest.database import Table, find_states, find_tables, readers_of
from airflow_provider_phlo.serving.postgrest.functions import function_oids
from airflow_provider_phlo.serving.postgrest.policies import lifted, require_alone
from airflow_provider_phlo.serving.postgrest.pruning import package_of
from airflow_provider_phlo.serving.postgrest.records import VIEW, Record
from airflow_provider_phlo.serving.postgrest.statements import Target, ViewStatements
from airflow_provider_phlo.sql import quote_identifier

State = Mapping[str, Any]
_PARTS = {
    "options": "its options",
    "columns": "its columns or their comments",
    "comment": "its comment",
    "grants": "who may read it",
    "row security": "row security",
    "policies": "row policies",
}


@dataclass(frozen=True)
class Change:
    """
    What has to change about one view.

    :param table: the mart's.
    :param statements: nothing if it is as it is to be.
    :param existed: whether there is a view already.
    :param replaced: whether that is dropped and made anew.
    :param guarded: whether row security of the mart is enabled for it.
    """

    mart: ServedMart
    table: Table
    statements: tuple[str, ...]
    reason: str
    existed: bool
    replaced: bool
    guarded: bool
    notes: tuple[str, ...] = ()


class Views:
    """Compares views with what they are to be; what the database says of all of them is asked once."""

    def __init__(
        self,
        connection: psycopg.Connection,
        target: Target,
        served: Served,
        recorded: Mapping[tuple[str, str], Record],
        roles: Sequence[str],
    ) -> None:
        self._connection = connection
        self._target = target
        self._roles = tuple(roles)
        self._recorded = recorded
        self._version = connection.info.server_version // 10_000
        self._there = find_tables(connection, target.schema, [mart.name for mart in served.marts])
        marts = find_tables(connection, target.marts, [mart.table for mart in served.marts])
        oids = [table.oid for table in (*self._there.values(), *marts.values())]
        self._states = find_states(connection, oids, self._roles)

    def plan(self, mart: ServedMart, table: Table) -> Change:
        """
        Return what has to change.

        :raises ConfigurationError: the view cannot become what it is to be without a loss; nothing was changed.
        """
        notes = list(self._require_columns(mart, table))
        existing = self._there.get(mart.name)
        record = self._recorded.get((VIEW, mart.name))
        wanted = self._wanted(mart, table)
        statements = tuple(wanted.all())
        require_alone(self._connection, self._target, mart, table, self._roles)
        if existing is None:
            reason = "" if record is None else "somebody has dropped it"
            return self._change(mart, table, statements, reason, notes)
        state = {"view": self._states[existing.oid], "mart": self._states[table.oid]}
        self._require_ours(mart, existing, record, state["view"], wanted)
        if record is not None and record.statements == wanted.declared():
            reason = _differences(record.state, state, same_server=record.version == self._version)
            if not reason:
                return Change(mart, table, (), "", True, False, self._is_guarded_for_ours(mart), tuple(notes))
        else:
            reason = "the model has changed" if record is not None else "it was not recorded"
        kept = _order(existing.columns, wanted.served or table.columns)
        replaced = kept is None
        if replaced:
            self._require_no_readers(mart, existing)
            statements = (f"DROP VIEW {wanted.view}", *statements)
        else:
            statements = tuple(self._wanted(mart, table, kept).all())
        return self._change(mart, table, statements, reason, notes, existed=True, replaced=replaced)

    def _wanted(self, mart: ServedMart, table: Table, columns: tuple[str, ...] | None = None) -> ViewStatements:
        # without documented columns they are the table's
        chosen = columns if columns is not None else None if mart.columns else table.columns
        return ViewStatements(self._target, mart, self._roles, chosen)

    def _change(
        self,
        mart: ServedMart,
        table: Table,
        statements: tuple[str, ...],
        reason: str,
        notes: list[str],
        *,
        existed: bool = False,
        replaced: bool = False,
    ) -> Change:
        ours = self._is_guarded_for_ours(mart)
        dropped = lifted(self._target, mart, table, self._states[table.oid], guarded=ours)
        guarded = bool(mart.policies) and (ours or not table.guarded)
        return Change(mart, table, (*dropped, *statements), reason, existed, replaced, guarded, tuple(notes))

    def _is_guarded_for_ours(self, mart: ServedMart) -> bool:
        """Return whether row security of a mart was enabled for a view of ours, of this name or of an earlier one."""
        over = (each for each in self._recorded.values() if each.kind == VIEW and each.relation == mart.table)
        return any(each.guarded for each in over)

    def records(self, changes: Sequence[Change]) -> list[Record]:
        """Return what is to be recorded of changes that were made."""
        there = find_tables(self._connection, self._target.schema, [change.mart.name for change in changes])
        oids = [table.oid for change in changes for table in (there[change.mart.name], change.table)]
        states = find_states(self._connection, oids, self._roles)
        return [
            Record(
                kind=VIEW,
                name=change.mart.name,
                model=change.mart.model,
                relation=change.mart.table,
                statements=self._wanted(change.mart, change.table).declared(),
                roles=change.mart.roles,
                state={"view": states[there[change.mart.name].oid], "mart": states[change.table.oid]},
                guarded=change.guarded,
                version=self._version,
            )
            for change in changes
        ]

    # --- what is refused

    def _require_columns(self, mart: ServedMart, table: Table) -> Iterator[str]:
        """Check that the mart has the columns, and yield what the model does not document."""
        name = f"{self._target.marts}.{mart.table}"
        wanted = [column.name for column in mart.columns]
        missing = [column for column in wanted if column not in table.columns]
        if missing:
            raise ConfigurationError(
                f"{name} has no {', '.join(missing)}, which the model documents: publish the mart as it is now, or "
                "correct the model's YAML. Nothing was changed."
            )
        if not mart.columns:
            yield f"{mart.name} has all columns of {name}, as its model documents none."
            return
        unknown = [column for column in table.columns if column not in {*wanted, *mart.left_out}]
        if unknown:
            yield f"{mart.name} is without {', '.join(unknown)} of {name}, which its model does not document."

    def _require_ours(
        self, mart: ServedMart, existing: Table, record: Record | None, state: State, wanted: ViewStatements
    ) -> None:
        """Check that a view was made here, and that nobody has changed what it selects."""
        name = f"{self._target.schema}.{mart.name}"
        if existing.kind != "v":
            raise ConfigurationError(f"{name} is there already, and is not a view. Nothing was changed.")
        if record is None:
            if state["definition"] != self._definition(wanted):
                raise ConfigurationError(
                    f"The view {name} is there already, and was not made by this command. Give the model another "
                    "meta.api_name, or drop the view. Nothing was changed."
                )
        elif package_of(record.model) != package_of(mart.model):
            raise ConfigurationError(
                f"The view {name} is that of {record.model}, of another dbt project. Give {mart.model} another "
                f"meta.api_name, or another --schema; or drop the view (DROP VIEW {wanted.view}), if that project is "
                "gone or has another name now. Nothing was changed."
            )
        elif record.version == self._version and state["definition"] != record.state["view"]["definition"]:
            raise ConfigurationError(
                f"Somebody has changed by hand what the view {name} selects. Put that into the model and drop the "
                "view, then apply again. Nothing was changed."
            )

    def _definition(self, wanted: ViewStatements) -> str:
        """Return how PostgreSQL writes the view, by making it for a moment."""
        columns = ", ".join(map(quote_identifier, wanted.served)) or "*"
        with self._connection.transaction(force_rollback=True):
            self._connection.execute(f"CREATE TEMP VIEW phlo_wanted AS SELECT {columns} FROM {wanted.table}")
            found = self._connection.execute("SELECT pg_get_viewdef('pg_temp.phlo_wanted'::regclass)").fetchone()
        assert found is not None
        return str(found[0])

    def _require_no_readers(self, mart: ServedMart, existing: Table) -> None:
        ours = function_oids(self._connection, self._target, self._recorded.values())
        readers = readers_of(self._connection, existing.oid, ours)
        if readers:
            raise ConfigurationError(
                f"{self._target.schema}.{mart.name} has to lose columns, but {', '.join(readers)} would go with it. "
                "Drop that, apply, and make it again; or keep the columns in the model. Nothing was changed."
            )


def _order(existing: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...] | None:
    """Return the columns in an order in which the view can be replaced; None if it has to lose one."""
    if not set(existing) <= set(wanted):
        return None
    return (*existing, *(column for column in wanted if column not in existing))


def _differences(before: State, now: State, *, same_server: bool) -> str:
    """Return what somebody has changed since it was recorded, in words."""
    found = []
    for place, parts in now.items():
        for part, value in parts.items():
            # another version may write an expression in another way
            if value != before[place][part] and part in _PARTS and (same_server or part != "policies"):
                found.append(_PARTS[part])
    return f"somebody has changed {' and '.join(dict.fromkeys(found))}" if found else ""
