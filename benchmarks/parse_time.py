"""
What parsing a Dag file costs over a bare one: in a fresh interpreter, and in a fork of a process that is warm.

The dag-processor imports what Dag files need once (``[phlo] preload``) and forks one process per file; the fresh
figures are those without that. Importing Cosmos is given apart: it belongs to Cosmos.

    python -m benchmarks.parse_time [--rounds N] [--output table|json]
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
from typing import Any

from benchmarks.report import versions, write_section

ROOT = Path(__file__).resolve().parents[1]
FILES = ("glucose_platform", "github_stats")
LIMIT_MS = 50
BARE = """
from datetime import UTC, datetime

from airflow.sdk import BaseOperator, dag


@dag(schedule="0 6 * * *", start_date=datetime(2020, 1, 1, tzinfo=UTC), catchup=False)
def bare():
    BaseOperator(task_id="one") >> BaseOperator(task_id="two")


bare()
"""
COSMOS = ("cosmos", "cosmos.airflow.task_group", "cosmos.operators.local")


def import_file(path: Path) -> dict[str, float]:
    """Import a Dag file as the dag-processor does, and return the milliseconds it took, waiting included and not."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(f"bench_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    wall, cpu = time.perf_counter(), time.process_time()
    spec.loader.exec_module(module)
    return {"parse": 1000 * (time.perf_counter() - wall), "cpu": 1000 * (time.process_time() - cpu)}


def parse(path: Path) -> dict[str, float]:
    """Return the milliseconds of parsing ``path`` in this process, Cosmos's imports apart."""
    import importlib

    from airflow.sdk import BaseOperator, dag  # noqa: F401  # lazy names, which every Dag file loads

    started = time.perf_counter()
    if path.stem in FILES:
        for name in COSMOS:
            importlib.import_module(name)
    cosmos = time.perf_counter() - started
    return {"cosmos": 1000 * cosmos, **import_file(path)}


def forked(path: Path) -> dict[str, float]:
    """Return the same for a fork of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps(parse(path)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        found = json.loads(answer.read() or b"{}")
    os.waitpid(child, 0)
    return found


def warm_process(paths: Sequence[Path], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Preload as the dag-processor does, then parse every file in forks, in turns."""
    from airflow_provider_phlo.plugins import preload

    class Job:
        """Stands for the dag-processor's job."""

    sys.argv = ["airflow", "dag-processor"]
    preload.on_starting(Job())
    parse(paths[0])  # what Airflow itself loads at the first file
    found: dict[str, list[dict[str, float]]] = {path.stem: [] for path in paths}
    for _ in range(rounds):
        for path in paths:
            found[path.stem].append(forked(path))
    return found


def run(mode: str, arguments: Sequence[str], environment: dict[str, str]) -> Any:
    command = [sys.executable, "-m", "benchmarks.parse_time", "--mode", mode, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def medians(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(sample[name] for sample in samples) for name in ("parse", "cpu", "cosmos")}


def measure(rounds: int) -> dict[str, Any]:
    """Return, for fresh interpreters and warm forks, what each file costs over the bare one."""
    with tempfile.TemporaryDirectory() as folder:
        bare = Path(folder, "bare.py")
        bare.write_text(BARE)
        paths = [bare, *(ROOT / "dags" / f"{name}.py" for name in FILES)]
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")},
            "AIRFLOW_HOME": f"{folder}/airflow",
            "PHLO_HOME": f"{folder}/phlo",
            "PYTHONPATH": str(ROOT),
        }
        run("fresh", [str(paths[1])], environment)  # writes the dbt manifest and compiled files once
        fresh = {
            path.stem: [run("fresh", [str(path)], environment) for _ in range(max(3, rounds // 4))] for path in paths
        }
        warm = run("warm", ["--rounds", str(rounds), *map(str, paths)], environment)
    return {name: over_bare(samples) for name, samples in (("fresh", fresh), ("warm fork", warm))}


def over_bare(samples: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, float]]:
    found = {name: medians(each) for name, each in samples.items()}
    bare = found["bare"]
    return {
        name: {**each, "over_bare": each["parse"] - bare["parse"], "cpu_over_bare": each["cpu"] - bare["cpu"]}
        for name, each in found.items()
    }


def table(report: dict[str, Any]) -> str:
    """Return the report as a Markdown table and a verdict."""
    lines = [
        "| where | Dag file | parse ms | over bare | CPU ms | over bare | Cosmos import ms |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for mode, files in report.items():
        for name, times in files.items():
            numbers = [f"{times[key]:.1f}" for key in ("parse", "over_bare", "cpu", "cpu_over_bare", "cosmos")]
            lines.append(f"| {mode} | {name} | {' | '.join(numbers)} |")
    worst = max(report["warm fork"][name]["over_bare"] for name in FILES)
    verdict = "within" if worst <= LIMIT_MS else "above"
    lines += [
        "",
        f"In the dag-processor (warm fork) a file costs at most {worst:.1f} ms over bare: {verdict} {LIMIT_MS}.",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parse_time", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="forks a file")
    parser.add_argument("--output", choices=("table", "json"), default="table")
    parser.add_argument("--mode", choices=("fresh", "warm"), help=argparse.SUPPRESS)
    parser.add_argument("paths", nargs="*", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    modes: dict[str, Callable[[], Any]] = {
        "fresh": lambda: parse(arguments.paths[0]),
        "warm": lambda: warm_process(arguments.paths, arguments.rounds),
    }
    if arguments.mode:
        print(json.dumps(modes[arguments.mode]()))
        return
    report = measure(arguments.rounds)
    print(json.dumps(report, indent=2) if arguments.output == "json" else table(report))
    used = versions("apache-airflow", "astronomer-cosmos")
    write_section("Parsing a Dag file", "python -m benchmarks.parse_time", table(report), used)


if __name__ == "__main__":
    main()
