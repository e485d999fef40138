"""The asset of a table in PostgreSQL, which a DAG file makes: whatever the connection says, parsing goes on."""

from __future__ import annotations

import json

import pytest

from airflow_provider_phlo.assets.postgres import postgres_asset

URL, JSON = "postgresql://u:secret@{}/prod", json.dumps({"conn_type": "postgres", "host": "{}", "schema": "prod"})


@pytest.mark.parametrize("form", [URL, JSON], ids=["url", "json"])
@pytest.mark.parametrize(
    ("host", "shown"),
    [("db.example.com", "db.example.com"), ("127.0.0.1", "127.0.0.1"), ("[2001:db8::1]", "[2001:db8::1]")],
)
def test_any_host_makes_an_address(monkeypatch, form, host, shown):
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", form.replace("{}", host))
    asset = postgres_asset("daily")
    assert asset.uri == f"postgres://{shown}:5432/prod/marts/daily"
    assert "secret" not in asset.uri


@pytest.mark.parametrize("host", ["::1", "/var/run/postgresql", "", None])
def test_a_host_that_a_url_cannot_hold_does_not_stop_a_dag_file(monkeypatch, host):
    monkeypatch.setenv("AIRFLOW_CONN_POSTGRES_DEFAULT", json.dumps({"conn_type": "postgres", "host": host}))
    expected = "[::1]" if host == "::1" else "postgres_default"
    assert postgres_asset("daily").uri == f"postgres://{expected}:5432/phlo/marts/daily"
