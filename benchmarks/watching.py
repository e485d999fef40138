"""
What a round of the watcher costs: 200 tables with thirty runs each, and a contract for every second one.

The first round reads every table, later ones only what has changed: nothing, or ten tables that have published since.
Seconds on the clock and of CPU (of the process), and how much memory 50 rounds add.

    python -m benchmarks.watching [--tables N] [--rounds N] [--output table|json] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.results import LandedBatch
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.quality.freshness import FreshnessPolicy, TablePolicy
from airflow_provider_phlo.watching.reading import FactsCache
from airflow_provider_phlo.watching.round import RoundResult, watch
from benchmarks.report import versions, write_section

RUNS = 30
CHANGED = 10
LIMIT_SECONDS = 2.0
_POLICY = TablePolicy(FreshnessPolicy(24, 48, "0 6 * * 1-5", "Europe/Berlin"), "bench", "team", ("bench",))
_CONTRACT = """\
name: contract_{number}
version: 1.0.0
owner: team
table: raw.t{number}
schema:
  required_columns:
    - {{name: k, type: int}}
sla: {{freshness_hours: 72, quality_threshold: 0.99}}
consumers: [{{name: readers, usage: reports}}]
"""


def publish(catalog: Catalog, folder: Path, table: str, number: int) -> None:
    """Publish one run of ten rows into a table, of the day that is as many days ago as runs come after it."""
    day = str(datetime.now(UTC).date() - timedelta(days=max(RUNS - number, 1)))
    records = [{"k": 10 * number + each, "v": 1.0} for each in range(10)]
    batch = stage(
        lambda: iter(records),
        StagingPlan(table, key=("k",), strict=False),
        root=folder / "staging",
        token=f"run{number}",
        partition_date=day,
        run_id=f"scheduled__{number}",
        pipelines_dir=folder / "dlt",
    )
    assert batch is not None
    definition = TableDefinition(table, MergePlan(key=("k",)))
    landed = landing.land(catalog, folder / "staging", batch, definition)
    assert isinstance(landed, LandedBatch)
    publication.publish(catalog, folder / "staging", landed, definition, lambda branch: None, policy=_POLICY)


def fill(catalog: Catalog, folder: Path, tables: int) -> None:
    """Make a table by runs, and others that are its copies but for their names and places."""
    for number in range(RUNS):
        publish(catalog, folder, "raw.t0", number)
    first = catalog.load_table("raw.t0")
    content = orjson.loads(Path(first.metadata_location.removeprefix("file://")).read_bytes())
    contracts = folder / "include" / "contracts"
    contracts.mkdir(parents=True)
    for number in range(tables):
        if number:
            location = f"{content['location']}_{number}"
            path = Path(location.removeprefix("file://")) / "metadata" / f"00000-{uuid.uuid4()}.metadata.json"
            path.parent.mkdir(parents=True)
            path.write_bytes(orjson.dumps({**content, "table-uuid": str(uuid.uuid4()), "location": location}))
            catalog.register_table(f"raw.t{number}", f"file://{path}")
        if number % 2:
            (contracts / f"contract_{number}.yaml").write_text(_CONTRACT.format(number=number))


def measure(tables: int, rounds: int) -> dict[str, Any]:
    """Return seconds and bytes."""
    with tempfile.TemporaryDirectory(prefix="phlo-watching-") as place:
        folder = Path(place)
        catalog = open_catalog("phlo", embedded_properties(folder))
        fill(catalog, folder, tables)
        known = FactsCache()

        def look() -> RoundResult:
            return watch(catalog, folder, datetime.now(UTC), known=known)

        first = _measured(look)
        later = [_measured(look) for _ in range(rounds)]
        for number in range(CHANGED):
            publish(catalog, folder, f"raw.t{number}", RUNS)
        return {
            "tables": tables,
            "first": first,
            "later": _median(later),
            "changed": _measured(look),
            "memory_growth": later[-1]["memory"] - later[0]["memory"],
            "load": os.getloadavg()[0],
        }


def _measured(look: Callable[[], RoundResult]) -> dict[str, float]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = look()
    assert not result.unknown, [verdict.message for verdict in result.unknown][:3]
    assert not result.problems, result.problems
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu, "memory": _memory()}


def _median(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def _memory() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def table(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    names = {"first": "the first round", "later": "later rounds (median)", "changed": f"{CHANGED} tables have changed"}
    lines = [f"| {found['tables']} tables | seconds | CPU seconds | memory, MB |", "|---|--:|--:|--:|"]
    for name, label in names.items():
        each = found[name]
        lines.append(f"| {label} | {each['wall']:.2f} | {each['cpu']:.2f} | {each['memory'] / 2**20:.0f} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, and keep the results in docs/benchmarks.md."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watching", description=__doc__)
    parser.add_argument("--tables", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--keep", action="store_true", help="write docs/benchmarks.md")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    arguments = parser.parse_args(argv)
    found = measure(arguments.tables, arguments.rounds)
    print(json.dumps(found) if arguments.output == "json" else table(found))
    if arguments.keep:
        about = (
            f"{arguments.tables} tables of {RUNS} runs each in the embedded catalog, a contract with service levels "
            f"for every second one; asked is a round of at most {LIMIT_SECONDS:g} s. {arguments.rounds} rounds added "
            f"{found['memory_growth'] / 2**20:.1f} MB. Load of the machine meanwhile: {found['load']:.1f}."
        )
        used = versions("airflow-provider-phlo", "pyiceberg")
        write_section("Watching", "python -m benchmarks.watching --keep", f"{about}\n\n{table(found)}", used)
    if found["later"]["cpu"] > LIMIT_SECONDS:
        raise SystemExit(f"a round takes more than {LIMIT_SECONDS:g} s")


if __name__ == "__main__":
    main()
