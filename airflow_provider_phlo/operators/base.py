"""
What every operator of this package shares: qualified table names, outlets, errors that decide whether Airflow retries,
and that a task which succeeded has done something, or says why not.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from airflow.sdk import BaseOperator
from airflow.sdk.definitions.mappedoperator import OperatorPartial

from airflow_provider_phlo.exceptions import AccountingError, ConfigurationError, PhloError, TerminalError
from airflow_provider_phlo.failure_logs import say_failures_plainly, says_it_all
from airflow_provider_phlo.library_errors import keep_values_in, trace
from airflow_provider_phlo.operators.openlineage import ReportsToOpenLineage
from airflow_provider_phlo.process import keep_offsets
from airflow_provider_phlo.terms import Engine

if TYPE_CHECKING:
    from airflow.sdk import Asset, Context

    from airflow_provider_phlo.task_facts import TaskLineage

log = logging.getLogger(__name__)
# the key of a result that says why a task that succeeded has done nothing
NOTHING_TO_DO = "nothing_to_do"
# what outlets of ours begin with
_OUR_ASSETS = ("iceberg://", "postgres://")


class PhloOperator(ReportsToOpenLineage, BaseOperator):
    """
    An operator whose work is :meth:`run`.

    An error that no retry can cure fails the task at once. No error that leaves it holds a value of the data: those of
    libraries are said in our words, see :mod:`airflow_provider_phlo.library_errors`.

    Green means done: a result that shows no work fails the task, unless it says why there was nothing to do.
    """

    def execute(self, context: Context) -> Any:
        return self.attempt(context)

    def attempt(self, context: Context) -> Any:
        """Do what the task is for: Airflow lets only its task runner call ``execute``, and resumes tasks elsewhere."""
        from airflow.sdk.exceptions import AirflowFailException

        keep_offsets()
        say_failures_plainly()
        try:
            self._leave_out_other_outlets(context)
            self.result = keep_values_in(self.run)(context)
            self._require_work(self.result)
            return self.result
        except PhloError as error:
            self.failure = error
            log.debug("%s came from here:\n%s", type(error).__name__, "\n".join(trace(error)))
            if not isinstance(error, TerminalError):
                raise
            message = str(error)
        raise says_it_all(AirflowFailException(message))  # not from the error: its message says it all

    def skip(self, reason: str) -> NoReturn:
        """
        Log why there is nothing to do, and skip the task and what depends on it.

        :raises AirflowSkipException: always.
        """
        from airflow.sdk.exceptions import AirflowSkipException

        log.info("%s is skipped, and what depends on it: %s", self.task_id, reason)
        raise AirflowSkipException(reason)

    def _require_work(self, result: Any) -> None:
        """
        Check that the task has done something, and log why if it had nothing to do.

        :raises AccountingError: the result shows neither work nor a reason.
        """
        reason = result.get(NOTHING_TO_DO) if isinstance(result, Mapping) else None
        if reason:
            log.info("%s has nothing to do: %s", self.task_id, reason)
        elif not result or _is_blank(result):
            raise AccountingError(
                f"{self.task_id} ended without an error, but reports no rows, no snapshot and no reason: it has not "
                "done its work. Look into its log."
            )

    def _leave_out_other_outlets(self, context: Context) -> None:
        """Emit no events for tables that other instances of a mapped task write."""
        own = {asset.uri for asset in self.default_outlets(vars(self))}
        if own and getattr(context.get("ti"), "map_index", -1) >= 0:
            self.outlets = [
                outlet
                for outlet in self.outlets
                if (uri := getattr(outlet, "uri", "")) in own or not uri.startswith(_OUR_ASSETS)
            ]

    @classmethod
    def default_outlets(cls, arguments: Mapping[str, Any]) -> list[Asset]:
        """Return the outlets of a task with ``arguments``, if its author names none."""
        return []

    @classmethod
    def partial(cls, **arguments: Any) -> OperatorPartial:
        """Return the operator to be mapped; its outlets are those that it would have if it were not mapped."""
        made = super().partial(**arguments)
        # asked for through super(), Airflow leaves None in their places, and no task can run with that
        made.kwargs["inlets"] = made.kwargs.get("inlets") or []
        made.kwargs["executor_config"] = made.kwargs.get("executor_config") or {}
        if "outlets" in arguments:
            return made
        made._expand_called = True  # or it would warn that it never was
        return _Mappable(operator_class=made.operator_class, kwargs=made.kwargs, params=made.params)

    def lineage(self) -> TaskLineage:
        """Return what the task does to which tables, as its author declares it."""
        from airflow_provider_phlo.task_facts import TaskLineage

        return TaskLineage()

    @abstractmethod
    def run(self, context: Context) -> Any:
        """Do the work and return a small JSON value for XCom."""

    @staticmethod
    def qualified(table: str) -> str:
        """Return ``namespace.table``, with the default namespace for a bare name."""
        from airflow_provider_phlo.naming import qualified_table

        return qualified_table(table)


def _is_blank(result: Any) -> bool:
    """Return whether a result, or what it says of a table, has a place for rows and snapshot, and nothing in it."""
    if not isinstance(result, Mapping):
        return False
    places = [result[name] for name in ("rows", "snapshot_id") if name in result]
    if places and all(place is None for place in places):
        return not (result.get("reason") or result.get(NOTHING_TO_DO))
    tables = result.get("tables")
    each = tables.values() if isinstance(tables, Mapping) else tables if isinstance(tables, list) else ()
    return tables is not None and (not tables or any(table is None or _is_blank(table) for table in each))


class _Mappable(OperatorPartial):
    """An operator to be mapped, which finds its outlets when it is known what it is mapped over."""

    def _expand(self, expand_input: Any, *, strict: bool) -> Any:
        operator = cast("type[PhloOperator]", self.operator_class)
        outlets = {
            asset.uri: asset
            for mapped in _mapped_arguments(expand_input.value)
            for asset in operator.default_outlets({**self.kwargs, **mapped})
        }
        self.kwargs["outlets"] = list(outlets.values())
        return super()._expand(expand_input, strict=strict)


def _mapped_arguments(value: Any) -> list[Mapping[str, Any]]:
    """Return the arguments that are known when the DAG file is parsed, as many sets as there are values of one."""
    if isinstance(value, Mapping):  # expand(a=[…], b=[…])
        lists = {name: values for name, values in value.items() if isinstance(values, list | tuple)}
        unknown = dict.fromkeys(set(value) - set(lists))
        return [{**unknown, name: each} for name, values in lists.items() for each in values] or [unknown]
    if isinstance(value, list | tuple):  # expand_kwargs([{…}, {…}])
        return [each if isinstance(each, Mapping) else {} for each in value]
    return [{}]


def require_tables(task_id: str, tables: Any) -> None:
    """
    Check what a task is to publish.

    :raises ConfigurationError: there are no tables, or a template has become text instead of a mapping.
    """
    if not tables:
        raise ConfigurationError(f"{task_id} publishes nothing: name its tables.")
    if not isinstance(tables, Mapping):
        raise ConfigurationError(
            f"{task_id}: tables is a {type(tables).__name__}, not a mapping of targets to their sources. A template "
            "gives a mapping in a DAG with render_template_as_native_obj=True, or in the place of single names."
        )


def check_engine(engine: str | None) -> None:
    """
    Check that an engine is known.

    :raises ConfigurationError: if it is not.
    """
    if engine is not None and engine not in tuple(Engine):
        raise ConfigurationError(f"engine={engine!r} is not available: choose one of {', '.join(Engine)}.")


def check_flags(**flags: Any) -> None:
    """
    Check that options which are on or off are True or False: any text would switch them on, "False" as well.

    :raises ConfigurationError: if one is something else.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ConfigurationError(f"{name}={value!r}: give True or False.")


def chosen_engine(engine: str | None) -> str:
    """
    Return a task's own engine, else the one that is set for all tasks.

    :raises ConfigurationError: if it is unknown.
    """
    from airflow_provider_phlo import settings

    name = engine or settings.engine()
    check_engine(name)
    return name
