"""Where a home keeps Airflow's metadata, and how Airflow gets there."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from airflow_provider_phlo import without_airflow
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.postgres import metadata
from airflow_provider_phlo.services.postgres.metadata import MetadataDatabase
from airflow_provider_phlo.services.postgres.server import (
    airflow_url_path,
    ensure_airflow_database,
    ensure_postgres,
    postgres_pid,
    stop_postgres,
)
from airflow_provider_phlo.sql import sqlite_url
from tests.patience import PATIENCE
from tests.processes import kill_and_wait

# one worker starts the server
pytestmark = pytest.mark.xdist_group("metadata")
SQLITE, POSTGRES = MetadataDatabase


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("phlo")
    embedded.prepare(home)
    metadata.choose(home, POSTGRES)
    yield home
    stop_postgres(home)


def url(home: Path) -> str:
    """Return what Airflow gets."""
    ((_, command),) = metadata.database_options(home).items()
    return subprocess.run(
        shlex.split(command), check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout.strip()


def query(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url.replace("+psycopg2", "")) as connection:
        return connection.execute(sql).fetchall()


@pytest.mark.long
def test_the_url_starts_the_server_and_leads_to_a_database_of_its_own(home: Path) -> None:
    stop_postgres(home)
    assert query(url(home), "SELECT current_database(), current_user") == [("airflow", "airflow")]
    before = postgres_pid(home)
    assert url(home) == ensure_airflow_database(home).airflow_url
    assert postgres_pid(home) == before


def test_the_two_databases_are_closed_to_the_other_role(home: Path) -> None:
    airflow, marts = ensure_airflow_database(home), ensure_postgres(home)
    with psycopg.connect(airflow.uri) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS connections_of_airflow (password text)")
    for mine, other in ((airflow, marts), (marts, airflow)):
        refused = mine.uri.removesuffix(mine.dbname) + other.dbname
        with pytest.raises(psycopg.OperationalError, match=r"pg_hba\.conf rejects|no pg_hba\.conf entry"):
            query(refused, "SELECT 1")


def test_no_secret_is_in_the_variables_and_only_the_owner_may_read_the_url(home: Path) -> None:
    password = ensure_airflow_database(home).password
    assert password not in "".join(embedded.airflow_environment(home, home).values())
    assert airflow_url_path(home).stat().st_mode & 0o777 == 0o600


def test_a_killed_server_is_started_again_by_who_asks_for_the_url(home: Path) -> None:
    ensure_airflow_database(home)
    kill_and_wait(postgres_pid(home))
    assert query(url(home), "SELECT 1") == [(1,)]


def test_the_url_of_a_server_whose_number_has_another_program_is_not_believed(home: Path) -> None:
    ensure_airflow_database(home)
    stop_postgres(home)
    airflow_url_path(home).write_text("postgresql+psycopg2://nobody@127.0.0.1:1/nothing")
    (home / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    assert query(url(home), "SELECT 1") == [(1,)]


def test_a_server_of_an_earlier_version_gets_the_database(home: Path) -> None:
    server = ensure_postgres(home)
    with psycopg.connect(server.uri) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
    (home / "postgres" / "metadata_password").unlink()  # it has none of those either, or nobody knows its password
    assert query(ensure_airflow_database(home).uri, "SELECT current_user") == [("airflow",)]
    assert query(server.uri, "SELECT count(*) FROM kept") == [(0,)]


def test_a_new_home_takes_the_default_and_an_older_one_stays(tmp_path: Path) -> None:
    embedded.prepare(tmp_path)
    assert metadata.used(tmp_path) is None
    (tmp_path / "airflow" / "airflow.db").touch()
    assert (metadata.choose(tmp_path, None), metadata.used(tmp_path)) == ("", SQLITE)
    said = metadata.choose(tmp_path, POSTGRES)
    assert "in postgres from now on" in said
    assert "stay in sqlite" in said
    assert (metadata.choose(tmp_path, None), metadata.used(tmp_path)) == ("", POSTGRES)


def test_phlo_yaml_decides_for_a_new_home_and_at_a_start_of_the_services(tmp_path: Path) -> None:
    home = tmp_path / ".phlo"
    embedded.prepare(home)
    for choice, change, used in (("sqlite", False, SQLITE), ("postgres", False, SQLITE), ("postgres", True, POSTGRES)):
        (tmp_path / "phlo.yaml").write_text(f"infrastructure: {{metadata_database: {choice}}}\n")
        embedded.choose_metadata_database(home, tmp_path, change=change)
        assert metadata.used(home) is used
    (tmp_path / "phlo.yaml").write_text("infrastructure: {metadata_database: mysql}\n")
    with pytest.raises(ConfigurationError, match=r"phlo.yaml.*metadata_database.*'postgres'"):
        embedded.choose_metadata_database(home, tmp_path, change=True)


def test_a_shell_of_the_other_database_does_not_win(tmp_path: Path) -> None:
    embedded.prepare(tmp_path)
    metadata.choose(tmp_path, SQLITE)
    shell = embedded.airflow_environment(tmp_path, tmp_path)
    metadata.choose(tmp_path, POSTGRES)
    both = embedded.added_to({**shell, "HOME": "/"}, embedded.airflow_environment(tmp_path, tmp_path))
    assert [name for name in both if name in metadata.VARIABLES] == ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"]
    assert both["HOME"] == "/"


def test_a_connection_is_looked_up_without_airflow(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(__import__("sys").modules, "airflow", raising=False)
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__SECRETS", "AIRFLOW_C"))]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", raising=False)
    for name, value in embedded.airflow_environment(home, home).items():
        monkeypatch.setenv(name, value)
    server = ensure_airflow_database(home)
    assert not without_airflow.is_connection_unset("iceberg_default")  # there is no table yet: only Airflow can say
    with psycopg.connect(server.uri) as connection:
        connection.execute("CREATE TABLE connection (conn_id text)")
        connection.execute("INSERT INTO connection VALUES ('iceberg_default')")
    assert not without_airflow.is_connection_unset("iceberg_default")
    assert without_airflow.is_connection_unset("other")
    stop_postgres(home)
    assert not without_airflow.is_connection_unset("other")


def test_sqlite_stays_a_file_of_the_home(tmp_path: Path) -> None:
    embedded.prepare(tmp_path)
    metadata.choose(tmp_path, SQLITE)
    url = sqlite_url(tmp_path / "airflow" / "airflow.db")
    assert metadata.database_options(tmp_path) == {("database", "sql_alchemy_conn"): url}
