"""Four weeks of marts in the bundled PostgreSQL, as a reader of dashboards finds them; made without Airflow."""

from __future__ import annotations

import datetime as dt
import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from dbt.cli.main import dbtRunner
from psycopg import sql
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.dbt.project import Project
from airflow_provider_phlo.dbt.runner import load_manifest
from airflow_provider_phlo.publishing import publish_marts_to_duckdb, publish_marts_to_postgres
from airflow_provider_phlo.services.postgres.server import allow_roles
from include.replay import activity, glucose
from tests.unit import raw_tables

LAST_DAY = dt.date(2024, 3, 28)
DAYS = [LAST_DAY - dt.timedelta(days=back) for back in reversed(range(28))]
SEED, LOGIN = 7, "octocat"
MARTS = ("mrt_glucose_overview", "mrt_glucose_hourly_patterns", "mrt_github_activity", "mrt_github_repos")
READER = "marts_reader"


@dataclass(frozen=True)
class Marts:
    """
    Published marts.

    :param host: of the PostgreSQL server, with its port.
    :param password: of the role that may read them.
    :param duckdb: a file with the same tables.
    """

    host: str
    database: str
    password: str
    duckdb: Path

    @property
    def uri(self) -> str:
        """The database as SQLAlchemy names it; without the password."""
        return f"postgresql+psycopg2://{READER}@{self.host}/{self.database}"


def entries() -> list[dict[str, Any]]:
    """Return the good readings, as the ingestion lands them."""
    names = {"dateString": "date_string", "utcOffset": "utc_offset", "sysTime": "sys_time"}
    found = [each for day in DAYS for each in glucose.entries_of(day, SEED) if not glucose.is_broken(each)]
    return [{names.get(name, name): value for name, value in each.items()} for each in found]


def events() -> list[dict[str, Any]]:
    """Return the good events, as the ingestion lands them."""
    found = [each for day in DAYS for each in activity.events_of(day, SEED, LOGIN)]
    return [
        _with_texts(each) | {"created_at": dt.datetime.fromisoformat(each["created_at"])}
        for each in found
        if each.get("id") and each["created_at"] != "not-a-date"
    ]


def repositories() -> list[dict[str, Any]]:
    """Return the user's repositories, as the ingestion lands them."""
    times = ("created_at", "updated_at", "pushed_at")
    return [
        _with_texts(each) | {name: dt.datetime.fromisoformat(each[name]) for name in times}
        for each in activity.repositories(LOGIN, LAST_DAY, 0)
    ]


def _with_texts(document: dict[str, Any]) -> dict[str, Any]:
    return {name: json.dumps(value) if isinstance(value, dict | list) else value for name, value in document.items()}


def publish(home: Path) -> Marts:
    """Fill raw tables, build the models of glucose and GitHub, and publish their marts."""
    catalog = raw_tables.make_home(home)
    for table, rows in (
        ("raw.glucose_entries", entries()),
        ("raw.user_events", events()),
        ("raw.user_repos", repositories()),
        ("raw.user_profile", [{"id": 5, "login": LOGIN, "followers": 2}]),
    ):
        known = set(raw_tables.schema(table).names)
        raw_tables.write(catalog, table, [{name: row[name] for name in row if name in known} for row in rows])
    _build(home)
    return _published(home, catalog)


def _build(home: Path) -> None:
    parsed = Project(raw_tables.PROJECT, home).folder
    options = ["--project-dir", raw_tables.PROJECT, "--profiles-dir", raw_tables.PROJECT, "--target-path", parsed]
    options += ["--log-path", home, "--log-level", "none", "--no-write-json"]
    models = ["--select", "path:models/glucose", "path:models/github"]
    done = dbtRunner(manifest=load_manifest(parsed)).invoke(["run", *map(str, options), *models])
    assert done.success, done.exception


def _published(home: Path, catalog: Catalog) -> Marts:
    server = allow_roles(home)
    tables = {name: f"marts.{name}" for name in MARTS}
    publish_marts_to_postgres(None, None, server.uri, tables, catalog=catalog)
    publish_marts_to_duckdb(home / "marts.duckdb", tables, catalog=catalog)
    password = secrets.token_hex(16)
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(READER), sql.Literal(password))
        )
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA marts TO {}").format(sql.Identifier(READER)))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA marts TO {}").format(sql.Identifier(READER)))
    return Marts(f"{server.host}:{server.port}", server.dbname, password, home / "marts.duckdb")
