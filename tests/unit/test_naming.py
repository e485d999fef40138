"""Names of tables and assets."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.naming import asset_uri, qualified_table


def test_a_bare_name_gets_the_default_namespace(monkeypatch):
    assert qualified_table("events") == "raw.events"
    monkeypatch.setenv("AIRFLOW__PHLO__DEFAULT_NAMESPACE", "landing")
    assert qualified_table("events") == "landing.events"


def test_a_qualified_name_stays():
    assert qualified_table("bronze.events") == "bronze.events"
    assert qualified_table("_b1.Events_2") == "_b1.Events_2"


@pytest.mark.parametrize("name", ["order-lines.1", "2024.01", "名前.ä", "a b.c d", "$x.@y", "-.-"])
def test_names_that_other_writers_give(name):
    assert qualified_table(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..c",
        "a.b.",
        " a",
        "a ",
        "a. b",
        'a"b',
        "a;drop",
        "../a",
        "a/b",
        "a\\b",
        "a\n",
        "a#b",
        "a%41",
        "a?",
        "a*",
        "a:b",
        "{{ t }}",
    ],
)
def test_anything_else_is_refused(name):
    with pytest.raises(ConfigurationError, match=r"is not a table name: write 'table' or 'namespace\.table'"):
        qualified_table(name)


def test_the_catalog_is_not_a_namespace():
    """Written as SQL writes it, it would make a namespace inside another."""
    with pytest.raises(ConfigurationError, match=r"Write 'raw\.events'"):
        qualified_table("phlo.raw.events")
    assert qualified_table("phlo.check_results") == "phlo.check_results"


@pytest.mark.parametrize("name", ["x" * 201, f"{'n' * 100}.{'x' * 100}", "名" * 67])
def test_case_05_a_name_for_which_no_folder_can_be_made_is_refused(name):
    with pytest.raises(ConfigurationError, match="201 bytes, at most 200 are possible"):
        qualified_table(name)
    assert qualified_table(f"raw.{'x' * 196}")


def test_asset_uris(monkeypatch):
    assert asset_uri("events") == "iceberg://phlo/raw/events"
    monkeypatch.setenv("AIRFLOW__PHLO__CATALOG_NAME", "lake")
    assert asset_uri("gold.fct_events") == "iceberg://lake/gold/fct_events"
    assert asset_uri("sales.eu.orders") == "iceberg://lake/sales.eu/orders"
    assert asset_uri("my ns.名-1") == "iceberg://lake/my%20ns/%E5%90%8D-1"
