"""The adapter: dbt-duckdb's, whose tables are the catalog's."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from dbt.adapters.base.impl import ConstraintSupport
from dbt.adapters.base.meta import available
from dbt.adapters.capability import Capability, CapabilityDict, CapabilitySupport, Support
from dbt.adapters.contracts.connection import AdapterResponse
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt_common.clients.agate_helper import empty_table
from dbt_common.contracts.constraints import ConstraintType
from dbt_common.exceptions import CompilationError, DbtRuntimeError

from airflow_provider_phlo.dbt.adapter.comments import show_comments
from airflow_provider_phlo.dbt.adapter.connections import PhloConnectionManager
from airflow_provider_phlo.dbt.adapter.increments import Increment
from airflow_provider_phlo.dbt.adapter.lakehouse import Lakehouse, failures
from airflow_provider_phlo.dbt.adapter.node import Node
from airflow_provider_phlo.dbt.adapter.relations import kind_of
from airflow_provider_phlo.dbt.adapter.statements import changed_tables
from airflow_provider_phlo.exceptions import PhloError
from airflow_provider_phlo.iceberg.tables.names import require_nameable
from airflow_provider_phlo.terms import names_of, table_of_source

# what a merge of DuckDB's can do beyond replacing rows
_OPTIONS_OF_DUCKDB_MERGES = (
    *("merge_clauses", "merge_update_condition", "merge_insert_condition", "merge_update_set_expressions"),
    *("merge_on_using_columns", "merge_returning_columns"),
)


class PhloAdapter(DuckDBAdapter):
    """
    dbt-duckdb's adapter, over views of the catalog's tables.

    What a materialization has built in DuckDB when it commits is written to the catalog then: see
    :meth:`commit_if_has_connection`.
    """

    ConnectionManager = PhloConnectionManager

    CONSTRAINT_SUPPORT = {
        **DuckDBAdapter.CONSTRAINT_SUPPORT,
        # the other table is a view here
        ConstraintType.foreign_key: ConstraintSupport.NOT_SUPPORTED,
    }
    # each batch is a commit to the same table
    _capabilities = CapabilityDict(
        {
            **DuckDBAdapter._capabilities,
            Capability.MicrobatchConcurrency: CapabilitySupport(support=Support.Unsupported),
        }
    )

    @property
    def duckdb_incremental_strategies(self) -> Sequence[str]:
        """Return dbt-duckdb's strategies, and the replacement of partitions, which tables of the catalog have."""
        return [*super().duckdb_incremental_strategies, "insert_overwrite"]

    def __init__(self, config: Any, mp_context: Any) -> None:
        super().__init__(config, mp_context)
        self._building = threading.local()

    def set_macro_resolver(self, macro_resolver: Any) -> None:
        """Take dbt's manifest, or its macros alone, and remember which tables its sources are."""
        super().set_macro_resolver(macro_resolver)
        sources = getattr(macro_resolver, "sources", {})
        names = {
            f"{each.schema}.{each.identifier}": table_of_source(
                each.schema, each.identifier, {**each.meta, **(each.config.get("meta") or {})}
            )
            for each in sources.values()
        }
        PhloConnectionManager.sources = {name.lower(): table for name, table in names.items() if name != table}

    @property
    def _lakehouse(self) -> Lakehouse:
        self._cursor()  # opens it
        return PhloConnectionManager.lakehouse()

    def _cursor(self) -> Any:
        return self.connections.get_thread_connection().handle.cursor()

    @property
    def _node(self) -> Node | None:
        return getattr(self._building, "node", None)

    def pre_model_hook(self, config: Any) -> Any:
        """Remember what is being built; of what is refused nothing is kept, as dbt calls no hook after it."""
        node: Any = getattr(config, "model", None)
        described = None if node is None else _described(node)
        is_built = described is not None and described.kind != "unit_test"
        if described is not None and is_built:
            with self._dbt_errors(described.identifier):
                require_nameable(described.identifier)
            _require_one_word(node)
            self._require_upstream(node)
            self._require_strategy(node)
        context = super().pre_model_hook(config)
        if is_built and (node.config.get("pre_hook") or node.config.get("post_hook")):
            self._building.turn = self._lakehouse.turn
            self._building.turn.acquire()
        self._building.node = described
        return context

    def _require_upstream(self, node: Any) -> None:
        """Say what to run, before DuckDB says that a table does not exist."""
        for unique_id in node.depends_on_nodes:
            upstream = self._find(unique_id)
            if upstream is None or getattr(upstream, "defer_relation", None) is not None:
                continue  # --defer: it may be where another run built it
            if str(upstream.config.get("materialized")) == "ephemeral":
                self._require_upstream(upstream)
                continue
            relation = self.Relation.create_from(self.config, upstream)
            self._lakehouse.open_named(self._cursor(), relation.render())
            if not relation.external and self.kind_of(relation) is None:
                first = "Run the ingestion that writes it first."
                if str(upstream.resource_type) != "source":
                    command = {"seed": "seed", "snapshot": "snapshot"}.get(str(upstream.resource_type), "run")
                    first = f"Build it first: dbt {command} --select {upstream.name}"
                raise CompilationError(
                    f"Table {_identifier(relation)} does not exist, and {node.name} reads it. {first}"
                )

    def _require_strategy(self, node: Any) -> None:
        """Refuse a strategy that does not exist, also where the first run would not need one."""
        strategy = node.config.get("incremental_strategy")
        if str(node.config.materialized) != "incremental" or not strategy:
            return
        macro = f"get_incremental_{strategy.replace('+', '_')}_sql"
        manifest: Any = self._macro_resolver
        if not any(each.name == macro for each in manifest.macros.values()):
            raise CompilationError(
                f'dbt could not find an incremental strategy macro with the name "{macro}", which the '
                f"incremental_strategy of {node.name} asks for. There are: "
                f"{', '.join(self.valid_incremental_strategies())}."
            )

    def _find(self, unique_id: str) -> Any:
        manifest: Any = self._macro_resolver
        return manifest.sources.get(unique_id) or manifest.nodes.get(unique_id)

    def post_model_hook(self, config: Any, context: Any) -> None:
        """Forget what was built."""
        if self._node is not None:
            self._lakehouse.comments.pop(self._node.identifier, None)
            self._lakehouse.forget_changes(self._node.identifier)
        self._building.node = None
        if turn := getattr(self._building, "turn", None):
            self._building.turn = None
            turn.release()
        super().post_model_hook(config, context)

    def commit_if_has_connection(self) -> None:
        """Commit what was built to DuckDB, then to the catalog."""
        connection = self.connections.get_if_exists()
        if connection is None or not hasattr(connection.handle, "cursor"):
            super().commit_if_has_connection()
            return
        with self._lakehouse.exclusive():
            super().commit_if_has_connection()
            self._store()

    def execute(self, sql: str, *args: Any, **kwargs: Any) -> Any:
        """Run SQL; what it changes outside of a transaction is written to the catalog at once."""
        if not sql.strip():  # of a macro that has done its work: dbt cannot put a query-comment behind nothing
            return AdapterResponse("OK"), empty_table()  # type: ignore[no-untyped-call]
        done = super().execute(sql, *args, **kwargs)
        if not self.connections.get_thread_connection().transaction_open and changed_tables(sql):
            self._store(is_built=self._node is None)
        return done

    def _store(self, *, is_built: bool = True) -> None:
        with self._lakehouse.exclusive(), self._dbt_errors(self._node.identifier if self._node else ""):
            self._lakehouse.store_tables(self._cursor(), self._node, is_built=is_built)

    @contextmanager
    def _dbt_errors(self, identifier: str) -> Iterator[None]:
        """
        Raise errors of a table as dbt's, which it reports without a traceback; a task gets those of ours.

        After one of DuckDB's the transaction is rolled back, as after one of dbt's own SQL: nothing else could be said
        in it.
        """
        with self.connections.exception_handler(identifier):
            try:
                yield
            except PhloError as error:
                failures.setdefault(identifier, error)
                raise DbtRuntimeError(str(error)) from error

    def list_relations_without_caching(self, schema_relation: Any) -> list[Any]:
        """
        Return the tables of a schema, also those that are opened when SQL names them.

        What was a view when it was built and is an incremental model now is listed as a view: dbt builds it anew, as
        a view has no rows of its own that increments could go to.
        """
        found: list[Any] = super().list_relations_without_caching(schema_relation)
        nodes = getattr(self._macro_resolver, "nodes", {}).values()
        anew = self._lakehouse.of_views & {
            f"{node.schema}.{node.alias}" for node in nodes if str(node.config.materialized) == "incremental"
        }
        found = [each.incorporate(type="view") if _identifier(each) in anew else each for each in found]
        opened = {str(relation.identifier).lower() for relation in found}
        for identifier in self._lakehouse.unread_tables_of(str(schema_relation.schema)):
            schema, _, name = identifier.rpartition(".")
            if name.lower() not in opened:
                path = {"database": schema_relation.database, "schema": schema, "identifier": name}
                found.append(self.Relation.create(**path, type="table", quote_policy=dict.fromkeys(path, True)))
        return found

    def drop_schema(self, relation: Any) -> None:
        """Drop a schema with its tables, also in the catalog."""
        super().drop_schema(relation)
        for identifier in self._lakehouse.tables_of(relation.schema):
            self._lakehouse.drop(identifier)
        self._lakehouse.drop_namespace(relation.schema)

    @available.parse_none
    def load_table(self, relation: Any, columns: str | None = None) -> None:
        """
        Make a table of DuckDB's own of a table of the catalog's, so that SQL can change it.

        :param columns: the columns with their types and constraints, in SQL; those of the table when None.
        """
        if self.kind_of(relation) == "view":
            with self._dbt_errors(_identifier(relation)):
                self._lakehouse.load(self._cursor(), _identifier(relation), columns)

    @available.parse(lambda *_, **__: False)
    def needs_whole_table(self, strategy: str, config: Any, model: Any) -> bool:
        """Return whether an increment says more than which rows replace which: DuckDB applies it to the whole table."""
        constrained = model["constraints"] or any(column["constraints"] for column in model["columns"].values())
        contract = config.get("contract")
        checks = bool(contract and contract.enforced and constrained)
        return checks or (strategy == "merge" and any(config.get(name) for name in _OPTIONS_OF_DUCKDB_MERGES))

    @available.parse_none
    def apply_increment(
        self, strategy: str, target: Any, new: Any, config: Any, *, unique_key: Any, predicates: Any, batch: Any
    ) -> None:
        """
        Let the rows of a temporary table go into a model's table.

        :param strategy: see :func:`.increments.change_of`.
        :param target: the model's relation.
        :param new: the temporary table's.
        :param config: the model's configuration.
        :param unique_key: one or several columns, or None.
        :param predicates: conditions for the model's rows, one or several, or None.
        :param batch: of ``microbatch``: dbt's description of it.
        """
        increment = Increment(
            identifier=_identifier(target),
            cursor=self._cursor(),
            new=new.render(),
            old=target.render(),
            key=names_of(unique_key or ()),
            predicates=names_of(predicates or config.get("predicates") or ()),
            update_columns=names_of(config.get("merge_update_columns") or ()),
            exclude_columns=names_of(config.get("merge_exclude_columns") or ()),
            event_time=config.get("event_time"),
            needs_all_columns=strategy != "merge" and (config.get("on_schema_change") or "ignore") == "ignore",
            period=(batch["event_time_start"], batch["event_time_end"]) if batch else None,
        )
        with self._dbt_errors(increment.identifier):
            gaps = self._lakehouse.apply(increment, strategy, self._node)
        if gaps:
            self.warn_once(
                f"{_identifier(target)}: {gaps} new row(s) have NULL in unique_key; it counts as a value of it."
            )

    @available.parse(lambda *_, **__: [])
    def changed_types(self, target: Any, changes: Any) -> list[Any]:
        """
        Return those of dbt's changes of types that change what is stored.

        :param changes: dicts with ``column_name`` and ``new_type``.
        """
        return [
            change
            for change in changes
            if not self._lakehouse.holds(self._cursor(), _identifier(target), change["column_name"], change["new_type"])
        ]

    @available.parse_none
    def change_columns(self, relation: Any, added: Any, removed: Any) -> None:
        """Add columns to a table of the catalog's, and remove others when the run is published."""
        cursor, identifier = self._cursor(), _identifier(relation)
        with self._dbt_errors(identifier):
            self._lakehouse.add_columns(cursor, identifier, {each.name: each.dtype for each in added})
            self._lakehouse.remove_columns(cursor, identifier, [each.name for each in removed])

    @available.parse_none
    def change_column_type(self, relation: Any, name: str, kind: str) -> None:
        """
        Widen a column of a table of the catalog's.

        :raises SchemaError: Iceberg cannot make the one type of the other.
        """
        with self._dbt_errors(_identifier(relation)):
            self._lakehouse.widen_column(self._cursor(), _identifier(relation), name, kind)

    @available.parse(lambda *_, **__: False)
    def has_members(self, relation: Any, name: str) -> bool:
        """Return whether a column of a table of the catalog's is a struct, list or map."""
        return self._lakehouse.has_members(_identifier(relation), name)

    @available.parse_none
    def kind_of(self, relation: Any) -> str | None:
        """Return whether a relation is a ``table`` or a ``view`` of DuckDB's, None if it is neither."""
        return kind_of(self._cursor(), _identifier(relation))

    @available.parse_none
    def comment(self, relation: Any, text: str) -> None:
        """Set the description of a table, when it is committed."""
        self._lakehouse.comments.setdefault(_identifier(relation), {})[None] = text

    @available.parse_none
    def comment_columns(self, relation: Any, columns: Any) -> None:
        """
        Set the descriptions of columns, when they are committed.

        :param columns: those that the model documents and its table has, by name.
        """
        names = {column.name.lower(): column.name for column in self.get_columns_in_relation(relation)}
        texts = self._lakehouse.comments.setdefault(_identifier(relation), {})
        texts.update({names[name.lower()]: column["description"] for name, column in columns.items()})

    @available.parse_none
    def show_comments(self) -> None:
        """Let DuckDB know the comments of the catalog's tables, before ``dbt docs generate`` asks for them."""
        lakehouse = self._lakehouse
        with lakehouse.exclusive():
            show_comments(self._cursor(), lakehouse.catalog, lakehouse.tables())

    def submit_python_job(self, parsed_model: Any, compiled_code: str) -> Any:
        """Run a Python model in this process."""
        connection = self.connections.get_thread_connection()
        self._lakehouse.open_named(self._cursor(), compiled_code)
        return PhloConnectionManager.env().submit_python_job(connection.handle, parsed_model, compiled_code)

    @available
    def get_binding_char(self) -> str:
        """Return what stands for a value in a statement."""
        return PhloConnectionManager.env().get_binding_char()

    @available
    def warn_once(self, msg: str) -> None:
        """Warn once per run."""
        PhloConnectionManager.warn_once(msg)

    def store_relation(self, *_: Any, **__: Any) -> None:
        """Refuse what only dbt-duckdb's external materialization asks for."""
        raise DbtRuntimeError("Tables are stored in the Iceberg catalog: materialized='external' does not work here.")


def _require_one_word(node: Any) -> None:
    """Refuse a name that the catalog would take for a namespace and a table."""
    if "." in node.alias and str(node.resource_type) in ("model", "seed", "snapshot"):
        raise CompilationError(
            f"{node.name}: a table's name has no dots in the catalog, and {node.alias!r} has: give it an `alias`."
        )


def _identifier(relation: Any) -> str:
    return f"{relation.schema}.{relation.identifier}"


def _described(node: Any) -> Node:
    config = node.config
    return Node(
        identifier=f"{node.schema}.{node.alias}",
        kind=str(node.resource_type),
        materialized=config.materialized,
        config=config,
    )
