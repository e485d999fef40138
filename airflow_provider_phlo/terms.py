"""The terms that many modules share, under one name each: metadata columns, strategies, methods, engines, main."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeAlias

# names a run in branches, marks and folders; letters, digits, "_" and "-"
Token: TypeAlias = str
# the day that a run is for, ``YYYY-MM-DD``
PartitionDate: TypeAlias = str
# Iceberg's id of a snapshot of one table
SnapshotId: TypeAlias = int

MAIN_BRANCH = "main"
# what the table that holds the rejected records of another is called after it
QUARANTINE_SUFFIX = "__quarantine"
# the rules of alerts, in the folder of a project
ALERT_RULES = Path("include") / "alerting" / "config.yaml"


class MetadataColumn(StrEnum):
    """The columns that every table has beside those of its source, unless ``add_metadata_columns=False``."""

    DLT_LOAD_ID = "_dlt_load_id"
    DLT_ID = "_dlt_id"
    INGESTED_AT = "_cascade_ingested_at"
    RUN_ID = "_phlo_run_id"
    PARTITION_DATE = "_phlo_partition_date"
    ROW_HASH = "_phlo_row_hash"


METADATA_COLUMNS = tuple(MetadataColumn)


class MergeStrategy(StrEnum):
    """What becomes of a batch in its table: upsert on the key, insert only, or replace the run's partition."""

    MERGE = "merge"
    APPEND = "append"
    REPLACE = "replace"


class DeduplicationMethod(StrEnum):
    """Which of several rows of a batch stays: the last or first arrival of a key, or one of exact copies."""

    LAST = "last"
    FIRST = "first"
    HASH = "hash"


class Engine(StrEnum):
    """What merges and checks: PyIceberg with DuckDB in the task's process, or Trino."""

    PYICEBERG = "pyiceberg"
    TRINO = "trino"


def names_of(names: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return what may be given as one name, as several, or not at all."""
    return (names,) if isinstance(names, str) else tuple(names or ())


def table_of_source(schema: str, identifier: str, meta: Mapping[str, Any]) -> str:
    """
    Return the ingested table that a dbt source stands for: ``meta.phlo_asset``, else its name without ``dlt_``.

    :param identifier: the source's name in SQL.
    """
    return str(meta.get("phlo_asset") or f"{schema}.{identifier.removeprefix('dlt_')}")
