"""Which tasks make what is selected, and in which order DAGs run."""

from __future__ import annotations

import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.materializing.planning import plan_runs
from tests.unit.materializing.conftest import Describe, asset, task
from tests.unit.materializing.test_selection import ASSETS, DAGS


def tasks(plans) -> list[set[str]]:
    return [set(plan.tasks) for plan in plans]


def test_a_table_is_its_group_and_no_more(asset_map: Describe) -> None:
    [plan] = plan_runs(asset_map(DAGS, ASSETS), ["raw.orders"])
    assert plan.tasks == {"orders.ingest", "orders.publish"}
    assert plan.others == {"quality", "stg", "mart", "publish"}


def test_a_check_runs_where_what_it_judges_is_made(asset_map: Describe) -> None:
    assets = asset_map(DAGS, ASSETS)
    assert tasks(plan_runs(assets, ["bronze.stg_orders"])) == [{"stg"}]
    both = plan_runs(assets, ["raw.orders", "bronze.stg_orders"])
    assert tasks(both) == [{"orders.ingest", "orders.publish", "quality", "stg"}]


def test_tasks_that_hand_something_on_run_too(asset_map: Describe) -> None:
    """``load(clean(fetch()))``: without them, ``load`` would have nothing to load."""
    dags = {
        "a": [task("fetch", "clean"), task("clean", "load"), task("load", "tidy"), task("tidy", "more"), task("more")]
    }
    assets = asset_map(dags, [asset("loaded", "a/load"), asset("more", "a/more")])
    assert tasks(plan_runs(assets, ["loaded"])) == [{"fetch", "clean", "load"}]
    assert tasks(plan_runs(assets, ["more"])) == [{"tidy", "more"}]
    assert tasks(plan_runs(assets, [], ["a"])) == [{"fetch", "clean", "load", "tidy", "more"}]


def test_dags_that_read_from_each_other_take_turns(asset_map: Describe) -> None:
    dags = {"late": [task("b"), task("d")], "early": [task("a"), task("c")]}
    made = [
        asset("a", "early/a", readers=("late/b",)),
        asset("b", "late/b", readers=("early/c",)),
        asset("c", "early/c"),
        asset("d", "late/d"),
    ]
    plans = plan_runs(asset_map(dags, made), ["a", "b", "c", "d"])
    assert [(plan.wave, plan.dag_id, plan.assets) for plan in plans] == [
        (0, "early", ("a",)),
        (0, "late", ("d",)),
        (1, "late", ("b",)),
        (2, "early", ("c",)),
    ]


def test_assets_that_are_made_from_each_other_are_made_once(asset_map: Describe) -> None:
    made = [asset("a", "one/a", readers=("two/b",)), asset("b", "two/b", readers=("one/a",))]
    plans = plan_runs(asset_map({"one": [task("a")], "two": [task("b")]}, made), ["a", "b"])
    assert sorted(plan.dag_id for plan in plans) == ["one", "two"]


def test_an_asset_of_two_dags_needs_a_choice(asset_map: Describe) -> None:
    assets = asset_map({"one": [task("a")], "two": [task("a")]}, [asset("a", "one/a", "two/a")])
    with pytest.raises(ConfigurationError, match="a is made by one and by two: choose one with --dag"):
        plan_runs(assets, ["a"])
    assert [plan.dag_id for plan in plan_runs(assets, ["a"], dag_id="two")] == ["two"]
    assert [plan.dag_id for plan in plan_runs(assets, ["a"], ["one"])] == ["one"]


def test_a_dag_that_cannot_be_imported_is_not_run(asset_map: Describe) -> None:
    broken = {"one.py": "Traceback\nSyntaxError: invalid syntax"}
    assets = asset_map({"one": [task("a")]}, [asset("a", "one/a")], broken=broken, one={"has_import_errors": True})
    with pytest.raises(ConfigurationError, match=r"one cannot run: one\.py cannot be imported: SyntaxError"):
        plan_runs(assets, ["a"])


def test_a_dag_that_is_not_there_or_makes_nothing_of_it(asset_map: Describe) -> None:
    assets = asset_map({"shop": [task("a")], "other": [task("b")]}, [asset("a", "shop/a")])
    with pytest.raises(ConfigurationError, match=r"--dag shp: Airflow does not have this DAG\. Did you mean shop"):
        plan_runs(assets, ["a"], dag_id="shp")
    with pytest.raises(ConfigurationError, match="--dag other: it makes none of what is selected"):
        plan_runs(assets, ["a"], dag_id="other")


CHAIN = {"d": [task("c1", "c2"), task("c2", "c3"), task("c3", "c4"), task("c4")]}
LINKS = [asset(f"c{number}", f"d/c{number}") for number in range(1, 5)]


def test_what_is_ordered_by_a_task_that_does_not_run_takes_turns(asset_map: Describe) -> None:
    assets = asset_map(CHAIN, LINKS)
    plans = plan_runs(assets, ["c1", "c3", "c4"])
    assert [(plan.wave, set(plan.tasks)) for plan in plans] == [(0, {"c1"}), (1, {"c3", "c4"})]
    assert tasks(plan_runs(assets, ["c1", "c2", "c3"])) == [{"c1", "c2", "c3"}]
    assert [plan.wave for plan in plan_runs(assets, ["c4", "c2", "c1"])] == [0, 1]
    assert tasks(plan_runs(assets, ["c1", "c3"], ["d"])) == [{"c1", "c2", "c3", "c4"}]
    # another way leads from one to the other
    direct = {"d": [task("c1", "c2", "c3"), *CHAIN["d"][1:]]}
    assert tasks(plan_runs(asset_map(direct, LINKS), ["c1", "c3"])) == [{"c1", "c3"}]


def test_dags_take_turns_also_by_way_of_one_that_does_not_run(asset_map: Describe) -> None:
    dags = {name: [task(name)] for name in ("a", "b", "c")}
    made = [asset("a", "a/a", readers=("b/b",)), asset("b", "b/b", readers=("c/c",)), asset("c", "c/c")]
    plans = plan_runs(asset_map(dags, made), ["c", "a"])
    assert [(plan.wave, plan.dag_id) for plan in plans] == [(0, "a"), (1, "c")]


def test_what_a_task_may_be_handed_is_made_too_or_it_does_not_run(asset_map: Describe) -> None:
    """``b(a())``, both of which make assets: without ``a``, ``b`` would be given None."""
    dags = {"d": [task("a", "b"), task("b")]}
    made = [asset("xa", "d/a"), asset("xb", "d/b")]
    for history, why in (
        ({"returned": ["d/a"]}, "its runs return something"),
        ({"new": ["d/a"]}, "it has not run yet"),
    ):
        assets = asset_map(dags, made, **history)
        with pytest.raises(
            ConfigurationError,
            match=rf"d: b comes after a, which is not selected, and may take what that returns: {why}. .* as in \+xb",
        ):
            plan_runs(assets, ["xb"])
        assert tasks(plan_runs(assets, ["xa", "xb"])) == [{"a", "b"}]
        assert tasks(plan_runs(assets, ["xa"])) == [{"a"}]
    assert tasks(plan_runs(asset_map(dags, made), ["xb"])) == [{"b"}]
    # nothing is taken by a task that does nothing, and tables by those of this package
    for kind in ("EmptyOperator", "DbtModelOperator"):
        dags = {"d": [task("a", "b"), task("b", kind=kind)]}
        assert tasks(plan_runs(asset_map(dags, made, new=["d/a"]), ["xb"])) == [{"b"}]


def test_setups_and_teardowns_run_with_what_works_between(asset_map: Describe) -> None:
    down = task("delete", rule="all_done_setup_success")
    plain = {"d": [task("create", "make"), task("make", "delete"), down]}
    assert tasks(plan_runs(asset_map(plain, [asset("td", "d/make")]), ["td"])) == [{"create", "make", "delete"}]

    work = [task("before", "create"), task("create", "m1", "delete"), task("m1", "m2"), task("m2", "delete", "after")]
    dags = {"d": [*work, down, task("after")]}
    assets = asset_map(dags, [asset(name, f"d/{name}") for name in ("before", "m1", "m2", "after")])
    assert tasks(plan_runs(assets, ["before"])) == [{"before"}]
    assert tasks(plan_runs(assets, ["after"])) == [{"after"}]
    assert tasks(plan_runs(assets, ["m2"])) == [{"create", "m2", "delete"}]
    assert tasks(plan_runs(assets, ["m1", "m2"])) == [{"create", "m1", "m2", "delete"}]
    with pytest.raises(
        ConfigurationError, match="d: delete would not wait for m1, since m2 between them would not run"
    ):
        plan_runs(assets, ["m1"])


def test_the_day_comes_from_the_conf_if_all_tasks_that_run_are_of_this_package(asset_map: Describe) -> None:
    dags = {"d": [task("model", "export", kind="DbtModelOperator"), task("export")]}
    tasks_of = asset_map(dags, []).dag_tasks("d")
    assert tasks_of.take_day_from_conf({"model"})
    assert not tasks_of.take_day_from_conf({"export"})
    assert not tasks_of.take_day_from_conf({"model", "export"})
