"""The Iceberg catalog of a connection, or the embedded one where none is set."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from airflow.providers.apache.iceberg.hooks.iceberg import IcebergHook

from airflow_provider_phlo import settings
from airflow_provider_phlo.connections import catalog_properties, find_connection
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog


class PhloIcebergHook(IcebergHook):
    """
    Open the catalog of a connection.

    It differs from its parent in three things: only named extras reach PyIceberg, SQL catalogs are built from the
    connection's own fields, and an unset ``iceberg_default`` means the embedded catalog below ``PHLO_HOME``.

    ::

        table = PhloIcebergHook().catalog.load_table("raw.readings")

    :param iceberg_conn_id: the connection to read, of type ``iceberg`` or ``phlo_iceberg``.
    """

    @cached_property
    def properties(self) -> dict[str, str]:
        """
        Return the properties with which PyIceberg opens the catalog, secrets included.

        :raises ConfigurationError: if the connection is unset (and not the default) or has unknown extras.
        """
        return {**self._connected(), **settings.catalog_options()}

    def _connected(self) -> dict[str, str]:
        connection = find_connection(self.conn_id)
        if connection is not None:
            return catalog_properties(connection)
        if self.conn_id != self.default_conn_name:
            raise ConfigurationError(
                f"Connection '{self.conn_id}' is not set: define it, e.g. AIRFLOW_CONN_{self.conn_id.upper()}="
                '\'{"conn_type": "iceberg", "host": "https://catalog.example.com", "extra": {"warehouse": "…"}}\'.'
            )
        from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties

        return embedded_properties(settings.home())

    @cached_property
    def catalog(self) -> Catalog:
        """Return the open PyIceberg catalog."""
        from airflow_provider_phlo.iceberg.catalogs.opening import open_catalog

        properties = dict(self.properties)
        return open_catalog(properties.pop("catalog_name", settings.catalog_name()), properties)


class PhloCatalogHook(PhloIcebergHook):
    """The same hook, for connections whose form asks for what every kind of catalog needs."""

    conn_type = "phlo_iceberg"
    hook_name = "Iceberg catalog (Phlo)"
