"""Links from a task to what it worked on, in Airflow's own pages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


class CheckResultsLink(BaseOperatorLink):
    """A link to the results of the checks: the XCom page of the task."""

    name = "Check results"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; ``ti_key`` is the running task instance."""
        return f"{_page(ti_key)}/xcom"


class TableLink(BaseOperatorLink):
    """A link to the table: Airflow's list of the assets with its name, each of which leads to its events."""

    name = "Table"

    def get_link(self, operator: BaseOperator, *, ti_key: Any) -> str:
        """Return the address; ``ti_key`` is the running task instance."""
        from airflow_provider_phlo.naming import qualified_table

        root = _page(ti_key).partition("/dags/")[0]
        table: Any = operator
        return f"{root}/assets?name_pattern={quote(qualified_table(table.table))}"


def _page(instance: Any) -> str:
    address: str = instance.log_url
    return address.partition("?")[0]
