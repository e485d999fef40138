"""The check that is a query of your own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.sql_check import SQLCheck
from airflow_provider_phlo.sql import Query

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


@dataclass
class CustomSQLCheck(SQLCheck):
    """
    A query of your own says whether the data is right.

    Without ``expected_result`` the query selects the rows that are wrong: it must return none. With it, the query
    returns one row whose first column must equal it. The query reads any table as ``namespace.table``, and those in
    the namespace of the table under check by their bare names: the branch under audit where a table has it, else
    main. It sees all rows of a table; when one partition is checked, the query has to select it itself.

    On a data frame, the one table that the query names stands for the frame; so does ``df``.

    Example::

        CustomSQLCheck("SELECT * FROM raw.readings WHERE value > 600", description="no reading is above 600")

    :param query: one SELECT.
    :param expected_result: a number, text, truth value, date or time.
    :param description: what is checked, for people; used as the message.
    """

    query: str
    expected_result: Any = None
    description: str | None = None

    check_type: ClassVar[str] = "custom_sql"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.query, str) or not self.query.strip():
            raise ConfigurationError(f"CustomSQLCheck: query is {self.query!r}, use one SELECT.")

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or self.description or "CustomSQLCheck"

    def expectation(self) -> str:
        """Return what the query must return."""
        return "no rows" if self.expected_result is None else str(self.expected_result)

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Count the rows that the query selects, or compare its value."""
        query = rows.engine.resolve(self.query.strip().rstrip(";"))
        if self.expected_result is None:
            ((failed,),) = rows.fetch(Query(f"SELECT count(*) FROM (\n{query}\n) AS q"))  # noqa: S608 - quoted
            return {"failed": failed, "found": f"expected no rows, found {failed}", "passed": not failed}
        answer = rows.fetch(Query(f"SELECT * FROM (\n{query}\n) AS q LIMIT 2"))  # noqa: S608 - quoted
        if len(answer) != 1:
            found = "no rows" if not answer else "several rows"
            return {"failed": None, "found": f"the query returns {found}, one is expected", "passed": False}
        passed = _equal(answer[0][0], self.expected_result)
        verb = "returns" if passed else "does not return"
        # what it returned instead may be a person's data: the message leaves it out
        return {"failed": None, "found": f"the query {verb} {self.expected_result!r}", "passed": passed}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass on no rows, or on the expected value."""
        about = f"{self.description}: " if self.description else ""
        return QualityCheckResult(values["passed"], values["failed"], about + values["found"])


def _equal(found: Any, expected: Any) -> bool:
    numbers = isinstance(found, int | float | Decimal) and isinstance(expected, int | float | Decimal)
    if numbers and (isinstance(found, float) or isinstance(expected, float)):
        return math.isclose(found, expected, rel_tol=1e-9)  # sums of floats differ in their last digits
    return bool(found == expected)
