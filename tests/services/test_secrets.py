"""Connections that fail, under a real scheduler with every log line switched on: no secret is in any file."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog

from airflow_provider_phlo.services.postgres.server import PostgresServer
from tests.real_airflow import RunningAirflow, running_airflow
from tests.services.nessie import NessieServer
from tests.services.running import free_port
from tests.services.s3 import S3Server

# one worker starts Nessie, S3 and Postgres
pytestmark = pytest.mark.xdist_group("stores")

TASKS = {"postgres", "postgres_address", "s3", "rest", "rest_address", "rest_token", "staging"}


def _secret(name: str) -> str:
    # characters that addresses spell in another way
    return f"{name}@/+{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def wrong() -> dict[str, str]:
    return {name: _secret(name) for name in TASKS}


def _connections(
    wrong: dict[str, str], postgres: PostgresServer, s3: S3Server, nessie: NessieServer, home: Path
) -> dict[str, dict[str, Any]]:
    database = {"host": postgres.host, "port": postgres.port, "schema": postgres.dbname, "login": postgres.user}
    address = f"{postgres.user}:{quote(wrong['postgres_address'], safe='')}@{postgres.host}:{postgres.port}/phlo"
    on_sqlite = {"type": "sql", "warehouse": "s3://wrong/warehouse"}
    store = {**s3.properties, "s3.secret-access-key": wrong["s3"]}
    nobody = f"127.0.0.1:{free_port()}/iceberg"
    return {
        "postgres": {**database, "password": wrong["postgres"], "extra": {"type": "sql", "warehouse": "file:///tmp"}},
        "postgres_address": {
            "host": f"postgresql+psycopg2://{address}",
            "extra": {"type": "sql", "warehouse": "file:///tmp"},
        },
        "s3": {"host": f"sqlite:///{home}/wrong.db", "extra": {**on_sqlite, **store}},
        "rest": {"host": nessie.iceberg, "login": "me", "password": wrong["rest"]},
        "rest_address": {"host": f"http://me:{quote(wrong['rest_address'], safe='')}@{nobody}"},
        "rest_token": {"host": f"http://{nobody}", "extra": {"token": wrong["rest_token"]}},
    }


@pytest.fixture(scope="module")
def airflow(
    tmp_path_factory: pytest.TempPathFactory,
    wrong: dict[str, str],
    postgres: PostgresServer,
    s3: S3Server,
    nessie: NessieServer,
) -> Iterator[RunningAirflow]:
    home = tmp_path_factory.mktemp("phlo")
    warehouse = f"{s3.create_bucket('wrong')}/warehouse"
    right = load_catalog("phlo", type="sql", uri=f"sqlite:///{home}/wrong.db", warehouse=warehouse, **s3.properties)
    right.create_namespace("raw")
    right.create_table("raw.t", pa.schema([("k", pa.int64())])).append(pa.table({"k": [1]}))
    variables = {
        f"AIRFLOW_CONN_WRONG_{name.upper()}": json.dumps({"conn_type": "iceberg", **connection})
        for name, connection in _connections(wrong, postgres, s3, nessie, home).items()
    }
    store = {"endpoint_url": s3.endpoint, "region_name": s3.region}
    account = {"conn_type": "aws", "login": s3.access_key, "password": wrong["staging"], "extra": store}
    variables |= {
        "AIRFLOW_CONN_WRONG_STAGING": json.dumps(account),
        "AIRFLOW__PHLO__STAGING_PATH": "s3://wrong_staging@wrong/staging",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
    }
    with running_airflow(home, Path(__file__).parent, {"wrong_secrets", "careless"}, variables) as running:
        yield running


def test_no_secret_is_in_a_log(airflow: RunningAirflow, wrong: dict[str, str]) -> None:
    run_id = airflow.trigger("wrong_secrets", conf={"partition_date": "2024-01-15"})
    assert airflow.finished("wrong_secrets", run_id) == dict.fromkeys(TASKS, "failed")
    reasons = {task: airflow.log("wrong_secrets", run_id, task) for task in TASKS}
    # each failed where it was meant to
    assert "password authentication failed" in reasons["postgres"]
    assert "password authentication failed" in reasons["postgres_address"]
    for task in ("s3", "staging"):
        assert "SIGNATURE_DOES_NOT_MATCH" in reasons[task] or "ACCESS_DENIED" in reasons[task], reasons[task][-3000:]
    for task in ("rest_address", "rest_token"):
        assert "Connection refused" in reasons[task]
    assert "HTTPError, 127.0.0.1 answered" in reasons["rest"]
    for path in (airflow.home / "logs").rglob("*.log"):
        assert not _found(wrong, path.read_text()), path.name
    # a task that logs all it knows; what Airflow itself copies to the scheduler's output, it does not mask
    run_id = airflow.trigger("careless")
    assert airflow.finished("careless", run_id) == {"careless": "success"}
    log = airflow.log("careless", run_id, "careless")
    assert "postgresql+psycopg2://phlo:***@" in log
    assert not _found(wrong, log)


def _found(wrong: dict[str, str], text: str) -> list[str]:
    """Return whose secrets ``text`` holds, as they are or as an address spells them."""
    return [
        name
        for name, secret in wrong.items()
        if any(spelled in text for spelled in (secret, quote(secret, safe=""), quote(secret), quote(secret, safe="+")))
    ]
