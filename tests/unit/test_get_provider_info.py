from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from airflow.providers_manager import ProvidersManager
from airflow.sdk import Connection

from airflow_provider_phlo import settings
from airflow_provider_phlo.connections import ALLOWED_EXTRAS, catalog_properties
from airflow_provider_phlo.get_provider_info import get_provider_info


def test_fits_airflows_schema() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_is_what_the_entry_point_names() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if "phlo" in point.value]
    assert [point.load() for point in found] == [get_provider_info]


def test_leaves_the_iceberg_connection_type_to_its_provider() -> None:
    info = get_provider_info()
    assert [kind["connection-type"] for kind in info["connection-types"]] == ["phlo_iceberg"]
    # ignored while discovery is lazy: the plugin has its own entry point
    assert "plugins" not in info


def test_case_60_the_form_has_fields_for_every_kind_of_catalog(caplog: pytest.LogCaptureFixture) -> None:
    """As Airflow's own code reads it, and as the hook takes what the form makes of it."""
    manager = ProvidersManager()
    hook = manager.hooks["phlo_iceberg"]
    assert hook is not None
    assert (hook.connection_type, hook.hook_class_name.rpartition(".")[2]) == ("phlo_iceberg", "PhloCatalogHook")
    assert manager.hooks["iceberg"].hook_class_name.endswith(".IcebergHook")
    behaviour = manager.field_behaviours["phlo_iceberg"]
    assert not {"host", "port", "schema", "login", "password"} & set(behaviour["hidden_fields"])
    form = [name for name in manager.connection_form_widgets if name.startswith("extra__phlo_iceberg__")]
    fields = {name.removeprefix("extra__phlo_iceberg__") for name in form}
    assert fields == {"type", "warehouse", *fields} <= ALLOWED_EXTRAS
    assert not [record for record in caplog.records if "iceberg" in record.getMessage()]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (
            {"host": "db.example.com", "port": 5432, "schema": "catalog", "login": "u", "password": "p",
             "extra": {"type": "sql", "warehouse": "s3://b/w", "token": "", "s3.region": None}},
            {"type": "sql", "warehouse": "s3://b/w", "uri": "postgresql+psycopg2://u:p@db.example.com:5432/catalog"},
        ),
        (
            {"host": "https://c.example.com/", "login": "u", "password": "p", "extra": {"type": None, "scope": "A"}},
            {"type": "rest", "uri": "https://c.example.com", "credential": "u:p", "scope": "A"},
        ),
    ],
)  # fmt: skip
def test_case_60_what_the_form_makes_opens_the_catalog(given: dict[str, Any], wanted: dict[str, str]) -> None:
    extra = json.dumps(given.pop("extra"))
    assert catalog_properties(Connection(conn_id="c", conn_type="phlo_iceberg", extra=extra, **given)) == wanted


def test_command_functions_can_be_imported() -> None:
    for path in get_provider_info()["cli"]:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


def test_notifiers_can_be_imported() -> None:
    for path in get_provider_info()["notifications"]:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name).notify)


def test_documents_every_option_with_its_real_default() -> None:
    options = get_provider_info()["config"]["phlo"]["options"]
    defaults = {
        "catalog_name": settings.catalog_name(),
        "default_namespace": settings.default_namespace(),
        "staging_retention_days": settings.staging_retention_days(),
        "stage_retention_days": settings.stage_retention_days(),
        "warehouse": settings.warehouse(),
        "engine": settings.engine(),
        "batch_rows": settings.batch_rows(),
        "undeclared_types": settings.undeclared_types(),
        "preload": settings.preload(),
        "check_results": settings.check_results(),
        "upkeep": settings.upkeep(),
        "turn_seconds": settings.turn_seconds(),
        "day_zone": settings.day_zone(),
    }
    assert {name: option["default"] for name, option in options.items()} == {
        **{name: str(value) for name, value in defaults.items()},
        "staging_path": None,
        "project_folder": None,
        "stage_path": None,
        "warehouse_conn_id": None,
        "snowflake_stage": None,
        "io_retries": "3",
        "io_retry_delay_seconds": "60",
    }
    assert all(option["description"] for option in options.values())


def test_imports_nothing_heavy() -> None:
    code = (
        "import sys; from airflow_provider_phlo.get_provider_info import get_provider_info; get_provider_info(); "
        "from airflow_provider_phlo.cli import definition; "
        "print([m for m in ('airflow', 'pyarrow', 'duckdb', 'pandas', 'pyiceberg') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
