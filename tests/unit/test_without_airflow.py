"""What is said of Airflow's configuration without Airflow is what Airflow says, or nothing is said."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_provider_phlo import settings, without_airflow
from airflow_provider_phlo.sql import sqlite_url
from tests.patience import PATIENCE
from tests.real_airflow import migrated_database

FILE = """
[phlo]
catalog_name = lake
default_namespace = 100%%
day_zone = Europe/Berlin
staging_path_cmd = echo /tmp
[secrets]
backend =
"""
VALUES = ("", "plain", " spaced ", "with space", "100%", "$HOME/x", "~/x", "a=b;c", "größe")
PROGRAM = """
import json, os, sys
from airflow_provider_phlo import without_airflow
keys = ["catalog_name", "default_namespace", "day_zone", "staging_path", "engine"]
DEFAULTS = {key: "raw" for key in keys} | {"catalog_name": "phlo", "engine": "pyiceberg", "staging_path": ""}
said = {key: without_airflow.option("phlo", key, DEFAULTS[key]) for key in keys}
values = json.loads(sys.argv[1])
for value in values:
    os.environ["AIRFLOW__PHLO__ENGINE"] = value
    said[value] = without_airflow.option("phlo", "engine", "fallback")
assert "airflow" not in sys.modules
del os.environ["AIRFLOW__PHLO__ENGINE"]
from airflow.sdk.configuration import conf
truth = {key: conf.get("phlo", key, fallback=DEFAULTS[key]) for key in keys}
for value in values:
    os.environ["AIRFLOW__PHLO__ENGINE"] = value
    truth[value] = conf.get("phlo", "engine", fallback="fallback")
print("answer:" + json.dumps([said, truth]))
"""


@pytest.fixture
def airflow_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a home of Airflow, for a process that has not imported it."""
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__SECRETS", "AIRFLOW__PHLO", "AIRFLOW_C"))]:
        monkeypatch.delenv(name)
    monkeypatch.delitem(sys.modules, "airflow", raising=False)
    home = tmp_path / "airflow"
    home.mkdir()
    shutil.copyfile(migrated_database(), home / "airflow.db")
    monkeypatch.setenv("AIRFLOW_HOME", str(home))
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", sqlite_url(home / "airflow.db"))
    return home


@pytest.mark.long
def test_an_option_is_what_airflow_says_or_nothing(airflow_home: Path) -> None:
    (airflow_home / "airflow.cfg").write_text(FILE)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(VALUES)],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    answers = [line for line in done.stdout.splitlines() if line.startswith("answer:")]
    assert answers, done.stderr[-2000:]
    said, truth = json.loads(answers[0].removeprefix("answer:"))
    assert {key: value for key, value in said.items() if value is not None and value != truth[key]} == {}
    assert (said["catalog_name"], said["day_zone"], said["engine"], said["größe"]) == (
        *("lake", "Europe/Berlin", "pyiceberg", "größe"),
    )
    assert [key for key, value in said.items() if value is None] == [
        *("default_namespace", "staging_path", "100%", "$HOME/x", "~/x"),
    ]


def test_where_airflow_is_imported_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "airflow", sys)
    assert without_airflow.option("phlo", "catalog_name", "phlo") is None


@pytest.mark.parametrize("content", ["no section", b"\xff\xfe[phlo]"])
def test_a_file_that_cannot_be_read_is_for_airflow_to_judge(airflow_home: Path, content: str | bytes) -> None:
    (airflow_home / "airflow.cfg").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert without_airflow.option("phlo", "catalog_name", "phlo") is None


def test_a_connection_that_nothing_has_is_unset(airflow_home: Path) -> None:
    assert without_airflow.is_connection_unset("iceberg_default")


def test_a_connection_in_the_metadata_database_is_set(airflow_home: Path) -> None:
    with sqlite3.connect(airflow_home / "airflow.db") as database:
        database.execute(
            "INSERT INTO connection (conn_id, conn_type, is_encrypted, is_extra_encrypted) "
            "VALUES ('iceberg_default', 'iceberg', 0, 0)"
        )
    assert not without_airflow.is_connection_unset("iceberg_default")
    assert without_airflow.is_connection_unset("other")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AIRFLOW_CONN_ICEBERG_DEFAULT", "{}"),
        ("AIRFLOW__SECRETS__BACKEND", "my.Backend"),
        ("AIRFLOW__SECRETS__BACKEND_CMD", "echo my.Backend"),
        ("AIRFLOW__WORKERS__SECRETS_BACKEND", "my.Backend"),
        ("AIRFLOW__SECRETS__BACKENDS_ORDER", "custom,metastore"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql://localhost/airflow"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD", "echo x"),
        ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "sqlite://"),
    ],
)
def test_where_only_airflow_can_say_it_is_not_certain(
    airflow_home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert not without_airflow.is_connection_unset("iceberg_default")


def test_a_database_that_is_not_airflows_is_not_certain(airflow_home: Path) -> None:
    (airflow_home / "airflow.db").write_bytes(b"not a database" * 100)
    assert not without_airflow.is_connection_unset("iceberg_default")


def test_a_database_that_nobody_has_made_yet_has_none(airflow_home: Path) -> None:
    (airflow_home / "airflow.db").unlink()
    assert without_airflow.is_connection_unset("iceberg_default")


def test_a_database_that_cannot_be_looked_at_may_have_it(airflow_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (airflow_home / "a file").touch()
    for path in (airflow_home, airflow_home / "a file" / "airflow.db", airflow_home / ("x" * 300)):
        monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", sqlite_url(path))
        assert not without_airflow.is_connection_unset("iceberg_default"), path


def test_settings_read_it(airflow_home: Path) -> None:
    (airflow_home / "airflow.cfg").write_text(FILE)
    assert settings.catalog_name() == "lake"
    assert "airflow" not in sys.modules


@pytest.mark.parametrize(
    "said",
    [
        {"conn_type": "http", "password": "se%cret"},
        {"conn_type": "http", "host": "h", "schema": "https", "port": 8585, "login": "me", "extra": {"a": 1}},
        {"conn_type": "http", "host": "h", "extra": '{"a": 1}'},
    ],
)
def test_a_connection_of_the_environment_is_as_airflow_reads_it(monkeypatch, said):
    from airflow.sdk import Connection

    monkeypatch.setattr(without_airflow, "_may_be_elsewhere", lambda: False)  # Airflow is in memory here
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps(said))
    found = without_airflow.connection_of_environment("elsewhere")
    wanted = Connection.from_json(json.dumps(said), "elsewhere")
    assert found is not None
    for name in ("conn_id", "host", "schema", "port", "login", "password", "extra_dejson"):
        assert getattr(found, name) == getattr(wanted, name)
    assert "se%cret" not in repr(found)


@pytest.mark.parametrize("text", ["", "http://user:word@host", "{not json"])
def test_what_only_airflow_can_read_is_left_to_it(monkeypatch, text):
    monkeypatch.setattr(without_airflow, "_may_be_elsewhere", lambda: False)
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", text)
    assert without_airflow.connection_of_environment("elsewhere") is None
    monkeypatch.setattr(without_airflow, "_may_be_elsewhere", lambda: True)
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", '{"conn_type": "http"}')
    assert without_airflow.connection_of_environment("elsewhere") is None
