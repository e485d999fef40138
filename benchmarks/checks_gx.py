"""
The checks of ``benchmarks/quality.py`` in Great Expectations; runs in an environment of its own.

GX reads a Parquet file by pandas. ``quality_gx.py FILE REPEAT`` prints the seconds of each validation with the reading.
"""

from __future__ import annotations

import datetime
import json
import sys
import time

import great_expectations as gx
import great_expectations.expectations as gxe

EXPECTATIONS = [
    gxe.ExpectTableRowCountToBeBetween(min_value=1),
    gxe.ExpectColumnValuesToNotBeNull(column="id"),
    gxe.ExpectColumnValuesToNotBeNull(column="device"),
    gxe.ExpectColumnValuesToNotBeNull(column="number"),
    gxe.ExpectColumnValuesToNotBeNull(column="note"),
    gxe.ExpectColumnValuesToBeBetween(column="value", min_value=-1e4, max_value=1e4),
    gxe.ExpectColumnValuesToBeBetween(column="score", min_value=-50, max_value=50),
    gxe.ExpectColumnValuesToBeBetween(column="number", min_value=0),
    gxe.ExpectColumnValuesToMatchRegex(column="kind", regex="^(alpha|beta|gamma|delta)$"),
    gxe.ExpectColumnValuesToMatchRegex(column="device", regex=r"^device-\d+$"),
    gxe.ExpectColumnMaxToBeBetween(column="taken_at", min_value=datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)),
    gxe.ExpectColumnValuesToBeBetween(column="value", max_value=400, mostly=0.99),
    gxe.ExpectColumnValuesToBeUnique(column="id"),
]


def main(path: str, repeat: int) -> None:
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("pandas")
    asset = source.add_parquet_asset("readings", path=path)
    batch = asset.add_batch_definition("whole")
    suite = gx.ExpectationSuite(name="readings", expectations=EXPECTATIONS)
    seconds = []
    for _ in range(repeat + 1):
        started = time.perf_counter()
        result = batch.get_batch().validate(suite)
        seconds.append(time.perf_counter() - started)
        assert result.success, result
    print(json.dumps({"version": gx.__version__, "seconds": seconds[1:]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
