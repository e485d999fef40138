"""Extract a source, validate its rows, and stage them for the merge."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

from airflow_provider_phlo import runs, settings
from airflow_provider_phlo.connections import find_connection
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import NOTHING_TO_DO, check_flags
from airflow_provider_phlo.operators.openlineage import dataset_of_table
from airflow_provider_phlo.operators.rate_limits import RateLimitedOperator
from airflow_provider_phlo.operators.table import REPLAYS_ANOTHER, TableOperator
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.bases.decorator import TaskDecorator
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.catalogs.openlineage.work import Work
    from airflow_provider_phlo.ingestion import StagingPlan
    from airflow_provider_phlo.ingestion.staged_batches import StagedBatch
    from airflow_provider_phlo.task_facts import TaskLineage


class IngestOperator(RateLimitedOperator, TableOperator):
    """
    Stage what a source yields for the run's partition date.

    A retry of the same run finds the staged batch and extracts nothing.

    ::

        def fetch(partition_date):
            yield from pages_of("https://api.example.com/events", day=partition_date)

        IngestOperator(task_id="ingest", source=fetch, table="events", unique_key="id", validation_schema=Event)

    :param source: returns a dlt source or resource, an iterator of records, Arrow tables or data frames, or None (the
        task is skipped). Its parameters are filled by name: ``partition_date``, ``context``, and ``source_resources``.
        A text is the name of a plugin's source.
    :param validate: False skips the schema's rules, but not its types.
    :param strict_validation: True fails on a bad row, False quarantines it.
    :param identity: the columns that the merge deduplicates by: rows that are equal in them break no uniqueness rule.
    :param transforms: Arrow → Arrow functions, or names of plugins' ones, applied to every batch before validation.
    :param source_resources: values for parameters of ``source``: a connection id gives the connection, a callable what
        it returns.
    :param partition_date: ``YYYY-MM-DD``; the run's own when None.
    :param refresh: extract again even if this run has staged its batch.

    The other parameters are those of the :class:`~airflow_provider_phlo.operators.table.TableOperator`; a row without
    a key is a bad row, and the catalog keeps dlt's state. A rate limit that the source meets is waited for without a
    worker, see the :class:`~airflow_provider_phlo.operators.rate_limits.RateLimitedOperator`.
    """

    template_fields: Sequence[str] = ("table", "partition_date", "unique_key")

    def __init__(
        self,
        *,
        source: Callable[..., Any] | str,
        validate: bool = True,
        strict_validation: bool = True,
        identity: Sequence[str] = (),
        transforms: Sequence[Any] = (),
        source_resources: Mapping[str, Any] | None = None,
        partition_date: str | None = None,
        refresh: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_flags(validate=validate, strict_validation=strict_validation, refresh=refresh)
        self.source = _function_of(source)
        self.validate = validate
        self.strict_validation = strict_validation
        self.identity = identity
        self.transforms = transforms
        self.source_resources = source_resources or {}
        self.partition_date = partition_date
        self.refresh = refresh
        check_parameters(self.source, self.source_resources, self._given_parameters())
        require_transforms(transforms)

    def _given_parameters(self) -> Collection[str]:
        """Return the parameters of the source that already have a value."""
        return ()

    def lineage(self) -> TaskLineage:
        """Return the source, and the columns that the schema declares."""
        from airflow_provider_phlo.schemas.outline import written_columns
        from airflow_provider_phlo.task_facts import IngestionFacts, TaskLineage

        return TaskLineage(
            (
                IngestionFacts(
                    self.qualified(self.table),
                    sources=self._sources(),
                    columns=written_columns(self.validation_schema),
                    metadata_columns=self.add_metadata_columns,
                    quarantines=not self.strict_validation,
                    transforms=tuple(_name_of(each) for each in self.transforms),
                ),
            )
        )

    def work(self) -> Work:
        """Return the source and the table; its rows are counted when they are published."""
        from airflow_provider_phlo.catalogs.openlineage.work import Copied, Read, Work, Written
        from airflow_provider_phlo.lineage.datasets import source_dataset, source_field
        from airflow_provider_phlo.schemas.outline import written_columns

        table = self.qualified(self.table)
        read = tuple(Read(source_dataset(source)) for source in self._sources())
        known = {} if self.result is None else written_columns(self.validation_schema)
        only = read[0].dataset if len(read) == 1 else None
        copied = only and Copied(only, fields=source_field(table, ""), changed=bool(self.transforms))
        return Work(read, (Written(dataset_of_table(table), table, known, made_of=copied),))

    def _sources(self) -> tuple[str, ...]:
        """Return the connections that the source reads, else the name of its function."""
        connections = tuple(each for each in self.source_resources.values() if isinstance(each, str))
        return connections or (f"{getattr(self.source, '__name__', type(self.source).__name__)}()",)

    def run(self, context: Context) -> dict[str, Any]:
        """
        Stage the batch of the run.

        :raises AirflowSkipException: the source returned None.
        :raises ValidationError: a row is bad, and ``strict_validation`` is on.
        :raises SchemaError: column names of the schema break dlt's naming convention, or the data lacks the key.
        :raises SourceUnavailableError: the source did not answer.
        """
        from airflow_provider_phlo.ingestion import StagedSummary

        name = self.qualified(self.table)
        day = runs.partition_date(context, self.partition_date)
        wanted = runs.replay(context)
        if wanted is not None and not runs.is_replayed_here(wanted, context, name):
            self.log.info("%s: this run replays records of %s, nothing is read here", name, wanted["table"])
            return {**StagedSummary(name, day).to_json(), NOTHING_TO_DO: REPLAYS_ANOTHER}
        batch = self._stage(context, name, day, wanted)
        if batch is None:
            self.skip(f"{name}: the source has nothing for {day} (it returned None).")
        summary = StagedSummary.of(batch)
        self.log.info("%s %s: staged %s", name, day, summary.to_json())
        return summary.to_json()

    def _stage(self, context: Context, name: str, day: str, replay: Mapping[str, Any] | None) -> StagedBatch | None:
        """Stage what the source yields, or the records of the quarantine that ``replay`` describes."""
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.iceberg.tables.lookup import find_table
        from airflow_provider_phlo.ingestion.preparation import last_set_back, table_comments, table_state, table_types

        catalog = self.open_catalog()
        table = find_table(catalog, name)
        plan = replace(self._plan(name), known_types=table_types(table), comments=table_comments(table))
        token = runs.token(context, name)
        run: dict[str, Any] = {"token": token, "partition_date": day, "run_id": context["run_id"]}
        if replay is not None:
            return self._stage_replay(catalog, plan, replay, run)
        source = functools.partial(self._call_source, day, context)
        return DltHook().stage(
            source, plan, state=table_state(table), set_back=last_set_back(table), refresh=self.refresh, **run
        )

    def _stage_replay(
        self, catalog: Catalog, plan: StagingPlan, wanted: Mapping[str, Any], run: Mapping[str, Any]
    ) -> StagedBatch | None:
        """Stage records from the quarantine instead of what the source has."""
        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.ingestion import quarantine

        table, token, day = plan.table, run["token"], run["partition_date"]
        selection = quarantine.Selection(
            wanted.get("run_id"), wanted.get("reason"), day, tuple(wanted.get("ids") or ())
        )
        claimed = quarantine.claim(catalog, table, selection, token, run["run_id"])
        self.log.info("%s %s: %d record(s) of the quarantine are replayed", table, day, claimed)
        return DltHook().stage(
            lambda: quarantine.claimed_records(catalog, table, token) if claimed else iter(()),
            plan,
            replay=True,
            hard_delete=quarantine.hard_delete_column(catalog, table, token) if claimed else "",
            **run,
        )

    def _plan(self, name: str) -> StagingPlan:
        from airflow_provider_phlo.ingestion import StagingPlan
        from airflow_provider_phlo.registry import transform
        from airflow_provider_phlo.schemas.columns import require_key

        key, declared = names_of(self.unique_key), self.declared_columns()
        if declared is not None:
            require_key(declared, key)
        return StagingPlan(
            table=name,
            key=key,
            declared=declared,
            check_rows=self.validate,
            strict=self.strict_validation,
            identity=tuple(self.identity),
            metadata_columns=self.add_metadata_columns,
            transforms=tuple(transform(each) for each in self.transforms),
            batch_rows=settings.batch_rows(),
            variants=settings.undeclared_types() == "variant",
        )

    def _call_source(self, day: str, context: Context) -> Any:
        return self.source(**self._source_values(inspect.signature(self.source).parameters, day, context))

    def _source_values(self, wanted: Collection[str], day: str, context: Context) -> dict[str, Any]:
        """Return the values of the ``wanted`` parameters that are filled by name."""
        values = {"partition_date": day, "context": context}
        values = {name: value for name, value in values.items() if name in wanted}
        resources = {name: resource for name, resource in self.source_resources.items() if name in wanted}
        return {**values, **{name: _resolve(resource) for name, resource in resources.items()}}


def _function_of(source: Callable[..., Any] | str) -> Callable[..., Any]:
    """Return a source itself, or the plugin's of that name."""
    if not isinstance(source, str):
        return source
    from airflow_provider_phlo import registry

    return registry.source(source)


def require_transforms(transforms: Sequence[Any]) -> None:
    """
    Check that there are plugins for the transforms that are given by name, without importing them.

    :raises ConfigurationError: if not.
    """
    names = [each for each in transforms if isinstance(each, str)]
    if names:
        from airflow_provider_phlo.installed_plugins import Kind
        from airflow_provider_phlo.registry import require

        for name in names:
            require(Kind.TRANSFORM, name)


def _name_of(transform: Any) -> str:
    return transform if isinstance(transform, str) else getattr(transform, "__name__", type(transform).__name__)


class _IngestDecoratedOperator(DecoratedOperator, IngestOperator):
    """An :class:`IngestOperator` whose source is a function, with the arguments of its call in the DAG."""

    custom_operator_name = "@task.phlo_ingest"
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *IngestOperator.template_fields)

    def __init__(self, *, python_callable: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(
            python_callable=_with_any_arguments(python_callable),
            kwargs_to_upstream={"source": python_callable},
            **kwargs,
        )

    def _given_parameters(self) -> Collection[str]:
        try:
            return inspect.signature(self.source).bind_partial(*self.op_args, **self.op_kwargs).arguments
        except TypeError as error:
            raise ConfigurationError(f"{self.source.__name__}(): {error}.") from None

    def _call_source(self, day: str, context: Context) -> Any:
        wanted = set(inspect.signature(self.source).parameters) - set(self._given_parameters())
        return self.source(*self.op_args, **self.op_kwargs, **self._source_values(wanted, day, context))


def phlo_ingest_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """
    Make an :class:`IngestOperator` of a function.

    ::

        @task.phlo_ingest(table="readings", unique_key="id", validation_schema=Reading)
        def readings(site, partition_date):
            yield from read(site, partition_date)

        staged = readings("north")

    Parameters of the function that the call in the DAG leaves out are filled by name, as those of ``source``.

    :param python_callable: the function.
    :param multiple_outputs: True makes one XCom per count.
    :param kwargs: arguments of the operator.
    """
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=_IngestDecoratedOperator,
        **kwargs,
    )


def _with_any_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function`` with a signature that fits every call: what the call leaves out is filled in the task."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    del wrapper.__wrapped__
    return wrapper


def check_parameters(function: Callable[..., Any], resources: Collection[str], given: Collection[str] = ()) -> None:
    """
    Check that all parameters of a source get a value.

    :param resources: the names of its resources.
    :param given: the parameters that a call in the DAG file gives.
    :raises ConfigurationError: if nothing fills one, or a resource hides a value of the run.
    """
    name = getattr(function, "__name__", repr(function))
    hidden = sorted({"partition_date", "context"}.intersection(resources))
    if hidden:
        raise ConfigurationError(f"{name}: a resource cannot be called {hidden[0]!r}: the run fills that parameter.")
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name in given:
            continue
        known = parameter.name in ("partition_date", "context", *resources)
        by_name = parameter.kind is not parameter.POSITIONAL_ONLY
        if parameter.default is parameter.empty and not (known and by_name):
            raise ConfigurationError(
                f"{name}: nothing fills the parameter {parameter.name!r}. Filled by name are partition_date, "
                f"context, and the names of resources: resources={{'{parameter.name}': connection id or callable}}."
            )


def _resolve(resource: Any) -> Any:
    """Return the connection with this id, or what a callable returns."""
    if not isinstance(resource, str):
        return resource() if callable(resource) else resource
    connection = find_connection(resource)
    if connection is None:
        raise ConfigurationError(
            f"Connection '{resource}' is not set: define it, e.g. AIRFLOW_CONN_{resource.upper()}="
            '\'{"conn_type": "http", "host": "https://…", "login": "…", "password": "…"}\'.'
        )
    return connection
