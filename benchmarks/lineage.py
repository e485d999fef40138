"""
What `phlo lineage show` costs in dbt projects of 125 and 500 models, beside the least that it could cost.

A model has some twenty columns and reads up to three others through CTEs, joins, a union, a window and stars. The
project is parsed and compiled by dbt first. Then: the command again, when nothing has changed (its process, and beside
it one that only imports sqlglot); the analysis of all SQL from nothing, beside sqlglot's parser alone on the same SQL;
and after one model was edited. CPU seconds, as what else the machine does is not in them.

    python -m benchmarks.lineage [--repeat N] [--output table|json]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from airflow_provider_phlo.dbt.compilation import CompiledSql, compiled_sql
from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.lineage.building import build
from airflow_provider_phlo.lineage.dbt_project import DbtProject
from airflow_provider_phlo.task_facts import Facts
from benchmarks.report import versions, write_section

SIZES = (125, 500)
LIMIT_SECONDS = 2.0
COLUMNS = 18
PROFILE = "bench: {target: duckdb, outputs: {duckdb: {type: duckdb, path: ':memory:', schema: lake, threads: 1}}}\n"
PROJECT = "name: bench\nversion: '1.0'\nconfig-version: 2\nprofile: bench\nmodels: {bench: {+materialized: table}}\n"
SOURCES = "sources: [{name: raw, schema: raw, tables: [{name: events}]}]\n"


def write_project(folder: Path, models: int) -> Path:
    """Write a project of that many models, in chains that are ten long."""
    project = folder / "include" / "dbt"
    (project / "models").mkdir(parents=True)
    (folder / "dags").mkdir()
    (project / "dbt_project.yml").write_text(PROJECT)
    (project / "profiles.yml").write_text(PROFILE)
    (project / "models" / "sources.yml").write_text(SOURCES)
    for number in range(models):
        (project / "models" / f"m{number}.sql").write_text(model(number))
    return project


def model(number: int) -> str:
    """Return the SQL of a model: one in ten reads the source, the others up to three models before them."""
    names = [f"c{column}" for column in range(COLUMNS)]
    if number % 10 == 0:
        columns = ", ".join(f"cast(c{column} as bigint) as c{column}" for column in range(COLUMNS))
        return f"select id, {columns} from {{{{ source('raw', 'events') }}}} where id is not null"
    first = f"{{{{ ref('m{number - 1}') }}}}"
    other = f"{{{{ ref('m{number - number % 10}') }}}}"
    computed = ", ".join(f"a.{name} + coalesce(b.{name}, 0) as {name}" for name in names)
    return f"""
with latest as (
  select *, row_number() over (partition by id order by c0 desc, c1) as place from {first}
), joined as (
  select a.id, {computed},
    case when a.c0 > 10 then 'many' when a.c1 > 5 then 'some' else 'few' end as label
  from latest a left join {other} b on a.id = b.id and b.c2 > 0
  where a.place = 1
)
select id, {", ".join(names)}, label from joined
union all
select id, {", ".join(names)}, 'old' as label from {other} where c3 is null
"""


def cpu_of_children(work: Callable[[], Any]) -> tuple[float, float]:
    """Return CPU and wall seconds of the processes that ``work`` starts and waits for."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before, started = used(), time.perf_counter()
    work()
    return used() - before, time.perf_counter() - started


def cpu(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of this process for ``work``."""
    started = time.process_time()
    work()
    return time.process_time() - started


def measure(folder: Path, models: int, repeat: int) -> dict[str, float]:
    """Measure one size."""
    project = write_project(folder, models)
    home = folder / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    environment["PHLO_HOME"] = str(home)
    home.mkdir()

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    show = ("lineage", "show", f"m{models - 1}.c0")
    phlo = (str(Path(sys.executable).parent / "phlo"), *show)
    sqlglot = (sys.executable, "-c", "import sqlglot")
    first, _ = cpu_of_children(lambda: run(*phlo))
    again = [cpu_of_children(lambda: run(*phlo)) for _ in range(repeat)]
    imports = [cpu_of_children(lambda: run(*sqlglot)) for _ in range(repeat)]
    compiled = compiled_sql(Project(project, home))
    parsed = DbtProject(project, read_manifest(ensure_manifest(Project(project, home))), compiled)
    return {
        "first": first,
        "again": statistics.median(seconds for seconds, _ in again),
        "again, wall": statistics.median(seconds for _, seconds in again),
        "import sqlglot": statistics.median(seconds for seconds, _ in imports),
        **_analysis(parsed, folder, repeat),
    }


def _analysis(project: DbtProject, folder: Path, repeat: int) -> dict[str, float]:
    import sqlglot

    texts = [each.sql for each in project.compiled.values() if each.sql is not None]
    kept = folder / "kept"
    build(Facts(), [project], kept)
    edited = dict(project.compiled)
    name, before = next(iter(edited.items()))
    edited[name] = CompiledSql(f"{before.sql}\n-- edited")
    other = DbtProject(project.folder, project.manifest, edited)
    return {
        "analysis of all SQL from nothing": statistics.median(
            cpu(lambda: build(Facts(), [project])) for _ in range(repeat)
        ),
        "parsing alone": statistics.median(
            cpu(lambda: [sqlglot.parse_one(text, read="duckdb") for text in texts]) for _ in range(repeat)
        ),
        "one model edited": cpu(lambda: build(Facts(), [other], kept)),
    }


def table(results: dict[int, dict[str, float]]) -> str:
    """Return Markdown."""
    names = list(next(iter(results.values())))
    header = f"| CPU s | {' | '.join(f'{size} models' for size in results)} |"
    lines = [f"| {name} | {' | '.join(f'{found[name]:.2f}' for found in results.values())} |" for name in names]
    return "\n".join([header, "|---|" + "--:|" * len(results), *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the results in docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.lineage", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args(argv)
    results = {}
    for size in SIZES:
        with tempfile.TemporaryDirectory(prefix="phlo-lineage-") as folder:
            results[size] = measure(Path(folder), size, arguments.repeat)
    print(json.dumps(results) if arguments.output == "json" else table(results))
    load = os.getloadavg()[0]
    if arguments.keep:
        about = (
            f"`show` of a column in a project whose files have not changed since the last command: at most "
            f"{LIMIT_SECONDS:g} s for 500 models. Load of the machine meanwhile: {load:.1f}."
        )
        used = versions("airflow-provider-phlo", "sqlglot", "dbt-core")
        write_section("Lineage", "python -m benchmarks.lineage --keep", f"{about}\n\n{table(results)}", used)
    if results[SIZES[-1]]["again"] > LIMIT_SECONDS:
        raise SystemExit(f"show takes more than {LIMIT_SECONDS:g} s")


if __name__ == "__main__":
    main()
