"""Count the rows of two sides, partition by partition."""

from __future__ import annotations

from typing import Any

from airflow_provider_phlo.quality.sides import Reading, Side, forms_of, readings, united


def row_counts(sides: tuple[Side, Side], partition_column: str | None) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return the number of rows of each partition (of None, where there is no column), for source and target."""
    names = [partition_column] if partition_column else []
    source, target = readings(sides, names, partition_column)
    return _counts(sides[0], source), _counts(sides[1], target)


def _counts(side: Side, tables: list[Reading]) -> dict[Any, int]:
    forms = forms_of(side.engine)
    rows = united(
        table.select([*(value.comparable(forms) for value in table.values), "1"][:1]) for table in tables
    )
    key = "k" if tables[0].values else "NULL"
    grouped = " GROUP BY k" if tables[0].values else ""
    sql = f"SELECT {key}, count(*) FROM ({rows.sql}) AS u (k){grouped}"  # noqa: S608 - generated
    return {found: int(count) for found, count in side.engine.fetch(sql, rows.parameters) if count}
