"""The Iceberg catalog of a connection, or the embedded one where none is set."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.apache.iceberg.hooks.iceberg import IcebergHook

from airflow_provider_phlo import settings
from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from pyiceberg.catalog import Catalog

# Everything a connection may set. Named one by one: an extra such as py-io-impl would run code of its choosing.
ALLOWED_EXTRAS = frozenset(
    {
        "type",
        "uri",
        "warehouse",
        "catalog_name",
        "prefix",
        "scope",
        "oauth2-server-uri",
        "s3.endpoint",
        "s3.region",
        "s3.access-key-id",
        "s3.secret-access-key",
        "s3.session-token",
        "s3.force-virtual-addressing",
        "gcs.project-id",
        "gcs.oauth2.token",
        "gcs.service.host",
    }
)


class PhloIcebergHook(IcebergHook):
    """
    Open the catalog of a connection.

    Differs from its parent in three things: only named extras reach PyIceberg, SQL catalogs are built from the
    connection's own fields, and an unset ``iceberg_default`` means the embedded catalog below ``PHLO_HOME``.

    :param iceberg_conn_id: the connection to read.
    """

    @cached_property
    def properties(self) -> dict[str, str]:
        """
        Return the properties with which PyIceberg opens the catalog, secrets included.

        :raises ConfigurationError: if the connection is unset (and not the default) or has unknown extras.
        """
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            connection = self.get_connection(self.conn_id)
        except AirflowNotFoundException:
            if self.conn_id != self.default_conn_name:
                raise ConfigurationError(
                    f"Connection '{self.conn_id}' is not set: define it, e.g. AIRFLOW_CONN_{self.conn_id.upper()}="
                    '\'{"conn_type": "iceberg", "host": "https://catalog.example.com", "extra": {"warehouse": "…"}}\'.'
                ) from None
            from airflow_provider_phlo.iceberg.catalog import embedded_properties

            return embedded_properties(settings.home())
        return _connection_properties(connection)

    @cached_property
    def catalog(self) -> Catalog:
        """Return the open PyIceberg catalog."""
        from airflow_provider_phlo.iceberg.catalog import open_catalog

        properties = dict(self.properties)
        return open_catalog(properties.pop("catalog_name", settings.catalog_name()), properties)


def known_extras(connection: Connection) -> dict[str, str]:
    """
    Return the extras of an ``iceberg`` connection.

    :raises ConfigurationError: if it has any that are not known; their values are not repeated.
    """
    extra: dict[str, Any] = connection.extra_dejson
    unknown = sorted(set(extra) - ALLOWED_EXTRAS)
    if unknown:
        raise ConfigurationError(
            f"Connection '{connection.conn_id}' has extras that are not known: {', '.join(unknown)}. "
            f"Known ones: {', '.join(sorted(ALLOWED_EXTRAS))}."
        )
    return {name: str(value) for name, value in extra.items()}


def _connection_properties(connection: Connection) -> dict[str, str]:
    extra = known_extras(connection)
    if not connection.host and "uri" not in extra:
        raise ConfigurationError(
            f"Connection '{connection.conn_id}' does not say where the catalog is: set its host (the address of a REST "
            "catalog, the database server of a SQL one) or the extra 'uri'."
        )
    properties = {"type": "rest", **extra}
    if properties["type"] == "sql":
        properties.setdefault("uri", _sql_uri(connection))
    elif connection.host:
        properties["uri"] = connection.host.rstrip("/")
        if connection.login and connection.password:
            properties["credential"] = f"{connection.login}:{connection.password}"
    return properties


def _sql_uri(connection: Connection) -> str:
    """Return the SQLAlchemy address of a SQL catalog; a host with ``://`` is taken as it is."""
    from sqlalchemy.engine import URL

    if connection.host and "://" in connection.host:
        return connection.host
    return URL.create(
        "postgresql+psycopg2",
        username=connection.login,
        password=connection.password,
        host=connection.host,
        port=connection.port,
        database=connection.schema,
    ).render_as_string(hide_password=False)
