"""
How long ``GET /top-repos`` takes beside the bare SQL on the loader's own table.

Both count the same events, all of the last seven days. The bare SQL is what one would write, on an open database. CPU
seconds are those of both sides of the connection, and do not depend on what else the machine does.

    python -m benchmarks.events_api [--events N] [--repeat N]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from importlib import resources
from pathlib import Path
from typing import Any

import duckdb
import httpx

from airflow_provider_phlo.events.published import publish
from airflow_provider_phlo.ui.alone import create_alone_app
from benchmarks.measuring import medians
from tests.unit.ui.serving import serving

# a few repositories have most of the events
EVENTS = """
INSERT INTO events (event_id, event_type, created_at, actor_id, actor_login, repo_id, repo_name, source_file, loaded_at)
SELECT
    40000000000 + i,
    ['PushEvent', 'WatchEvent', 'IssuesEvent', 'PullRequestEvent'][1 + i * 7919 % 4],
    now() - INTERVAL 6 DAYS + to_microseconds((i * 518400000000 // $count)::BIGINT),
    hash(i) % 400000,
    'user' || hash(i) % 400000,
    floor(power(hash(i * 5) % 1000000 / 1e6, 3) * 300000),
    'org/repo' || floor(power(hash(i * 5) % 1000000 / 1e6, 3) * 300000)::BIGINT,
    'events.jsonl',
    now()
FROM range($count) rows (i)
"""
BARE = """
SELECT
    repo_name, count(*) AS total_events, count(DISTINCT actor_id) AS unique_users,
    count(*) FILTER (event_type = 'PushEvent') AS push_events, min(created_at), max(created_at), now()
FROM events WHERE created_at >= now() - INTERVAL 7 DAYS
GROUP BY repo_name ORDER BY total_events DESC, repo_name LIMIT 10
"""


def main() -> None:
    """Print the medians as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        print(json.dumps(measure(Path(place), arguments.events, arguments.repeat), indent=2))


def measure(place: Path, events: int, repeat: int) -> dict[str, Any]:
    """
    Return the seconds of each way, and how many times the bare SQL the API takes.

    :param place: an empty folder.
    """
    with duckdb.connect(place / "events.duckdb") as connection:
        connection.execute("SET TimeZone = 'UTC'; SET memory_limit = '4GB'")
        # without key and indexes, which take minutes to fill and no part in either way
        schema = resources.files("airflow_provider_phlo.events").joinpath("sql", "schema.sql").read_text()
        table = schema[schema.index("CREATE TABLE") :].partition(";")[0]
        connection.execute(table.replace(" PRIMARY KEY", ""))
        connection.execute(EVENTS, {"count": events})
        publish(connection, place / "published")
        app = create_alone_app(lambda: place / "published", host="127.0.0.1", token=None, airflow=None)
        with serving(app) as url, httpx.Client(timeout=300) as client:
            answers: dict[str, list[Any]] = {}

            def bare() -> None:
                answers["bare SQL"] = [row[:4] for row in connection.execute(BARE).fetchall()]

            def api() -> None:
                rows = client.get(f"{url}/top-repos").raise_for_status().json()
                answers["GET /top-repos"] = [tuple(row.values())[:4] for row in rows]

            ways = {"bare SQL": bare, "GET /top-repos": api}
            wall = medians({name: _clock(way, time.perf_counter) for name, way in ways.items()}, repeat)
            cpu = medians({name: _clock(way, time.process_time) for name, way in ways.items()}, repeat)
    assert answers["bare SQL"] == answers["GET /top-repos"]
    ratio = {
        name: round(found["GET /top-repos"] / found["bare SQL"], 2) for name, found in (("wall", wall), ("cpu", cpu))
    }
    return {"events": events, "wall seconds": wall, "cpu seconds": cpu, "times the bare SQL": ratio}


def _clock(way: Any, clock: Any) -> Any:
    def run() -> float:
        started = clock()
        way()
        return float(clock() - started)

    return run


if __name__ == "__main__":
    main()
