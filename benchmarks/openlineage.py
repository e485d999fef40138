"""
What it costs a task to report to OpenLineage what it did: the facets of its start and its end, in a warm process.

The tasks: a publication into a table of 30 columns with 50 snapshots; ten checks of it; a dbt model of 20 columns that
joins three tables, whose SQL is analysed each time; three marts. The catalog is the embedded one, and is opened anew as
in the process that Airflow's provider forks. CPU milliseconds, as what else the machine does is not in them. What the
provider itself takes to emit an event is not in it.

    python -m benchmarks.openlineage [--repeat N]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

LIMIT_MILLISECONDS = 20.0
COLUMNS = 30
SNAPSHOTS = 50


def tasks(home: Path) -> dict[str, Any]:
    """Return tasks that have done their work, by what they are."""
    from airflow_provider_phlo.dbt.rendering.operators import DbtModelOperator
    from airflow_provider_phlo.dbt.results import TestOutcome
    from airflow_provider_phlo.dbt.runner import ModelRun
    from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
    from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
    from airflow_provider_phlo.operators.publish import PublishOperator
    from airflow_provider_phlo.operators.publish_branch import PublishBranchOperator
    from airflow_provider_phlo.operators.quality import QualityCheckOperator
    from airflow_provider_phlo.quality import NullCheck, QualityCheckResult

    catalog = open_catalog("phlo", embedded_properties(home))
    ensure_namespace(catalog, "raw")
    rows = pa.table({f"c{number}": [1, 2, 3] for number in range(COLUMNS)})
    for name in ("a", "b", "d", "m"):
        table = catalog.create_table(f"raw.{name}", rows.schema)
        for _ in range(SNAPSHOTS):
            table.append(rows)

    publish = PublishBranchOperator(task_id="publish", merged={}, table="raw.a", unique_key="c0")
    publish.result = {"folder": "f", "inserted": 3, "updated": 0, "bytes_written": 5, "partition_date": "2024-01-15"}
    checks = [NullCheck(f"c{number}") for number in range(10)]
    check = QualityCheckOperator(task_id="check", table="raw.a", checks=checks)
    results = [QualityCheckResult(True, 0, check_name=each.check_name(), table="raw.a").to_dict() for each in checks]
    check.result = {"results": results, "partition_date": "2024-01-15"}
    model = DbtModelOperator(task_id="model", project_dir="include/dbt", model="model.phlo.m", table="raw.m")
    columns = ", ".join(f"a.c{number} + coalesce(b.c{number}, 0) as c{number}" for number in range(20))
    sql = (
        "with a as (select * from raw.a where c0 > 1), d as (select c0, max(c1) as c1 from raw.d group by c0) "
        f"select {columns}, row_number() over (partition by a.c1 order by a.c2) as c20 "
        "from a left join raw.b as b using (c0) join d on d.c0 = a.c0"
    )
    outcomes = tuple(TestOutcome(f"t{number}", "not_null", (), "c0", True, "error", 0) for number in range(5))
    reads = {name: name for name in ("raw.a", "raw.b", "raw.d")}
    model._built = ModelRun("raw.m", rows=3, changed=True, outcomes=outcomes, sql=sql, reads=reads)
    model.result = {"partition_date": "2024-01-15"}
    marts = PublishOperator(task_id="marts", tables={name: f"raw.{name}" for name in ("a", "b", "d")})
    marts.result = {"tables": {name: {"inserted": 3} for name in ("a", "b", "d")}, "partition_date": "2024-01-15"}
    return {"publication": publish, "ten checks": check, "dbt model, three tables": model, "three marts": marts}


def milliseconds(work: Callable[[], Any]) -> float:
    """Return the CPU time of ``work``."""
    started = time.process_time()
    work()
    return 1000 * (time.process_time() - started)


def main() -> None:
    """Measure, and say whether the limit is kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.openlineage", description=__doc__)
    parser.add_argument("--repeat", type=int, default=20)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PHLO_HOME"] = os.environ["AIRFLOW_HOME"] = folder
        print(f"{'task':26} {'start ms':>9} {'end ms':>9} {'both ms':>9}   limit {LIMIT_MILLISECONDS:.0f} ms")
        for name, task in tasks(Path(folder)).items():
            report = task.get_openlineage_facets_on_complete(None)
            assert report is not None, "no facets"
            start = statistics.median(milliseconds(task.get_openlineage_facets_on_start) for _ in range(repeat))
            end = statistics.median(
                milliseconds(partial(task.get_openlineage_facets_on_complete, None)) for _ in range(repeat)
            )
            print(f"{name:26} {start:9.1f} {end:9.1f} {start + end:9.1f}")


if __name__ == "__main__":
    main()
