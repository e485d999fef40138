"""What a DAG author declares of a table: plain values, checked when they are made, light enough for DAG files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.merge.plan import MergePlan
from airflow_provider_phlo.terms import METADATA_COLUMNS, DeduplicationMethod, MergeStrategy, MetadataColumn

if TYPE_CHECKING:
    from airflow_provider_phlo.schemas.columns import ModelColumns

_NEW_IN_EACH_RUN = (
    MetadataColumn.DLT_ID,
    MetadataColumn.DLT_LOAD_ID,
    MetadataColumn.RUN_ID,
    MetadataColumn.INGESTED_AT,
)
MERGE_OPTIONS = ("deduplication", "deduplication_method", "order_by", "hard_delete")


@dataclass(frozen=True)
class TableDefinition:
    """
    What a DAG author declares of a table.

    :param table: ``namespace.table``.
    :param plan: how batches are merged into it.
    :param declared: the columns of the validation schema; None takes those of the first batch.
    :param metadata_columns: whether rows carry ``_dlt_*``, ``_cascade_ingested_at`` and ``_phlo_*``.
    :param partition_by: None means by day of ``_phlo_partition_date``, if the table has metadata columns.
    :param sort_by: columns, each with an optional `` desc``.
    :param properties: Iceberg properties of a table that is created.
    :raises ConfigurationError: if the plan replaces partitions, and the table has no column that names them; if its key
        or its deletions are by metadata columns.
    """

    table: str
    plan: MergePlan
    declared: ModelColumns | None = None
    metadata_columns: bool = True
    partition_by: tuple[str, ...] | None = None
    sort_by: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metadata_columns:
            self._require_columns_of_the_source()
        self.plan.require_partition_column(METADATA_COLUMNS if self.metadata_columns else ())

    def _require_columns_of_the_source(self) -> None:
        """Refuse a key that no row keeps from run to run, and deletions by a column that every row has."""
        named = [*((name, "unique_key") for name in self.plan.key), (self.plan.hard_delete, "hard_delete")]
        for name, said in named:
            if name in _NEW_IN_EACH_RUN or (said == "hard_delete" and name in METADATA_COLUMNS):
                raise ConfigurationError(
                    f"{self.table}: {said}={name!r} is a column that each run writes anew, over the source's: name "
                    "another, rename the source's in a transform, or set add_metadata_columns=False."
                )

    @property
    def partitioning(self) -> tuple[str, ...]:
        """Return the columns or transforms that a new table is partitioned by."""
        if self.partition_by is not None:
            return self.partition_by
        return (MetadataColumn.PARTITION_DATE,) if self.metadata_columns else ()

    @property
    def identity(self) -> tuple[str, ...]:
        """Return the columns by which the merge deduplicates: rows that are equal in them break no uniqueness rule."""
        if not self.plan.deduplication:
            return ()
        if self.plan.strategy == MergeStrategy.APPEND and self.plan.method == DeduplicationMethod.HASH:
            return (MetadataColumn.ROW_HASH,) if self.metadata_columns else ()
        return self.plan.key

    def require_replayable(self) -> None:
        """
        Check that records from the quarantine can be merged without harm to newer rows.

        :raises ConfigurationError: if a partition would be replaced, or nothing says which row is newer.
        """
        if self.plan.strategy == MergeStrategy.REPLACE:
            raise ConfigurationError(
                f"{self.table}: merge_strategy='replace' replaces a whole partition, so a replay would leave nothing "
                "but its own records there: run the partition date again, which reads them too."
            )
        if self.plan.strategy == MergeStrategy.MERGE and self.plan.order_by is None and not self.metadata_columns:
            raise ConfigurationError(
                f"{self.table}: nothing says whether a quarantined record is older than the table's row: "
                "name a column in merge_config={'order_by': …}, or keep the metadata columns."
            )


def merge_plan(strategy: str, key: tuple[str, ...], config: Mapping[str, Any]) -> MergePlan:
    """
    Return the plan that an author's ``merge_strategy``, ``unique_key`` and ``merge_config`` describe.

    :raises ConfigurationError: if an option is unknown, or does not fit the others.
    """
    if not isinstance(config, Mapping):
        raise ConfigurationError(f"merge_config={config!r}: give a dictionary of {', '.join(MERGE_OPTIONS)}.")
    unknown = sorted(set(config) - set(MERGE_OPTIONS))
    if unknown:
        raise ConfigurationError(
            f"merge_config has unknown option(s) {', '.join(unknown)}: it takes {', '.join(MERGE_OPTIONS)}."
        )
    for name, kind in (("deduplication", bool), ("order_by", str), ("hard_delete", str)):
        value = config.get(name)
        if value is not None and not isinstance(value, kind):
            expected = "True or False" if kind is bool else "the name of one column"
            raise ConfigurationError(f"merge_config: {name}={value!r}, give {expected}.")
    deduplication: bool | None = config.get("deduplication")  # None stands for the default, as with the others
    return MergePlan(
        strategy,
        key,
        deduplication=strategy != MergeStrategy.APPEND if deduplication is None else deduplication,
        method=config.get("deduplication_method") or DeduplicationMethod.LAST,
        order_by=config.get("order_by"),
        hard_delete=config.get("hard_delete"),
    )
