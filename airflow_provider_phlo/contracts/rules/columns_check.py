"""Whether a table has the columns, types and partitioning that a contract promises, as a check like its rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.contracts.model.contract import Promise
from airflow_provider_phlo.contracts.rules.rule_checks import PromiseCheck
from airflow_provider_phlo.contracts.rules.validation import validate
from airflow_provider_phlo.quality.results import QualityCheckResult

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck

RULE = "columns"


@dataclass
class ColumnsCheck(PromiseCheck):
    """
    The table has what is promised of it, beside its rows.

    That a column may have NULLs by its type is not a breach: the rows are looked at.

    :param consumers: who relies on the contract; results say so once.
    :param owner: of the contract, likewise.
    """

    promise: Promise
    consumers: tuple[str, ...] = ()
    owner: str = ""

    check_type: ClassVar[str] = "schema"

    def expectation(self) -> str:
        """Return what is promised."""
        return f"columns {', '.join(column.name for column in self.promise.columns)}"

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Compare the table with what was promised."""
        loaded = getattr(rows.engine, "loaded", None)
        if loaded is None:  # a data frame: its checks find columns that are missing
            return {"problems": []}
        table = loaded(rows.table)
        problems = [each for each in validate(self.promise, table.schema(), table.spec()) if each.blocking]
        return {"problems": [{"column": each.column, "problem": each.problem, "line": each.line} for each in problems]}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass if nothing is missing."""
        problems = values["problems"]
        found = "; ".join(f"{each['column']}: {each['problem']}" for each in problems)
        return QualityCheckResult(
            passed=not problems,
            message=found or "columns and types are as promised",
            columns=tuple(dict.fromkeys(each["column"] for each in problems)),
            metrics={"problems": problems, "consumers": list(self.consumers), "owner": self.owner},
        )
