"""
The two example DAGs against servers and data that the repository does not hold, as the README says to run them:
``eval "$(make -s env)"``, then ``airflow dags test``. Results are compared with what plain Python computes.
"""

from __future__ import annotations

import hashlib
import json
import operator
import os
import random
import shlex
import statistics
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.lake import open_lake
from tests.openmetadata_server import TOKEN, running_openmetadata
from tests.samples import sample
from tests.system.forks import Forks, running_forks

ROOT = Path(__file__).parents[2]
DAY = "2024-01-15"
START = datetime(2024, 1, 15, tzinfo=UTC)
SECRET = "correct horse battery"
SECRET_SHA1 = hashlib.sha1(SECRET.encode()).hexdigest()


class Site:
    """A server whose answers a test sets: ``answer(path, query, headers) -> (status, headers, body)``."""

    def __init__(self) -> None:
        site = self
        self.requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                site.requests.append(self.path)
                status, headers, body = site.answer(parts.path, parse_qs(parts.query), self.headers)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str, query: dict[str, list[str]], headers: Any) -> tuple[int, dict[str, str], Any]:
        return 404, {}, {"message": "Not Found"}


def nightscout(entries: list[dict[str, Any]], cap: int = 100) -> Any:
    """Answer as Nightscout does: newest first, filtered, at most ``cap`` a page."""
    compare = {"$gte": operator.ge, "$gt": operator.gt, "$lte": operator.le, "$lt": operator.lt}

    def answer(path: str, query: dict[str, list[str]], headers: Any) -> tuple[int, dict[str, str], Any]:
        if headers.get("api-secret") != SECRET_SHA1:
            return 401, {}, {"status": 401, "message": "Unauthorized"}
        found = sorted(entries, key=lambda entry: -entry["date"])
        for name, holds in compare.items():
            for limit in query.get(f"find[date][{name}]", ()):
                found = [entry for entry in found if holds(entry["date"], int(limit))]
        return 200, {}, found[: min(cap, int(query.get("count", ["10"])[0]))]

    return answer


def readings(day: datetime, seed: int) -> list[dict[str, Any]]:
    """Return 288 readings of a day."""
    generator = random.Random(seed)
    entries = []
    for number in range(288):
        at = day + timedelta(minutes=5 * number)
        entries.append(
            {
                "_id": f"{seed:012x}{number:012x}",
                "device": "test",
                "date": int(at.timestamp() * 1000),
                "dateString": at.isoformat().replace("+00:00", ".000Z"),
                "sgv": generator.randint(50, 300),
                "direction": "Flat",
                "type": "sgv",
                "utcOffset": 0,
                "sysTime": at.isoformat().replace("+00:00", ".000Z"),
            }
        )
    return entries


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("phlo") / "home"
    yield home
    subprocess.run(["make", "-s", "stop"], cwd=ROOT, env={**os.environ, "PHLO_HOME": str(home)}, check=False)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()


Run = Callable[..., tuple[int, str]]
SHELL = 'eval "$(make -s env)"'


def variables_of(home: Path) -> dict[str, str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PHLO"))}
    return {**variables, "PHLO_HOME": str(home)}


def as_variables(connections: dict[str, dict[str, Any]]) -> dict[str, str]:
    return {
        f"AIRFLOW_CONN_{name.upper()}_DEFAULT": json.dumps({"conn_type": "http", **fields})
        for name, fields in connections.items()
    }


def type_in_shell(home: Path, command: str, **connections: dict[str, Any]) -> tuple[int, str]:
    """Run ``command`` in the README's shell, from nothing; return its exit code and all that it printed."""
    done = subprocess.run(
        ["bash", "-c", f"{SHELL} && {command}"],
        cwd=ROOT,
        env={**variables_of(home), **as_variables(connections)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout


@pytest.fixture(scope="module")
def forks(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    output = tmp_path_factory.mktemp("forks") / "output"
    with running_forks(SHELL, ROOT, variables_of(home), output) as forks:
        yield forks


@pytest.fixture
def run(forks: Forks) -> Run:
    """Return a function that runs a command in that shell, where Airflow is imported already."""

    def run(command: str, **connections: dict[str, Any]) -> tuple[int, str]:
        return forks.run(command, as_variables(connections))

    return run


def dags_test(
    run: Run, dag: str, day: str, conf: Mapping[str, Any] | None = None, **connections: dict[str, Any]
) -> str:
    """Run a DAG and return what it printed; it must succeed."""
    code, output = run(command_of(dag, day, conf), **connections)
    assert code == 0, output[-4000:]
    assert "state=success" in output, output[-4000:]
    return output


def command_of(dag: str, day: str, conf: Mapping[str, Any] | None = None) -> str:
    return f"airflow dags test {dag} -c '{json.dumps({'partition_date': day, **(conf or {})})}'"


def query(run: Run, sql: str) -> list[dict[str, Any]]:
    code, output = run(f"phlo query {shlex.quote(sql)} --output json")
    assert code == 0, output
    return json.loads(output)


def snapshots(home: Path) -> dict[str, int | None]:
    """Return main's snapshot of every table, but for what checks have found: that is recorded every time."""
    catalog = open_lake(home)
    namespaces = [namespace for namespace in catalog.list_namespaces() if namespace != ("phlo",)]
    names = [name for namespace in namespaces for name in catalog.list_tables(namespace)]
    found = {".".join(name): catalog.load_table(name).current_snapshot() for name in names}
    return {name: snapshot.snapshot_id if snapshot else None for name, snapshot in found.items()}


def test_glucose_from_any_nightscout(home: Path, site: Site, run: Run) -> None:
    """Right tables; twice the same; after upstream edits they follow; a bad record is set aside."""
    entries = readings(START, 1) + readings(START - timedelta(days=1), 2)
    today = entries[:288]
    site.answer = nightscout(entries)
    connection = {"host": site.url, "password": SECRET}

    output = dags_test(partial(type_in_shell, home), "glucose_platform", DAY, nightscout=connection)
    assert SECRET not in output
    check_glucose(run, today)

    before = snapshots(home)
    output = dags_test(run, "glucose_platform", DAY, nightscout=connection)
    assert SECRET not in output
    assert snapshots(home) == before

    today[5]["sgv"], today[100]["sgv"] = 301, 55
    # states of the sensor, a date as Loop writes it, a date in words
    today[8]["sgv"], today[9]["sgv"], today[10]["sgv"] = 9, 1, 601
    today[6]["date"] += 81.73
    today[7]["dateString"] = "Mon Jan 15 01:35:00 GMT+01:00 2024"
    entries.append({**today[7], "_id": "bad", "sgv": 5000})
    dags_test(run, "glucose_platform", DAY, nightscout=connection)
    check_glucose(run, today)
    bad = query(run, "SELECT check_name, column_name FROM raw.glucose_entries__quarantine")
    assert [(row["column_name"], row["check_name"].partition("(")[0]) for row in bad] == [
        ("sgv", "less_than_or_equal_to")
    ]


def check_glucose(run: Run, expected: list[dict[str, Any]]) -> None:
    rows = query(run, "SELECT _id, sgv FROM raw.glucose_entries ORDER BY _id")
    assert rows == [{"_id": e["_id"], "sgv": e["sgv"]} for e in sorted(expected, key=lambda e: str(e["_id"]))]
    values = [entry["sgv"] for entry in expected if 20 <= entry["sgv"] <= 600]
    mean, spread = statistics.fmean(values), statistics.stdev(values)
    [day] = query(run, "SELECT * FROM marts.mrt_glucose_overview")
    assert str(day["reading_date"])[:10] == DAY
    assert day["reading_count"] == len(values)
    assert day["sensor_state_count"] == len(expected) - len(values)
    in_range = 100 * sum(70 <= value <= 180 for value in values) / len(values)
    for column, value in {
        "avg_glucose_mg_dl": mean,
        "stddev_glucose_mg_dl": spread,
        "cv_pct": 100 * spread / mean,
        "time_in_range_pct": in_range,
        "estimated_a1c_pct": (mean + 46.7) / 28.7,
        "gmi_pct": 3.31 + 0.02392 * mean,
    }.items():
        assert day[column] == pytest.approx(value, abs=0.06), column


@pytest.mark.parametrize(
    ("day", "answer", "says"),
    [
        ("2024-13-40", None, "is not a date YYYY-MM-DD"),
        ("2999-01-01", None, "lies in the future"),
        (DAY, (401, {}, {}), "nightscout_default"),
        (DAY, (404, {}, {}), "nightscout_default"),
    ],
)
def test_what_no_retry_cures_fails_at_once(home: Path, site: Site, run: Run, day: str, answer: Any, says: str) -> None:
    site.answer = lambda *_: answer
    before = snapshots(home)
    _, output = run(command_of("glucose_platform", day), nightscout={"host": site.url, "password": SECRET})
    assert says in output, output[-3000:]
    assert "up_for_retry" not in output
    assert "state=failed" in output
    assert len(site.requests) <= 1
    assert snapshots(home) == before


def test_an_empty_day_changes_nothing(home: Path, site: Site, run: Run) -> None:
    before = snapshots(home)
    site.answer = nightscout([])
    dags_test(run, "glucose_platform", "2024-02-01", nightscout={"host": site.url, "password": SECRET})
    assert snapshots(home) == before


def test_github_from_any_server(home: Path, site: Site, run: Run) -> None:
    """All pages of all resources, no row twice; a second run changes nothing; edits and new events follow."""
    user = {
        "id": 7,
        "login": "someone",
        "name": None,
        "public_repos": 3,
        "followers": 2,
        "created_at": "2020-01-01T00:00:00Z",
    }
    repos = [
        {"id": n, "name": f"r{n}", "full_name": f"someone/r{n}", "owner": {"login": "someone"}, "stargazers_count": n,
         "private": False, "fork": False, "forks_count": 0, "created_at": "2021-01-01T00:00:00Z"}
        for n in range(1, 4)
    ]  # fmt: skip
    events = [
        {"id": str(1000 + n), "type": "PushEvent", "actor": {"login": "someone"}, "repo": {"name": "someone/r1"},
         "payload": {"size": n}, "public": True, "created_at": f"2024-01-{10 + n % 5}T10:00:00Z"}
        for n in range(23)
    ]  # fmt: skip
    events[1] |= {"actor": "ghost", "payload": {"title": "cut \ud83d"}}

    def answer(path: str, asked: dict[str, list[str]], headers: Any) -> tuple[int, dict[str, str], Any]:
        assert headers["Authorization"] == "Bearer a-token"
        body: Any = {"/users/someone": user, "/users/someone/repos": repos, "/users/someone/events": events}[path]
        if not isinstance(body, list):
            return 200, {}, body
        page, size = int(asked.get("page", ["1"])[0]), 10
        last = page * size >= len(body)
        link = {} if last else {"Link": f'<{site.url}{path}?page={page + 1}>; rel="next"'}
        return 200, link, body[(page - 1) * size : page * size]

    site.answer = answer
    connection = {"host": site.url, "login": "someone", "password": "a-token"}
    output = dags_test(partial(type_in_shell, home), "github_stats", DAY, github=connection)
    assert "a-token" not in output
    assert counts(run) == {"user_profile": 1, "user_repos": 3, "user_events": 23}
    before = snapshots(home)
    dags_test(run, "github_stats", DAY, github=connection)
    assert snapshots(home) == before

    repos[0]["stargazers_count"] = 99
    events.insert(0, {**events[0], "id": "2000", "created_at": "2024-01-15T11:00:00Z"})
    dags_test(run, "github_stats", "2024-01-16", github=connection)
    assert counts(run) == {"user_profile": 1, "user_repos": 3, "user_events": 24}
    assert query(run, "SELECT stargazers_count AS n FROM raw.user_repos WHERE id = 1") == [{"n": 99}]
    total = query(run, "SELECT CAST(sum(total_events) AS BIGINT) AS n FROM gold.fct_daily_github_activity")
    assert total == [{"n": 24}]


PULLS = ("pull_requests", "pull_request_reviews", "pull_request_files", "pull_request_repositories")


def test_openmetadata_is_brought_up_to_date(run: Run) -> None:
    """What the pipelines have made so far: tables with columns, lineage through the models, checks, the contract."""
    with running_openmetadata() as fake:
        connection = {"host": fake.url, "password": TOKEN}
        output = dags_test(run, "phlo_catalog_sync", DAY, openmetadata=connection)
        assert TOKEN not in output
        names = {name.partition(".default.")[2] for name in fake.entities["tables"]}
        assert {"raw.glucose_entries", "silver.fct_glucose_readings", "marts.mrt_glucose_overview"} <= names
        assert fake.lineage
        assert fake.entities["dataQuality/testCases"]
        contracts = {each["name"] for each in fake.entities["dataContracts"].values()}
        assert contracts == {"glucose_overview", "glucose_readings"}
        asked = len(fake.calls)
        dags_test(run, "phlo_catalog_sync", DAY, openmetadata=connection)
        assert len(fake.calls) - asked <= 20, "what has not changed is not sent again"


def test_pull_requests_from_any_server(home: Path, site: Site, run: Run) -> None:
    """Real pull requests; a second run reads nothing again; one that changes follows; what is staged loads again."""
    pulls = sample("github/pulls_sample.json")
    reviews = sample("github/reviews_sample.json")
    # the sample is of several pull requests
    files = list({file["filename"]: file for file in sample("github/pull_files_sample.json")}.values())
    repository = pulls[0]["base"]["repo"]
    # the owner is a user: GitHub knows no organisation of that name
    name, owner = repository["full_name"], repository["owner"]["login"]

    def answer(path: str, asked: dict[str, list[str]], headers: Any) -> tuple[int, dict[str, str], Any]:
        assert headers["Authorization"] == "Bearer a-token"
        newest = sorted(pulls, key=lambda pull: pull["updated_at"], reverse=True)
        number = path.split("/")[5] if path.count("/") > 5 else ""
        known: dict[str, Any] = {
            f"/users/{owner}/repos": [repository],
            f"/repos/{name}/pulls": newest,
            f"/repos/{name}/pulls/{number}/reviews": reviews if number == str(pulls[0]["number"]) else [],
            f"/repos/{name}/pulls/{number}/files": files,
        }
        found = {address.lower(): body for address, body in known.items()}.get(path.lower())
        return (404, {}, {"message": "Not Found"}) if found is None else (200, {}, found)

    def read() -> int:
        return sum(path.partition("?")[0].endswith("/files") for path in site.requests)

    site.answer = answer
    connection = {"host": site.url, "password": "a-token", "extra": json.dumps({"requests_per_minute": 100_000})}
    conf = {"organizations": [owner.upper()]}
    output = dags_test(run, "github_pull_requests", DAY, conf=conf, github=connection)
    assert "a-token" not in output
    assert rows_of(run, PULLS) == dict(zip(PULLS, (3, 4, 3 * len(files), 1), strict=True))
    found = query(run, "SELECT number, title, changed_files, changed_lines, is_from_fork FROM raw.pull_requests")
    lines = sum(file["additions"] + file["deletions"] for file in files)
    assert {row["number"]: row["title"] for row in found} == {pull["number"]: pull["title"] for pull in pulls}
    assert {(row["changed_files"], row["changed_lines"], row["is_from_fork"]) for row in found} == {
        (len(files), lines, True)
    }
    before, asked = snapshots(home), read()
    unchanged = (
        "raw.pull_requests",
        "raw.pull_request_reviews",
        "raw.pull_request_files",
        "marts.mrt_review_turnaround",
    )

    dags_test(run, "github_pull_requests", DAY, conf=conf, github=connection)
    assert read() == asked
    assert {name: snapshots(home)[name] for name in unchanged} == {name: before[name] for name in unchanged}

    now = datetime.now(UTC)
    pulls[1] |= {"title": "Changed", "updated_at": f"{now:%Y-%m-%dT%H:%M:%SZ}", "user": None, "state": "closed"}
    pulls[1]["head"]["repo"] = None
    dags_test(run, "github_pull_requests", DAY, conf=conf, github=connection)
    assert read() == asked + 1
    changed = f"SELECT title, author_login, head_repository FROM raw.pull_requests WHERE number = {pulls[1]['number']}"
    assert query(run, changed) == [{"title": "Changed", "author_login": None, "head_repository": None}]

    # as if the table had been lost: what is staged is enough
    lake = open_lake(home)
    lake.drop_table("raw.pull_request_files")
    code, output = run("phlo pulls load --from-stage", github=connection)
    assert code == 0, output
    assert rows_of(run, PULLS) == dict(zip(PULLS, (3, 4, 3 * len(files), 1), strict=True))
    assert read() == asked + 1


def rows_of(run: Run, tables: Sequence[str]) -> dict[str, int]:
    parts = [f"SELECT '{table}' AS name, count(*) AS n FROM raw.{table}" for table in tables]
    return {row["name"]: row["n"] for row in query(run, " UNION ALL ".join(parts))}


def counts(run: Run) -> dict[str, int]:
    return rows_of(run, ("user_profile", "user_repos", "user_events"))
