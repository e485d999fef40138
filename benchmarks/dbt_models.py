"""
Large dbt models: a whole table, and an increment into it, beside what each is made of.

Run it from the repository's root, on a quiet machine: ``python -m benchmarks.dbt_models [ROWS]``. Each figure is taken
in a process of its own, in seconds of CPU and of wall, with the memory over that of the process before: once in new
processes, as on a command line, and once in forks of a process that is warm, as Airflow's tasks are.

- the whole table beside DuckDB building the same rows natively, plus pyarrow writing them as Parquet
- 1,000 changed rows beside building the table again, and beside the same rows merged by ``iceberg.merge.merge``: the
  median of some rounds, each with other values
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

ONCE = ("native", "whole", "first")
EACH_ROUND = ("increment", "again", "merge")
ROUNDS = 5
CHANGED = 1_000
DAYS = 30
FILES = {
    "dbt_project.yml": "name: large\nversion: '1.0'\nprofile: large\n",
    "models/sources.yml": "sources: [{name: raw, tables: [{name: events}, {name: changes}]}]\n",
    "models/whole.sql": "{{ config(materialized='table', partition_by='day', schema='x') }} "
    "select * from {{ source('raw', 'events') }}",
    "models/kept.sql": "{{ config(materialized='incremental', incremental_strategy='merge', unique_key='id', "
    "partition_by='day', schema='x') }} -- depends_on: {{ source('raw', 'changes') }}\n"
    "select * from {{ source('raw', 'changes') if is_incremental() else "
    "source('raw', 'events') }}",
}


def rows(count: int, first: int = 0, step: int = 1) -> str:
    """Return SQL for rows of ten columns; their days follow their ids."""
    key = f"i * {step} + {first}"
    return (
        f"SELECT {key} AS id, DATE '2024-01-01' + CAST(({key}) * {DAYS} // TOTAL AS INTEGER) AS day, "
        "i % 97 AS a, i % 1009 AS b, i * 1.5 AS c, i / 7 AS d, 'text ' || i % 5000 AS e, "
        "'status ' || i % 5 AS f, TIMESTAMP '2024-01-01' + INTERVAL 1 SECOND * i AS g, i % 2 = 0 AS h "
        f"FROM range({count}) t(i)"
    )


def make(home: Path, total: int) -> None:
    """Fill the source tables, and parse the project."""
    from airflow_provider_phlo.dbt.manifest import ensure_manifest
    from airflow_provider_phlo.dbt.project import Project
    from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog

    for name, content in FILES.items():
        (home / "project" / name).parent.mkdir(parents=True, exist_ok=True)
        (home / "project" / name).write_text(content)
    catalog = open_catalog("phlo", embedded_properties(home))
    _store(catalog, "raw.events", rows(total).replace("TOTAL", str(total)))
    change(home, total, 0)
    ensure_manifest(Project(home / "project", home))


def change(home: Path, total: int, number: int) -> None:
    """Change rows of the last three days, to other values each time."""
    from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog

    recent = total // DAYS * 3
    changed = rows(CHANGED, total - recent, max(1, recent // CHANGED)).replace("TOTAL", str(total))
    catalog = open_catalog("phlo", embedded_properties(home))
    _store(catalog, "raw.changes", f"SELECT * REPLACE (a + {number + 1} AS a) FROM ({changed})")


def _store(catalog: Catalog, name: str, sql: str) -> None:
    import duckdb

    from airflow_provider_phlo.iceberg.content import RowsOfQuery
    from airflow_provider_phlo.iceberg.overwrite import overwrite_if_changed
    from airflow_provider_phlo.iceberg.tables.layout import TableLayout

    with duckdb.connect() as connection:
        new = RowsOfQuery(name, connection, f"({sql})", _batches)
        overwrite_if_changed(catalog, name, new, layout=TableLayout(("day",)))


def _batches(_: str, relation: Any) -> Any:
    import pyarrow as pa

    reader = relation.to_arrow_reader(122_880)
    found = False
    for batch in reader:
        found = True
        yield pa.Table.from_batches([batch])
    if not found:
        yield reader.schema.empty_table()


def build(home: Path, model: str, token: str) -> Callable[[], Any]:
    """Return what builds a model."""
    from airflow_provider_phlo.dbt.runner import build_model

    def run() -> Any:
        environment = {"PHLO_RUN_TOKEN": token}
        return build_model(home / "project", f"model.large.{model}", home=home, environment=environment).rows

    return run


def native(home: Path) -> Callable[[], Any]:
    """Return what builds the same table in DuckDB, and writes it by pyarrow."""
    import duckdb
    import pyarrow.parquet as pq

    from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
    from airflow_provider_phlo.iceberg.duckdb.views import connect

    catalog = open_catalog("phlo", embedded_properties(home))

    def run() -> Any:
        connection: duckdb.DuckDBPyConnection = connect(catalog, tables=["raw.events"])
        connection.execute("CREATE TABLE whole AS SELECT * FROM raw.events")
        reader = connection.sql("SELECT * FROM whole").to_arrow_reader(1_048_576)
        with pq.ParquetWriter(home / "native.parquet", reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        return None

    return run


def merged(home: Path, token: str) -> Callable[[], Any]:
    """Return what merges the changed rows with the engine of ingestion, and publishes."""
    from airflow_provider_phlo.iceberg.branches.publication import Publication, run_branch
    from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
    from airflow_provider_phlo.iceberg.duckdb.views import connect
    from airflow_provider_phlo.iceberg.merge import MergePlan, merge

    catalog = open_catalog("phlo", embedded_properties(home))

    def run() -> Any:
        changes = connect(catalog, tables=["raw.changes"]).sql("SELECT * FROM raw.changes").to_arrow_table()
        done = merge(catalog, "large_x.whole", changes, MergePlan(key=("id",)), token=token)
        run_branch(catalog, f"phlo_{token}").publish(Publication("large_x.whole", expected_head=done.head))
        return done.updated

    return run


def measure(home: Path, what: str, number: int) -> dict[str, Any]:
    """Return the figures of one step of a round, taken in this process."""
    steps = {
        "whole": lambda: build(home, "whole", "w"),
        "native": lambda: native(home),
        "first": lambda: build(home, "kept", "f"),
        "increment": lambda: build(home, "kept", f"i{number}"),
        "again": lambda: build(home, "kept", f"a{number}"),
        "merge": lambda: merged(home, f"m{number}"),
    }
    run = steps[what]()
    before = resource.getrusage(resource.RUSAGE_SELF)
    started = time.perf_counter()
    result = run()
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu": cpu, "wall": wall, "memory MB": (after.ru_maxrss - before.ru_maxrss) / 1024, "result": result}


def measure_in_fork(home: Path, what: str, number: int) -> None:
    """Print the figures of one step, taken in a fork of a process that has preloaded what Airflow's scheduler does."""
    from airflow_provider_phlo.plugins import preload

    preload.preload(for_tasks=True)
    child = os.fork()
    if not child:
        try:
            # a fork shares its memory with what it was forked of: its own cannot be told apart
            print(json.dumps({**measure(home, what, number), "memory MB": None}), flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def figures(home: Path, how: str, total: int) -> dict[str, dict[str, Any]]:
    """Return the figures of all steps, in their order; of those of each round the one in the middle."""
    found = {what: _step(home, how, what) for what in ONCE}
    rounds: dict[str, list[dict[str, Any]]] = {what: [] for what in EACH_ROUND}
    for number in range(ROUNDS):
        change(home, total, number)
        for what in EACH_ROUND:
            rounds[what].append(_step(home, how, what, number))
    return found | {what: sorted(of, key=lambda each: each["cpu"])[ROUNDS // 2] for what, of in rounds.items()}


def _step(home: Path, how: str, what: str, number: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.dbt_models", how, str(home), what, str(number)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.getcwd(),
        "PHLO_HOME": str(home),
        "AIRFLOW_HOME": str(home / "airflow"),
    }
    found: dict[str, Any] = json.loads(subprocess.check_output(command, env=environment).splitlines()[-1])
    print(how, what, {name: round(value, 2) for name, value in found.items() if value is not None}, flush=True)
    return found


def main() -> None:
    """Measure all steps, in new processes and in warm ones, and print the ratios."""
    if len(sys.argv) == 5:
        how, home, what, number = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
        if how == "warm":
            measure_in_fork(home, what, number)
        else:
            print(json.dumps(measure(home, what, number)))
        return
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    for how in ("new", "warm"):
        with tempfile.TemporaryDirectory(prefix="phlo-dbt-models-") as folder:
            make(Path(folder), total)
            found = figures(Path(folder), how, total)
        for one, other in (("whole", "native"), ("increment", "first"), ("increment", "merge")):
            print(f"{how}: {one} / {other}: {found[one]['cpu'] / found[other]['cpu']:.2f} of CPU")


if __name__ == "__main__":
    main()
