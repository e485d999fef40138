"""
dbt's ``build`` of nodes that are known: without its graph, its selection and its threads, and tests in one query.

dbt's own command line calls it in the place of its task, so that flags, profile, project, adapter, hooks, results and
errors are dbt's. Only the order of nodes and how plain tests are queried are ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from dbt.adapters.factory import get_adapter
from dbt.graph import Graph
from dbt.node_types import NodeType
from dbt.plugins.manager import PluginManager
from dbt.task import build, run
from dbt.task.run import MicrobatchModelRunner
from dbt.task.test import TestResultData, TestRunner
from dbt.tracking import track_behavior_change_warn
from dbt_common.behavior_flags import BehaviorFlagRendered
from dbt_common.events.event_manager import EventManager
from dbt_common.exceptions import DbtBaseException
from networkx import DiGraph  # type: ignore[import-untyped]

from airflow_provider_phlo.dbt.batches import Batch, Batches, NoThreads, is_worth_another_try

if TYPE_CHECKING:
    from dbt.adapters.base import BaseAdapter, BaseRelation
    from dbt.artifacts.schemas.run import RunResult
    from dbt.contracts.graph.manifest import Manifest
    from dbt.task.base import BaseRunner

# how many tests one query answers
_TOGETHER = 50
_PLAIN_CALCULATION = "count(*)"
_FIRE_EVENT = EventManager.fire_event
_PLUGINS = PluginManager.get_prefixed_modules
_QUERY = "phlo_the_query_of_a_test"


class KnownNodes(build.BuildTask):
    """
    Build nodes one after the other: models with their unit tests first, then tests.

    Plain data tests are compiled as dbt does, and answered by one query. One that fails to compile, or all of them if
    their common query fails, run as dbt runs them, so that an error is that of the test it belongs to.
    """

    #: The ids of what to build; set by :func:`known_nodes`.
    selected: Sequence[str] = ()

    def _runtime_initialize(self) -> None:
        self.compiler.initialize()
        known = {**self.manifest.nodes, **self.manifest.unit_tests}
        chosen = [known[unique_id] for unique_id in self.selected]
        # those of models that are built run before them, others, of ephemeral models, by themselves
        before = [
            node.unique_id
            for node in chosen
            if node.resource_type == NodeType.Unit and node.depends_on_nodes[0] in self.selected
        ]
        self.build_model_to_unit_test_map(before)
        self._flattened_nodes = [node for node in chosen if node.unique_id not in before]
        self.num_nodes = len(chosen)
        graph = DiGraph(_edges(chosen))
        graph.add_nodes_from(self.selected)
        self.graph = Graph(graph)

    def get_model_schemas(self, adapter: Any, selected_uids: Iterable[str]) -> set[BaseRelation]:
        """Return the schemas to create: the target's too, which hooks count on whatever is built first."""
        schemas: set[BaseRelation] = super().get_model_schemas(adapter, selected_uids)
        if any(node.resource_type == NodeType.Operation for node in self.manifest.nodes.values()):
            credentials = self.config.credentials
            schemas.add(adapter.Relation.create(database=credentials.database, schema=credentials.schema))
        return schemas

    def execute_nodes(self) -> list[RunResult]:
        """Run all nodes in this thread."""
        tests = [node for node in self._flattened_nodes if node.resource_type == NodeType.Test]
        for node in self._flattened_nodes:
            if node.resource_type != NodeType.Test:
                self._handle_result(self._run(node))
        for runner in self._answered_together([node for node in tests if node.unique_id not in self._skipped_children]):
            answered = isinstance(runner, AnsweredTest) and runner.row is not None
            self._handle_result(runner.answer() if answered else self.call_runner(runner))
        for node in tests:
            if node.unique_id in self._skipped_children:
                self._handle_result(self._run(node))
        return self.node_results

    def get_runner_type(self, node: Any) -> type[BaseRunner] | None:
        """Return what runs a node: dbt's own, but for microbatch models."""
        found = super().get_runner_type(node)
        return Batches if found is MicrobatchModelRunner else found

    def _submit_batch(self, *args: Any, batch_results: list[RunResult], **kwargs: Any) -> bool:
        """Run a batch, again if it failed for a reason that may pass."""
        tries = 0
        while True:
            tries += 1
            exists = super()._submit_batch(*args, batch_results=batch_results, **kwargs)
            if not is_worth_another_try(batch_results, tries):
                return bool(exists)
            batch_results.pop()

    def _run(self, node: Any) -> RunResult:
        if node.unique_id in self.model_to_unit_test_map:
            return self.call_model_and_unit_tests_runner(node, NoThreads())
        runner = self.get_runner(node)
        if node.unique_id in self._skipped_children:
            runner.do_skip(cause=self._skipped_children.pop(node.unique_id))
        if isinstance(runner, Batches):
            runner.set_parent_task(self)
            runner.set_pool(NoThreads())
        return self.call_runner(runner)

    def _answered_together(self, tests: Sequence[Any]) -> list[BaseRunner]:
        """Return the runners of tests; plain ones know their answers, if all of them could be queried together."""
        if not self._tests_are_dbts_own():
            return [self.get_runner(node) for node in tests]
        adapter = get_adapter(self.config)
        runners = [
            AnsweredTest(self.config, adapter, node, number, self.num_nodes) for number, node in enumerate(tests)
        ]
        plain = [runner for runner in runners if _is_plain(runner.node) and runner.compiles(self.manifest)]
        for first in range(0, len(plain), _TOGETHER):
            _answer(adapter, plain[first : first + _TOGETHER])
        return runners

    def _tests_are_dbts_own(self) -> bool:
        """Return whether no package has a materialization of tests of its own."""
        found = self.manifest.find_materialization_macro_by_name(
            self.config.project_name, "test", get_adapter(self.config).type()
        )
        return found is not None and found.package_name == "dbt"


class AnsweredTest(TestRunner):
    """A data test whose row may be known before it runs."""

    node: Any
    row: dict[str, Any] | None = None
    _is_compiled = False

    def compiles(self, manifest: Manifest) -> bool:
        """Compile the test; if that fails, it is left to be said when the test runs."""
        try:
            with self.adapter.connection_named(self.node.unique_id, self.node):
                self.node = super().compile(manifest)
        except DbtBaseException:
            return False
        self._is_compiled = True
        return True

    def compile(self, manifest: Manifest) -> Any:
        """Return the node, compiled."""
        return self.node if self._is_compiled else super().compile(manifest)

    def answer(self) -> RunResult:
        """Judge the row as dbt does."""
        started = time.time()
        found = self.build_test_run_result(self.node, TestResultData.from_dict(self.row))
        return self.from_run_result(found, started, [])


def _is_plain(node: Any) -> bool:
    """Return whether a test counts rows, keeps none, and has no settings of its own."""
    config = node.config
    return (
        node.resource_type == NodeType.Test
        and not node.is_relational
        and config.fail_calc == _PLAIN_CALCULATION
        and config.limit is None
        and config.get("sql_header") is None
    )


def _answer(adapter: BaseAdapter, tests: Sequence[AnsweredTest]) -> None:
    """Ask one query for the rows of all these tests. None has one if the query fails: each then says its own error."""
    shapes = {(test.node.config.warn_if, test.node.config.error_if) for test in tests}
    try:
        with adapter.connection_named("tests"):
            shaped = {shape: _shape(adapter, *shape) for shape in shapes}
            queries = [
                f"select {number} as test, answer.* from (\n"  # noqa: S608 - dbt's own SQL
                + shaped[test.node.config.warn_if, test.node.config.error_if].replace(_QUERY, test.node.compiled_code)
                + "\n) as answer"
                for number, test in enumerate(tests)
            ]
            response, table = adapter.execute("\nunion all\n".join(queries), fetch=True)
    except DbtBaseException:
        return
    for row in table.rows:
        number, failures, should_warn, should_error = row.values()
        tests[int(number)].row = {
            "failures": int(failures),
            "should_warn": bool(should_warn),
            "should_error": bool(should_error),
            "adapter_response": response.to_dict(omit_none=True),
        }


def _shape(adapter: BaseAdapter, warn_if: str, error_if: str) -> str:
    """Return dbt's SQL around the query of a test."""
    arguments = {
        "main_sql": _QUERY,
        "fail_calc": _PLAIN_CALCULATION,
        "warn_if": warn_if,
        "error_if": error_if,
        "limit": None,
    }
    return str(adapter.execute_macro("get_test_sql", kwargs=arguments))


def _edges(nodes: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """Yield who is skipped when another fails: a model after its unit tests, and the tests on it."""
    for node in nodes:
        if node.resource_type == NodeType.Unit:
            yield node.unique_id, node.depends_on_nodes[0]
        elif node.resource_type == NodeType.Test:
            yield from ((parent, node.unique_id) for parent in node.depends_on_nodes)


@contextmanager
def known_nodes(selected: Sequence[str]) -> Iterator[None]:
    """
    Let ``dbt build`` in this process run these nodes, whatever it is asked to select.

    :param selected: their ids; a model comes before its tests.
    """

    class Selected(KnownNodes):
        pass

    Selected.selected = selected
    with (
        _replaced(build, "BuildTask", Selected),
        _replaced(run, "MicrobatchBatchRunner", Batch),
        _replaced(BehaviorFlagRendered, "_default_source", staticmethod(lambda: "dbt.adapters")),
        _replaced(PluginManager, "get_prefixed_modules", staticmethod(plugins)),
        _replaced(EventManager, "fire_event", _fire_if_heard),
    ):
        yield


def _fire_if_heard(
    self: EventManager, e: Any, level: Any = None, node: Any = None, force_warn_or_error_handling: bool = False
) -> None:
    """Leave out events that nobody hears and that cannot become errors: to make a message takes half a millisecond."""
    can_be_error = force_warn_or_error_handling or self.require_warn_or_error_handling
    heard = self.loggers or any(callback is not track_behavior_change_warn for callback in self.callbacks)
    if heard or can_be_error:
        _FIRE_EVENT(self, e, level, node, force_warn_or_error_handling)


@cache
def plugins() -> dict[str, Any]:
    """Return dbt's plugins that are installed; to look for them takes a tenth of a second."""
    return _PLUGINS()


@contextmanager
def _replaced(owner: Any, name: str, new: Any) -> Iterator[None]:
    before = vars(owner)[name]
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, before)
