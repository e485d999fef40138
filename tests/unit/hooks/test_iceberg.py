from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.hooks.iceberg import PhloIcebergHook


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str = "iceberg_default", **fields: Any) -> PhloIcebergHook:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "iceberg", **fields}))
    return PhloIcebergHook(conn_id)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHLO_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("AIRFLOW_CONN_ICEBERG_DEFAULT", raising=False)


def test_an_unset_default_connection_means_the_embedded_catalog(tmp_path: Path) -> None:
    catalog = PhloIcebergHook().catalog
    catalog.create_namespace("raw")
    catalog.create_table("raw.t", pa.schema([("a", pa.int64())]))
    assert catalog.name == "phlo"
    assert (tmp_path / "home" / "catalog.db").is_file()
    assert PhloIcebergHook().load_table("raw.t").name() == ("raw", "t")


def test_another_connection_that_is_unset_is_an_error_that_says_how_to_set_it() -> None:
    with pytest.raises(ConfigurationError, match=r"'lake' is not set: define it, e\.g\. AIRFLOW_CONN_LAKE='"):
        _ = PhloIcebergHook("lake").properties


def test_a_rest_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = connect(
        monkeypatch,
        host="https://catalog.example.com/",
        login="me",
        password="secret",
        extra={"warehouse": "wh", "s3.region": "eu-west-1", "s3.force-virtual-addressing": True},
    )
    assert hook.properties == {
        "type": "rest",
        "uri": "https://catalog.example.com",
        "credential": "me:secret",
        "warehouse": "wh",
        "s3.region": "eu-west-1",
        "s3.force-virtual-addressing": "True",
    }


def test_a_sql_catalog_on_postgres(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = connect(
        monkeypatch,
        "lake",
        host="db.example.com",
        port=5432,
        schema="catalog",
        login="me",
        password="p@ss/word",
        extra={"type": "sql", "warehouse": "s3://bucket/wh"},
    )
    assert hook.properties == {
        "type": "sql",
        "warehouse": "s3://bucket/wh",
        "uri": "postgresql+psycopg2://me:p%40ss%2Fword@db.example.com:5432/catalog",
    }


def test_a_sql_catalog_by_its_address_and_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    extra = {"type": "sql", "warehouse": f"file://{tmp_path}", "catalog_name": "lake"}
    hook = connect(monkeypatch, "lake", host=f"sqlite:///{tmp_path}/lake.db", extra=extra)
    hook.catalog.create_namespace("raw")
    assert (hook.catalog.name, hook.catalog.list_namespaces()) == ("lake", [("raw",)])
    by_extra = connect(monkeypatch, "lake", extra={**extra, "uri": f"sqlite:///{tmp_path}/lake.db"})
    assert by_extra.catalog.list_namespaces() == [("raw",)]
    assert "catalog_name" in by_extra.properties  # the cached properties stay whole


def test_extras_that_are_not_known_are_refused_without_their_values(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = connect(monkeypatch, extra={"py-io-impl": "evil.Module", "s3.secret": "hidden", "warehouse": "wh"})
    with pytest.raises(ConfigurationError, match=r"unknown extras: py-io-impl, s3\.secret") as caught:
        _ = hook.properties
    assert "evil" not in str(caught.value)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("extra", [{}, {"type": "sql", "warehouse": "file:///wh"}], ids=["rest", "sql"])
def test_a_connection_without_address_is_refused(monkeypatch: pytest.MonkeyPatch, extra: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="'lake' does not say where the catalog is: set its host"):
        _ = connect(monkeypatch, "lake", extra=extra).properties


def test_the_hook_is_a_drop_in_for_the_providers() -> None:
    from airflow.providers.apache.iceberg.hooks.iceberg import IcebergHook

    assert issubclass(PhloIcebergHook, IcebergHook)
    assert PhloIcebergHook.conn_type == IcebergHook.conn_type
