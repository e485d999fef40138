"""
Show that no key occurs twice, by DuckDB's hashes of them.

Equal keys have equal hashes, so hashes that all differ prove that the keys do. Sorting numbers takes a tenth of the
time of a ``GROUP BY`` with as many groups as rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.sql import Query

if TYPE_CHECKING:
    import duckdb

# types whose equal values have one hash, as GROUP BY relies on it; the tests go through them
HASHED_TYPES = frozenset(
    {
        *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
        *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "DECIMAL"),
        *("VARCHAR", "BLOB", "UUID", "DATE", "TIME"),
        *("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"),
    }
)
# below it a GROUP BY is as fast
FEWEST = 100_000
# hashes that are sorted at once: 128 MB
AT_ONCE = 16_000_000
# each time reads all rows: beyond it a GROUP BY, which uses the disk, is cheaper
MOST_TIMES = 16
_BATCH = 1_000_000
_DIGITS = re.compile(r"\(\d+,\d+\)$")


def are_proven_distinct(connection: duckdb.DuckDBPyConnection, source: Query, keys: Sequence[str]) -> bool:
    """
    Return whether it is certain that no two rows share a key; a row with a NULL in it has none.

    :param source: what follows ``FROM`` to read the rows.
    :param keys: SQL expressions of what makes the key.
    :return: False leaves it to a ``GROUP BY``.
    :raises duckdb.Error: the rows cannot be read.
    """
    rows = f"FROM (SELECT {', '.join(f'{key} AS k{place}' for place, key in enumerate(keys))} FROM {source.sql})"  # noqa: S608 - quoted
    names = [f"k{place}" for place in range(len(keys))]
    present = " AND ".join(f"{name} IS NOT NULL" for name in names)
    parameters = list(source.parameters)
    kinds = connection.execute(f"DESCRIBE SELECT * {rows}", parameters).fetchall()
    if not all(_DIGITS.sub("", kind) in HASHED_TYPES for _, kind, *_ in kinds):
        return False
    ((count,),) = connection.execute(f"SELECT count(*) {rows} WHERE {present}", parameters).fetchall()
    times = -(-count // AT_ONCE)
    if count < FEWEST or times > MOST_TIMES:
        return False
    hashes = f"SELECT hash({', '.join(names)}) AS h {rows} WHERE {present}"
    return all(
        _differ(connection, Query(f"SELECT h FROM ({hashes}) WHERE h % {times} = {time}", source.parameters))  # noqa: S608 - quoted
        for time in range(times)
    )


def _differ(connection: duckdb.DuckDBPyConnection, query: Query) -> bool:
    """Return whether the numbers that a query gives all differ."""
    import numpy as np

    batches = connection.sql(query.sql, params=list(query.parameters)).to_arrow_reader(_BATCH)
    found = np.concatenate([np.empty(0, np.uint64), *(batch.column(0).to_numpy() for batch in batches)])
    found.sort()
    return not bool((found[1:] == found[:-1]).any())
