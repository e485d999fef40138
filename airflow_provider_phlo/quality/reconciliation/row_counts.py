"""Count the rows of two sides, partition by partition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_provider_phlo.quality.reconciliation.sides import Reading, Side, forms_of, readings, united


def row_counts(sides: tuple[Side, Side], partition_column: str | None) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return the number of rows of each partition (of None, where there is no column), for source and target."""
    source, target = readings(sides, [partition_column] if partition_column else [], partition_column)
    return _counts(sides[0], source), _counts(sides[1], target)


def _counts(side: Side, tables: Sequence[Reading]) -> dict[Any, int]:
    forms = forms_of(side.engine)
    # without a column all rows are of one partition, which has no name
    partitions = [table.values[0].comparable(forms) if table.values else "NULL" for table in tables]
    rows = united(table.select([f"{part} AS p"]) for part, table in zip(partitions, tables, strict=True))
    found = side.engine.fetch(f"SELECT p, count(*) FROM ({rows.sql}) AS u GROUP BY p", rows.parameters)  # noqa: S608
    return {partition: int(count) for partition, count in found}
