"""The check that is a query of your own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.sql_check import SQLCheck
from airflow_provider_phlo.quality.tolerances import require_tolerances
from airflow_provider_phlo.sql import Query

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


@dataclass
class CustomSQLCheck(SQLCheck):
    """
    A query of your own says whether the data is right.

    Without ``expected_result`` the query selects the rows that are wrong: it must return none. With it, the query
    returns one row of one column that must equal it, exactly unless a tolerance is given; NaN equals NaN. The query
    reads any table as ``namespace.table``, and those in the namespace of the table under check by their bare names: the
    branch under audit where a table has it, else main. It sees all rows of a table; when one partition is checked, the
    query has to select it itself.

    On a data frame, the one table that the query names stands for the frame; so does ``df``.

    Example::

        CustomSQLCheck("SELECT * FROM raw.readings WHERE value > 600", description="no reading is above 600")

    :param query: one SELECT.
    :param expected_result: a number, text, truth value, date or time.
    :param description: what is checked, for people; used as the message.
    :param tolerance: how far a number may be from ``expected_result``, as a share of it: a sum of floats differs in its
        last digits.
    :param absolute_tolerance: or by how much.
    """

    query: str
    expected_result: Any = None
    description: str | None = None
    tolerance: float = field(default=0.0, kw_only=True)
    absolute_tolerance: float = field(default=0.0, kw_only=True)

    check_type: ClassVar[str] = "custom_sql"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.query, str) or not self.query.strip():
            raise ConfigurationError(f"CustomSQLCheck: query is {self.query!r}, use one SELECT.")
        require_tolerances("CustomSQLCheck", tolerance=self.tolerance, absolute_tolerance=self.absolute_tolerance)
        if (self.tolerance or self.absolute_tolerance) and not _is_number(self.expected_result):
            raise ConfigurationError("CustomSQLCheck: a tolerance needs a number as expected_result.")

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or self.description or "CustomSQLCheck"

    def expectation(self) -> str:
        """Return what the query must return."""
        if self.expected_result is None:
            return "no rows"
        allowed = [f"{self.tolerance:.4g} of it"] if self.tolerance else []
        allowed += [f"{self.absolute_tolerance:g}"] if self.absolute_tolerance else []
        return str(self.expected_result) + (f" within {' or '.join(allowed)}" if allowed else "")

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Count the rows that the query selects, or compare its value."""
        query = rows.engine.resolve(self.query.strip().rstrip(";"))
        if self.expected_result is None:
            ((failed,),) = rows.fetch(Query(f"SELECT count(*) FROM (\n{query}\n) AS q"))  # noqa: S608 - quoted
            return {"failed": failed, "found": f"expected no rows, found {failed}", "passed": not failed}
        answer = rows.fetch(Query(f"SELECT * FROM (\n{query}\n) AS q LIMIT 2"))  # noqa: S608 - quoted
        if answer and len(answer[0]) != 1:
            found = f"the query returns {len(answer[0])} columns, one is expected"
            return {"failed": None, "found": found, "passed": False}
        if len(answer) != 1:
            found = "no rows" if not answer else "several rows"
            return {"failed": None, "found": f"the query returns {found}, one is expected", "passed": False}
        passed = self._is_expected(answer[0][0])
        verb = "returns" if passed else "does not return"
        # what it returned instead may be a person's data: the message leaves it out
        return {"failed": None, "found": f"the query {verb} {self.expected_result!r}", "passed": passed}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass on no rows, or on the expected value."""
        about = f"{self.description}: " if self.description else ""
        return QualityCheckResult(values["passed"], values["failed"], about + values["found"])

    def _is_expected(self, found: Any) -> bool:
        if not (_is_number(found) and _is_number(self.expected_result)):
            return bool(found == self.expected_result)
        if found == self.expected_result or (found != found and self.expected_result != self.expected_result):
            return True
        source, target = _as_written(self.expected_result), _as_written(found)
        if source is None or target is None:  # NaN and infinities are close to nothing else
            return False
        apart = abs(target - source)
        shares = [Fraction(str(self.tolerance)) * abs(source), Fraction(str(self.absolute_tolerance))]
        return any(apart <= share for share in shares)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal)


def _as_written(number: float | Decimal) -> Fraction | None:
    """Return a number as it is written: 0.1 is a tenth, whether it is a float or a decimal."""
    decimal = Decimal(str(number) if isinstance(number, float) else number)
    return Fraction(decimal) if decimal.is_finite() else None
