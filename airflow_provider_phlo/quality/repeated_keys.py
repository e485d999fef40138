"""Keys that several rows share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from airflow_provider_phlo.sql import Query

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


class RepeatedKeys(NamedTuple):
    """How many keys several rows share, and how many rows share them."""

    keys: int
    rows: int


def count_repeated_keys(rows: RowsUnderCheck, keys: Sequence[str]) -> RepeatedKeys:
    """
    Count the keys that several rows share, and those rows; in queries of their own, as they would slow the scan.

    Checks of one run that ask for the same key share the answer.

    :param keys: SQL expressions of what makes the key.
    """
    asked = ("repeated keys", tuple(keys))
    if asked not in rows.shared:
        rows.shared[asked] = _count(rows, keys)
    found: RepeatedKeys = rows.shared[asked]
    return found


def _count(rows: RowsUnderCheck, keys: Sequence[str]) -> RepeatedKeys:
    if rows.engine.proves_distinct(rows.source, keys):
        return RepeatedKeys(0, 0)
    sql = (
        "SELECT count(*), coalesce(sum(n), 0) FROM ("  # noqa: S608 - quoted
        f"SELECT count(*) AS n FROM (SELECT * FROM {rows.source.sql}) AS t {repeated_keys(keys).sql}) AS g"
    )
    ((shared, sharing),) = rows.fetch(Query(sql, rows.source.parameters))
    return RepeatedKeys(int(shared), int(sharing))


def repeated_keys(keys: Sequence[str]) -> Query:
    """Return the clauses that leave one row per key that several rows share; a row with a NULL in it has no key."""
    present = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    return Query(f"WHERE {present} GROUP BY {', '.join(keys)} HAVING count(*) > 1")
