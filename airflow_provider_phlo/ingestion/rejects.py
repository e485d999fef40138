"""Rows for the quarantine: their columns, and the id that a record has there."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa

from airflow_provider_phlo.ingestion.extraction import Chunk
from airflow_provider_phlo.ingestion.records import Origin, raw_text
from airflow_provider_phlo.ingestion.transforms import UNKNOWN
from airflow_provider_phlo.schemas.columns import TIMESTAMP
from airflow_provider_phlo.schemas.conversion.limits import readable
from airflow_provider_phlo.schemas.failures import Failure
from airflow_provider_phlo.terms import MetadataColumn

# the version of the records in a quarantine table, in its properties; a table without one is of version 1
FORMAT_PROPERTY, QUARANTINE_FORMAT = "phlo.quarantine-format", 1
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
        # the replay that has claimed the record, and when the record got into the table
        ("replay_token", pa.string()),
        ("replay_run_id", pa.string()),
        ("replayed_at", TIMESTAMP),
        # when a replay last changed it; NULL is older than any change
        ("updated_at", TIMESTAMP),
        (MetadataColumn.ROW_HASH, pa.string()),
    ]
)


@dataclass(frozen=True)
class Rejected:
    """
    One bad record.

    :param record: as the source had it, else as transforms left it.
    :param position: in the source, counted from 0; None if transforms lost it.
    :param failures: the rules that it breaks.
    :param origin: where it is in the quarantine, if it came from there.
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

    The id depends on the record, the broken rules, and the number of equal records that the run set aside before: a
    rerun over the same data quarantines nothing twice.

    :param read_at: when the run began to read: its rows, and those of later runs, are newer than what it sets aside.
    :param hard_delete: the column that marks deletions.
    """

    run_id: str
    partition_date: str
    read_at: datetime.datetime
    hard_delete: str = ""
    _occurrences: dict[bytes, int] = field(default_factory=dict)

    def rows(self, rejected: Sequence[Rejected]) -> pa.Table:
        """Return the quarantine's rows for these records; for a record that is there already, only id and reason."""
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
            MetadataColumn.ROW_HASH: identity,
        }

    def _identity(self, text: str, reason: str) -> str:
        content = blake2b(f"{text}\n{reason}".encode(), digest_size=16)
        number = self._occurrences.get(content.digest(), 0) + 1
        self._occurrences[content.digest()] = number
        return f"{content.hexdigest()}-{number}"


@dataclass(frozen=True)
class Part:
    """
    Rows of a chunk that are checked together, each with the position of its record.

    :param content: records or an Arrow table, as transforms leave them.
    :param origins: the position of each row's record in the chunk, :data:`.transforms.UNKNOWN` for none.
    """

    content: Chunk
    origins: np.ndarray


def rejected_records(chunk: Chunk, part: Part, bad: Sequence[int], failures: Sequence[Failure]) -> list[Rejected]:
    """
    Return the bad records: the source's own, or, where those are not known, what transforms made of them.

    A record that transforms have made several rows from is bad as a whole: a replay reads it as a whole.
    """
    of_record = first_of_each(part, bad)
    first = {origin: row for row, origin in of_record.items() if origin != UNKNOWN}
    reasons: dict[int, dict[Failure, None]] = {}
    for failure in failures:
        for row in failure.rows or ():
            at = first.get(int(part.origins[row]), row)
            reasons.setdefault(at, {})[replace(failure, rows=None)] = None
    originals = iter(_records(chunk, [origin for origin in of_record.values() if origin != UNKNOWN]))
    made = iter(_records(part.content, [row for row, origin in of_record.items() if origin == UNKNOWN]))
    return [
        Rejected(next(originals if origin != UNKNOWN else made), origin if origin != UNKNOWN else None, [*reasons[row]])
        for row, origin in of_record.items()
    ]


def first_of_each(part: Part, bad: Sequence[int]) -> dict[int, int]:
    """Return the first bad row of each record with the position of the record, UNKNOWN where that is not known."""
    found: dict[int, int] = {}
    seen: set[int] = set()
    for row in bad:
        origin = int(part.origins[row])
        if origin == UNKNOWN or origin not in seen:
            found[row] = origin
            seen.add(origin)
    return found


def _records(content: Chunk, rows: Sequence[int]) -> list[Mapping[str, Any]]:
    if not isinstance(content, pa.Table):
        return [content[row] for row in rows]
    if not rows:
        return []
    try:
        records: list[Mapping[str, Any]] = readable(content.take(list(rows))).to_pylist()
    except pa.ArrowNotImplementedError:  # for string views, which Polars uses
        records = [readable(content.slice(row, 1)).to_pylist()[0] for row in rows]
    return records
