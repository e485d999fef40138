"""What ``@phlo_ingestion`` declares about a table, checked when the DAG file is parsed; and the arguments of tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_phlo.contract_files import locate_contract
from airflow_provider_phlo.cron import is_cron
from airflow_provider_phlo.decorators.quality import Quality, check_problem
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.ingestion.definition import TableDefinition, merge_plan
from airflow_provider_phlo.naming import qualified_table
from airflow_provider_phlo.operators.base import check_engine, check_flags
from airflow_provider_phlo.operators.contract import ContractCheck
from airflow_provider_phlo.quality import FreshnessCheck, QualityCheck
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, TablePolicy
from airflow_provider_phlo.terms import Engine, MetadataColumn, names_of

# seconds; longer is a mistake, or infinity
_YEAR = 366 * 86_400


class AuditTask(NamedTuple):
    """
    A task that checks the branch before it is published.

    :param partition_column: check only rows whose value in this column is the run's partition date; all rows when None.
    """

    checks: Sequence[QualityCheck]
    partition_column: str | None = None


@dataclass(frozen=True, kw_only=True)
class IngestionSpec:
    """
    What a DAG file declares: the name of the decorated function, and the parameters of the decorator.

    :param file: where the function is: its project has the contract.

    :raises ConfigurationError: if they do not fit together.
    """

    name: str
    table_name: str
    unique_key: str | Sequence[str]
    validation_schema: Any
    group: str
    cron: str | None
    freshness_hours: tuple[float, float] | None
    merge_strategy: str
    merge_config: Mapping[str, Any] | None
    max_retries: int
    retry_delay_seconds: float
    max_runtime_seconds: float
    validate: bool
    strict_validation: bool
    add_metadata_columns: bool
    audit: Sequence[QualityCheck] | Quality | None
    contract: str | None
    transforms: Sequence[Any]
    partition_by: str | Sequence[str] | None
    sort_by: str | Sequence[str] | None
    table_properties: Mapping[str, str] | None
    engine: str | None
    resources: Mapping[str, Any] | None
    pool: str | None
    trino_conn_id: str
    file: Path

    def __post_init__(self) -> None:
        try:
            self._check()
        except ConfigurationError as error:
            raise ConfigurationError(f"@phlo_ingestion on {self.name}: {error}") from None

    def _check(self) -> None:
        if not self.unique_key:
            raise ConfigurationError("unique_key is empty: name the key column or columns.")
        check_engine(self.engine)
        flags = ("validate", "strict_validation", "add_metadata_columns")
        check_flags(**{name: getattr(self, name) for name in flags})
        self._check_task_limits()
        self.definition()
        if not self.add_metadata_columns and self.engine == Engine.TRINO:
            raise ConfigurationError("engine='trino' needs add_metadata_columns=True.")
        if self.freshness_hours is not None:
            self._check_freshness(self.freshness_hours)
        self._check_audit(self.audit)
        self.contract_checks()

    def _check_task_limits(self) -> None:
        """Refuse what is not a number, and a runtime of 0, which Airflow takes for no limit."""
        for name, least in (("max_retries", 0), ("retry_delay_seconds", 0), ("max_runtime_seconds", 1)):
            value = getattr(self, name)
            whole = name != "max_retries" or isinstance(value, int)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not whole
                or not least <= value < _YEAR
            ):
                raise ConfigurationError(
                    f"{name}={value!r}: give a {'whole ' if name == 'max_retries' else ''}number from {least}."
                )

    def _check_freshness(self, hours: Any) -> None:
        pair = isinstance(hours, (tuple, list)) and len(hours) == 2
        if not (pair and all(isinstance(each, (int, float)) for each in hours) and 0 < hours[0] <= hours[1]):
            raise ConfigurationError(
                f"freshness_hours={hours!r}: give (warn, error) in hours, the first not above the second."
            )
        if not self.add_metadata_columns:
            raise ConfigurationError("freshness_hours needs add_metadata_columns=True: it reads _cascade_ingested_at.")

    def _check_audit(self, audit: Any) -> None:
        if isinstance(audit, Quality):
            if audit.table != self.table:
                raise ConfigurationError(f"audit={audit.name} checks {audit.table}, not {self.table}.")
        elif audit is not None and not isinstance(audit, (list, tuple)):
            raise ConfigurationError(
                f"audit={audit!r}: give a list of checks, or a @phlo_quality function of {self.table}."
            )
        elif problem := check_problem(audit or ()):
            raise ConfigurationError(f"audit: {problem}")

    @property
    def table(self) -> str:
        """Return ``namespace.table``."""
        return qualified_table(self.table_name)

    def definition(self) -> TableDefinition:
        """Return how the table is made and merged into; without the schema's columns, which no DAG file loads."""
        plan = merge_plan(self.merge_strategy, names_of(self.unique_key), self.merge_config or {})
        return TableDefinition(self.table, plan, metadata_columns=self.add_metadata_columns)

    def task_arguments(self) -> dict[str, Any]:
        """Return the arguments that every task of the group has."""
        arguments = {
            "retries": self.max_retries,
            "retry_delay": timedelta(seconds=self.retry_delay_seconds),
            "execution_timeout": timedelta(seconds=self.max_runtime_seconds),
        }
        return {**arguments, "pool": self.pool} if self.pool else arguments

    def ingest_arguments(self) -> dict[str, Any]:
        """Return the arguments of the ``IngestOperator``."""
        return {
            **self._table_arguments(),
            "validate": self.validate,
            "strict_validation": self.strict_validation,
            "identity": self.definition().identity,
            "transforms": self.transforms,
            "source_resources": self.resources,
        }

    def landing_arguments(self) -> dict[str, Any]:
        """Return the arguments that merging and publishing share."""
        names = ("merge_strategy", "merge_config", "partition_by", "sort_by", "table_properties", "engine")
        return {
            **self._table_arguments(),
            **{name: getattr(self, name) for name in (*names, "trino_conn_id")},
        }

    def _table_arguments(self) -> dict[str, Any]:
        names = ("unique_key", "validation_schema", "add_metadata_columns")
        return {"table": self.table, **{name: getattr(self, name) for name in names}}

    def audits(self) -> dict[str, AuditTask]:
        """Return the audit's tasks: what is about all rows has tasks of its own if the audit sees one partition."""
        whole = {"freshness": self._freshness_checks(), "contract": self.contract_checks()}
        about_all = [check for checks in whole.values() for check in checks]
        if not isinstance(self.audit, Quality):
            return {"audit": AuditTask([*(self.audit or ()), *about_all])}
        checks, column = self.audit.audit_checks(), self.audit.partition_column
        if column is None:
            return {"audit": AuditTask([*checks, *about_all])}
        return {"audit": AuditTask(checks, column), **{name: AuditTask(each) for name, each in whole.items() if each}}

    def contract_checks(self) -> list[QualityCheck]:
        """
        Return the check that the contract is kept, if the table has one; its file is only looked for.

        :raises ConfigurationError: there is no such file.
        """
        if self.contract is None:
            return []
        return [ContractCheck(self.contract, locate_contract(self.contract, self.file), self.table)]

    def policy(self) -> TablePolicy:
        """Return what stands with the table for those who watch it."""
        freshness = None
        if self.freshness_hours is not None:
            warn, error = self.freshness_hours
            # other schedules, such as @continuous, say nothing of when a run is due
            freshness = FreshnessPolicy(warn, error, self.cron if self.cron and is_cron(self.cron) else None)
        return TablePolicy(freshness, self.group)

    def _freshness_checks(self) -> list[QualityCheck]:
        if self.freshness_hours is None:
            return []
        warn, error = self.freshness_hours
        return [
            FreshnessCheck(column=MetadataColumn.INGESTED_AT, max_age_hours=warn, severity="warn"),
            FreshnessCheck(column=MetadataColumn.INGESTED_AT, max_age_hours=error, severity="error"),
        ]
