"""Which table of a catalog a promise is about."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

    from airflow_provider_phlo.contracts.model.contract import Promise


def table_name(promise: Promise, catalog: Catalog, namespace: str = "raw") -> str:
    """
    Return the table's full name; one without a namespace is looked for in the default one, then in the others.

    :param namespace: the default one.
    :raises ConfigurationError: it may be several.
    """
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables

    if "." in promise.table:
        return promise.table
    name = f"{namespace}.{promise.table}"
    there = [each for each in all_tables(catalog) if each.rpartition(".")[2] == promise.table]
    if name in there or not there:
        return name
    if len(there) > 1:
        raise ConfigurationError(
            f"{promise.table} may be {' or '.join(there)}: write the namespace into the contract's table."
        )
    return there[0]
