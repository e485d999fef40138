"""
What it costs to keep contracts: one with 20 rules over an Iceberg table, and 100 small ones.

``python benchmarks/contracts.py`` measures beside datacontract-cli, which gets an environment of its own, the same
contract and the same files; ``--rows 100000`` tries it out, ``--without-peer`` leaves datacontract-cli out.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import pyarrow as pa

from airflow_provider_phlo.contracts import read_contract
from airflow_provider_phlo.contracts.enforcement import check_contract
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.quality import (
    CountCheck,
    CustomSQLCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    RangeCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.scan import run_checks
from benchmarks.checks import TABLE, create, files
from benchmarks.cli import project
from benchmarks.report import versions, write_section

TITLE = "Contracts"
PEER = "datacontract-cli[duckdb]==1.2.0"
PEER_LIMIT, SCAN_LIMIT, MANY_LIMIT = 0.5, 1.2, 5.0
MANY = 100

CONTRACT = """
apiVersion: v3.1.0
kind: DataContract
id: readings
name: readings
version: 1.0.0
status: active
team: [{{username: ada, role: Owner}}]
servers:
  - {{server: local, type: local, format: parquet, path: "{path}"}}
schema:
  - name: readings
    physicalName: {table}
    quality:
      - {{metric: rowCount, mustBeGreaterThan: 0}}
      - {{metric: duplicateValues, mustBe: 0, arguments: {{properties: [device, number]}}}}
      - {{type: sql, query: "SELECT count(*) FROM ${{table}} WHERE value > 10000", mustBe: 0}}
      - {{type: sql, query: "SELECT avg(score) FROM ${{table}}", mustBeBetween: [-1, 1]}}
      - {{type: sql, query: "SELECT max(number) FROM ${{table}} WHERE flag", mustBeLessThan: 1000000000}}
    properties:
      - {{name: id, logicalType: integer, required: true, unique: true}}
      - name: device
        logicalType: string
        required: true
        logicalTypeOptions: {{pattern: "^device-[0-9]+$", minLength: 8, maxLength: 10}}
      - {{name: number, logicalType: integer, required: true, logicalTypeOptions: {{minimum: 0}}}}
      - name: value
        logicalType: number
        logicalTypeOptions: {{minimum: -10000, maximum: 10000}}
        quality: [{{metric: nullValues, mustBeLessThan: 1, unit: percent}}]
      - {{name: score, logicalType: number, required: true, logicalTypeOptions: {{minimum: -50, maximum: 50}}}}
      - name: kind
        logicalType: string
        quality:
          - metric: invalidValues
            mustBe: 0
            arguments: {{validValues: [alpha, beta, gamma, delta]}}
          - {{metric: missingValues, mustBe: 0, arguments: {{missingValues: ["", n/a]}}}}
      - {{name: note, logicalType: string, required: true}}
      - {{name: taken_at, logicalType: timestamp, required: true}}
      - {{name: flag, logicalType: boolean}}
"""
# the same as checks of our own, which is what the contract is not to be much slower than
SAME: tuple[QualityCheck, ...] = (
    CountCheck(min_count=1),
    UniqueCheck(["device", "number"]),
    RangeCheck("value", max_value=10000, name="value below"),
    CustomSQLCheck(f"SELECT 1 FROM (SELECT avg(score) AS a FROM {TABLE}) WHERE NOT a BETWEEN -1 AND 1"),
    CustomSQLCheck(f"SELECT 1 FROM (SELECT max(number) AS a FROM {TABLE} WHERE flag) WHERE a >= 1000000000"),
    *(NullCheck(name) for name in ("id", "device", "number", "score", "note", "taken_at", "value", "kind")),
    UniqueCheck("id"),
    PatternCheck("device", "^device-[0-9]+$"),
    PatternCheck("device", "^.{8,10}$", name="device length"),
    RangeCheck("number", 0),
    RangeCheck("value", -10000, 10000),
    RangeCheck("score", -50, 50),
    PatternCheck("kind", "^(alpha|beta|gamma|delta)$"),
)


def used() -> float:
    """Return the seconds of CPU that this process and those that it waited for have taken."""
    whose = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in whose)


def costs(way: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds of the clock and of the CPU that a way takes."""
    started, before = time.perf_counter(), used()
    way()
    return time.perf_counter() - started, used() - before


def ours(catalog: Any, file: Path) -> None:
    report = check_contract(catalog, read_contract(file))
    assert report.passed, report.breaches


def scan(catalog: Any) -> None:
    results = run_checks(catalog, TABLE, list(SAME))
    assert all(result.passed for result in results), [each for each in results if not each.passed]


def command(python: Path, *arguments: str, folder: Path, environment: dict[str, str] | None = None) -> None:
    """Run a program of an environment, as people do."""
    called = [str(python.with_name(arguments[0])), *arguments[1:]]
    done = subprocess.run(called, cwd=folder, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def peer_environment(home: Path) -> Path:
    """Return the Python of an environment with datacontract-cli."""
    uv, environment = Path(sys.executable).with_name("uv"), home / "peer"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, environment], check=True)
    subprocess.run([uv, "pip", "install", "--quiet", "--python", environment / "bin" / "python", PEER], check=True)
    return environment / "bin" / "python"


def twenty_rules(home: Path, rows: int, repeat: int, *, peer: bool) -> dict[str, Any]:
    """Return what one contract costs over a table of this many rows, by each way."""
    environment = project(home)
    catalog = create(home / ".phlo", rows)
    (folder,) = {str(Path(path).parent) for path in files(catalog)}
    contract = home / "contract.yaml"
    contract.write_text(CONTRACT.format(path=f"{folder}/*.parquet", table=TABLE))
    peers = home / "peer.yaml"  # which knows the table by its logical name
    peers.write_text(CONTRACT.format(path=f"{folder}/*.parquet", table="readings"))
    python = Path(sys.executable)
    ways: dict[str, Callable[[], None]] = {
        "in this process": partial(ours, catalog, contract),
        "the same checks by our own scan": partial(scan, catalog),
        "phlo contract check": partial(
            command,
            *(python, "phlo", "contract", "check", str(contract)),
            folder=home,
            environment=environment,
        ),
    }
    if peer:
        ways["datacontract test"] = partial(
            command, peer_environment(home), "datacontract", "test", str(peers), folder=home
        )
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(repeat + 1):
        for name, way in ways.items():
            found = costs(way)
            if turn:
                taken[name].append(found)
    return {
        name: {kind: statistics.median(each[place] for each in seconds) for place, kind in enumerate(("clock", "cpu"))}
        for name, seconds in taken.items()
    }


def many(home: Path, repeat: int) -> dict[str, Any]:
    """Return what the check of many small contracts costs, as a command."""
    from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace

    environment = project(home)
    catalog = open_catalog("phlo", embedded_properties(home / ".phlo"))
    ensure_namespace(catalog, "raw")
    contracts = home / "include" / "contracts"
    contracts.mkdir(parents=True)
    rows = pa.table({"id": [str(number) for number in range(1000)], "value": list(range(1000))})
    for number in range(MANY):
        name = f"small_{number:03}"
        catalog.create_table(f"raw.{name}", rows.schema).append(rows)
        (contracts / f"{name}.yaml").write_text(
            f"{{name: {name}, version: 1.0.0, owner: ada, table: raw.{name}, sla: {{freshness_hours: 24}}, schema: "
            "{required_columns: [{name: id, constraints: {required: true, unique: true}}, "
            "{name: value, type: long, constraints: {min: 0, max: 1000}}]}}"
        )
    way = partial(
        command,
        *(Path(sys.executable), "phlo", "contract", "check", "--sla"),
        folder=home,
        environment=environment,
    )
    taken = [costs(way) for _ in range(repeat + 1)][1:]
    return {kind: statistics.median(each[place] for each in taken) for place, kind in enumerate(("clock", "cpu"))}


def table(found: dict[str, Any], small: dict[str, Any]) -> str:
    """Return the figures as Markdown, with the ratios that are asked for."""
    lines = ["| 20 rules | seconds | CPU seconds |", "|---|---|---|"]
    lines += [f"| {name} | {each['clock']:.2f} | {each['cpu']:.2f} |" for name, each in found.items()]
    inside, same = found["in this process"], found["the same checks by our own scan"]
    said = [f"{inside['clock'] / same['clock']:.2f}x our own scan of the same checks ({SCAN_LIMIT}x asked)"]
    if "datacontract test" in found:
        share = found["phlo contract check"]["clock"] / found["datacontract test"]["clock"]
        said.append(f"`phlo contract check` takes {share:.2f}x `datacontract test` ({PEER_LIMIT}x asked)")
    said.append(
        f"{MANY} contracts of small tables: {small['clock']:.2f} s, {small['cpu']:.2f} s of CPU ({MANY_LIMIT:g} s "
        "asked)"
    )
    return "\n".join(lines) + "\n\n" + "; ".join(said) + "."


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without-peer", action="store_true", help="leave datacontract-cli out")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--keep", action="store_true", help="write the results to docs/benchmarks.md")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        found = twenty_rules(Path(one), arguments.rows, arguments.repeat, peer=not arguments.without_peer)
        small = many(Path(other), arguments.repeat)
    load = os.getloadavg()[0]
    about = f"{arguments.rows:,} rows, median of {arguments.repeat}, load average {load:.1f}; {PEER}."
    if arguments.output == "json":
        print(json.dumps({"rows": arguments.rows, "load": load, "figures": found, "many": small}, indent=2))
    else:
        print(f"{about}\n\n{table(found, small)}")
    if arguments.keep:
        written = versions("duckdb", "pyiceberg", "pyarrow")
        write_section(TITLE, "python benchmarks/contracts.py --keep", f"{about}\n\n{table(found, small)}", written)


if __name__ == "__main__":
    main()
