"""A Superset with the dashboards of include/superset, on marts of four weeks; all of it started once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_provider_phlo.services.postgres.server import ensure_postgres, postgres_pid, stop_postgres
from tests.bi.marts import READER, Marts, publish
from tests.bi.superset import RunningSuperset, running_superset


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHLO_HOME", str(home))
        yield home
    stop_postgres(home)


@pytest.fixture(scope="session")
def marts(home: Path) -> Marts:
    published = publish(home)
    # the bundled server lets nobody in but those it knows: here Superset too, as the role that may only read
    with (home / "postgres" / "data" / "pg_hba.conf").open("a") as rules:
        rules.write(f"host all {READER} 127.0.0.1/32 scram-sha-256\n")
    pid = postgres_pid(home)
    assert pid
    os.kill(pid, signal.SIGHUP)
    host, _, port = published.host.partition(":")
    login = {"host": host, "port": port, "dbname": published.database, "user": READER, "password": published.password}
    while True:
        try:
            psycopg.connect(**login).close()
            return published
        except psycopg.OperationalError as error:
            if "pg_hba.conf" not in str(error):  # else it has not read its rules again yet
                raise


@pytest.fixture(scope="session")
def superset(home: Path, marts: Marts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSuperset]:
    # in PostgreSQL, as in the containers; the bundled server has one database for it, that of the marts
    own = ensure_postgres(home).airflow_url
    with running_superset(tmp_path_factory.mktemp("superset"), own) as server:
        yield server
