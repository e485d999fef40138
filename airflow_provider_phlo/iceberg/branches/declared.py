"""What is declared about a table and has no place in an Iceberg schema: its key, and the columns with personal data."""

from __future__ import annotations

import json
from collections.abc import Iterable

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.update import SetPropertiesUpdate

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit

# lists of columns as JSON, in the table's properties
KEY_PROPERTY, PII_PROPERTY = "phlo.key", "phlo.pii"


def declare_columns(catalog: Catalog, table: Table, key: Iterable[str], pii: Iterable[str] | None) -> None:
    """
    Store a table's key and pii columns in its properties, if they differ from those stored there.

    :param pii: None if they are not known: those stored stay.
    """
    identifier = ".".join(table.name())
    wanted = {KEY_PROPERTY: json.dumps(list(key))}
    if pii is not None:
        wanted[PII_PROPERTY] = json.dumps(sorted(pii))
    if wanted.items() <= table.properties.items():
        return

    def attempt() -> None:
        branches.commit(catalog, catalog.load_table(identifier), [], [SetPropertiesUpdate(updates=wanted)])

    retry_commit(attempt, identifier)


def declared_columns(table: Table) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the key and the pii columns that :func:`declare_columns` noted; none where nothing is known."""
    key, pii = (json.loads(table.properties.get(name, "[]")) for name in (KEY_PROPERTY, PII_PROPERTY))
    return tuple(key), frozenset(pii)
