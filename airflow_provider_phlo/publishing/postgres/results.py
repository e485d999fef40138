"""What is published, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from airflow_provider_phlo.publishing.postgres.declarations import NOTHING_DECLARED, Declaration
from airflow_provider_phlo.publishing.postgres.versions import Version

Rows: TypeAlias = pa.RecordBatchReader | pa.Table


class Mode(StrEnum):
    """How a table got its rows."""

    FULL = "full"
    INCREMENTAL = "incremental"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class PublishResult:
    """
    The result of one publication.

    :param table: ``schema.table``.
    :param rows: how many the table has now.
    :param seconds: how long its rows took to read and load, without waiting for readers and without the commit.
    :param created: whether the table is new.
    :param altered: the changes to columns, indexes and comments, as SQL.
    :param mode: whether all rows were written, those that differ, or none.
    :param reason: why all rows were written, or none.
    :param inserted: how many rows were written.
    :param deleted: how many rows were deleted.
    """

    table: str
    rows: int
    columns: int
    seconds: float
    created: bool = False
    altered: tuple[str, ...] = ()
    mode: Mode = Mode.FULL
    reason: str = ""
    inserted: int = 0
    deleted: int = 0

    @property
    def facts(self) -> dict[str, int | float | str]:
        """Return what XCom and the asset's event say."""
        return {
            "rows": self.rows,
            "inserted": self.inserted,
            "deleted": self.deleted,
            "mode": str(self.mode),
            "reason": self.reason,
            "seconds": self.seconds,
        }

    @property
    def summary(self) -> str:
        """Return what was written, and why, for the log."""
        written = {
            Mode.FULL: f"all {self.rows} rows",
            Mode.INCREMENTAL: f"{self.inserted} rows inserted and {self.deleted} deleted, of {self.rows} now",
            Mode.UNCHANGED: f"none of its {self.rows} rows",
        }[self.mode]
        return f"{written}, since {self.reason}" if self.reason else written


class Mart(NamedTuple):
    """
    A table to publish.

    :param columns: the columns of its rows.
    :param read: reads all rows; called once, or not at all.
    :param version: what the rows are a version of; None if that is not known, so that all are written each time.
    :param declared: the key, indexes and comments that the table is to have.
    """

    table: str
    columns: pa.Schema
    read: Callable[[], Rows]
    version: Version | None = None
    declared: Declaration = NOTHING_DECLARED
