"""Reconciliations on tables of a catalog: arguments, several tables, partitions, branches, names, what is hidden."""

from __future__ import annotations

import datetime as dt
import random
import re

import numpy as np
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.branches.declared import PII_PROPERTY
from airflow_provider_phlo.quality.reconciliation import (
    AggregateConsistencyCheck,
    AggregateSpec,
    ChecksumReconciliationCheck,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    ReconciliationCheck,
    checksums,
)
from airflow_provider_phlo.quality.scan import run_checks, run_checks_on_frame
from tests.expect import expect
from tests.lake import create_table, open_lake

DAYS = [dt.date(2024, 1, 15), dt.date(2024, 1, 16), dt.date(2024, 1, 17)]
TIMES = [dt.datetime(2024, 1, 15, 23, 59), dt.datetime(2024, 1, 16), dt.datetime(2024, 1, 17, 12)]
EVENTS = pa.table({"event": ["a", "b", "c"], "who": ["Ann", "Bob", "Cy"], "n": [1, 2, 3], "taken": TIMES})
LATER = pa.table({"event": ["d"], "who": ["Dee"], "n": [4], "taken": [dt.datetime(2024, 1, 17, 1)], "more": [1]})
FACTS = pa.table({"id": ["a", "b", "c"], "who": ["Ann", "Bob", "Cy"], "n": [1, 2, 3], "day": DAYS})
DAILY = pa.table({"day": DAYS, "events": [1, 1, 1], "total": [1, 2, 3]})
CALLED = {"id": "event", "day": "CAST(taken AS DATE)"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    catalog = open_lake(tmp_path_factory.mktemp("lake"))
    content = {"raw.events": EVENTS, "raw.later": LATER, "silver.facts": FACTS, "gold.daily": DAILY}
    for name, rows in content.items():
        create_table(catalog, name, rows)
    facts = catalog.load_table("silver.facts")
    facts.manage_snapshots().create_branch(facts.current_snapshot().snapshot_id, "phlo_run").commit()
    facts.append(pa.table({"id": ["d"], "who": ["Dee"], "n": [4], "day": [DAYS[2]]}, FACTS.schema), branch="phlo_run")
    return catalog


def run(catalog, check, table="silver.facts", **where):
    return run_checks(catalog, table, [check], **where)[0]


def test_columns_of_other_names_and_expressions(catalog):
    found = run(catalog, ChecksumReconciliationCheck("raw.events", key_columns="id", source_columns=CALLED))
    assert found.passed, found.message
    assert found.metrics["compared_columns"] == ["id", "day", "n", "who"]
    assert found.message.endswith("not compared: taken")


def test_several_sources_are_united_and_the_branch_is_read(catalog):
    sources = ["raw.events", "raw.later"]
    checks = [
        ReconciliationCheck(sources, "day", source_columns=CALLED),
        KeyParityCheck(sources, "id", source_columns=CALLED),
        ChecksumReconciliationCheck(sources, key_columns="id", source_columns=CALLED),
        AggregateConsistencyCheck(sources, "n", "sum(n)", CALLED, target_expression="sum(n)"),
    ]
    assert [result.passed for result in run_checks(catalog, "silver.facts", checks)] == [False] * 4
    results = run_checks(catalog, "silver.facts", checks, branch="phlo_run")
    assert [result.passed for result in results] == [True] * 4, [result.message for result in results]


def test_several_targets(catalog):
    check = KeyParityCheck(["raw.events"], "event", target_table=["raw.events", "raw.later"])
    found = run(catalog, check, "gold.daily")
    assert found.metrics["extra"] == ["event=d"]
    assert not found.passed


def test_one_partition_of_both_sides(catalog):
    check = ChecksumReconciliationCheck(["raw.events", "raw.later"], key_columns="id", source_columns=CALLED)
    for day, passed, rows in ((DAYS[0], True, 1), (DAYS[1], True, 1), (DAYS[2], False, 2)):
        found = run(catalog, check, partition=day, partition_column="day")
        assert (found.passed, found.metrics["source_count"]) == (passed, rows)


def test_partitions_that_differ_are_named(catalog):
    sources = ["raw.events", "raw.later"]
    counts = run(catalog, ReconciliationCheck(sources, "day", source_columns=CALLED))
    assert counts.metrics["different"] == ["day=2024-01-17: 2 and 1"]
    rows = run(
        catalog, ChecksumReconciliationCheck(sources, key_columns="id", partition_column="day", source_columns=CALLED)
    )
    assert rows.metrics["missing"] == ["day=2024-01-17, id=d"]


def test_aggregates_beside_a_table_of_one_row_per_group(catalog):
    specs = [AggregateSpec("events", "count(*)"), AggregateSpec("sum", "sum(n)", "total")]
    check = MultiAggregateConsistencyCheck("raw.events", specs, {"day": "CAST(taken AS DATE)"})
    assert run(catalog, check, "gold.daily").message == "0 of 3 groups differ in events, sum"
    check = MultiAggregateConsistencyCheck(["raw.events", "raw.later"], specs, {"day": "CAST(taken AS DATE)"})
    found = run(catalog, check, "gold.daily")
    assert found.metrics["different"] == ["day=2024-01-17"]
    assert found.metrics["different_aggregates"] == {"events": 1, "sum": 1}
    assert "aggregates that differ: events (1), sum (1)" in found.message


def test_a_tolerance_of_one_aggregate(catalog):
    specs = [AggregateSpec("events", "count(*)", absolute_tolerance=1), AggregateSpec("total", "sum(n)", tolerance=0.6)]
    check = MultiAggregateConsistencyCheck(["raw.events", "raw.later"], specs, {"day": "CAST(taken AS DATE)"})
    assert run(catalog, check, "gold.daily").passed


def test_filters(catalog):
    check = KeyParityCheck("raw.events", "id", source_columns=CALLED, target_filter="n > 1", source_filter="n > ?")
    marked = run(catalog, check)  # a marker has no value
    assert not marked.passed
    assert "'n > ?' cannot be evaluated" in marked.message
    check = KeyParityCheck("raw.events", "id", source_columns=CALLED, target_filter="n > 1", source_filter="n >= 2")
    found = run(catalog, check)
    assert (found.passed, found.metrics["source_count"], found.metrics["target_count"]) == (True, 2, 2)
    writes = KeyParityCheck("raw.events", "id", source_columns=CALLED, source_filter="true); DROP TABLE x; --")
    refused = run(catalog, writes)
    assert not refused.passed
    assert "Cannot read the SQL" in refused.message


def test_large_integers_are_subtracted_exactly():
    wrong = pa.table({"n": [2**60 + 100]})
    check = AggregateConsistencyCheck("source", "n", "max(n)", absolute_tolerance=1)
    found = check.execute(wrong, {"tables": {"source": pa.table({"n": [2**60]})}})
    expect(found, passed=False, different_count=1)


def test_infinity_is_within_no_tolerance():
    for source, target in ((float("inf"), 5.0), (5.0, float("inf")), (float("nan"), 5.0)):
        tables = {"tables": {"source": pa.table({"k": [1], "x": [source]})}}
        rows = pa.table({"k": [1], "x": [target]})
        for check in (
            AggregateConsistencyCheck("source", "x", "max(x)", tolerance=0.5),
            ChecksumReconciliationCheck("source", key_columns="k", value_tolerance=0.5),
        ):
            expect(check.execute(rows, tables), passed=False, different_count=1)


@pytest.mark.long
@pytest.mark.parametrize("changed", ["number", "ratio", "text", "at"])
def test_one_changed_cell_is_found_wherever_it_is(changed):
    size, chance = 200_000, random.Random(changed)
    numbers = np.arange(size)
    rows = pa.table(
        {
            "id": numbers,
            "number": numbers % 7,
            "ratio": numbers / 7,
            "text": np.char.add("row ", (numbers % 1000).astype(str)),
            "at": pa.array(numbers * 1_000_003, pa.timestamp("us", "UTC")),
        }
    )
    place = chance.randrange(size)
    cells = rows[changed].to_pylist()
    cell = cells[place]
    step = dt.timedelta(microseconds=1) if changed == "at" else "" if changed == "text" else 1e-9
    cells[place] = f"{cell} " if changed == "text" else cell + 1 if changed == "number" else cell + step
    other = rows.set_column(rows.column_names.index(changed), changed, pa.array(cells, rows[changed].type))
    found = ChecksumReconciliationCheck("source", key_columns="id").execute(other, {"tables": {"source": rows}})
    assert found.metrics["different"] == [f"id={place}"]
    assert found.metrics["different_columns"] == {changed: 1}


def test_many_differences_are_all_counted_and_few_named(monkeypatch):
    monkeypatch.setattr(checksums, "ROWS_AT_ONCE", 5_000)
    numbers = np.arange(30_000)
    rows, other = pa.table({"id": numbers, "v": numbers}), pa.table({"id": numbers + 1000, "v": numbers + 1001})
    check = ChecksumReconciliationCheck("source", key_columns="id", limit=3, absolute_tolerance=31_000)
    found = check.execute(other, {"tables": {"source": rows}})
    assert [found.metrics[f"{kind}_count"] for kind in ("missing", "extra", "different")] == [1000, 1000, 29_000]
    assert [len(found.metrics[kind]) for kind in ("missing", "extra", "different")] == [3, 3, 3]
    assert found.passed
    assert found.failed == 31_000


def test_pii_is_masked(catalog):
    table = catalog.load_table("raw.later")
    with table.transaction() as change:
        change.set_properties({PII_PROPERTY: '["who"]'})
    names = {"name": "upper(who)"}
    check = KeyParityCheck("later", ["event", "who"], target_table="events")
    found = run(catalog, check, "raw.events")
    assert found.metrics["missing"] == ["event=d, who=***"]
    assert found.metrics["extra"] == ["event=a, who=***", "event=b, who=***", "event=c, who=***"]
    grouped = AggregateConsistencyCheck("later", "n", "sum(n)", {"who": names["name"]})
    assert not any(kind in run(catalog, grouped, "raw.events").metrics for kind in ("missing", "extra"))
    masked = KeyParityCheck("later", ["event", "n"], target_table="events", pii_columns=["n"])
    assert run(catalog, masked, "raw.events").metrics["missing"] == ["event=d, n=***"]
    silent = KeyParityCheck("later", "event", target_table="events", show_keys=False)
    found = run(catalog, silent, "raw.events")
    assert "missing" not in found.metrics
    assert found.metrics["missing_count"] == 1


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (KeyParityCheck("raw.nope", "id"), r"raw\.nope does not exist"),
        (KeyParityCheck("raw.events", "id"), r"raw\.events has no column id; its columns are: event, who"),
        (KeyParityCheck("raw.events", "nope"), "there is no column nope"),
        (KeyParityCheck("raw.events", "id", source_columns={"id": "n"}), "integer in raw.events, text in silver.facts"),
        (KeyParityCheck(key_columns="id"), "names no source_table"),
        (KeyParityCheck("silver.facts", "id"), "source and target are the same tables"),
        (ChecksumReconciliationCheck("raw.events", key_columns="n", columns="x"), "there is no column x"),
        (AggregateConsistencyCheck("raw.events", "who", "count(*)"), "who is integer in raw.events and text in"),
        (AggregateConsistencyCheck("raw.events", "n", "count(*), 1"), "cannot be compared"),
        (AggregateConsistencyCheck("raw.events", "n", "sum(nope)"), "it cannot be evaluated"),
        (ReconciliationCheck("raw.events", "day"), r"raw\.events has no column day"),
    ],
)
def test_what_cannot_be_compared_is_a_failure_that_says_why(catalog, check, said):
    found = run(catalog, check)
    assert not found.passed
    assert re.search(said, found.message), found.message


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReconciliationCheck("s", check_type="parity"),
        lambda: ReconciliationCheck("s", tolerance=-0.1),
        lambda: ReconciliationCheck("s", tolerance=float("nan")),
        lambda: ReconciliationCheck("s", absolute_tolerance="1"),
        lambda: ReconciliationCheck("s", severity="fatal"),
        lambda: ReconciliationCheck("s", limit=-1),
        lambda: ReconciliationCheck(["s", "t"], target_table=["t", "s"]),
        lambda: ReconciliationCheck("s", source_columns=["a"]),
        lambda: KeyParityCheck("s"),
        lambda: ChecksumReconciliationCheck("s", key_columns="id", hash_algorithm="crc32"),
        lambda: ChecksumReconciliationCheck("s", key_columns="id", columns=[]),
        lambda: ChecksumReconciliationCheck("s", value_tolerance=0.1),
        lambda: ChecksumReconciliationCheck("s", key_columns="id", value_tolerance=True),
        lambda: AggregateConsistencyCheck("s"),
        lambda: AggregateConsistencyCheck("s", aggregate_column="n"),
        lambda: MultiAggregateConsistencyCheck("s"),
        lambda: MultiAggregateConsistencyCheck("s", [AggregateSpec("n", "sum(n)")] * 2),
        lambda: AggregateSpec("", "sum(n)"),
        lambda: AggregateSpec("n", "sum(n)", "n", target_expression="sum(n)"),
        lambda: AggregateSpec("n", "sum(n)", tolerance=-1),
    ],
)
def test_nonsense_is_refused_at_once(make):
    with pytest.raises(ConfigurationError):
        make()


def test_arguments_stand_in_the_order_of_the_contract():
    count = ReconciliationCheck("s", "day", "rowcount_gte", 0.1, 5)
    assert (count.partition_column, count.check_type, count.tolerance, count.absolute_tolerance) == (
        "day",
        "rowcount_gte",
        0.1,
        5,
    )
    checksum = ChecksumReconciliationCheck("s", "t", ["k"], ["c"], "md5")
    assert (checksum.target_table, checksum.key_columns, checksum.columns) == (("t",), ("k",), ("c",))
    aggregate = AggregateConsistencyCheck("s", "n", "sum(n)", "day")
    assert aggregate.column_names() == ("day", "n")
    assert MultiAggregateConsistencyCheck(aggregates=[AggregateSpec("n", "sum(n)")], group_by=["g"]).column_names() == (
        "g",
        "n",
    )


def test_frames_are_reconciled_without_a_catalog():
    pandas = EVENTS.to_pandas()
    checks = [ReconciliationCheck("raw.events"), ChecksumReconciliationCheck("raw.events", key_columns="event")]
    results = run_checks_on_frame(EVENTS, checks, {"tables": {"raw.events": pandas}})
    assert [result.passed for result in results] == [True, True], [result.message for result in results]
    alone = KeyParityCheck("raw.events", "event").execute(EVENTS)
    assert "give its rows as context={'tables'" in alone.message


@pytest.mark.parametrize(
    ("source", "target", "tolerance"), [(100, 71, 0.29), (200, 86, 0.57), (200, 84, 0.58), (100, 93, 0.07)]
)
def test_a_difference_just_at_a_tolerance_passes(source, target, tolerance):
    theirs, ours = (pa.table({"id": range(count), "n": [1.0] * count}) for count in (source, target))
    for check in (
        ReconciliationCheck("raw.s", tolerance=tolerance),
        KeyParityCheck("raw.s", key_columns="id", tolerance=tolerance),
        AggregateConsistencyCheck("raw.s", "n", "sum(n)", tolerance=tolerance, target_expression="sum(n)"),
    ):
        assert check.execute(ours, {"tables": {"raw.s": theirs}}).passed
        check.tolerance -= 1e-6
        found = check.execute(ours, {"tables": {"raw.s": theirs}})
        assert not found.passed
        assert f"{source} rows in the source" in found.message or found.metrics["different_count"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source_columns": {"id": "nope / 100"}}, "'nope / 100' cannot be evaluated on raw.s "),
        ({"source_filter": "nope > 1"}, "'nope > 1' cannot be evaluated on raw.s "),
        ({"target_filter": "nope > 1"}, "'nope > 1' cannot be evaluated on the rows "),
        ({"source_filter": "n > 1) OR (1 = 1"}, "syntax error"),
    ],
)
def test_an_expression_that_cannot_be_evaluated_is_named(arguments, message):
    rows = pa.table({"id": [1], "n": [1]})
    result = KeyParityCheck("raw.s", key_columns="id", **arguments).execute(rows, {"tables": {"raw.s": rows}})
    assert not result.passed
    assert message in result.message


def test_an_expression_may_end_with_a_comment():
    rows = pa.table({"id": [1, 2], "n": [1, 2]})
    given = {"source_filter": "n < 2 -- the first", "source_columns": {"id": "id + 0 -- itself"}}
    check = KeyParityCheck("raw.s", key_columns="id", **given)
    assert check.execute(rows.slice(0, 1), {"tables": {"raw.s": rows}}).passed


def test_a_checksum_of_nothing_but_the_key_is_refused():
    with pytest.raises(ConfigurationError, match="names nothing but the key"):
        ChecksumReconciliationCheck("raw.s", key_columns=["id"], columns=["id"])
