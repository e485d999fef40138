"""Open a catalog; the embedded one needs nothing but a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import requests
from pyiceberg.catalog import Catalog, CatalogType, load_catalog
from pyiceberg.io import FileIO
from pyiceberg.typedef import EMPTY_DICT, Properties
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError, SQLAlchemyError

from airflow_provider_phlo.exceptions import ConfigurationError, TerminalError, TransientError
from airflow_provider_phlo.iceberg.catalogs.avro_readers import keep_readers
from airflow_provider_phlo.iceberg.catalogs.file_io import file_io
from airflow_provider_phlo.iceberg.catalogs.rest import LastColumnIds, ServedCatalog
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.private_files import protect
from airflow_provider_phlo.sql import sqlite_url

# a SQL catalog has two tables; each may have been created by somebody else in between
_OPENINGS = 5


def embedded_properties(home: Path) -> dict[str, str]:
    """
    Return the properties of the embedded catalog: SQLite and local files below ``home``.

    :param home: the folder of all local state; created when missing, and closed to other users.
    :raises TerminalError: the catalog's file is gone or empty, and the warehouse is not.
    """
    home = home.resolve()
    protect(home)
    warehouse = str(home / "warehouse")
    Path(warehouse).mkdir(parents=True, exist_ok=True)
    _check_not_lost(home / "catalog.db", home / "warehouse")
    return {
        "type": "sql",
        "uri": sqlite_url(home / "catalog.db"),
        # PyIceberg cuts a URL at these characters, and then writes outside of home
        "warehouse": warehouse if {"?", "#"} & set(warehouse) else f"file://{warehouse}",
    }


def _check_not_lost(database: Path, warehouse: Path) -> None:
    """Refuse to begin anew beside tables: a new catalog would know none of them, and runs would fill them again."""
    if database.exists() and database.stat().st_size:
        return
    left = next(warehouse.glob("*/*/metadata/*.metadata.json"), None)
    if left is not None:
        state = "is empty" if database.exists() else "is missing"
        raise TerminalError(
            f"The catalog {database} {state}, and {warehouse} is not: it has {left.parents[1].relative_to(warehouse)}. "
            "Put catalog.db back from a copy, or move the warehouse away to begin anew. A retry does not help."
        )


def open_catalog(name: str, properties: Mapping[str, str]) -> Catalog:
    """
    Open the catalog ``name``.

    :param properties: PyIceberg's catalog properties (``type``, ``uri``, ``warehouse``, …).
    :raises ConfigurationError: if there is no such type of catalog, or no such database.
    :raises TransientError: if its server, or the file of an SQLite catalog, cannot be reached or is in use.
    :raises TerminalError: if the file of an SQLite catalog is damaged.
    """
    _require_kind(name, properties)
    keep_readers()
    try:
        return _opened(name, properties)
    except (DatabaseError, requests.ConnectionError) as error:
        _raise_for_sqlite(name, properties, error)
        if not isinstance(error, OperationalError | requests.ConnectionError):
            raise
        raise TransientError(
            f"Catalog {name!r} cannot be reached ({describe(error)}): is it up, and is the connection right "
            "(iceberg_default, or the one that iceberg_conn_id names)? Without one, the catalog is below PHLO_HOME."
        ) from error


def _require_kind(name: str, properties: Mapping[str, str]) -> None:
    """Refuse a type or an address that does not exist: the libraries' errors name neither the catalog nor a remedy."""
    kinds = [kind.value for kind in CatalogType]
    where = "in the connection iceberg_default, or the one that iceberg_conn_id names"
    kind = properties.get("type")
    if kind is not None and kind not in kinds:
        raise ConfigurationError(f"Catalog {name!r}: there is no such type; write one of {', '.join(kinds)} {where}.")
    if kind != CatalogType.SQL.value:
        return
    try:
        make_url(properties.get("uri", "")).get_dialect().import_dbapi()
    except (ArgumentError, ValueError, ImportError) as error:
        raise ConfigurationError(
            f"Catalog {name!r}: its uri is not the address of a database, or the driver of it is not installed "
            f"({type(error).__name__}): write postgresql+psycopg2://user:password@host:5432/database {where}."
        ) from None


def _raise_for_sqlite(name: str, properties: Mapping[str, str], error: Exception) -> None:
    """Tell apart what can be wrong with the file of an SQLite catalog."""
    uri = properties.get("uri", "")
    if not uri.startswith("sqlite"):
        return
    where = f"Catalog {name!r}: its file {make_url(uri).database}"
    text = str(getattr(error, "orig", error))
    if "is locked" in text:
        raise TransientError(
            f"{where} is in use by another process, and stayed so. A retry helps once that process is done."
        ) from error
    if "not a database" in text or "malformed" in text:
        raise TerminalError(
            f"{where} is damaged ({text}). Put it back from a copy: the files of the tables are untouched. A retry "
            "does not help."
        ) from error


def _opened(name: str, properties: Mapping[str, str]) -> Catalog:
    for _ in range(_OPENINGS - 1):
        try:
            return _load(name, properties)
        except SQLAlchemyError as error:
            # of processes that open a new SQL catalog at once, slower ones find the tables they wanted to create
            if "already exists" not in str(error):
                raise
    return _load(name, properties)


def is_nessie(catalog: Catalog) -> bool:
    """Return whether the catalog is a Nessie server: it says so when it is opened."""
    return str(catalog.properties.get("nessie.is-nessie-catalog", "")).lower() == "true"


def _load(name: str, properties: Mapping[str, str]) -> Catalog:
    if properties.get("type") == "sql":
        return CachingSqlCatalog(name, **properties)
    if properties.get("type") == "rest" or ("type" not in properties and properties.get("uri", "").startswith("http")):
        served = ServedCatalog(name, **properties)
        if is_nessie(served):
            served._session.mount(served.uri, LastColumnIds())
        return served
    catalog = load_catalog(name, **properties)

    def own_file_io(properties: Properties = EMPTY_DICT, location: str | None = None) -> FileIO:
        return file_io(catalog.properties, location)

    catalog._load_file_io = own_file_io  # type: ignore[method-assign]
    return catalog
