"""Columns that increments and comments change: the table's with the rows that come, or once a run is published."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pyiceberg.io.pyarrow import schema_to_pyarrow

from airflow_provider_phlo.dbt.adapter.opening import OpenTables
from airflow_provider_phlo.dbt.adapter.relations import stored_schema
from airflow_provider_phlo.iceberg.branches.publication import run_branch
from airflow_provider_phlo.iceberg.duckdb.views import create_table_view
from airflow_provider_phlo.iceberg.overwrite import fits, raise_conflicts
from airflow_provider_phlo.iceberg.tables.evolution import stage_evolution
from airflow_provider_phlo.iceberg.tables.settling import AS_THEY_ARE, Settlement
from airflow_provider_phlo.iceberg.tables.staging import as_settled, begin, commit_staged, uncommitted, with_metadata
from airflow_provider_phlo.schemas.types import iceberg_type
from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table, Transaction
    from pyiceberg.types import NestedField


class ChangingTables(OpenTables):
    """The tables of one catalog, whose columns may change."""

    def __init__(self) -> None:
        """Open nothing yet."""
        super().__init__()
        # what has been begun on the run's branch: it goes on from there
        self._started: set[str] = set()
        # changes of columns that are not committed yet, by table: they go with the rows that come
        self._changes: dict[str, Transaction] = {}
        #: what is staged for the tables that the run writes
        self.staged: dict[str, Settlement] = {}

    def start(self, identifier: str) -> tuple[Catalog, str]:
        """Return where a table is written: the catalog, and the branch of the table."""
        if self.branch is None:
            return self.catalog, MAIN_BRANCH
        run = run_branch(self.catalog, self.branch)
        if identifier not in self._started:
            run.start(identifier)
            self._started.add(identifier)
        return run.target, run.ref

    def add_columns(self, cursor: Any, identifier: str, columns: Mapping[str, str]) -> None:
        """
        Add columns to a table; its rows have NULL there.

        :param columns: DuckDB's types by name.
        """
        if not columns:
            return
        stage_evolution(self.begun(identifier), stored_schema(cursor, identifier, columns))
        self.show_changed(cursor, identifier)

    def remove_columns(self, cursor: Any, identifier: str, columns: Sequence[str]) -> None:
        """Remove columns from a table."""
        if not columns:
            return
        Settlement(tuple(columns)).apply(self.begun(identifier))
        self.show_changed(cursor, identifier)

    def stages(self, identifier: str) -> bool:
        """Return whether a table's columns are main's, and change when the run is published."""
        return self.start(identifier)[1] != MAIN_BRANCH

    def begun(self, identifier: str) -> Transaction:
        """Return what the run is about to change of a table's columns, beside what it has staged."""
        if identifier not in self._changes:
            table = self.start(identifier)[0].load_table(identifier)
            self._changes[identifier] = begin(table, self._settled(identifier))
        return self._changes[identifier]

    def _settled(self, identifier: str) -> Settlement:
        return self.staged.get(identifier, AS_THEY_ARE) if self.stages(identifier) else AS_THEY_ARE

    def commit_changes(self, identifier: str) -> Settlement:
        """
        Commit the changes of columns of a run's branch; return all that is staged for the table.

        Those of main are left for the commit of the rows that come.
        """
        if identifier not in self._changes:
            return self._settled(identifier)
        change = self._changes.pop(identifier)
        if not self.stages(identifier):
            return uncommitted(change)
        with raise_conflicts(identifier):
            self.staged[identifier] = commit_staged(change)
        return self.staged[identifier]

    def changed_table(self, identifier: str) -> Table:
        """Return a table with the columns that the run gives it."""
        table = self.start(identifier)[0].load_table(identifier)
        if identifier in self._changes:
            return with_metadata(table, self._changes[identifier].table_metadata)
        return as_settled(table, self._settled(identifier))

    def show_changed(self, cursor: Any, identifier: str) -> None:
        """Show a table with the columns that the run gives it."""
        branch = self.branch if self.stages(identifier) else None
        create_table_view(cursor, self.changed_table(identifier), identifier, branch=branch)

    def forget_changes(self, identifier: str) -> None:
        """Forget what a node that has failed was about to change."""
        self._changes.pop(identifier, None)

    def widen_column(self, cursor: Any, identifier: str, name: str, kind: str) -> None:
        """
        Give a column a wider type.

        :param kind: DuckDB's.
        :raises SchemaError: Iceberg cannot make the one type of the other.
        """
        self.add_columns(cursor, identifier, {name: kind})

    def holds(self, cursor: Any, identifier: str, name: str, kind: str) -> bool:
        """Return whether a column takes values of DuckDB's type ``kind`` as they are."""
        column = self._column(identifier, name)
        if column is None:
            return False
        known = schema_to_pyarrow(self.changed_table(identifier).schema(), include_field_ids=False)
        wanted = iceberg_type(stored_schema(cursor, identifier, {name: kind}, known).field(0).type, itertools.count(1))
        return fits(wanted, column.field_type)

    def has_members(self, identifier: str, name: str) -> bool:
        """Return whether a column is a struct, list or map."""
        column = self._column(identifier, name)
        return column is not None and not column.field_type.is_primitive

    def _column(self, identifier: str, name: str) -> NestedField | None:
        schema = self.changed_table(identifier).schema()
        return next((item for item in schema.fields if item.name.lower() == name.lower()), None)
