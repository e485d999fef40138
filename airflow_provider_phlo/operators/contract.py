"""Enforce a contract: as checks of an audit, before rows are published, or as a task of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo import settings
from airflow_provider_phlo.contract_files import locate_contract
from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError
from airflow_provider_phlo.operators.base import check_flags
from airflow_provider_phlo.operators.checking import CheckingOperator, keep_results, raise_for_audit
from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_phlo.contracts.enforcement import ContractReport


@dataclass
class ContractCheck(QualityCheck):
    """
    What a contract promises of a table: its columns and its rows, as checks of an audit.

    The file is read when the checks run; that it is there can be seen when the DAG file is parsed.

    :param contract: its name.
    :param file: where it is.
    :param table: the table that the checks are about, as ``namespace.table``.
    """

    contract: str
    file: Path
    table: str

    check_type: ClassVar[str] = "contract"

    def check_name(self) -> str:
        """Return the name on pages and in lineage; results have one per rule."""
        return f"contract {self.contract}"

    def expectation(self) -> str:
        """Return what is promised."""
        return f"what {self.file.name} promises"

    def parts(self) -> Sequence[QualityCheck]:
        """
        Return the checks that the contract stands for.

        :raises ConfigurationError: the file is not a contract, promises nothing of the table, or has SQL that is
            refused.
        """
        from airflow_provider_phlo.contracts import read_contract
        from airflow_provider_phlo.contracts.enforcement import require_readable_sql
        from airflow_provider_phlo.contracts.rules.checks import checks_of

        contract = read_contract(self.file)
        require_readable_sql(contract)
        bare = self.table.rpartition(".")[2]
        promise = next((each for each in contract.promises if each.table in (self.table, bare)), None)
        if promise is None:
            about = ", ".join(each.table for each in contract.promises)
            raise ConfigurationError(f"Contract {contract.name} promises nothing of {self.table}: it is about {about}.")
        checks = checks_of(contract, promise)
        for check in checks:
            check.severity = "warn" if "warn" in (self.severity, check.severity) else "error"
        return checks

    def execute(self, df: Any, context: Mapping[str, Any] | None = None) -> QualityCheckResult:
        """
        Check a data frame: the contract is kept if all of its rules are.

        :param context: ``table`` names the rows in the result.
        """
        from airflow_provider_phlo.quality.scan import run_checks_on_frame

        results = run_checks_on_frame(df, [self], context)
        broken = [result for result in results if not result.passed and result.severity == "error"]
        found = "; ".join(f"{result.check_name}: {result.message}" for result in broken)
        return QualityCheckResult(not broken, message=found or "every promise is kept")


class ContractOperator(CheckingOperator):
    """
    Check what a contract promises of its tables; fail if a promise is broken, and name who relies on it.

    ::

        ContractOperator(task_id="contract", contract="glucose_readings")  # main, after it was published
        ContractOperator(task_id="gate", contract="glucose_readings", branch=BRANCH_OF_MERGE)  # before

    :param contract: its name, or its file in the project: ``include/contracts/glucose_readings.yaml``. The project is
        the first folder above the DAG file with contracts, in a DAG bundle too.
    :param sla: whether its service levels are judged too; those of a branch never are.

    The other parameters (``branch``, ``blocking``, ``partition_column``, ``partition_date``, ``engine``, connections)
    are those of the :class:`~airflow_provider_phlo.operators.checking.CheckingOperator`.
    """

    template_fields: Sequence[str] = ("contract", "branch", "partition_date")

    def __init__(self, *, contract: str, sla: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_flags(sla=sla)
        self.contract = contract
        self.sla = sla
        if self.get_dag() is not None and "{{" not in contract:
            self._file()

    def run(self, context: Context) -> dict[str, Any]:
        """
        Check the contract.

        :raises QualityCheckError: a promise is broken, and the task is blocking; carries all results.
        :raises ConfigurationError: there is no such contract, or it has SQL that is refused.
        """
        from airflow_provider_phlo.contracts import read_contract
        from airflow_provider_phlo.contracts.enforcement import check_contract
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook

        contract = read_contract(self._file())
        catalog = PhloIcebergHook(self.iceberg_conn_id).catalog
        where: dict[str, Any] = {
            "branch": self.branch or None,
            "partition_column": self.partition_column,
            "partition": self._partition(context),
        }
        report = check_contract(
            catalog,
            contract,
            sla=self.sla,
            trino=self._queries(),
            namespace=settings.default_namespace(),
            **where,
        )
        self._log(report)
        results = report.results if self.blocking else tuple(replace(each, severity="warn") for each in report.results)
        keep_results(context, catalog, results, where)
        said = self._said(report)
        try:
            raise_for_audit(results, self.branch)
        except QualityCheckError:
            context["ti"].xcom_push(key="return_value", value=said)
            raise
        return said

    def _file(self) -> Path:
        """Return where the contract is: in the project of the DAG file, which this process has parsed itself."""
        return locate_contract(self.contract, Path(self.dag.fileloc))

    def _log(self, report: ContractReport) -> None:
        from airflow_provider_phlo.quality.report import as_table

        contract = report.contract
        self.log.info("Contract %s %s:\n%s", contract.name, contract.version, as_table(report.results, failures=False))
        for reason in report.not_judged:
            self.log.info("Not judged: %s", reason)

    def _said(self, report: ContractReport) -> dict[str, Any]:
        return {
            "contract": report.contract.name,
            "version": report.contract.version,
            "passed": report.passed,
            "breaches": [f"{each.table}: {each.rule}: {each.message}" for each in report.breaches],
            "not_judged": list(report.not_judged),
            "consumers": list(report.consumers),
            "results": [result.to_dict() for result in report.results],
        }
