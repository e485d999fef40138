"""Count the rows of two sides, partition by partition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from airflow_provider_phlo.quality.reconciliation.sides import ComparedTable, Side, align_columns, forms_of, union_all
from airflow_provider_phlo.sql import Query


def row_counts(sides: tuple[Side, Side], partition_column: str | None) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return the number of rows of each partition, for source and target; without a column, all rows are of None."""
    source, target = align_columns(sides, [partition_column] if partition_column else [], partition_column)
    return _count(sides[0], source), _count(sides[1], target)


def _count(side: Side, tables: Sequence[ComparedTable]) -> dict[Any, int]:
    forms = forms_of(side.engine)
    # without a column all rows are of one partition, which has no name
    partitions = [table.values[0].comparable(forms) if table.values else "NULL" for table in tables]
    rows = union_all(table.select([f"{part} AS p"]) for part, table in zip(partitions, tables, strict=True))
    query = Query(f"SELECT p, count(*) FROM ({rows.sql}) AS u GROUP BY p", rows.parameters)  # noqa: S608 - generated
    # NaN is found in a dictionary only if it is the same object
    return {math.nan if part != part else part: int(count) for part, count in side.engine.fetch(query)}
