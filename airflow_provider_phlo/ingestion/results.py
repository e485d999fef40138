"""
What goes from ingest to merge to publish: one frozen dataclass per step, JSON in XCom and in the run's mark.

Counts are numbers of records or rows (see :mod:`.accounting` for how they add up), ``seconds`` are seconds of wall
time, ``bytes_written`` are bytes, snapshot ids are Iceberg's. The names of the fields are the names in the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.iceberg.merge.plan import MergeResult
from airflow_provider_phlo.ingestion.accounting import Accounting
from airflow_provider_phlo.terms import MAIN_BRANCH

if TYPE_CHECKING:
    from airflow_provider_phlo.ingestion.staged_batches import StagedBatch


@dataclass(frozen=True)
class StagedSummary:
    """
    What the ingest task staged.

    :param table: ``namespace.table``.
    :param partition_date: the run's, ``YYYY-MM-DD``.
    :param folder: of the staged batch, relative to the staging root; None if this task had nothing to do, since the
        run replays records of another table.
    :param token: the run's token for the table.
    :param staged: rows that go on to the merge.
    :param read: records that the source yielded.
    :param added: rows that transforms made beyond one per record.
    :param dropped: records that transforms left no row of.
    :param quarantined: records that broke a rule and are set aside.
    :param seconds: how long extraction, validation and staging took.
    """

    table: str
    partition_date: str
    folder: str | None = None
    token: str = ""
    staged: int = 0
    read: int = 0
    added: int = 0
    dropped: int = 0
    quarantined: int = 0
    seconds: float = 0.0

    @classmethod
    def of(cls, batch: StagedBatch) -> StagedSummary:
        """Return the summary of a staged batch."""
        counts = {name: getattr(batch, name) for name in ("read", "added", "dropped", "quarantined", "seconds")}
        return cls(batch.table, batch.partition_date, batch.folder, batch.token, batch.rows, **counts)

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> StagedSummary:
        """Return the summary that :meth:`to_json` wrote; what else is in ``content`` is ignored."""
        return cls(**_known(cls, content))


@dataclass(frozen=True)
class LandedBatch:
    """
    What the merge did with a staged batch, and what publishing made of it.

    :param table: ``namespace.table``.
    :param partition_date: the run's, ``YYYY-MM-DD``.
    :param token: the run's token for the table.
    :param branch: where the merged rows are until they are published.
    :param folder: of the staged batch, relative to the staging root; None if the run had nothing to do.
    :param replay: whether the records came from the quarantine; in the JSON only if so.
    :param read: records that the source yielded.
    :param added: rows that transforms made beyond one per record.
    :param dropped: records that transforms left no row of.
    :param quarantined: records that broke a rule and are set aside.
    :param merged: the counts and snapshots of the merge; beside the others in the JSON.
    """

    table: str
    partition_date: str
    token: str = ""
    branch: str = MAIN_BRANCH
    folder: str | None = None
    replay: bool = False
    read: int = 0
    added: int = 0
    dropped: int = 0
    quarantined: int = 0
    merged: MergeResult = field(default_factory=MergeResult)

    @property
    def accounting(self) -> Accounting:
        """Return the counts that have to add up."""
        return Accounting.of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """Return the batch as one JSON object, the merge's fields beside its own."""
        own = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "merged"}
        if not self.replay:
            del own["replay"]
        return {**own, **self.merged.to_json()}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> LandedBatch:
        """Return the batch that :meth:`to_json` wrote; what else is in ``content`` is ignored."""
        return cls(**{**_known(cls, content), "merged": MergeResult.from_json(content)})


def _known(kind: type[StagedSummary] | type[LandedBatch], content: Mapping[str, Any]) -> dict[str, Any]:
    return {item.name: content[item.name] for item in fields(kind) if item.name in content}
