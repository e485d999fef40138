"""What a round says of tables, and what counts as new data."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField, StringType

from airflow_provider_phlo import phlo_ingestion
from airflow_provider_phlo.alerts.incidents.store import TABLE as INCIDENTS
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.metrics.loads import Load, TableLoads, table_loads
from airflow_provider_phlo.quality.check_results import TABLE as CHECK_RESULTS
from airflow_provider_phlo.quality.freshness import POLICY_PROPERTY, FreshnessPolicy, TablePolicy, table_policy
from tests.unit.watching.conftest import POLICY, TODAY, YESTERDAY, Reading

TABLE = "raw.readings"


def test_a_table_grows_old_although_no_run_happens(publish: Callable[..., None], freshness: Any, look: Any) -> None:
    publish("one", {1: 1.0})
    assert [freshness(hours) for hours in (0, 23.9, 24.1, 48.1)] == [
        [(TABLE, "fresh")],
        [(TABLE, "fresh")],
        [(TABLE, "late")],
        [(TABLE, "stale")],
    ]
    late, stale = (next(each for each in look(hours).wrong if each.rule == "freshness") for hours in (25, 49))
    assert (late.severity, stale.severity) == ("warn", "error")
    assert (late.group, late.owner, late.tags) == ("site", "team-a", ("glucose",))
    assert late.facts["age_hours"] == pytest.approx(25, abs=0.1)
    assert late.message.startswith("raw.readings: published 25 h ago")


def test_the_policy_costs_no_commit(publish: Callable[..., None], catalog: Catalog) -> None:
    def versions(name: str) -> int:
        return len(catalog.load_table(name).metadata.metadata_log)

    for name, policy in (("raw.with", POLICY), ("raw.without", None)):
        publish("one", {1: 1.0}, table=name, policy=policy)
        publish("two", {1: 1.0}, table=name, policy=policy)
        publish("three", {1: 2.0}, table=name, policy=policy)
    assert versions("raw.with") == versions("raw.without")
    assert catalog.load_table("raw.with").properties[POLICY_PROPERTY] == POLICY.to_json()
    assert POLICY_PROPERTY not in catalog.load_table("raw.without").properties


def as_of(catalog: Catalog) -> dt.datetime | None:
    return table_loads(catalog.load_table(TABLE)).current_as_of(dt.datetime.now(dt.UTC))


def test_what_is_new_data(publish: Callable[..., None], catalog: Catalog) -> None:
    publish("one", {1: 1.0, 2: 2.0})
    first = as_of(catalog)
    publish("nothing")
    publish("aside", {3: -1.0})
    publish("old", {4: 4.0}, day="2024-01-15")
    compact(catalog, TABLE, min_files=2)
    with catalog.load_table(TABLE).update_schema() as change:
        change.add_column("note", StringType(), doc="nothing new")
    with catalog.load_table(TABLE).transaction() as properties:
        properties.set_properties({"comment": "nor here"})
    assert as_of(catalog) == first
    publish("unchanged", {1: 1.0})
    second = as_of(catalog)
    assert first is not None
    assert second is not None
    assert second > first
    publish("mistake", {5: 5.0}, day="2999-01-01")
    publish("next", {6: 6.0}, day=str(TODAY))
    third = as_of(catalog)
    assert third is not None
    assert third > second
    rollback(catalog, plan_rollback(catalog, TABLE, to_snapshot=snapshot_of(catalog, "one")))
    assert as_of(catalog) == first


def snapshot_of(catalog: Catalog, token: str) -> int:
    table = catalog.load_table(TABLE)
    return next(
        each.snapshot_id for each in table.metadata.snapshots if each.summary and each.summary["phlo.token"] == token
    )


NOW = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)


def load(hours: float, day: str = "", **counts: Any) -> Load:
    replay = counts.pop("replay", False)
    return Load(NOW + dt.timedelta(hours=hours), "token" if "read" in counts else "", "", day, counts, replay)


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([], None),
        ([load(-3, read=1), load(-2, read=0)], -3),
        ([load(-3, read=1), load(-2, read=5, quarantined=5)], -3),
        ([load(-3, read=1), load(-2, read=5, quarantined=4)], -2),
        ([load(-3, read=1), load(-2, read=5, replay=True)], -3),
        # other writers: a deletion is not new data
        ([load(-3, written=1), load(-2, written=0)], -3),
        # a clock that is a little ahead, one that is far ahead
        ([load(-3, read=1), load(0.5, read=1)], 0.5),
        ([load(-3, read=1), load(2, read=1)], -3),
        ([load(2, read=1)], None),
        # old days are loaded again; the newest day is
        ([load(-3, "2026-03-01", read=1), load(-2, "2026-02-01", read=1)], -3),
        ([load(-3, "2026-03-01", read=1), load(-2, "2026-03-01", read=1)], -2),
        ([load(-3, "2026-03-01", read=1), load(-2, written=1)], -2),
        # a day of the future, by mistake
        ([load(-9, "2999-01-01", read=1), load(-2, "2026-03-03", read=1)], -2),
    ],
)
def test_current_as_of(loads: list[Load], expected: float | None) -> None:
    found = TableLoads(TABLE, tuple(loads), None, 0, 1).current_as_of(NOW)
    assert found == (None if expected is None else NOW + dt.timedelta(hours=expected))


def test_what_cannot_be_read_is_said_and_stops_nothing(
    publish: Callable[..., None], look: Any, catalog: Catalog
) -> None:
    for name in ("raw.damaged", "raw.newer", "raw.odd", "raw.sound"):
        publish("one", {1: 1.0}, table=name)
    for name, text in (("raw.newer", '{"version": 99}'), ("raw.odd", "[]")):
        with catalog.load_table(name).transaction() as change:
            change.set_properties({POLICY_PROPERTY: text})
    location = catalog.load_table("raw.damaged").metadata_location
    Path(location.removeprefix("file://")).write_text("{")
    result = look()
    unknown = {verdict.table: verdict.message for verdict in result.wrong if verdict.rule == "freshness"}
    assert list(unknown) == ["raw.damaged", "raw.newer", "raw.odd"]
    assert all(message.startswith(f"{name} cannot be watched") for name, message in unknown.items())
    assert "upgrade it" in unknown["raw.newer"]
    assert "remove it" in unknown["raw.odd"]
    assert {verdict.severity for verdict in result.wrong} == {"warn"}
    assert result.tables == 4


def test_a_table_whose_first_run_never_published(catalog: Catalog, look: Any) -> None:
    catalog.create_namespace("raw")
    catalog.create_table("raw.fails", Schema(NestedField(1, "k", StringType())))
    [found] = look().verdicts
    assert (found.table, found.passed) == ("raw.fails", None)
    assert "nothing has ever been published into it" in found.message


@pytest.mark.parametrize("name", [CHECK_RESULTS, INCIDENTS])
def test_a_record_that_another_watcher_has_just_made(catalog: Catalog, look: Any, name: str) -> None:
    catalog.create_namespace("phlo")
    catalog.create_table(name, Schema(NestedField(1, "k", StringType())))
    assert look(dry_run=True).verdicts == ()


def test_an_unchanged_table_is_not_read_again(publish: Callable[..., None], freshness: Any, catalog: Catalog) -> None:
    publish("one", {1: 1.0}, day=YESTERDAY)
    assert freshness() == [(TABLE, "fresh")]
    path = Path(catalog.load_table(TABLE).metadata_location.removeprefix("file://"))
    content = path.read_text()
    path.write_text("{")
    assert freshness(25) == [(TABLE, "late")]
    path.write_text(content)
    publish("two", {2: 2.0})
    assert freshness(23) == [(TABLE, "fresh")]


def test_the_tasks_of_an_ingestion_write_the_policy(run_ingestion: Any, freshness: Any, catalog: Catalog) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield {"k": 1, "v": 1.0}

    declared = {"unique_key": "k", "validation_schema": Reading, "group": "site"}
    run_ingestion(phlo_ingestion("readings", cron="0 6 * * *", freshness_hours=(24, 48), **declared)(rows))
    policy = table_policy(TABLE, catalog.load_table(TABLE).properties)
    assert policy == TablePolicy(FreshnessPolicy(24, 48, "0 6 * * *"), "site", None, ("site",))
    assert freshness() == [(TABLE, "fresh")]
    run_ingestion(phlo_ingestion("others", cron="@once", **declared)(rows))
    assert table_policy("raw.others", catalog.load_table("raw.others").properties) == TablePolicy(
        None, "site", None, ("site",)
    )
    assert freshness() == [(TABLE, "fresh")]
