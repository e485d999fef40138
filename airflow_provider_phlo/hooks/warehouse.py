"""The stage and the warehouse that the settings name, opened with the connections that they need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_phlo import settings
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.private_files import protect

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_phlo.warehouse.stage import Stage
    from airflow_provider_phlo.warehouse.tables import Warehouse


def open_stage(prefix: str = "github", stage_path: str | None = None) -> Stage:
    """
    Return the stage of a source.

    :param prefix: the source's folder in it.
    :param stage_path: a path or URL; ``[phlo] stage_path`` when None.
    """
    from airflow_provider_phlo.object_store import open_folder
    from airflow_provider_phlo.warehouse.stage import Stage

    protect(settings.home())
    return Stage(open_folder(stage_path or settings.stage_url()), prefix)


def remove_expired(stage: Stage, log: Logger, days: int | None = None) -> None:
    """
    Remove what is too old from a stage whose rows are loaded: what cannot be removed stays for the next time.

    :param log: the task's.
    :param days: how long files are kept; ``[phlo] stage_retention_days`` when None.
    """
    days = settings.stage_retention_days() if days is None else days
    try:
        removed = stage.remove_expired(days)
    except Exception as error:  # noqa: BLE001 - of any store
        log.warning("the rows are loaded, but old files stay in %s: %s", stage.folder, error)
        return
    if removed:
        log.info("%d batch(es) of more than %d days ago are removed", removed, days)


def open_warehouse(name: str | None = None, conn_id: str | None = None, *, strict: bool = True) -> Warehouse:
    """
    Return a warehouse.

    :param name: ``iceberg``, ``snowflake`` or ``postgres``; ``[phlo] warehouse`` when None.
    :param conn_id: its connection; ``[phlo] warehouse_conn_id`` when None, else the default one of its kind.
    :param strict: whether a row that breaks its model fails the load; False sets it aside.
    :raises ConfigurationError: there is no such warehouse, or what it needs is not set.
    """
    kind, conn_id = name or settings.warehouse(), conn_id or settings.warehouse_conn_id()
    if kind == "iceberg":
        return _iceberg(conn_id, strict)
    if kind == "postgres":
        return _postgres(conn_id, strict)
    if kind == "snowflake":
        return _snowflake(conn_id, strict)
    raise ConfigurationError(f"warehouse={kind!r}: choose one of {', '.join(settings.WAREHOUSES)}.")


def _iceberg(conn_id: str, strict: bool) -> Warehouse:
    from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook
    from airflow_provider_phlo.object_store import open_folder
    from airflow_provider_phlo.warehouse.iceberg import IcebergWarehouse

    return IcebergWarehouse(
        PhloIcebergHook(conn_id or PhloIcebergHook.default_conn_name).catalog,
        open_folder(settings.staging_url()),
        settings.home() / "dlt",
        strict=strict,
        batch_rows=settings.batch_rows(),
    )


def _postgres(conn_id: str, strict: bool) -> Warehouse:
    import psycopg

    from airflow_provider_phlo.hooks.postgres import DEFAULT_CONN_ID, postgres_coordinates
    from airflow_provider_phlo.warehouse.postgres import PostgresDialect
    from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse

    # COPY's rows are UTF-8, whatever the database's encoding is; behind a pooler, what is prepared is not there again
    coordinates = {**postgres_coordinates(conn_id or DEFAULT_CONN_ID), "client_encoding": "UTF8"}
    return SqlWarehouse(
        PostgresDialect(), lambda: psycopg.connect(**coordinates, autocommit=True, prepare_threshold=None), strict
    )


def _snowflake(conn_id: str, strict: bool) -> Warehouse:
    from airflow_provider_phlo.warehouse.snowflake import SESSION, SnowflakeDialect, require_reachable
    from airflow_provider_phlo.warehouse.sql_warehouse import SqlWarehouse

    require_reachable(settings.stage_url())
    dialect = SnowflakeDialect(settings.snowflake_stage())
    try:
        from airflow.providers.snowflake.hooks.snowflake import (  # type: ignore[import-not-found,unused-ignore]
            SnowflakeHook,
        )
    except ImportError:
        raise ConfigurationError(
            "[phlo] warehouse = snowflake needs Snowflake's provider: pip install 'airflow-provider-phlo[snowflake]'."
        ) from None
    hook = SnowflakeHook(snowflake_conn_id=conn_id or "snowflake_default", session_parameters=SESSION)
    return SqlWarehouse(dialect, hook.get_conn, strict)
