"""The ``[phlo]`` options."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_phlo import settings
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.get_provider_info import get_provider_info

READERS = {
    "catalog_name": settings.catalog_name,
    "default_namespace": settings.default_namespace,
    "project_folder": settings.project_folder,
    "staging_path": settings.staging_url,
    "staging_retention_days": settings.staging_retention_days,
    "stage_path": settings.stage_url,
    "stage_retention_days": settings.stage_retention_days,
    "warehouse": settings.warehouse,
    "warehouse_conn_id": settings.warehouse_conn_id,
    "snowflake_stage": settings.snowflake_stage,
    "io_retries": settings.io_retries,
    "io_retry_delay_seconds": settings.io_retry_delay_seconds,
    "engine": settings.engine,
    "batch_rows": settings.batch_rows,
    "undeclared_types": settings.undeclared_types,
    "preload": settings.preload,
    "check_results": settings.check_results,
    "upkeep": settings.upkeep,
    "turn_seconds": settings.turn_seconds,
    "day_zone": settings.day_zone,
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    monkeypatch.setenv("AIRFLOW__CORE__DAGS_FOLDER", str(tmp_path / "project" / "dags"))
    return tmp_path


def test_every_documented_option_is_read_and_has_the_documented_default(home):
    options = get_provider_info()["config"]["phlo"]["options"]
    assert options.keys() == READERS.keys()
    for name, option in options.items():
        folder = {"staging_path": "staging", "stage_path": "stage", "project_folder": "project"}.get(name)
        expected = str(home / folder) if folder else option["default"] or ""
        assert str(READERS[name]()) == expected, name


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("catalog_name", "lake", "lake"),
        ("default_namespace", "landing", "landing"),
        ("staging_path", "s3://aws@bucket/staging", "s3://aws@bucket/staging"),
        ("staging_retention_days", "0", 0),
        ("stage_path", "gs://bucket/stage", "gs://bucket/stage"),
        ("stage_retention_days", "30", 30),
        ("warehouse", " snowflake ", "snowflake"),
        ("warehouse_conn_id", "wh", "wh"),
        ("snowflake_stage", "RAW.STAGE", "RAW.STAGE"),
        ("io_retries", "0", 0),
        ("io_retry_delay_seconds", "5", 5),
        ("engine", "trino", "trino"),
        ("batch_rows", "1", 1),
        ("undeclared_types", "error", "error"),
        ("preload", "no", False),
        ("preload", "on", True),
        ("check_results", "False", False),
        ("upkeep", "False", False),
        ("turn_seconds", "0", 0),
        ("day_zone", "Europe/Berlin", "Europe/Berlin"),
    ],
)
def test_options_come_from_airflows_configuration(monkeypatch, option, text, value):
    monkeypatch.setenv(f"AIRFLOW__PHLO__{option.upper()}", text)
    assert READERS[option]() == value


@pytest.mark.parametrize(
    ("option", "text"),
    [("batch_rows", "0"), ("batch_rows", "many"), ("batch_rows", "1.5"), ("staging_retention_days", "-1")],
)
def test_numbers_that_make_no_sense_are_refused(monkeypatch, option, text):
    monkeypatch.setenv(f"AIRFLOW__PHLO__{option.upper()}", text)
    with pytest.raises(ConfigurationError, match=rf"\[phlo\] {option} = '{text}': give a whole number of at least"):
        READERS[option]()


def test_a_warehouse_of_no_known_kind_is_refused(monkeypatch):
    monkeypatch.setenv("AIRFLOW__PHLO__WAREHOUSE", "bigquery")
    with pytest.raises(ConfigurationError, match="'bigquery': write one of iceberg, snowflake, postgres"):
        settings.warehouse()


def test_home_is_absolute(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for given, expected in (("state", "state"), ("", ".phlo"), (None, ".phlo")):
        monkeypatch.delenv("PHLO_HOME") if given is None else monkeypatch.setenv("PHLO_HOME", given)
        assert settings.home() == Path(tmp_path, expected).resolve()


def test_an_empty_staging_path_means_the_default(monkeypatch, home):
    monkeypatch.setenv("AIRFLOW__PHLO__STAGING_PATH", "")
    assert settings.staging_url() == str(home / "staging")


def test_trusted_origins_are_the_servers_own_and_those_that_airflow_allows(monkeypatch):
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example.com/team/a")
    monkeypatch.setenv("AIRFLOW__API__ACCESS_CONTROL_ALLOW_ORIGINS", "https://a.example.com, http://b.example.com:81")
    found = settings.trusted_origins()
    assert found == {"https://airflow.example.com", "https://a.example.com", "http://b.example.com:81"}
