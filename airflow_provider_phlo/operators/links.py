"""Links from a task to what it worked on, in Airflow's own pages."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class CheckResultsLink(BaseOperatorLink):
    """A link to the results of the checks: the XCom page of the task."""

    name = "Check results"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; ``ti_key`` is the running task instance."""
        return f"{_page(ti_key)}/xcom"


class TableLink(BaseOperatorLink):
    """
    A link to the tables of a task: Airflow's list of the assets with their name, each of which leads to its events.

    Of several tables the list has those whose names begin as theirs do.
    """

    name = "Table"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; ``ti_key`` is the running task instance."""
        root = _page(ti_key).partition("/dags/")[0]
        beginning = os.path.commonprefix([*_tables(operator)])  # noqa: RUF071 - characters are meant
        return f"{root}/assets?name_pattern={quote(beginning)}" if beginning else f"{root}/assets"


def _tables(operator: Any) -> Iterator[str]:
    """Yield the names of the tables that a task works on, of patterns what is before their first wildcard."""
    from airflow_provider_phlo.naming import qualified_table

    tables = getattr(operator, "tables", ())
    own = getattr(operator, "table", None)
    named = tables.values() if isinstance(tables, Mapping) else tables
    targets = [getattr(each, "target", each) for each in names_of(named)]  # StageTable
    for name in names_of(own) if own else targets:
        yield name.partition("*")[0] if "*" in name else qualified_table(name)


def _page(instance: Any) -> str:
    address: str = instance.log_url
    return address.partition("?")[0]
