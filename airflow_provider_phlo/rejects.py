"""Rows for the quarantine: what they look like, and which id a record has there."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.records import Origin, raw_text
from airflow_provider_phlo.schemas.columns import TIMESTAMP
from airflow_provider_phlo.schemas.names import Failure

HASH = "_phlo_row_hash"
QUARANTINE_SCHEMA = pa.schema(
    [
        ("quarantine_id", pa.string()),
        ("reason", pa.string()),
        ("column_name", pa.string()),
        ("check_name", pa.string()),
        ("run_id", pa.string()),
        ("partition_date", pa.date32()),
        ("source_position", pa.int64()),
        ("record", pa.string()),
        ("quarantined_at", TIMESTAMP),
        # the column that marks deletions, if it is a hint of the dlt resource: a replay has no resource
        ("hard_delete", pa.string()),
        # who has taken the record to read it once more, and when it was in the table
        ("replay_token", pa.string()),
        ("replay_run_id", pa.string()),
        ("replayed_at", TIMESTAMP),
        # of the last change by a replay; NULL is older than any
        ("updated_at", TIMESTAMP),
        (HASH, pa.string()),
    ]
)


@dataclass(frozen=True)
class Rejected:
    """
    One bad record.

    :param record: as the source had it, else as transforms left it.
    :param position: in the source, counted from 0; None if transforms have lost it.
    :param failures: the rules that it breaks.
    :param origin: where in the quarantine it is already.
    """

    record: Any
    position: int | None
    failures: Sequence[Failure]
    origin: Origin | None = None

    @property
    def reason(self) -> str:
        """Return all broken rules as text; no value."""
        return "; ".join(f"{failure.column or 'row'}: {failure.check}" for failure in self.failures)


@dataclass
class Rejects:
    """
    Make rows for the quarantine table.

    The id depends on the record, the broken rules and the how-manieth such record of the run it is: a rerun over the
    same data quarantines nothing twice.

    :param read_at: when the run began to read: a row of it, or of a later run, is newer than what it sets aside.
    :param hard_delete: the column that marks deletions.
    """

    run_id: str
    partition_date: str
    read_at: datetime.datetime
    hard_delete: str = ""
    _occurrences: dict[bytes, int] = field(default_factory=dict)

    def rows(self, rejected: Sequence[Rejected]) -> pa.Table:
        """Return the rows of the quarantine for these records; of one that is there already only id and reason."""
        return pa.Table.from_pylist([self._row(each) for each in rejected], schema=QUARANTINE_SCHEMA)

    def _row(self, rejected: Rejected) -> dict[str, Any]:
        reason, text = rejected.reason, None
        if rejected.origin is not None:
            identity = rejected.origin.quarantine_id
        else:
            text = raw_text(rejected.record)
            identity = self._identity(text, reason)
        return {
            "quarantine_id": identity,
            "reason": reason,
            "column_name": rejected.failures[0].column,
            "check_name": rejected.failures[0].check,
            "run_id": self.run_id,
            "partition_date": datetime.date.fromisoformat(self.partition_date),
            "source_position": rejected.position,
            "record": text,
            "quarantined_at": self.read_at,
            "hard_delete": self.hard_delete or None,
            # the id is the content: a record that is there stays as it is
            HASH: identity,
        }

    def _identity(self, text: str, reason: str) -> str:
        content = blake2b(f"{text}\n{reason}".encode(), digest_size=16)
        number = self._occurrences.get(content.digest(), 0) + 1
        self._occurrences[content.digest()] = number
        return f"{content.hexdigest()}-{number}"
