"""Small raw tables as the ingestion leaves them, and a home in which the dbt project is parsed already."""

from __future__ import annotations

import datetime as dt
import json
import os
import random
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow

from airflow_provider_phlo.dbt.manifest import ensure_manifest
from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.schemas import pandera_to_iceberg
from airflow_provider_phlo.sources.github_pulls.models import PullRequest, PullRequestRepository, PullRequestReview
from airflow_provider_phlo.sources.github_pulls.transform import row_key, transform
from tests.lake import open_lake
from tests.unit.sources.github_pulls.readings import as_arrow, readings

PROJECT = Path(__file__).parents[2] / "include" / "dbt"
UTC = dt.UTC
INGESTED = dt.datetime(2024, 2, 1, tzinfo=UTC)

_TYPES = {
    "text": pa.string(),
    "long": pa.int64(),
    "double": pa.float64(),
    "bool": pa.bool_(),
    "time": pa.timestamp("us", "UTC"),
}
_COLUMNS = {
    "raw.glucose_entries": {
        "text": "_id type direction device date_string sys_time",
        "long": "sgv date utc_offset",
        "double": "delta",
    },
    "raw.user_events": {"text": "id type actor repo payload org", "bool": "public", "time": "created_at"},
    "raw.user_repos": {
        "long": "id size stargazers_count watchers_count forks_count open_issues_count",
        "text": "name full_name owner html_url description language default_branch topics license",
        "bool": "private fork archived",
        "time": "created_at updated_at pushed_at",
    },
    "raw.user_profile": {
        "long": "id public_repos public_gists followers following",
        "text": "login name company location bio blog html_url",
        "time": "created_at updated_at",
    },
    "raw.public_events": {
        "text": "event_id event_type actor_login repo_name payload raw source_file",
        "long": "actor_id repo_id",
        "time": "created_at ingested_at",
    },
}
_METADATA = [
    ("_dlt_load_id", pa.string()),
    ("_dlt_id", pa.string()),
    ("_cascade_ingested_at", pa.timestamp("us", "UTC")),
    ("_phlo_run_id", pa.string()),
    ("_phlo_partition_date", pa.date32()),
    ("_phlo_row_hash", pa.string()),
]


_MODELS = {
    "raw.pull_requests": PullRequest,
    "raw.pull_request_reviews": PullRequestReview,
    "raw.pull_request_repositories": PullRequestRepository,
}


def schema(table: str) -> pa.Schema:
    if table in _MODELS:
        return schema_to_pyarrow(pandera_to_iceberg(_MODELS[table]), include_field_ids=False)
    columns = [(name, _TYPES[kind]) for kind, names in _COLUMNS[table].items() for name in names.split()]
    return pa.schema(columns + _METADATA)


def write(catalog: Catalog, table: str, rows: Iterable[Mapping[str, Any]], *, at: dt.datetime = INGESTED) -> None:
    """Replace the rows of a raw table."""
    complete = [
        {
            "_dlt_load_id": f"{at.timestamp():.0f}",
            "_dlt_id": f"{position:06}",
            "_cascade_ingested_at": at,
            "_phlo_run_id": "manual",
            "_phlo_partition_date": at.date(),
            **row,
        }
        for position, row in enumerate(rows)
    ]
    data = pa.Table.from_pylist(complete, schema(table))
    if catalog.table_exists(table):
        catalog.load_table(table).overwrite(data)
    else:
        ensure_namespace(catalog, "raw")
        catalog.create_table(table, data.schema).append(data)


def entry(key: str, at: dt.datetime, sgv: int | None, **more: Any) -> dict[str, Any]:
    """Return one Nightscout entry; its date_string is off by an hour, to show that `date` counts."""
    stated = f"{at + dt.timedelta(hours=1):%a %b %d %H:%M:%S GMT+01:00 %Y}"
    return {"_id": key, "sgv": sgv, "date": int(at.timestamp() * 1000), "date_string": stated, "type": "sgv", **more}


def glucose() -> list[dict[str, Any]]:
    """Return readings of eleven days in March 2024, three of which have none, every border value among them."""
    chance = random.Random(7)
    days = [dt.datetime(2024, 3, day, tzinfo=UTC) for day in (1, 2, 3, 7, 8, 9, 10, 11)]
    rows = [
        entry(f"{day:%d}-{number}", day + dt.timedelta(minutes=30 * number), chance.randint(40, 330), direction="Flat")
        for day in days[:-1]
        for number in range(48)
    ]
    borders = (69, 70, 180, 181, 250, 251)
    rows += [entry(f"b{sgv}", days[1] + dt.timedelta(minutes=sgv), sgv) for sgv in borders]
    rows.append(entry("alone", days[-1] + dt.timedelta(hours=23, minutes=59, seconds=59), 111))
    return rows


def repeated() -> list[dict[str, Any]]:
    """Return what must not count: an older arrival of a key, a calibration, an entry without a value."""
    at = dt.datetime(2024, 3, 2, tzinfo=UTC)
    earlier = INGESTED - dt.timedelta(days=1)
    return [
        entry("b70", at + dt.timedelta(minutes=70), 400, _cascade_ingested_at=earlier),
        entry("calibration", at, 500, type="cal"),
        entry("nothing", at, None),
    ]


def sensor_states() -> list[dict[str, Any]]:
    """Return states of a sensor among the readings of the 2nd, and on the 5th, which has nothing else."""
    at = dt.datetime(2024, 3, 2, 12, tzinfo=UTC)
    states = [entry(f"state{sgv}", at + dt.timedelta(seconds=sgv), sgv) for sgv in (1, 9, 10, 19, 601, 1000)]
    return [*states, entry("warming up", dt.datetime(2024, 3, 5, 8, tzinfo=UTC), 5)]


def events() -> list[dict[str, Any]]:
    """Return forty events; the last has texts that are not JSON, as tables have them that others wrote."""
    kinds = ("PushEvent", "WatchEvent", "IssuesEvent", "IssueCommentEvent", "PullRequestReviewEvent", "GollumEvent")
    start = dt.datetime(2024, 3, 1, 23, 30, tzinfo=UTC)
    rows = [
        {
            "id": str(number),
            "type": kinds[number % len(kinds)],
            "actor": json.dumps({"id": 5, "login": "octo"}),
            "repo": json.dumps({"id": number % 3, "name": f"octo/r{number % 3}"}),
            "payload": json.dumps({"action": "opened", "distinct_size": number}),
            "org": json.dumps({"login": "org"}) if number % 2 else None,
            "public": True,
            "created_at": start + dt.timedelta(hours=7 * number),
        }
        for number in range(40)
    ]
    rows[-1] |= {"actor": "ghost", "payload": r'{"action": "opened", "title": "cut \ud83d"}', "org": ""}
    return rows


def repos() -> list[dict[str, Any]]:
    return [
        {
            "id": number,
            "name": f"r{number}",
            "full_name": f"octo/r{number}",
            "owner": json.dumps({"login": "octo"}) if number else "ghost",
            "stargazers_count": stars,
            "topics": json.dumps(["a"] * number),
            "license": json.dumps({"spdx_id": "MIT"}) if number else None,
        }
        for number, stars in enumerate((3, None, 9, 9))
    ]


def public_events() -> list[dict[str, Any]]:
    """Return events of three users, some exactly 30 minutes apart, some a microsecond more; one without a user."""
    chance, start = random.Random(11), dt.datetime(2024, 3, 1, 22, tzinfo=UTC)
    half, tick = dt.timedelta(minutes=30), dt.timedelta(microseconds=1)
    moments = {"ann": [start, start + half, start + 2 * half + tick, start + 2 * half + tick], "bob": [start]}
    moments["eve"] = sorted(start + dt.timedelta(seconds=chance.randrange(6 * 3600)) for _ in range(30))
    happened = [(login, moment) for login, found in moments.items() for moment in found]
    rows = [
        {
            "event_id": str(number),
            "event_type": ("PushEvent", "WatchEvent", "IssuesEvent")[number % 3],
            "created_at": moment,
            "ingested_at": INGESTED,
            "actor_id": len(login) + ord(login[0]),
            "actor_login": login,
            "repo_id": number % 4,
            "repo_name": f"octo/r{number % 4}",
            "payload": json.dumps({"action": "opened"}),
            "raw": json.dumps({"org": {"login": "phlo-labs"}}),
            "source_file": "events_20240301_230000_batch_001.jsonl",
        }
        for number, (login, moment) in enumerate(happened)
    ]
    nobody = {"actor_id": None, "actor_login": None, "repo_id": None, "repo_name": None, "payload": None}
    return [*rows, {**rows[0], **nobody, "event_id": "ghost"}, {**rows[0], "event_id": "timeless", "created_at": None}]


PULLS_READ_AT = dt.datetime(2026, 4, 2, 9, tzinfo=UTC)


def pulls() -> dict[str, list[dict[str, Any]]]:
    """Return pull requests, some read twice, of three repositories, one of them renamed since; with their reviews."""
    read = readings(random.Random(23), 120)
    # as imported pull requests have it: over before they were opened
    for number, ended in ((1001, "merged_at"), (1002, "closed_at")):
        created = read[0]["created_at"]
        ends = {"merged_at": None, "closed_at": None, ended: created - dt.timedelta(days=400)}
        read.append({**read[0], "number": number, "repository_id": 7, **ends})
    made = transform(as_arrow(read))
    repositories = [
        {
            "row_key": row_key("repository", repository_id),
            "organization": "octo-org",
            "repository": name,
            "repository_id": repository_id,
            "read_at": PULLS_READ_AT,
            "left_out": left_out,
            "left_out_pull_requests": some,
        }
        for repository_id, name, left_out, some in (
            (7, "repo-7", "1 pull requests: it is gone", 1),
            (8, "renamed", None, None),
            (2**40, f"repo-{2**40}", "it is no longer listed", None),
        )
    ]
    return {
        "raw.pull_requests": made["pull_requests"].to_pylist(),
        "raw.pull_request_reviews": made["reviews"].to_pylist(),
        "raw.pull_request_repositories": repositories,
    }


def fill(catalog: Catalog) -> None:
    for table, rows in pulls().items():
        write(catalog, table, rows)
    write(catalog, "raw.glucose_entries", glucose() + repeated() + sensor_states())
    write(catalog, "raw.user_events", [*events(), events()[0] | {"_cascade_ingested_at": INGESTED.replace(year=2023)}])
    write(catalog, "raw.public_events", public_events())
    write(catalog, "raw.user_repos", repos())
    write(catalog, "raw.user_profile", [{"id": 5, "login": "octo", "followers": 2}])


def make_home(home: Path, project: Path = PROJECT) -> Catalog:
    """Return the catalog of a new home whose dbt project needs no parsing: that is done once for all workers."""
    parsed = Path(os.environ["PHLO_TESTS_AIRFLOW_HOME"]) / "parsed"
    ensure_manifest(Project(project, parsed))
    shutil.copytree(Project(project, parsed).folder, Project(project, home).folder)
    return open_lake(home)
