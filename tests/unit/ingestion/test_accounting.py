"""The sum of a run holds, or nothing is published."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import AccountingError
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.merge import MergePlan, engine
from airflow_provider_phlo.iceberg.merge import copy_on_write as merging
from airflow_provider_phlo.ingestion import landing
from airflow_provider_phlo.ingestion.accounting import Accounting
from airflow_provider_phlo.ingestion.definition import TableDefinition
from tests.unit.ingestion.test_quarantine import MERGE, TABLE, House, records

GOOD = Accounting(
    read=10, added=1, dropped=2, inserted=3, updated=1, deleted=1, unchanged=1, duplicates=1, quarantined=2
)


def test_what_is_said() -> None:
    came, went = str(GOOD).split(" = ")
    assert came == "read 10 + added 1"
    assert went == "inserted 3 + updated 1 + deleted 1 + unchanged 1 + duplicates 1 + quarantined 2 + dropped 2"
    assert str(Accounting()) == "read 0 = inserted 0"
    assert Accounting.of({**asdict(GOOD), "table": "raw.t", "seconds": 1.5}) == GOOD


@given(st.sampled_from(sorted(asdict(GOOD))), st.integers(-20, 20).filter(bool))
def test_one_number_that_is_wrong_is_seen(name: str, by: int) -> None:
    GOOD.require_balance("raw.t", "manual__1")
    wrong = replace(GOOD, **{name: getattr(GOOD, name) + by})
    with pytest.raises(AccountingError, match=r"raw\.t, run manual__1: the counts do not add up: read"):
        wrong.require_balance("raw.t", "manual__1")


@pytest.fixture
def house(tmp_path: Any) -> House:
    return House(tmp_path)


STRATEGIES = {
    "merge": MergePlan(key=("k",)),
    "merge, first": MergePlan(key=("k",), method="first"),
    "merge, hash": MergePlan(key=("k",), method="hash"),
    "merge, deletions": MergePlan(key=("k",), hard_delete="gone"),
    "append": MergePlan("append", deduplication=False),
    "append, hash": MergePlan("append", method="hash"),
    "replace": MergePlan("replace"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_sum_holds_for_every_strategy_and_is_stored(
    house: House, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    definition = TableDefinition(TABLE, STRATEGIES[name], MERGE.declared)
    first = records((1, 1), (1, 1), (2, 2), (3, 3), (4, 400), ("x", 1), gone=False)
    second = [*records((1, 1), (2, 5), (5, 5), (6, 600), gone=False), *records((3, 3), gone=True)]

    def second_twice(table: Any) -> Any:
        return pa.concat_tables([table.slice(1), table.filter(pc.equal(table["k"], 2))])

    for token, rows in (("one", first), ("two", second)):
        with caplog.at_level("INFO"):
            result = house.run(token, rows, definition, transforms=(second_twice,) if token == "two" else ())
        counts = Accounting.of(result)
        assert counts.balanced
        assert counts.read == len(rows)
        assert f"{TABLE} 2024-01-15: {counts}" in caplog.text
        summary = house.catalog.load_table(TABLE).current_snapshot().summary.additional_properties
        if summary["phlo.token"] == token:
            stored = {item: int(summary.get(f"phlo.{item}", 0)) for item in asdict(counts)}
            assert stored == asdict(counts)
        mark = find_published_result(house.catalog.load_table(TABLE), token)
        assert mark is not None
        assert Accounting.of(mark) == counts
    assert counts.dropped == 1


def tampered(monkeypatch: pytest.MonkeyPatch, **changes: int) -> None:
    """Make the engine report something else than it did."""
    merge = merging.merge

    def lying(*arguments: Any, **options: Any) -> Any:
        result = merge(*arguments, **options)
        return replace(result, **{name: getattr(result, name) + by for name, by in changes.items()})

    monkeypatch.setattr(engine, "merge", lying)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inserted": 1}, "the counts do not add up: read 2 = inserted 2"),
        ({"rows": 1}, "rows that were merged: 2, expected 1"),
        ({"inserted": -1, "unchanged": 1}, "rows by which the table grew: 1, expected 0"),
        ({"duplicates": -1, "unchanged": 1}, "the counts do not add up"),
    ],
)
def test_nothing_is_published_if_a_count_is_wrong(
    house: House, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], message: str
) -> None:
    tampered(monkeypatch, **changes)
    with pytest.raises(AccountingError, match=f"run run one: {message}"):
        house.run("one", records((1, 1), (2, 200)))
    assert house.rows() == []


def test_a_staged_file_that_lost_rows_is_seen(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = replace(house.stage("one", records((1, 1), (2, 2)), MERGE), rows=3, read=3)
    with pytest.raises(AccountingError, match=r"raw\.t, run run one: the counts do not add up: read 3 = inserted 2\."):
        landing.land(house.catalog, house.root, batch, MERGE)
    assert house.rows() == []
