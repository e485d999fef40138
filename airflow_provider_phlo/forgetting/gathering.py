"""Which places belong to a table: where its rows come through, and where they lie."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import dlt
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.places import Kind, Place
from airflow_provider_phlo.forgetting.records import RecordKey, kinds_of
from airflow_provider_phlo.forgetting.staging import StagingPlace
from airflow_provider_phlo.forgetting.tables import TablePlace
from airflow_provider_phlo.iceberg.tables.lookup import STAGING, existing_table, find_table, table_names
from airflow_provider_phlo.ingestion.quarantine import quarantine_table


@dataclass(frozen=True)
class Lake:
    """
    Where tables and what comes into them lie.

    :param staging: the staging root.
    :param writer_days: files that nothing names are a running writer's until they are older.
    :param drop_tags: whether tags that lead to such rows are dropped; else their tables are refused.
    """

    catalog: Catalog
    staging: Any
    writer_days: float = 3
    drop_tags: bool = False

    def table(self, identifier: str, wanted: Key | RecordKey, kind: Kind = Kind.TABLE) -> TablePlace:
        """Return a table as a place."""
        return TablePlace(self.catalog, identifier, wanted, self.writer_days, self.drop_tags, kind)


def places_of(lake: Lake, identifier: str, key: Key) -> list[Place]:
    """
    Return the places of a table, in the order in which they are cleaned: what could bring rows back comes first.

    :param identifier: ``namespace.table``.
    :raises ConfigurationError: it does not exist.
    """
    table = existing_table(lake.catalog, identifier)
    records = RecordKey(key, kinds_of(table, key), dlt.Schema("phlo").naming.normalize_identifier)
    found: list[Place] = [StagingPlace(lake.catalog, lake.staging, identifier, records)]
    found += [lake.table(name, key, Kind.STAGING) for name in _staged_for_trino(lake, identifier, key)]
    found.append(lake.table(identifier, key))
    aside = quarantine_table(identifier)
    if find_table(lake.catalog, aside) is not None:
        found.append(lake.table(aside, records, Kind.QUARANTINE))
    return found


def _staged_for_trino(lake: Lake, identifier: str, key: Key) -> Iterator[str]:
    """Yield the tables in which runs have staged what Trino is to merge, those that died too."""
    for name in table_names(lake.catalog):
        match = STAGING.fullmatch(name)
        table = find_table(lake.catalog, name) if match and match["table"] == identifier else None
        if table is not None and key.values.keys() <= {item.name for item in table.schema().fields}:
            yield name
