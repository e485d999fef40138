"""Which version of a source a mart is filled from, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeAlias

import pyarrow as pa

from airflow_provider_phlo.exceptions import PhloError

# rows with the columns that are named
ReadColumns: TypeAlias = Callable[[Sequence[str]], pa.RecordBatchReader]


class VersionUnknownError(PhloError):
    """What differs since a version cannot be said, or not cheaply; the text says why."""


class Rows(NamedTuple):
    """Some rows, which may be read more than once."""

    total: int
    read: ReadColumns


class Changes(NamedTuple):
    """
    The rows that differ between two versions, as multisets; a row that changed is in both.

    :param gone: rows of the older version only.
    :param come: rows of the newer version only.
    """

    gone: Rows
    come: Rows


class Version(NamedTuple):
    """
    One version of a source.

    :param source: the source's identity, which no other source has, and what its columns are.
    :param number: the version among those of the source: the id of a snapshot; None for a table without any.
    :param changes: returns what differs since an older version, given its number; raises VersionUnknownError where that
        cannot be said.
    """

    source: str
    number: int | None
    changes: Callable[[int | None], AbstractContextManager[Changes]]
