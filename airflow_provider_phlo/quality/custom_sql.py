"""The check that is a query of your own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import SQLCheck
from airflow_provider_phlo.quality.results import QualityCheckResult

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.scan import Rows


@dataclass
class CustomSQLCheck(SQLCheck):
    """
    A query of your own says whether the data is right.

    Without ``expected_result`` the query selects the rows that are wrong: it must return none. With it, the query
    returns one row whose first column must equal it. The query reads ``namespace.table`` of any table, and a bare
    name in the namespace of the table under check: the branch under audit of each table that has it, else main. It
    sees whole tables; where one partition is checked, the query has to say so itself.

    On a data frame the one table that the query names stands for the frame, or ``df`` does.

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
        """Return what the query must give."""
        return "no rows" if self.expected_result is None else str(self.expected_result)

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Count the rows that the query selects, or compare its value."""
        query = rows.engine.resolve(self.query.strip().rstrip(";"))
        if self.expected_result is None:
            ((failed,),) = rows.fetch(f"SELECT count(*) FROM (\n{query}\n) AS q")  # noqa: S608 - quoted
            return {"failed": failed, "found": f"{failed} rows where none is wanted", "passed": not failed}
        answer = rows.fetch(f"SELECT * FROM (\n{query}\n) AS q LIMIT 2")  # noqa: S608 - quoted
        if len(answer) != 1:
            found = "no row" if not answer else "several rows"
            return {"failed": None, "found": f"the query gives {found}, one is wanted", "passed": False}
        passed = _equal(answer[0][0], self.expected_result)
        verb = "gives" if passed else "does not give"
        # what it gave instead may be a value of a person: it is not told
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
