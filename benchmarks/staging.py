"""
Staging GitHub-like records: how many a second, against plain dlt in the same process.

Nested event records (actor, repository, payload) go through a dlt resource in pages of 100 into staged Parquet, with
the metadata columns, the row hash and the validation of ``include.schemas.github.UserEvents``. Plain dlt is
``dlt.pipeline(…, destination="filesystem").run(resource)`` with everything at its default: jsonl, child tables, no
validation, no hash. Each way runs ``--repeat`` times in turn with the others, after one run that warms it up; the
medians count.
"""

from __future__ import annotations

import argparse
import datetime
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa

from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.row_hash import canonical_json
from airflow_provider_phlo.schemas.columns import model_columns
from benchmarks.report import versions, write_section
from include.schemas.github import UserEvents

PAGE = 100
PLAN = StagingPlan("raw.user_events", key=("id",), declared=model_columns(UserEvents), identity=("_phlo_row_hash",))
BASELINE = "plain dlt, default (jsonl)"
RECORDS = "records through a dlt resource"
ARROW = "Arrow tables of 1,000 rows, JSON text"
NESTED = "Arrow table, nested columns"
WAYS = (BASELINE, RECORDS, ARROW, NESTED)


def events(count: int) -> list[dict[str, Any]]:
    """Return ``count`` push events as GitHub's API writes them, the same every time."""
    numbers = random.Random(7)
    start = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    return [event(number, start + datetime.timedelta(seconds=number), numbers) for number in range(count)]


def event(number: int, at: datetime.datetime, numbers: random.Random) -> dict[str, Any]:
    """Return one push event with one to three commits."""
    user, repository = f"user{number % 500}", f"org/repo{number % 900}"
    api = "https://api.github.com"
    commits = [
        {
            "sha": f"{numbers.getrandbits(160):040x}",
            "author": {"email": f"{user}@example.org", "name": user},
            "message": f"Change {number}.{part}",
            "distinct": True,
            "url": f"{api}/repos/{repository}/commits/{number}",
        }
        for part in range(numbers.randint(1, 3))
    ]
    return {
        "id": str(30_000_000_000 + number),
        "type": "PushEvent",
        "actor": {
            "id": number % 500,
            "login": user,
            "display_login": user,
            "gravatar_id": "",
            "url": f"{api}/users/{user}",
            "avatar_url": f"https://avatars.githubusercontent.com/u/{number % 500}?",
        },
        "repo": {"id": number % 900, "name": repository, "url": f"{api}/repos/{repository}"},
        "payload": {
            "repository_id": number % 900,
            "push_id": number,
            "size": len(commits),
            "distinct_size": len(commits),
            "ref": "refs/heads/main",
            "head": commits[-1]["sha"],
            "before": commits[0]["sha"],
            "commits": commits,
        },
        "public": True,
        "created_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def resource(records: list[dict[str, Any]]) -> Any:
    """Return a dlt resource that yields ``records`` page by page."""

    @dlt.resource(name="user_events")  # type: ignore[untyped-decorator]
    def pages() -> Iterator[Any]:
        for start in range(0, len(records), PAGE):
            yield records[start : start + PAGE]

    return pages


def staged(source: Callable[[], Any]) -> Callable[[Path], None]:
    """Return a function that stages ``source`` below a folder."""

    def run(folder: Path) -> None:
        stage(
            source,
            PLAN,
            root=folder / "staging",
            token="t",
            partition_date="2024-01-15",
            run_id="r",
            pipelines_dir=folder / "dlt",
        )

    return run


def plain(records: list[dict[str, Any]]) -> Callable[[Path], None]:
    """Return a function that loads ``records`` with dlt alone."""

    def run(folder: Path) -> None:
        destination = dlt.destinations.filesystem(bucket_url=(folder / "out").as_uri())
        pipeline = dlt.pipeline("plain", destination=destination, dataset_name="raw", pipelines_dir=str(folder / "dlt"))
        pipeline.run(resource(records))

    return run


def ways(count: int) -> dict[str, Callable[[Path], None]]:
    """Return what is measured, by name."""
    records = events(count)
    text = [{name: canonical_json(x) if isinstance(x, dict) else x for name, x in record.items()} for record in records]
    flat, nested = pa.Table.from_pylist(text), pa.Table.from_pylist(records)
    return {
        BASELINE: plain(records),
        RECORDS: staged(lambda: resource(records)),
        ARROW: staged(lambda: (flat.slice(start, 1000) for start in range(0, count, 1000))),
        NESTED: staged(lambda: nested),
    }


def seconds(run: Callable[[Path], None]) -> float:
    """Return how long ``run`` takes in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="phlo-staging-") as folder:
        started = time.perf_counter()
        run(Path(folder))
        return time.perf_counter() - started


def measure(count: int, repeat: int) -> dict[str, Any]:
    """Return records a second of every way, and its ratio to plain dlt."""
    for run in ways(100).values():
        seconds(run)
    measured = ways(count)
    times: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(repeat):
        for name in WAYS:
            times[name].append(seconds(measured[name]))
    rates = {name: count / statistics.median(values) for name, values in times.items()}
    return {
        "records": count,
        "repeat": repeat,
        "records_per_second": {name: round(rate) for name, rate in rates.items()},
        "ratio_to_plain_dlt": {name: round(rate / rates[BASELINE], 1) for name, rate in rates.items()},
        "versions": versions("dlt", "pyarrow", "pandera", "pandas", "orjson"),
    }


def table(result: dict[str, Any]) -> str:
    """Return the result as Markdown."""
    lines = [
        f"{result['records']:,} GitHub-like events into staged Parquet, with metadata columns, row hash and "
        f"validation; median of {result['repeat']}.",
        "",
        "| input | records/s | plain dlt = 1 |",
        "|---|---|---|",
    ]
    rates, ratios = result["records_per_second"], result["ratio_to_plain_dlt"]
    return "\n".join([*lines, *(f"| {name} | {rates[name]:,} | {ratios[name]} |" for name in WAYS)])


def main() -> None:
    """Measure, print, and write the section of ``docs/benchmarks.md``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--output", choices=["table", "json"], default="table")
    parser.add_argument("--no-report", action="store_true", help="leave docs/benchmarks.md as it is")
    arguments = parser.parse_args()
    result = measure(arguments.records, arguments.repeat)
    print(json.dumps(result, indent=2) if arguments.output == "json" else table(result))
    if not arguments.no_report:
        write_section("Staging", "python -m benchmarks.staging", table(result), result["versions"])


if __name__ == "__main__":
    main()
