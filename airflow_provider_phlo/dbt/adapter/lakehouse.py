"""The catalog as dbt sees it: a view of each table in dbt's DuckDB, and snapshots of what dbt leaves there."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Literal

from pyiceberg.exceptions import NamespaceNotEmptyError, NoSuchNamespaceError, NoSuchTableError

from airflow_provider_phlo.dbt.adapter.columns import ChangingTables
from airflow_provider_phlo.dbt.adapter.comments import Comments, stage_comments, store_comments
from airflow_provider_phlo.dbt.adapter.definitions import definition, definition_of, require_no_defaults
from airflow_provider_phlo.dbt.adapter.increments import Increment, change_of
from airflow_provider_phlo.dbt.adapter.node import VOLATILE_COLUMNS, Node
from airflow_provider_phlo.dbt.adapter.opening import MATERIALIZED, PASSING, beyond
from airflow_provider_phlo.dbt.adapter.relations import kind_of
from airflow_provider_phlo.dbt.adapter.rows import exact_batches
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError, SchemaError
from airflow_provider_phlo.iceberg.branches.run_branches import Head
from airflow_provider_phlo.iceberg.content import RowsOfQuery
from airflow_provider_phlo.iceberg.duckdb.views import create_view, view_name
from airflow_provider_phlo.iceberg.merge.replacement import Replacement, replace_rows
from airflow_provider_phlo.iceberg.overwrite import OverwriteResult, overwrite_if_changed
from airflow_provider_phlo.iceberg.tables.layout import AS_IT_IS, TableLayout
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.tables.settling import Settlement
from airflow_provider_phlo.sql import quote_identifier
from airflow_provider_phlo.terms import MAIN_BRANCH, SnapshotId, names_of

#: What this process wrote, and the errors of what it could not write, by ``namespace.table``: dbt passes on only text.
results: dict[str, OverwriteResult] = {}
failures: dict[str, PhloError] = {}


def forget() -> None:
    """Empty :data:`results`, :data:`failures` and :data:`beyond`; call this before running dbt in this process."""
    results.clear()
    failures.clear()
    beyond.clear()


class Lakehouse(ChangingTables):
    """One catalog, as the tables of a DuckDB in memory."""

    def __init__(self) -> None:
        """Open nothing yet: dbt makes the adapter even if it only parses."""
        super().__init__()
        # what SQL of hooks and operations may have changed
        self._loaded: set[str] = set()
        # what SQL has made views of, in lower case
        self._views: set[str] = set()
        #: those of them that it has made, until they are stored
        self.made_views: set[str] = set()
        # what has been written since this was opened, by table; a process may run dbt before and after
        self._written: dict[str, OverwriteResult] = {}
        self._lock = threading.RLock()
        #: held by one of the nodes with hooks while it is built: those of several may change one table, which is loaded
        #: into DuckDB for that, and no transaction may have begun before
        self.turn = threading.Lock()
        #: descriptions of tables (None) and of their columns that are to be stored, by table
        self.comments: dict[str, Comments] = {}

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Keep other threads from storing what the one in here has committed to DuckDB only."""
        with self._lock:
            yield

    def store_tables(self, cursor: Any, node: Node | None, *, is_built: bool = True) -> None:
        """
        Make snapshots of what was built: DuckDB's own tables, and the view that ``node`` became.

        Views of what the catalog has now take their place. Call this when no transaction is open.

        :param cursor: of dbt's DuckDB.
        :param is_built: whether ``node`` is as it shall be; else what is missing may come yet.
        :raises PhloError: a table cannot be written; what was built is gone.
        """
        for identifier, kind in self._built(cursor, node if is_built else None):
            options = node if node is not None and node.identifier == identifier else None
            # only what a run builds is audited and published; tables of hooks and stored failures are main's
            is_of_run = identifier in self._started or (options is not None and options.kind != "test")
            branch = self.branch if is_of_run else None
            try:
                if options is not None and options.kind == "snapshot":
                    _require_keys(cursor, options)
                layout = _layout_of(cursor, identifier, options, kind)
                rows = RowsOfQuery(identifier, cursor, view_name(identifier), exact_batches)
                self._overwrite(identifier, rows, branch, options, layout)
            except PhloError as error:
                failures[identifier] = error
                raise
            finally:
                cursor.execute(f"DROP {kind} {view_name(identifier)}")
                with suppress(NoSuchTableError):  # what could not be stored for the first time
                    create_view(cursor, self.catalog, identifier, branch=branch)
                self._loaded.discard(identifier)
        if not is_built:
            return
        if node is not None and (texts := self.comments.pop(node.identifier, None)):
            self._comment(node, texts)
        for identifier in sorted(self._loaded):
            if kind_of(cursor, identifier) is None:
                self._loaded.discard(identifier)
                self.drop(identifier)

    def _comment(self, node: Node, texts: Comments) -> None:
        """Set the comments of what was built; those of a run's branch become the table's with its rows."""
        if node.kind == "test" or not self.stages(node.identifier) or node.identifier not in self._written:
            catalog = self.catalog if node.kind == "test" else self.start(node.identifier)[0]
            store_comments(catalog, node.identifier, texts)
            return
        stage_comments(self.begun(node.identifier), texts)
        self._keep(replace(self._written[node.identifier], settlement=self.commit_changes(node.identifier)))

    def _keep(self, done: OverwriteResult) -> None:
        self._written[done.table] = results[done.table] = done

    def _built(self, cursor: Any, node: Node | None) -> list[tuple[str, str]]:
        """Return what is in DuckDB only, with its kind."""
        tables = cursor.execute(
            "SELECT schema_name || '.' || table_name FROM duckdb_tables() "
            "WHERE database_name = current_database() AND NOT temporary AND NOT internal ORDER BY ALL"
        ).fetchall()
        found = [(name, "TABLE") for (name,) in tables if not any(part in name for part in PASSING)]
        found += [(name, "VIEW") for name in self._views_of_hooks(cursor, node)]
        if node is None or (node.identifier, "TABLE") in found:
            return found
        # `dbt clone` makes a view of any model, and gives it its name once it is there
        names = {node.identifier.lower(), f"{node.identifier.lower()}{PASSING[0]}"}
        made = not self._views.isdisjoint(names)
        self._views -= names
        if node.materialized == "view" or (made and kind_of(cursor, node.identifier) == "view"):
            found.append((node.identifier, "VIEW"))
        return found

    def _views_of_hooks(self, cursor: Any, node: Node | None) -> list[str]:
        """Return the views that SQL has made beside what dbt builds: they are kept as tables, as models' are."""
        self.made_views -= {name for name in self.made_views if any(part in name for part in PASSING)}
        if node is not None:
            self.made_views.discard(node.identifier.lower())
        if not self.made_views:
            return []
        views = cursor.execute(
            "SELECT schema_name || '.' || view_name FROM duckdb_views() "
            "WHERE database_name = current_database() AND NOT temporary AND NOT internal ORDER BY ALL"
        ).fetchall()
        found = [name for (name,) in views if name.lower() in self.made_views]
        self.made_views -= {name.lower() for name in found}
        return found

    def _overwrite(
        self, identifier: str, rows: Any, branch: str | None, node: Node | None, layout: TableLayout
    ) -> None:
        done = overwrite_if_changed(
            self.catalog,
            identifier,
            rows,
            branch=branch,
            volatile_columns=node.volatile_columns if node else VOLATILE_COLUMNS,
            layout=layout,
            summary=_summary() | ({MATERIALIZED: "view"} if node and node.materialized == "view" else {}),
            expected_head=self._expected_head(identifier),
        )
        self._keep(done)
        self.forget_changes(identifier)  # the rows came with their columns
        self.staged[identifier] = done.settlement
        failures.pop(identifier, None)
        if branch is None:
            self._heads[identifier] = done.snapshot_id
        else:
            self._started.add(identifier)
            # one that is new is known from here: a hook that changes it is to find these rows, not main's none
            self._heads.setdefault(identifier, None)

    def drop(self, identifier: str) -> None:
        """
        Drop a table of the catalog, if it is there.

        :raises ConfigurationError: a run writes to its own branch, and a table is dropped for all.
        """
        if self._heads.pop(identifier, Head.ANY) is Head.ANY:
            return
        if self.branch is not None:
            raise ConfigurationError(
                f"{identifier} would be dropped for everybody before the run is published: drop it outside of a run."
            )
        with suppress(NoSuchTableError):
            self.catalog.drop_table(identifier)

    def drop_namespace(self, namespace: str) -> None:
        """Drop a namespace that has no tables left."""
        with suppress(NoSuchNamespaceError, NamespaceNotEmptyError):
            self.catalog.drop_namespace(namespace)

    def load(self, cursor: Any, identifier: str, columns: str | None = None) -> None:
        """
        Let a table of DuckDB's own take the place of a view of the catalog's, with the same rows.

        :param columns: see :meth:`.impl.PhloAdapter.load_table`.
        """
        if not self.is_table(identifier):
            return
        name, loaded = view_name(identifier), quote_identifier(f"phlo loaded {identifier}")
        cursor.execute(f"CREATE TEMP TABLE {loaded} AS SELECT * FROM {name}")  # noqa: S608 - quoted
        cursor.execute(f"DROP VIEW {name}")
        if columns is None:
            # a hook's table that the run begins would be the run's, and not be published
            begun = identifier in self._started
            columns = definition_of(self.changed_table(identifier) if begun else self.catalog.load_table(identifier))
        if columns is None:
            cursor.execute(f"CREATE TABLE {name} AS SELECT * FROM {loaded}")  # noqa: S608 - quoted
        else:
            cursor.execute(f"CREATE TABLE {name} {columns}")
            cursor.execute(f"INSERT INTO {name} BY NAME SELECT * FROM {loaded}")  # noqa: S608 - quoted
        cursor.execute(f"DROP TABLE {loaded}")

    def load_changed(self, cursor: Any, changed: Mapping[str, bool]) -> None:
        """
        Load the tables that SQL is about to change; see :meth:`load`.

        :param changed: see :func:`.statements.changed_tables`.
        """
        self._views |= {name for name, as_table in changed.items() if not as_table}
        self.open_changed(cursor, changed.keys() - {identifier.lower() for identifier in self._heads})
        for identifier in list(self._heads):
            name = identifier.lower()
            if f"{name.rpartition('.')[0]}.*" in changed:
                self._loaded.add(identifier)
            if name in changed and kind_of(cursor, identifier) == "view":
                self._loaded.add(identifier)
                if changed[name]:
                    self.load(cursor, identifier)

    def apply(self, increment: Increment, strategy: str, node: Node | None) -> int:
        """
        Let new rows go into a model's table.

        :returns: how many of them have NULL in their key.
        :raises PhloError: they cannot.
        """
        identifier = increment.identifier
        try:
            catalog, branch = self.start(identifier)
            table = self.changed_table(identifier)
            if node is not None and not node.layout.has_partitions_of(table):
                raise ConfigurationError(
                    f"{identifier} is not partitioned as partition_by={node.config.get('partition_by')!r} says: build "
                    "it once with a full refresh."
                )
            change = change_of(increment, strategy, table)
            settlement = self.commit_changes(identifier)
            done = replace_rows(
                catalog,
                identifier,
                change.rows,
                change.matcher,
                branch=branch,
                volatile_columns=node.volatile_columns if node else (),
                summary=_summary(),
                expected_head=self._expected_head(identifier, branch),
                settlement=settlement,
            )
            self.show_changed(increment.cursor, identifier)
            [(rows,)] = increment.cursor.execute(f"SELECT count(*) FROM {view_name(identifier)}").fetchall()  # noqa: S608
            self._note(identifier, done, rows, branch_head(table), settlement)
        except PhloError as error:
            failures[identifier] = error
            raise
        return change.gaps

    def _note(
        self, identifier: str, done: Replacement, rows: int, head: SnapshotId | None, settlement: Settlement
    ) -> None:
        """
        Keep what increments have done.

        :param head: the snapshot that the first of them found.
        :param settlement: what is staged for the table.
        """
        before = self._written.get(identifier)
        changed = done.snapshot_id is not None or (before is not None and before.changed)
        head = done.snapshot_id or (before.snapshot_id if before else head)
        self._keep(OverwriteResult(identifier, changed, rows, head, self.branch, settlement))
        failures.pop(identifier, None)  # of a batch that was tried again
        if self.branch is None:
            self._heads[identifier] = head

    def _expected_head(self, identifier: str, ref: str | None = None) -> SnapshotId | Literal[Head.ANY] | None:
        """
        Return the snapshot of main that a table was read at.

        :param ref: where it is written, if it is one of several increments: main of a run's branch of the whole
            catalog moves with each of them.
        """
        if self.branch is not None and ref == MAIN_BRANCH and identifier in self._written:
            return self._written[identifier].snapshot_id
        return self._heads.get(identifier, None if self._opens(identifier) else Head.ANY)


def _layout_of(cursor: Any, identifier: str, node: Node | None, kind: str) -> TableLayout:
    """
    Return how a table is to be kept: a hook's also with what its columns have beside types.

    :raises ConfigurationError: the catalog cannot keep it.
    """
    if node is None:
        return TableLayout(properties=definition(cursor, identifier)) if kind == "TABLE" else AS_IT_IS
    if node.materialized == "incremental" and kind == "TABLE":
        require_no_defaults(cursor, identifier)
    return node.layout


def _require_keys(cursor: Any, snapshot: Node) -> None:
    """
    Check that a snapshot's rows have keys: dbt finds no row by NULL, and would add it again with every run.

    :raises SchemaError: some have none.
    """
    keys = names_of(snapshot.config.get("unique_key") or ())  # columns or expressions, in the project's own SQL
    if not keys:
        return
    condition = " OR ".join(f"({key}) IS NULL" for key in keys)
    sql = f"SELECT count(*) FROM {view_name(snapshot.identifier)} WHERE {condition}"  # noqa: S608
    [(gaps,)] = cursor.execute(sql).fetchall()
    if gaps:
        raise SchemaError(
            f"{snapshot.identifier}: {gaps} row(s) have NULL in unique_key ({', '.join(keys)}), and dbt would add them "
            "again with every snapshot. Leave them out of its query, or give them a value there."
        )


def _summary() -> dict[str, str]:
    """Return what the snapshot's summary says about the run that wrote it."""
    keys = {
        "phlo.run-token": "PHLO_RUN_TOKEN",
        "phlo.run-id": "PHLO_RUN_ID",
        "phlo.partition-date": "PHLO_PARTITION_DATE",
    }
    return {key: os.environ[name] for key, name in keys.items() if os.environ.get(name)}
