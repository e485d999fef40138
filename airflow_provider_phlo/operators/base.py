"""What every operator of this package shares: qualified table names, errors that decide whether Airflow retries."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_phlo.exceptions import ConfigurationError, TerminalError
from airflow_provider_phlo.library_errors import keep_values_in
from airflow_provider_phlo.process import keep_offsets
from airflow_provider_phlo.terms import Engine

if TYPE_CHECKING:
    from airflow.sdk import Context


class PhloOperator(BaseOperator):
    """
    An operator whose work is :meth:`run`.

    An error that no retry can cure fails the task at once. No error that leaves it holds a value of the data: those of
    libraries are said in our words, see :mod:`airflow_provider_phlo.library_errors`.
    """

    def execute(self, context: Context) -> Any:
        from airflow.sdk.exceptions import AirflowFailException

        keep_offsets()
        try:
            return keep_values_in(self.run)(context)
        except TerminalError as error:
            message = str(error)
        raise AirflowFailException(message)  # not from the error: its message says it all

    @abstractmethod
    def run(self, context: Context) -> Any:
        """Do the work and return a small JSON value for XCom."""

    @staticmethod
    def qualified(table: str) -> str:
        """Return ``namespace.table``, with the default namespace for a bare name."""
        from airflow_provider_phlo.naming import qualified_table

        return qualified_table(table)


def check_engine(engine: str | None) -> None:
    """
    Check that an engine is known.

    :raises ConfigurationError: if it is not.
    """
    if engine is not None and engine not in tuple(Engine):
        raise ConfigurationError(f"engine={engine!r} is not available: choose one of {', '.join(Engine)}.")


def chosen_engine(engine: str | None) -> str:
    """
    Return a task's own engine, else the one that is set for all tasks.

    :raises ConfigurationError: if it is unknown.
    """
    from airflow_provider_phlo import settings

    name = engine or settings.engine()
    check_engine(name)
    return name
