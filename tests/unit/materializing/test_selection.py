"""Which assets are meant by names and selectors."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.assets import AssetMap
from airflow_provider_phlo.materializing.selection import select_assets
from tests.unit.materializing.conftest import Describe, asset, task

DAGS = {
    "shop": [
        task("orders.ingest", "orders.publish"),
        task("orders.publish", "quality"),
        task("quality", "stg", kind="QualityCheckOperator"),
        task("stg", "mart", kind="DbtModelOperator"),
        task("mart", "publish", kind="DbtModelOperator"),
        task("publish"),
    ],
    "notes": [task("report")],
}
ASSETS = [
    asset("raw.orders", "shop/orders.publish", readers=("shop/stg",), group="shop"),
    asset(
        "bronze.stg_orders",
        "shop/stg",
        readers=("shop/mart",),
        group="shop",
        made_by="dbt model stg_orders",
        path="models/shop/bronze/stg_orders.sql",
        tags=["nightly"],
    ),
    asset(
        "marts.mart_orders",
        "shop/mart",
        readers=("shop/publish",),
        made_by="dbt model mart_orders",
        path="models/shop/marts/mart_orders.sql",
    ),
    asset("pg:marts.mart_orders", "shop/publish"),
    asset("raw.seen_only", readers=("shop/stg",)),
]


@pytest.fixture
def assets(asset_map: Describe) -> AssetMap:
    return asset_map(DAGS, ASSETS, shop={"tags": [{"name": "daily"}]})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("raw.orders", {"raw.orders"}),
        ("orders", {"raw.orders"}),
        # a table of the lake comes first: its copy elsewhere has the same last name
        ("mart_orders", {"marts.mart_orders"}),
        ("pg:marts.mart_orders", {"pg:marts.mart_orders"}),
        ("iceberg://phlo/raw/orders", {"raw.orders"}),
        ("raw.*", {"raw.orders"}),
        ("stg_orders+", {"bronze.stg_orders", "marts.mart_orders", "pg:marts.mart_orders"}),
        ("stg_orders+1", {"bronze.stg_orders", "marts.mart_orders"}),
        ("+mart_orders", {"raw.orders", "bronze.stg_orders", "marts.mart_orders"}),
        ("1+mart_orders", {"bronze.stg_orders", "marts.mart_orders"}),
        ("1+stg_orders+1", {"raw.orders", "bronze.stg_orders", "marts.mart_orders"}),
        ("group:shop", {"raw.orders", "bronze.stg_orders"}),
        ("tag:nightly", {"bronze.stg_orders"}),
        ("tag:dbt", {"bronze.stg_orders", "marts.mart_orders"}),
        ("tag:daily,tag:dbt,+mart_orders", {"bronze.stg_orders", "marts.mart_orders"}),
        ("path:models/shop", {"bronze.stg_orders", "marts.mart_orders"}),
        ("path:models/shop/marts", {"marts.mart_orders"}),
        ("path:dags/shop.py,raw.orders", {"raw.orders"}),
        ("dag:shop,group:shop", {"raw.orders", "bronze.stg_orders"}),
        ("orders mart_orders", {"raw.orders", "marts.mart_orders"}),
        ("tag:nightly+", {"bronze.stg_orders", "marts.mart_orders", "pg:marts.mart_orders"}),
    ],
)
def test_selectors(assets: AssetMap, selector: str, expected: set[str]) -> None:
    selection = select_assets(assets, [selector])
    assert set(selection.assets) == expected
    assert selection.whole_dags == ()


def test_a_dag_is_all_of_its_tasks_also_without_assets(assets: AssetMap) -> None:
    assert select_assets(assets, ["dag:notes"]).whole_dags == ("notes",)
    both = select_assets(assets, ["dag:shop", "orders"])
    assert both.whole_dags == ("shop",)
    assert len(both.assets) == 4


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        ("ordrs", "Did you mean orders"),
        ("zzz", "There are bronze.stg_orders"),
        ("raw", r'Did you mean "raw\.\*"'),
        ("group:shp", "Did you mean shop"),
        ("tag:nightly,raw.orders", "No asset is selected by all of"),
        ("dag:shp", "Did you mean shop"),
        ("seen_only", r"No DAG makes raw\.seen_only"),
        ("SEEN_ONLI", "Did you mean .*seen_only"),
        ("group:", "group: selects nothing: write what follows the colon. There is .*shop"),
        ("path:", "path: selects nothing"),
        ("tag:+", "tag: selects nothing"),
        ("dag:", "dag: selects nothing"),
        ("a++", "is not a selector"),
        ("+", "is not a selector"),
        ("orders,", "is not a selector"),
        (" ", "No asset is named"),
    ],
)
def test_what_is_not_found_is_said(assets: AssetMap, selector: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        select_assets(assets, [selector])


ODD = ["an asset with spaces", "a+b", "+c", "a,b", "tag:x", "dag:a", "what?", "2+d", "e+"]


@pytest.mark.parametrize("name", ODD)
def test_a_whole_name_is_that_asset_whatever_is_in_it(asset_map: Describe, name: str) -> None:
    odd = [asset(each, f"a/t{number}") for number, each in enumerate(ODD)]
    plain = [asset(each, "a/u", readers=("a/t0",)) for each in ("a", "b", "c", "d", "e", "an")]
    tasks = [task(f"t{number}") for number in range(len(ODD))]
    assets = asset_map({"a": [*tasks, task("u")]}, [*odd, *plain], a={"tags": [{"name": "x"}]})
    selection = select_assets(assets, [name])
    assert (selection.assets, selection.whole_dags) == ((name,), ())
    assert set(select_assets(assets, [name, "b"]).assets) == {name, "b"}
    if name != "e+":  # with + before it, that is e and all around it
        above = {"a", "b", "c", "d", "e", "an"} if name == ODD[0] else set()
        assert set(select_assets(assets, [f"+{name}"]).assets) == {name} | above


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("namespace", ["raw.", ""])
def test_a_name_of_a_table_needs_no_namespace_and_stays_whole_among_others(
    asset_map: Describe, name: str, namespace: str
) -> None:
    """A namespace, a step or another selector beside a name does not cut it in pieces."""
    odd = [asset(f"raw.{each}", f"a/t{number}") for number, each in enumerate(ODD)]
    tasks = [task(f"t{number}") for number in range(len(ODD))]
    assets = asset_map({"a": [*tasks, task("u")]}, [*odd, asset("raw.zz", "a/u")], a={"tags": [{"name": "x"}]})
    given, meant = f"{namespace}{name}", f"raw.{name}"
    assert select_assets(assets, [given]).assets == (meant,)
    assert set(select_assets(assets, [f"{given} zz"]).assets) == {meant, "raw.zz"}
    assert set(select_assets(assets, [f"zz {given}"]).assets) == {meant, "raw.zz"}
    assert select_assets(assets, [f"raw.*,{given}"]).assets == (meant,)


def test_what_was_meant_is_written_as_the_shell_needs_it(asset_map: Describe) -> None:
    assets = asset_map({"a": [task("t")]}, [asset("raw.orders eu", "a/t")])
    with pytest.raises(ConfigurationError, match=r"Did you mean 'raw\.orders eu' or 'orders eu'\?"):
        select_assets(assets, ["raw.orders", "eu"])
    with pytest.raises(ConfigurationError, match=r"There are 'raw\.orders eu'\."):
        select_assets(assets, ["xyz"])


def test_a_dag_that_is_not_kept_has_a_log_to_read(asset_map: Describe) -> None:
    assets = asset_map({"a": [task("t")], "new": [task("t")]}, [asset("raw.a", "a/t")])
    with pytest.raises(ConfigurationError, match=r"No asset is called xb\..*phlo services logs dag-processor"):
        select_assets(assets, ["xb"])


def test_a_name_of_two_tables_is_refused(asset_map: Describe) -> None:
    assets = asset_map({"a": [task("x"), task("y")]}, [asset("raw.events", "a/x"), asset("silver.events", "a/y")])
    with pytest.raises(ConfigurationError, match=r"events may be raw\.events or silver\.events"):
        select_assets(assets, ["events"])


def test_what_is_missing_may_be_in_a_broken_file(asset_map: Describe) -> None:
    trace = "Traceback (most recent call last):\n  File ...\nModuleNotFoundError: No module named 'x'\n"
    assets = asset_map({"a": [task("t")]}, [asset("raw.a", "a/t")], broken={"new.py": trace})
    with pytest.raises(ConfigurationError, match=r"new\.py cannot be imported: ModuleNotFoundError: No .* 'x'\.$"):
        select_assets(assets, ["raw.wanted"])
