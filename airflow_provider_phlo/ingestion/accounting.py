"""What became of every record that a run read. The counts have to add up before anything is published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow_provider_phlo.exceptions import AccountingError


@dataclass(frozen=True)
class Accounting:
    """
    The counts of one run of one table.

    ``read + added == inserted + updated + deleted + unchanged + duplicates + quarantined + dropped``

    :param read: records that the source yielded.
    :param added: extra rows that transforms made: a record that becomes three rows adds two.
    :param dropped: records for which transforms kept no row.
    :param inserted: rows that are new in the table.
    :param updated: rows that took the place of another version.
    :param deleted: rows that are deletions: each removed the row with its key.
    :param unchanged: rows that the table already has, or has a newer version of.
    :param duplicates: rows that were left out because another row of the run takes their place.
    :param quarantined: records that broke a rule and are set aside.
    """

    read: int = 0
    added: int = 0
    dropped: int = 0
    inserted: int = 0
    updated: int = 0
    deleted: int = 0
    unchanged: int = 0
    duplicates: int = 0
    quarantined: int = 0

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Accounting:
        """Read the counts from the JSON that a run returns."""
        return cls(**{item.name: int(result.get(item.name, 0)) for item in fields(cls)})

    @property
    def rows(self) -> int:
        """Return how many rows went to the merge."""
        return self.inserted + self.updated + self.deleted + self.unchanged + self.duplicates

    @property
    def balanced(self) -> bool:
        """Return whether nothing is lost and nothing is counted twice."""
        counts = asdict(self).values()
        return min(counts) >= 0 and self.read + self.added == self.rows + self.quarantined + self.dropped

    def require_balance(self, table: str, run: str) -> None:
        """
        Check the sum.

        :raises AccountingError: if it does not hold; names table, run and numbers.
        """
        if not self.balanced:
            raise AccountingError(f"{table}, run {run}: the counts do not add up: {self}. {NOTHING_PUBLISHED}")

    def __str__(self) -> str:
        """Return one line: what came in, and where it went."""
        came = [f"read {self.read}", *([f"added {self.added}"] if self.added else [])]
        names = ("inserted", "updated", "deleted", "unchanged", "duplicates", "quarantined", "dropped")
        counts = asdict(self)
        went = [f"{name} {counts[name]}" for name in names if counts[name] or name == "inserted"]
        return f"{' + '.join(came)} = {' + '.join(went)}"


NOTHING_PUBLISHED = (
    "Nothing was published; the staged batch and the run's branch are kept. Clear the run to read again, and report "
    "this: it is a bug of the provider, or of a transform that gives another result each time."
)


def require_equal(what: str, counted: int, expected: int, table: str, run: str) -> None:
    """
    Check that a count agrees with one that was made independently.

    :raises AccountingError: if they differ.
    """
    if counted != expected:
        raise AccountingError(f"{table}, run {run}: {what}: {counted}, expected {expected}. {NOTHING_PUBLISHED}")
