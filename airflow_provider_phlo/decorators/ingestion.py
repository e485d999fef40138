"""``@phlo_ingestion``: a table, its key, its schema and its audit, declared on the function that fills it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.decorators.quality import Quality, inside_dag
from airflow_provider_phlo.decorators.specification import AuditTask, IngestionSpec
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.ingest import IngestOperator, check_parameters
from airflow_provider_phlo.operators.merge import MergeOperator
from airflow_provider_phlo.operators.publish_branch import PublishBranchOperator
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import QualityCheck
from airflow_provider_phlo.terms import Engine

if TYPE_CHECKING:
    from airflow.sdk import DAG, TaskGroup


def phlo_ingestion(
    table_name: str,
    unique_key: str | Sequence[str],
    validation_schema: Any,
    group: str,
    cron: str | None = None,
    freshness_hours: tuple[float, float] | None = None,
    merge_strategy: str = "merge",
    merge_config: Mapping[str, Any] | None = None,
    max_retries: int = 3,
    retry_delay_seconds: float = 30,
    max_runtime_seconds: float = 300,
    validate: bool = True,
    strict_validation: bool = True,
    add_metadata_columns: bool = True,
    audit: Sequence[QualityCheck] | Quality | None = None,
    contract: str | None = None,
    transforms: Sequence[Any] = (),
    partition_by: str | Sequence[str] | None = None,
    sort_by: str | Sequence[str] | None = None,
    table_properties: Mapping[str, str] | None = None,
    engine: str | None = None,
    resources: Mapping[str, Any] | None = None,
    pool: str | None = None,
    trino_conn_id: str = "trino_default",
) -> Callable[[Callable[..., Any]], Ingestion]:
    """
    Declare the table that a function's rows go to.

    The function returns a dlt source or resource, an iterator of records, Arrow tables or data frames, or None (skip).
    Its parameters are filled by name, any subset: ``partition_date``, ``context``, and the names of ``resources``.

    ::

        @phlo_ingestion(
            table_name="readings", unique_key="id", validation_schema="schemas.readings:Reading", group="site",
            cron="@daily", resources={"site": "site_default"},
        )
        def readings(site, partition_date):
            yield from pages_of(f"https://{site.host}/readings", day=partition_date)

        readings.dag()

    :param table_name: ``table`` (in the default namespace) or ``namespace.table``.
    :param unique_key: the key column or columns.
    :param validation_schema: a Pandera model, or ``"package.module:Class"``, which keeps Pandera out of DAG parsing.
    :param group: the tag of the DAG that ``f.dag()`` makes, and the asset's group.
    :param cron: the schedule of that DAG.
    :param freshness_hours: two numbers of hours: the audit warns when the newest row is older than the first, and
        fails when it is older than the second. ``phlo_watch`` watches them when no run happens (docs/freshness.md).
    :param merge_strategy: ``merge`` (upsert on the key), ``append``, or ``replace`` (the run's partition).
    :param merge_config: ``deduplication`` (bool), ``deduplication_method`` (``last``, ``first``, ``hash``),
        ``order_by`` (the column that says which version is newer), ``hard_delete`` (the column that marks deletions).
    :param max_retries: retries of each task.
    :param retry_delay_seconds: seconds between them.
    :param max_runtime_seconds: seconds after which a task is stopped.
    :param validate: False skips the schema's rules, but not its types.
    :param strict_validation: True fails on a bad row, False quarantines it.
    :param add_metadata_columns: whether rows carry ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :param audit: checks, or a ``@phlo_quality`` function of the same table, run on the branch before it is published.
    :param contract: the name of a data contract of the project: what it promises of the table's columns and rows is
        part of the audit, so that rows that break it are not published.
    :param transforms: Arrow → Arrow functions, or names of registered ones, applied before validation.
    :param partition_by: columns (a timestamp means its day), or ``day(c)``, ``hour(c)``, ``month(c)``, ``year(c)``,
        ``bucket(16, c)``, ``truncate(10, c)``; by day of ``_phlo_partition_date`` when None.
    :param sort_by: columns, each with an optional `` desc``.
    :param table_properties: Iceberg properties of a table that is created.
    :param engine: ``pyiceberg`` or ``trino`` (which needs the metadata columns); ``[phlo] engine`` when None.
    :param resources: for parameters of the function: a connection id gives the connection, a callable what it returns.
    :param pool: Airflow pool of the tasks.
    :param trino_conn_id: the connection of ``engine="trino"``.
    :raises ConfigurationError: if the declaration does not fit together, when the DAG file is parsed.
    """

    def decorate(function: Callable[..., Any]) -> Ingestion:
        specification = IngestionSpec(
            name=function.__name__,
            table_name=table_name,
            unique_key=unique_key,
            validation_schema=validation_schema,
            group=group,
            cron=cron,
            freshness_hours=freshness_hours,
            merge_strategy=merge_strategy,
            merge_config=merge_config,
            max_retries=max_retries,
            retry_delay_seconds=retry_delay_seconds,
            max_runtime_seconds=max_runtime_seconds,
            validate=validate,
            strict_validation=strict_validation,
            add_metadata_columns=add_metadata_columns,
            audit=audit,
            contract=contract,
            transforms=transforms,
            partition_by=partition_by,
            sort_by=sort_by,
            table_properties=table_properties,
            engine=engine,
            resources=resources,
            pool=pool,
            trino_conn_id=trino_conn_id,
            file=Path(inspect.unwrap(function).__code__.co_filename),
        )
        return Ingestion(function, specification)

    return decorate


class Ingestion:
    """
    A function decorated by :func:`phlo_ingestion`.

    :param specification: what is declared of its table.
    """

    def __init__(self, function: Callable[..., Any], specification: IngestionSpec) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.specification = specification
        self.name = specification.name
        self.table = specification.table
        check_parameters(function, specification.resources or {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the task group inside a DAG; anywhere else just call the function."""
        if not inside_dag():
            return self.function(*args, **kwargs)
        if args or kwargs:
            raise ConfigurationError(
                f"{self.name}() takes no arguments inside a DAG: its parameters are filled when the task runs."
            )
        return self._task_group()

    def dag(self, **arguments: Any) -> DAG:
        """
        Return the one-table DAG: named after the function, tagged with ``group``, scheduled by ``cron``.

        :param arguments: arguments of ``airflow.sdk.DAG`` that differ from these defaults.
        """
        from airflow.sdk import DAG

        defaults = {
            "dag_id": self.name,
            "schedule": self.specification.cron,
            "start_date": datetime(2020, 1, 1, tzinfo=UTC),
            "catchup": False,
            "tags": [self.specification.group],
            "doc_md": inspect.getdoc(self.function),
        }
        with DAG(**{**defaults, **arguments}) as dag:
            self._task_group()
        return dag

    def _page(self, audits: Mapping[str, AuditTask]) -> dict[str, Any]:
        """Return what Airflow's page of the table says."""
        from airflow_provider_phlo.assets.pages import check_lines, page
        from airflow_provider_phlo.schemas.outline import written_columns

        specification = self.specification
        return page(
            inspect.getdoc(self.function),
            specification.unique_key,
            written_columns(specification.validation_schema),
            check_lines(check for audit in audits.values() for check in audit.checks),
            strategy=specification.merge_strategy,
            contract=specification.contract,
        )

    def _task_group(self) -> TaskGroup:
        from airflow.sdk import TaskGroup

        from airflow_provider_phlo.assets.iceberg import iceberg_asset

        specification = self.specification
        common, landing = specification.task_arguments(), specification.landing_arguments()
        audits = specification.audits()
        with TaskGroup(group_id=self.name, tooltip=f"{self.table}: ingest, merge, audit, publish") as group:
            ingest = IngestOperator(
                task_id="ingest", source=self.function, **specification.ingest_arguments(), **common
            )
            merge = MergeOperator(task_id="merge", staged=ingest.output, publish=False, **landing, **common)
            branch = f"{{{{ ti.xcom_pull(task_ids='{merge.task_id}')['branch'] }}}}"
            # what a merge by Trino has staged only DuckDB can read: so one engine, and one SQL, audits every run
            common_audit = {"table": self.table, "branch": branch, "engine": Engine.PYICEBERG, **common}
            checks = [
                QualityCheckOperator(task_id=name, **audit._asdict(), **common_audit) for name, audit in audits.items()
            ]
            publish = PublishBranchOperator(
                task_id="publish",
                merged=merge.output,
                audit=audits["audit"].checks,
                audited=[check.output for check in checks],
                partition_column=audits["audit"].partition_column,
                audit_of_all=specification.contract_checks() if "contract" in audits else (),
                policy=specification.policy(),
                outlets=[iceberg_asset(self.table, group=specification.group, extra=self._page(audits))],
                **landing,
                **common,
            )
            ingest >> merge >> checks >> publish
        return group
