"""
Loading batches of events into DuckDB, and scanning a folder that is loaded already.

``load`` is the product. ``read_json`` is DuckDB's own: for each file one transaction with ``INSERT … SELECT … FROM
read_ndjson_objects`` into the same table, with the same columns, indexes and deduplication. ``read_json at once`` is
one such statement for all files, which no file can fail alone. ``line by line`` parses each line with ``json`` and
inserts it by a statement of its own, one transaction per file; it is measured over a part and scaled up.

``rescan`` is a load with ``verify`` of files that are loaded, beside reading and hashing them.

Wall time and CPU time of the process; each way into a fresh file, in turn, ``--repeat`` times; medians.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import duckdb

from airflow_provider_phlo.events.loading import load_events, target
from benchmarks.report import versions
from benchmarks.staging import events

_READ = """
    INSERT INTO events SELECT DISTINCT ON (event_id) * FROM (
        SELECT json->>'$.id' AS event_id, json->>'$.type', CAST(json->>'$.created_at' AS TIMESTAMPTZ),
            CAST(json->>'$.ingested_at' AS TIMESTAMPTZ), CAST(json->>'$.actor.id' AS BIGINT), json->>'$.actor.login',
            CAST(json->>'$.repo.id' AS BIGINT), json->>'$.repo.name', json->'$.payload', json, filename, now()
        FROM read_ndjson_objects(?, filename = true)
    ) ON CONFLICT DO NOTHING
"""
_LINE = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, now()) ON CONFLICT DO NOTHING"
_PART = 3_000

Way = Callable[[Path, Path], float]


def write_files(folder: Path, count: int, per_file: int) -> None:
    """Write ``count`` events in files of ``per_file``."""
    folder.mkdir(parents=True)
    block = events(min(count, 20_000))
    lines = [json.dumps({**event, "ingested_at": "2024-01-15T10:00:00Z"}, separators=(",", ":")) for event in block]
    # ids of their own, or all blocks but the first would be repeats
    parts = [line.partition(f'"id":"{event["id"]}"') for line, event in zip(lines, block, strict=True)]
    for first in range(0, count, per_file):
        name = f"events_20240115_100000_batch_{first // per_file:06d}.jsonl"
        with (folder / name).open("w") as out:
            for number in range(first, min(first + per_file, count)):
                before, _, after = parts[number % len(parts)]
                out.write(f'{before}"id":"{30_000_000_000 + number}"{after}\n')


def load(folder: Path, database: Path) -> float:
    """Load as the product does; return by what to multiply the time."""
    load_events(folder, database)
    return 1.0


def read_json(folder: Path, database: Path) -> float:
    """Load file by file with DuckDB's own reader."""
    with _fresh(database) as connection:
        for path in sorted(folder.iterdir()):
            connection.execute(_READ, [str(path)])
    return 1.0


def read_json_at_once(folder: Path, database: Path) -> float:
    """Load all files by one statement."""
    with _fresh(database) as connection:
        connection.execute(_READ, [sorted(map(str, folder.iterdir()))])
    return 1.0


def line_by_line(folder: Path, database: Path) -> float:
    """Load some thousand events by a statement each; return how many times more there are."""
    paths, done = sorted(folder.iterdir()), 0
    total = sum(len(path.read_bytes().splitlines()) for path in paths)
    with _fresh(database) as connection:
        for path in paths:
            connection.begin()
            for line in path.read_text().splitlines()[: _PART - done]:
                event = json.loads(line)
                actor, repo = event["actor"], event["repo"]
                values = [event["id"], event["type"], event["created_at"], event["ingested_at"], actor["id"]]
                values += [actor["login"], repo["id"], repo["name"], json.dumps(event["payload"]), line, str(path)]
                connection.execute(_LINE, values)
                done += 1
            connection.commit()
            if done >= _PART:
                break
    return total / done


def read_and_hash(folder: Path, database: Path) -> float:
    """Read all files and hash them."""
    for path in sorted(folder.iterdir()):
        hashlib.sha256(path.read_bytes()).hexdigest()
    return 1.0


def rescan(folder: Path, database: Path) -> float:
    """Load what is loaded, and hash all of it."""
    assert load_events(folder, database, verify=True).loaded_files == 0
    return 1.0


def scan_by_time(folder: Path, database: Path) -> float:
    """Load what is loaded, as each run does it: by size and time of change."""
    assert load_events(folder, database).loaded_files == 0
    return 1.0


def measure(ways: dict[str, Way], folder: Path, database: Path, repeat: int, *, fresh: bool) -> None:
    """Run each way ``repeat`` times in turn; print the medians of wall and CPU time, and both by those of the first."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(repeat):
        for name, way in ways.items():
            if fresh:
                shutil.rmtree(database.parent, ignore_errors=True)
                database.parent.mkdir(parents=True)
            wall, cpu = time.perf_counter(), time.process_time()
            factor = way(folder, database)
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            seconds[name].append((factor * wall, factor * cpu))
    medians = {
        name: [statistics.median(column) for column in zip(*found, strict=True)] for name, found in seconds.items()
    }
    (_, (wall, cpu)), *_ = medians.items()
    for name, (own_wall, own_cpu) in medians.items():
        ratios = f"{own_wall / wall:.2f} | {own_cpu / cpu:.2f}"
        print(f"| {folder.name} | {name} | {own_wall:.2f} | {own_cpu:.2f} | {ratios} |", flush=True)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000, help="of the rescan")
    parser.add_argument("--per-file", type=int, nargs="*", default=[10_000, 150])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    options = parser.parse_args()
    target()
    print(f"{versions('duckdb', 'pyarrow', 'msgspec')}, load {os.getloadavg()[0]:.1f}")
    print("| files | way | s | CPU s | of the first | CPU of the first |\n|---|---|--:|--:|--:|--:|")
    loads: dict[str, Way] = {
        "read_json": read_json,
        "load": load,
        "read_json at once": read_json_at_once,
        "line by line": line_by_line,
    }
    scans: dict[str, Way] = {"read and hash": read_and_hash, "rescan": rescan, "scan by time": scan_by_time}
    with tempfile.TemporaryDirectory(dir=options.folder) as root:
        database = Path(root) / "db" / "events.duckdb"
        for per_file in options.per_file:
            folder = Path(root) / f"{options.events} in {per_file}"
            write_files(folder, options.events, per_file)
            measure(loads, folder, database, options.repeat, fresh=True)
            shutil.rmtree(folder)
        folder = Path(root) / f"{options.files} files"
        write_files(folder, options.files * 150, 150)
        for path in folder.iterdir():  # what has changed just now would be hashed by every scan
            os.utime(path, (1_700_000_000, 1_700_000_000))
        shutil.rmtree(database.parent)
        load_events(folder, database)
        measure(scans, folder, database, options.repeat, fresh=False)


def _fresh(database: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(database)
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(target().schema)
    return connection


if __name__ == "__main__":
    main()
