"""
How long a command of ``phlo`` takes from start to end, beside Python's own start and Airflow's command line.

Each is a process of its own, in turn, ``--rounds`` times, in a home with an empty embedded catalog. Medians of wall
and CPU seconds. What plugins are installed is looked for when help is asked for, or a command that is not phlo's own.

    python -m benchmarks.cli [--rounds N] [--keep]
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.services.environment import embedded
from benchmarks.report import versions, write_section

BIN = Path(sys.executable).parent
# what a shell says to a program of argcomplete's when the tab key is pressed
_TAB = ("_ARGCOMPLETE=1", "_ARGCOMPLETE_STDOUT_FILENAME=/dev/null", "COMP_LINE=phlo ", "COMP_POINT=5", "COMP_TYPE=9")
# what was asked for, in seconds; None for what is beside it
COMMANDS: dict[str, tuple[list[str], float | None]] = {
    "python -c pass": ([sys.executable, "-c", "pass"], None),
    "phlo --help": ([str(BIN / "phlo"), "--help"], 0.25),
    "phlo --help, 300 packages more": ([str(BIN / "phlo"), "--help"], 0.25),
    "phlo <tab>": (["env", *_TAB, str(BIN / "phlo")], 0.3),
    'phlo query "select 1"': ([str(BIN / "phlo"), "query", "select 1"], 1.2),
    "phlo services status": ([str(BIN / "phlo"), "services", "status"], 1.0),
    "airflow version": ([str(BIN / "airflow"), "version"], None),
}


def main() -> None:
    """Measure, print, and with ``--keep`` write the section of the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "phlo.yaml").write_text("name: measured\n")
        environment = project(root)
        many = packages(root / "site")
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
        for _ in range(options.rounds):
            for name, (command, _) in COMMANDS.items():
                more = {"PYTHONPATH": str(many)} if name.endswith("more") else {}
                times[name].append(run(command, root, {**environment, **more}))
    lines = ["| command | wall, s | CPU, s | asked, s |", "|---|--:|--:|--:|"]
    for name, found in times.items():
        wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
        asked = COMMANDS[name][1]
        lines.append(f"| `{name}` | {wall:.2f} | {cpu:.2f} | {'' if asked is None else f'{asked:.2f}'} |")
    body = "\n".join(lines)
    print(body)
    if options.keep:
        write_section(
            "The command line", "python -m benchmarks.cli --keep", body, versions("apache-airflow", "pyiceberg")
        )


def project(root: Path) -> dict[str, str]:
    """Return the variables of a shell in a project whose catalog and Airflow are there, and empty."""
    home = root / ".phlo"
    embedded.prepare(home)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PHLO"))}
    embedded.migrate(home, {**inherited, **embedded.airflow_environment(home, root)})
    open_catalog("phlo", embedded_properties(home)).create_namespace("raw")
    return {**inherited, "PHLO_HOME": str(home)}


def packages(folder: Path) -> Path:
    """Return a folder with 300 installed packages that have entry points, and one that brings a plugin."""
    for number in range(300):
        metadata = folder / f"package_{number}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.4\nName: package-{number}\nVersion: 1.0\n")
        group = "phlo.commands" if number == 0 else "console_scripts"
        (metadata / "entry_points.txt").write_text(f"[{group}]\ncommand{number} = package_{number}:main\n")
    return folder


def run(command: list[str], root: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Return wall and CPU seconds of a command."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    )
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
