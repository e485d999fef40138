"""
What `phlo api` costs for a dbt project of 200 marts of 20 columns, beside the least that it could cost.

The project is parsed and compiled by dbt first. Then: `generate-views` again, as a process of its own, beside one that
only reads the same manifest and compiled SQL and writes a file of that size; applying to a bundled PostgreSQL with all
marts published, beside the statements of views.sql alone, as psql would send them; and applying once more, when nothing
differs. CPU seconds are those of the process, not of the server.

    python -m benchmarks.api [--repeat N] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psycopg

from airflow_provider_phlo.dbt.compilation import COMPILED, compiled_sql
from airflow_provider_phlo.dbt.manifest import ensure_manifest, read_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.services.postgres.server import allow_roles, stop_postgres
from airflow_provider_phlo.serving.marts import Served, names_of, read_served
from airflow_provider_phlo.serving.postgrest.applying import apply_served
from airflow_provider_phlo.serving.postgrest.script import views_sql
from airflow_provider_phlo.serving.postgrest.statements import Target
from airflow_provider_phlo.sql import quote_identifier
from benchmarks.lineage import PROFILE, PROJECT, cpu_of_children
from benchmarks.report import versions, write_section

MARTS = 200
COLUMNS = 20
LIMIT_SECONDS = 1.0
_READS = """
import json, sys
for path in sys.argv[2:]:
    json.loads(open(path, "rb").read())
open(sys.argv[1], "w").write("x" * 400_000)
"""


def write_project(folder: Path) -> Path:
    """Write a project of marts whose columns are all documented; one in four has a row policy."""
    project = folder / "include" / "dbt"
    (project / "models").mkdir(parents=True)
    (project / "dbt_project.yml").write_text(PROJECT)
    (project / "profiles.yml").write_text(PROFILE)
    models = []
    for number in range(MARTS):
        columns = ", ".join(f"cast({column} as bigint) as c{column}" for column in range(COLUMNS))
        (project / "models" / f"mrt_{number:03}.sql").write_text(f"select {columns}")
        described = [{"name": f"c{column}", "description": f"Number {column}."} for column in range(COLUMNS)]
        policy = {"api_policy": "c0 = (current_setting('request.jwt.claims', true)::json ->> 'sub')::bigint"}
        meta = policy if number % 4 == 0 else {}
        models.append(
            {"name": f"mrt_{number:03}", "description": "A mart.", "config": {"meta": meta}, "columns": described}
        )
    (project / "models" / "marts.yml").write_text(json.dumps({"models": models}))
    return project


def both(work: Callable[[], object]) -> tuple[float, float]:
    """Return CPU seconds of this process, and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(folder: Path, repeat: int) -> dict[str, tuple[float, float]]:
    """Return CPU and wall seconds of each step."""
    project, home = write_project(folder), folder / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    environment["PHLO_HOME"] = str(home)

    def run(*command: str) -> None:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

    def median(*command: str) -> tuple[float, float]:
        found = [cpu_of_children(lambda: run(*command)) for _ in range(repeat)]
        return statistics.median(cpu for cpu, _ in found), statistics.median(wall for _, wall in found)

    phlo = (str(Path(sys.executable).parent / "phlo"), "api", "generate-views")
    first = cpu_of_children(lambda: run(*phlo))
    parsed = Project(project, home)
    manifest, compiled = ensure_manifest(parsed), parsed.folder / COMPILED
    compiled_sql(parsed)
    limit = (sys.executable, "-c", _READS, str(folder / "out"), str(manifest), str(compiled))
    found = {
        "generate-views, first (dbt parses and compiles)": first,
        "generate-views, again": median(*phlo),
        "a process that reads manifest and SQL, and writes": median(*limit),
    }
    known = read_manifest(manifest)
    served = read_served([known], ["mrt_*"])
    try:
        with psycopg.connect(allow_roles(home).uri, autocommit=True) as connection:
            return found | _applied(connection, served, names_of([known]))
    finally:
        stop_postgres(home)


def _applied(connection: psycopg.Connection, served: Served, names: dict[str, str]) -> dict[str, tuple[float, float]]:
    connection.execute("CREATE SCHEMA marts")
    columns = ", ".join(f"c{column} bigint" for column in range(COLUMNS))
    for mart in served.marts:
        connection.execute(f"CREATE TABLE marts.{quote_identifier(mart.table)} ({columns})")
    script = views_sql(served, Target(), "")
    alone = both(lambda: connection.execute(script))
    connection.execute("DROP SCHEMA api CASCADE")
    return {
        "apply, all new": both(lambda: apply_served(connection, served, Target(), names)),
        "the statements of views.sql alone": alone,
        "apply, nothing differs": both(lambda: apply_served(connection, served, Target(), names)),
    }


def table(found: dict[str, tuple[float, float]]) -> str:
    """Return Markdown."""
    lines = [f"| {name} | {cpu:.2f} | {wall:.2f} |" for name, (cpu, wall) in found.items()]
    return "\n".join([f"| {MARTS} marts of {COLUMNS} columns | CPU s | s |", "|---|--:|--:|", *lines])


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the results in docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.api", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="phlo-api-") as folder:
        found = measure(Path(folder), arguments.repeat)
    print(table(found))
    again, least = (
        found[name][0] for name in ("generate-views, again", "a process that reads manifest and SQL, and writes")
    )
    if arguments.keep:
        about = (
            f"`phlo api generate-views` in a project that has not changed: at most {LIMIT_SECONDS:g} s of CPU for "
            f"{MARTS} marts; {again / least:.1f} times what a process takes that only reads the same files. CPU of the "
            f"process, not of PostgreSQL. Load of the machine meanwhile: {os.getloadavg()[0]:.1f}."
        )
        used = versions("airflow-provider-phlo", "sqlglot", "psycopg")
        write_section("API", "python -m benchmarks.api --keep", f"{about}\n\n{table(found)}", used)
    if again > LIMIT_SECONDS:
        raise SystemExit(f"generate-views takes more than {LIMIT_SECONDS:g} s")


if __name__ == "__main__":
    main()
