"""What a merge is to do, and what it did: plain values, light enough for DAG files to import."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.terms import DeduplicationMethod, MergeStrategy, MetadataColumn, PartitionDate, SnapshotId


@dataclass(frozen=True)
class MergePlan:
    """
    How a batch goes into a table.

    :param strategy: ``merge`` (upsert on the key), ``append``, or ``replace`` (the run's partition).
    :param key: the key columns.
    :param deduplication: whether the batch is deduplicated.
    :param method: ``last`` or ``first`` arrival of a key, or ``hash``: exact copies.
    :param order_by: the column that says which version of a row is newer; None means arrival.
    :param hard_delete: the column that marks rows whose key is to be removed: true, or not NULL if it is not a boolean.
    """

    strategy: str = MergeStrategy.MERGE
    key: tuple[str, ...] = ()
    deduplication: bool = True
    method: str = DeduplicationMethod.LAST
    order_by: str | None = None
    hard_delete: str | None = None

    def __post_init__(self) -> None:
        if self.strategy not in tuple(MergeStrategy):
            raise ConfigurationError(f"merge_strategy={self.strategy!r}: choose one of {', '.join(MergeStrategy)}.")
        methods = tuple(DeduplicationMethod)
        if self.method not in methods:
            raise ConfigurationError(f"deduplication_method={self.method!r}: choose one of {', '.join(methods)}.")
        if self.strategy == MergeStrategy.MERGE and not self.key:
            raise ConfigurationError("merge_strategy='merge' needs a unique_key.")
        if self.hard_delete and self.strategy != MergeStrategy.MERGE:
            raise ConfigurationError(
                f"hard_delete={self.hard_delete!r} needs merge_strategy='merge': it removes keys, which "
                f"merge_strategy={self.strategy!r} ignores."
            )
        if self.hard_delete in self.key:
            raise ConfigurationError(f"hard_delete={self.hard_delete!r} is a key column, and each row has a key.")
        if self.order_by and not self.compares_keys:
            raise ConfigurationError(
                f"order_by={self.order_by!r} has nothing to decide: merge_strategy={self.strategy!r} compares rows by "
                "it only where they share a key: give a unique_key and switch deduplication on, by 'last' or 'first'."
            )

    @property
    def compares_keys(self) -> bool:
        """Return whether one row is chosen of those that share a key."""
        by_content = self.strategy == MergeStrategy.APPEND and self.method == DeduplicationMethod.HASH
        return self.strategy == MergeStrategy.MERGE or (self.deduplication and bool(self.key) and not by_content)

    @property
    def by_hash(self) -> bool:
        """Return whether rows are duplicates by their content."""
        return self.deduplication and self.method == DeduplicationMethod.HASH

    def decision_columns(self) -> tuple[str, ...]:
        """Return the columns that decide what becomes of a row."""
        day = MetadataColumn.PARTITION_DATE if self.strategy == MergeStrategy.REPLACE else None
        return tuple(dict.fromkeys([*self.key, *filter(None, (self.order_by, self.hard_delete, day))]))

    def require_partition_column(self, columns: Collection[str]) -> None:
        """
        Check that a table with these columns has the one by which ``replace`` knows a partition.

        :raises ConfigurationError: if not.
        """
        if self.strategy == MergeStrategy.REPLACE and MetadataColumn.PARTITION_DATE not in columns:
            raise ConfigurationError(
                "merge_strategy='replace' needs the metadata column _phlo_partition_date: keep "
                "add_metadata_columns=True, or merge on a key."
            )

    def partition_to_replace(self, columns: Collection[str], partition_date: PartitionDate | None) -> PartitionDate:
        """
        Return the partition that ``replace`` replaces, ``YYYY-MM-DD``.

        :param columns: those of the table or batch.
        :raises ConfigurationError: if there is no such column, or no date.
        """
        self.require_partition_column(columns)
        if partition_date is None:
            raise ConfigurationError("merge_strategy='replace' needs a partition_date.")
        return partition_date


@dataclass(frozen=True)
class MergeResult:
    """
    What one merge did: ``rows == inserted + updated + unchanged + duplicates + deleted``.

    :param unchanged: rows of the batch that changed nothing: the table has the same content, or a newer version, or
        lacks the key that was to be deleted.
    :param duplicates: rows left out for another row of the batch (or of the table, when appending by hash).
    :param deleted: rows of the batch that removed their key from the table (``hard_delete``).
    :param outdated: those unchanged rows that are older than the table's (``order_by``).
    :param replaced: rows of the table that are gone with the partition that was replaced.
    :param deleted_duplicates: rows of the table that shared a key with another and are gone.
    :param files_read: data files whose keys and hashes were read.
    :param files_rewritten: data files that were replaced.
    :param bytes_written: size of the new data files.
    :param snapshot_id: the new snapshot, None when nothing changed.
    :param head: what the branch points to: the new snapshot, else main's; None for a table without any.
    """

    rows: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    duplicates: int = 0
    deleted: int = 0
    outdated: int = 0
    replaced: int = 0
    deleted_duplicates: int = 0
    files_read: int = 0
    files_rewritten: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    snapshot_id: SnapshotId | None = None
    head: SnapshotId | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the result as a JSON object, as tasks hand it on."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> MergeResult:
        """Return the result whose fields are among ``content``; what is missing there has its default."""
        return cls(**{item.name: content[item.name] for item in fields(cls) if item.name in content})
