"""Extract a source, validate its rows, and stage them for the merge."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo import runs, settings
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.operators.base import PhloOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class IngestOperator(PhloOperator):
    """
    Stage what a source yields for the run's partition date.

    A retry of the same run finds the staged batch and extracts nothing.

    :param source: returns a dlt source or resource, an iterator of records, Arrow tables or data frames, or None (the
        task is skipped). Its parameters are filled by name: ``partition_date``, ``context``, and ``source_resources``.
    :param table: ``table`` or ``namespace.table``.
    :param unique_key: the key column or columns; a row without key is a bad row.
    :param validation_schema: a Pandera model, or ``"package.module:Class"``.
    :param validate: False skips the schema's rules, but not its types.
    :param strict_validation: True fails on a bad row, False quarantines it.
    :param identity: columns whose equality makes two rows one for uniqueness rules: what the merge deduplicates by.
    :param add_metadata_columns: whether rows carry ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :param transforms: Arrow → Arrow functions, applied to every batch before validation.
    :param source_resources: values for parameters of ``source``: a connection id gives the connection, a callable what
        it returns.
    :param partition_date: ``YYYY-MM-DD``; the run's own when None.
    :param refresh: extract again even if this run has staged its batch.
    :param iceberg_conn_id: the catalog, which keeps dlt's state.
    """

    template_fields: Sequence[str] = ("table", "partition_date", "unique_key")

    def __init__(
        self,
        *,
        source: Callable[..., Any],
        table: str,
        unique_key: str | Sequence[str] = (),
        validation_schema: Any = None,
        validate: bool = True,
        strict_validation: bool = True,
        identity: Sequence[str] = (),
        add_metadata_columns: bool = True,
        transforms: Sequence[Any] = (),
        source_resources: Mapping[str, Any] | None = None,
        partition_date: str | None = None,
        refresh: bool = False,
        iceberg_conn_id: str = "iceberg_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.source = source
        self.table = table
        self.unique_key = unique_key
        self.validation_schema = validation_schema
        self.validate = validate
        self.strict_validation = strict_validation
        self.identity = identity
        self.add_metadata_columns = add_metadata_columns
        self.transforms = transforms
        self.source_resources = source_resources or {}
        self.partition_date = partition_date
        self.refresh = refresh
        self.iceberg_conn_id = iceberg_conn_id

    def run(self, context: Context) -> dict[str, Any]:
        from airflow.sdk.exceptions import AirflowSkipException

        from airflow_provider_phlo.hooks.dlt import DltHook
        from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
        from airflow_provider_phlo.iceberg.tables import find_table
        from airflow_provider_phlo.landing import table_state, table_types

        name = self.qualified(self.table)
        day = self.partition_date or runs.partition_date(context)
        table = find_table(PhloIcebergHook(self.iceberg_conn_id).catalog, name)
        batch = DltHook().stage(
            lambda: self._call_source(day, context),
            self._plan(name, table_types(table)),
            token=runs.token(context, name),
            partition_date=day,
            run_id=context["run_id"],
            state=table_state(table),
            refresh=self.refresh,
        )
        if batch is None:
            raise AirflowSkipException(f"{name}: the source has nothing for {day} (it returned None).")
        self.log.info("%s %s: read %d, staged %d, bad %d", name, day, batch.read, batch.rows, batch.quarantined)
        return {
            "table": name,
            "partition_date": day,
            "token": batch.token,
            "folder": batch.folder,
            "read": batch.read,
            "staged": batch.rows,
            "quarantined": batch.quarantined,
            "seconds": batch.seconds,
        }

    def _plan(self, name: str, known_types: dict[str, Any]) -> Any:
        from airflow_provider_phlo.ingestion import StagingPlan
        from airflow_provider_phlo.registry import transform
        from airflow_provider_phlo.schemas.columns import load_model, model_columns, require_key

        key = key_columns(self.unique_key)
        declared = model_columns(load_model(self.validation_schema)) if self.validation_schema is not None else None
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
            known_types=known_types,
        )

    def _call_source(self, day: str, context: Context) -> Any:
        values: dict[str, Any] = {"partition_date": day, "context": context}
        wanted = inspect.signature(self.source).parameters
        for name, resource in self.source_resources.items():
            if name in wanted:
                values[name] = _resolve(resource)
        return self.source(**{name: value for name, value in values.items() if name in wanted})


def key_columns(unique_key: str | Sequence[str]) -> tuple[str, ...]:
    """Return the key as a tuple of columns."""
    return (unique_key,) if isinstance(unique_key, str) else tuple(unique_key)


def _resolve(resource: Any) -> Any:
    """Return the connection of an id, or what a callable returns."""
    if not isinstance(resource, str):
        return resource() if callable(resource) else resource
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        return BaseHook.get_connection(resource)
    except AirflowNotFoundException:
        raise ConfigurationError(
            f"Connection '{resource}' is not set: define it, e.g. AIRFLOW_CONN_{resource.upper()}="
            '\'{"conn_type": "http", "host": "https://…", "login": "…", "password": "…"}\'.'
        ) from None
