from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.metadata import entry_points
from importlib.resources import files

import jsonschema

from airflow_provider_phlo import settings
from airflow_provider_phlo.get_provider_info import get_provider_info


def test_fits_airflows_schema() -> None:
    schema = json.loads(files("airflow").joinpath("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_is_what_the_entry_point_names() -> None:
    found = [point for point in entry_points(group="apache_airflow_provider") if "phlo" in point.value]
    assert [point.load() for point in found] == [get_provider_info]


def test_leaves_the_iceberg_connection_type_to_its_provider() -> None:
    info = get_provider_info()
    assert "connection-types" not in info
    # ignored while discovery is lazy: the plugin has its own entry point
    assert "plugins" not in info


def test_command_functions_can_be_imported() -> None:
    for path in get_provider_info()["cli"]:
        module, _, name = path.rpartition(".")
        assert callable(getattr(importlib.import_module(module), name))


def test_documents_every_option_with_its_real_default() -> None:
    options = get_provider_info()["config"]["phlo"]["options"]
    defaults = {
        "catalog_name": settings.catalog_name(),
        "default_namespace": settings.default_namespace(),
        "staging_retention_days": settings.staging_retention_days(),
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
