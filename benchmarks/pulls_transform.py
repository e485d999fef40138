"""
The transform of pull requests beside the same in plain Python, one reading after the other.

``python -m benchmarks.pulls_transform``: 200,000 readings give about a million rows of three tables. Both begin with
what they take (an Arrow table, dicts) and end with rows in Arrow.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import pyarrow as pa

from airflow_provider_phlo.sources.github_pulls.transform import transform
from tests.unit.sources.github_pulls.readings import as_arrow, readings
from tests.unit.sources.github_pulls.row_wise import transform_row_wise

DISTINCT = 10_000


def main() -> None:
    """Print the seconds of both, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readings", type=int, default=200_000)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    some = readings(random.Random(1), DISTINCT)
    tiles = options.readings // DISTINCT
    table = pa.concat_tables([as_arrow(some)] * tiles)
    schemas = {entity: rows.schema for entity, rows in transform(table.slice(0, 10)).items()}

    def row_wise() -> int:
        made = [transform_row_wise(some) for _ in range(tiles)]
        return sum(
            len(pa.Table.from_pylist(part[entity], schema=schema))
            for part in made
            for entity, schema in schemas.items()
        )

    def arrow() -> int:
        return sum(len(rows) for rows in transform(table).values())

    ratios: dict[str, list[float]] = {"wall": [], "CPU": []}
    for _ in range(options.repeat):
        ours, rows = measured(arrow)
        theirs, same = measured(row_wise)
        assert rows == same
        print(f"{rows:,} rows")
        for clock in ratios:
            ratios[clock].append(theirs[clock] / ours[clock])
            print(f"  {clock:4}  {ours[clock]:.2f} s, row by row {theirs[clock]:.2f} s: {ratios[clock][-1]:.1f}x")
    for clock, found in ratios.items():
        print(f"median by {clock}: {statistics.median(found):.1f}x, asked 10x")


def measured(work: Callable[[], int]) -> tuple[dict[str, float], int]:
    """Return wall and CPU seconds, and what the work returns."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {"wall": time.perf_counter() - wall, "CPU": time.process_time() - cpu}, result


if __name__ == "__main__":
    main()
