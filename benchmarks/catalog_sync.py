"""
What `phlo catalog sync` takes for a catalog that has not changed, and how many requests it makes.

500 tables of 20 columns in the embedded catalog; the server is the one of the tests, on loopback: it answers at once.
First everything is sent, then the command runs again as a process of its own. CPU seconds of the command, as what else
the machine does is not in them.

    python -m benchmarks.catalog_sync [--tables N] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from tests.openmetadata_server import TOKEN, running_openmetadata

LIMIT_SECONDS = 5.0
LIMIT_REQUESTS = 20
COLUMNS = 20


def make_tables(home: Path, tables: int) -> None:
    """Make tables of one row."""
    catalog = open_catalog("phlo", embedded_properties(home))
    ensure_namespace(catalog, "raw")
    row = pa.table({f"c{number}": [1] for number in range(COLUMNS)})
    for number in range(tables):
        catalog.create_table(f"raw.t{number:03}", row.schema).append(row)


def run(environment: dict[str, str]) -> tuple[float, dict[str, Any]]:
    """Run the command once; return its CPU seconds, and what it says."""
    before = os.times()
    done = subprocess.run(
        [str(Path(sys.executable).with_name("phlo")), "catalog", "sync", "--output", "json"],
        env=environment,
        cwd=environment["PHLO_HOME"],
        capture_output=True,
        text=True,
        check=True,
    )
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return seconds, json.loads(done.stdout)


def main() -> None:
    """Measure, and say whether the limits are kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.catalog_sync", description=__doc__)
    parser.add_argument("--tables", type=int, default=500)
    parser.add_argument("--repeat", type=int, default=5)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_openmetadata() as server:
        make_tables(Path(folder), args.tables)
        connection = json.dumps({"conn_type": "http", "password": TOKEN})
        environment = {
            **os.environ,
            "PHLO_HOME": folder,
            "AIRFLOW_HOME": folder,
            "OPENMETADATA_HOST": server.url,
            "AIRFLOW_CONN_OPENMETADATA_DEFAULT": connection,
        }
        first, sent = run(environment)
        again = [run(environment) for _ in range(args.repeat)]
        assert all(said["unchanged"] == args.tables for _, said in again)
        print(f"everything is new: {first:.1f} s, {sent['requests']} requests")
        seconds = statistics.median(taken for taken, _ in again)
        asked = again[0][1]["requests"]
        print(f"nothing has changed: {seconds:.1f} s of {LIMIT_SECONDS:.0f}, {asked} requests of {LIMIT_REQUESTS}")


if __name__ == "__main__":
    main()
