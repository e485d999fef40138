"""``@phlo_ingestion`` and ``@phlo_quality``: a table, its key, its schema and its checks, declared on a function."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.naming import qualified_table
from airflow_provider_phlo.operators.base import check_engine
from airflow_provider_phlo.operators.ingest import IngestOperator, check_parameters, key_columns
from airflow_provider_phlo.operators.merge import MergeOperator, PublishBranchOperator, merge_options
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import FreshnessCheck, QualityCheck
from airflow_provider_phlo.terms import DeduplicationMethod, Engine, MergeStrategy, MetadataColumn

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

    :param table_name: ``table`` (in the default namespace) or ``namespace.table``.
    :param unique_key: the key column or columns.
    :param validation_schema: a Pandera model, or ``"package.module:Class"``, which keeps Pandera out of DAG parsing.
    :param group: the tag of the DAG that ``f.dag()`` makes, and the asset's group.
    :param cron: the schedule of that DAG.
    :param freshness_hours: the audit warns when the newest changed row is older than the first, and fails when older
        than the second number of hours.
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
    declared = dict(locals())

    def decorate(function: Callable[..., Any]) -> Ingestion:
        return Ingestion(function, declared)

    return decorate


class Ingestion:
    """A function decorated by :func:`phlo_ingestion`."""

    def __init__(self, function: Callable[..., Any], declared: Mapping[str, Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name: str = function.__name__
        self.declared = dict(declared)
        self.table = qualified_table(self.declared["table_name"])
        _check_declaration(self.name, self.declared)
        check_parameters(function, self.declared["resources"] or {})

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the task group inside a DAG; anywhere else just call the function."""
        if not _inside_dag():
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
            "schedule": self.declared["cron"],
            "start_date": datetime(2020, 1, 1, tzinfo=UTC),
            "catchup": False,
            "tags": [self.declared["group"]],
            "doc_md": inspect.getdoc(self.function),
        }
        with DAG(**{**defaults, **arguments}) as dag:
            self._task_group()
        return dag

    def _task_group(self) -> TaskGroup:
        from airflow.sdk import TaskGroup

        from airflow_provider_phlo.assets.iceberg import iceberg_asset

        common, landing, audits = self._task_arguments(), self._landing_arguments(), self._audits()
        with TaskGroup(group_id=self.name, tooltip=f"{self.table}: ingest, merge, audit, publish") as group:
            ingest = IngestOperator(task_id="ingest", source=self.function, **self._ingest_arguments(), **common)
            merge = MergeOperator(task_id="merge", staged=ingest.output, publish=False, **landing, **common)
            branch = f"{{{{ ti.xcom_pull(task_ids='{merge.task_id}')['branch'] }}}}"
            # what a merge by Trino has staged only DuckDB can read: so one engine, and one SQL, audits every run
            common_audit = {"table": self.table, "branch": branch, "engine": Engine.PYICEBERG, **common}
            checks = [
                QualityCheckOperator(task_id=name, **arguments, **common_audit) for name, arguments in audits.items()
            ]
            publish = PublishBranchOperator(
                task_id="publish",
                merged=merge.output,
                audit=audits["audit"]["checks"],
                audited=[check.output for check in checks],
                partition_column=audits["audit"]["partition_column"],
                outlets=[iceberg_asset(self.table, group=self.declared["group"])],
                **landing,
                **common,
            )
            ingest >> merge >> checks >> publish
        return group

    def _task_arguments(self) -> dict[str, Any]:
        declared = self.declared
        arguments = {
            "retries": declared["max_retries"],
            "retry_delay": timedelta(seconds=declared["retry_delay_seconds"]),
            "execution_timeout": timedelta(seconds=declared["max_runtime_seconds"]),
        }
        return {**arguments, "pool": declared["pool"]} if declared["pool"] else arguments

    def _ingest_arguments(self) -> dict[str, Any]:
        declared = self.declared
        return {
            "table": self.table,
            "unique_key": declared["unique_key"],
            "validation_schema": declared["validation_schema"],
            "validate": declared["validate"],
            "strict_validation": declared["strict_validation"],
            "identity": _identity(declared),
            "add_metadata_columns": declared["add_metadata_columns"],
            "transforms": declared["transforms"],
            "source_resources": declared["resources"],
        }

    def _landing_arguments(self) -> dict[str, Any]:
        declared = self.declared
        shared = ("unique_key", "validation_schema", "merge_strategy", "merge_config", "add_metadata_columns")
        more = ("partition_by", "sort_by", "table_properties", "engine", "trino_conn_id")
        return {"table": self.table, **{name: declared[name] for name in (*shared, *more)}}

    def _audits(self) -> dict[str, dict[str, Any]]:
        """Return the arguments of the audit; freshness is a task of its own where the audit sees one partition only."""
        audit = self.declared["audit"]
        freshness = _freshness_checks(self.declared["freshness_hours"])
        if not isinstance(audit, Quality):
            return {"audit": {"checks": [*(audit or ()), *freshness], "partition_column": None}}
        column = audit.partition_column
        if column is None or not freshness:
            return {"audit": {"checks": [*audit.audit_checks(), *freshness], "partition_column": column}}
        return {
            "audit": {"checks": audit.audit_checks(), "partition_column": column},
            "freshness": {"checks": freshness, "partition_column": None},
        }


def phlo_quality(
    table: str,
    checks: Sequence[QualityCheck],
    group: str | None = None,
    blocking: bool = True,
    partition_column: str | None = None,
    engine: str | None = None,
    trino_conn_id: str = "trino_default",
) -> Callable[[Callable[..., Any]], Quality]:
    """
    Declare the checks of a table. Called inside a DAG the function becomes a task that reads main.

    :param table: ``table`` or ``namespace.table``.
    :param checks: checks of :mod:`airflow_provider_phlo.quality`, or your own.
    :param group: tag for those who look for the checks of one subject.
    :param blocking: True fails the task, and stops what is downstream; False warns.
    :param partition_column: check only rows whose value there is the run's partition date.
    :param engine: ``pyiceberg`` or ``trino``; ``[phlo] engine`` when None. As an audit, always ``pyiceberg``.
    :param trino_conn_id: the connection of ``engine="trino"``.
    """

    def decorate(function: Callable[..., Any]) -> Quality:
        return Quality(function, table, checks, group, blocking, partition_column, engine, trino_conn_id)

    return decorate


class Quality:
    """A function decorated by :func:`phlo_quality`."""

    def __init__(
        self,
        function: Callable[..., Any],
        table: str,
        checks: Sequence[QualityCheck],
        group: str | None = None,
        blocking: bool = True,
        partition_column: str | None = None,
        engine: str | None = None,
        trino_conn_id: str = "trino_default",
    ) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.name: str = function.__name__
        self.table = qualified_table(table)
        self.checks = (checks,) if isinstance(checks, QualityCheck) else tuple(checks)
        self.group = group
        self.blocking = blocking
        self.partition_column = partition_column
        self.engine = engine
        self.trino_conn_id = trino_conn_id
        check_engine(engine)
        problem = _strangers(self.checks)
        if problem:
            raise ConfigurationError(f"@phlo_quality on {self.name}: {problem}")

    def audit_checks(self) -> list[QualityCheck]:
        """Return the checks for an audit: those that do not block only warn."""
        return list(self.checks) if self.blocking else [_warning(check) for check in self.checks]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the task inside a DAG; anywhere else just call the function."""
        if not _inside_dag():
            return self.function(*args, **kwargs)
        if args or kwargs:
            raise ConfigurationError(f"{self.name}() takes no arguments inside a DAG.")
        return QualityCheckOperator(
            task_id=self.name,
            table=self.table,
            checks=self.checks,
            blocking=self.blocking,
            partition_column=self.partition_column,
            engine=self.engine,
            trino_conn_id=self.trino_conn_id,
            doc_md=inspect.getdoc(self.function),
        )


def _inside_dag() -> bool:
    from airflow.sdk.definitions._internal.contextmanager import DagContext

    return DagContext.get_current() is not None


def _freshness_checks(hours: tuple[float, float] | None) -> list[QualityCheck]:
    if hours is None:
        return []
    warn, error = hours
    return [
        FreshnessCheck(column=MetadataColumn.INGESTED_AT, max_age_hours=warn, severity="warn"),
        FreshnessCheck(column=MetadataColumn.INGESTED_AT, max_age_hours=error, severity="error"),
    ]


def _warning(check: QualityCheck) -> QualityCheck:
    check = copy.copy(check)
    check.severity = "warn"
    return check


def _strangers(checks: Sequence[Any]) -> str | None:
    found = [check for check in checks if not isinstance(check, QualityCheck)]
    return f"{found[0]!r} is not a QualityCheck." if found else None


def _identity(declared: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns by which the merge makes one row of several, which uniqueness rules then must not count."""
    options = merge_options(declared["merge_config"] or {}, declared["merge_strategy"])
    if not options["deduplication"]:
        return ()
    by_hash = declared["merge_strategy"] == MergeStrategy.APPEND and options["method"] == DeduplicationMethod.HASH
    if by_hash:
        return (MetadataColumn.ROW_HASH,) if declared["add_metadata_columns"] else ()
    return key_columns(declared["unique_key"])


def _check_declaration(name: str, declared: Mapping[str, Any]) -> None:
    def require(fits: bool, problem: str) -> None:
        if not fits:
            raise ConfigurationError(f"@phlo_ingestion on {name}: {problem}")

    strategy, config = declared["merge_strategy"], declared["merge_config"] or {}
    require(strategy in tuple(MergeStrategy), f"merge_strategy={strategy!r}: choose one of {', '.join(MergeStrategy)}.")
    method = merge_options(config, strategy)["method"]
    methods = tuple(DeduplicationMethod)
    require(method in methods, f"deduplication_method={method!r}: choose one of {', '.join(methods)}.")
    deletes = config.get("hard_delete")
    require(not deletes or strategy == MergeStrategy.MERGE, f"hard_delete={deletes!r} needs merge_strategy='merge'.")
    require(bool(declared["unique_key"]), "unique_key is empty: name the key column or columns.")
    check_engine(declared["engine"])
    metadata = declared["add_metadata_columns"]
    require(metadata or strategy != MergeStrategy.REPLACE, "merge_strategy='replace' needs add_metadata_columns=True.")
    require(metadata or declared["engine"] != Engine.TRINO, "engine='trino' needs add_metadata_columns=True.")
    if declared["freshness_hours"] is not None:
        problem = _freshness_problem(declared["freshness_hours"])
        require(not problem, problem)
        require(metadata, "freshness_hours needs add_metadata_columns=True: it reads _cascade_ingested_at.")
    problem = _audit_problem(declared["audit"], qualified_table(declared["table_name"]))
    require(not problem, problem)


def _freshness_problem(hours: Any) -> str:
    pair = isinstance(hours, (tuple, list)) and len(hours) == 2
    if pair and all(isinstance(each, (int, float)) for each in hours) and 0 < hours[0] <= hours[1]:
        return ""
    return f"freshness_hours={hours!r}: give (warn, error) in hours, the first not above the second."


def _audit_problem(audit: Any, table: str) -> str:
    if audit is None:
        return ""
    if isinstance(audit, Quality):
        return "" if audit.table == table else f"audit={audit.name} checks {audit.table}, not {table}."
    if not isinstance(audit, (list, tuple)):
        return f"audit={audit!r}: give a list of checks, or a @phlo_quality function of {table}."
    return f"audit: {_strangers(audit)}" if _strangers(audit) else ""
