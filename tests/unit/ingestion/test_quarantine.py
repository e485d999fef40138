"""Records set aside, looked at, replayed after a schema fix: exactly once, and nothing newer is overwritten."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlt
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pandera.pandas import Field
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError, QualityCheckError, ValidationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, quarantine, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.quarantine import Selection
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.terms import METADATA_COLUMNS
from tests.expect import expect
from tests.lake import open_lake

TABLE = "raw.t"
DAY = "2024-01-15"
ALL = Selection()


class Narrow(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0, le=100)


class Wide(PhloSchema):
    k: int = Field(unique=True)
    v: float = Field(ge=0, le=1000)


NARROW, WIDE = model_columns(Narrow), model_columns(Wide)
MERGE = TableDefinition(TABLE, MergePlan(key=("k",)), WIDE)
ORDERED = TableDefinition(TABLE, MergePlan(key=("k",), order_by="at"), WIDE)
APPEND = TableDefinition(TABLE, MergePlan("append", deduplication=False), WIDE)
APPEND_BY_HASH = TableDefinition(TABLE, MergePlan("append", method="hash"), WIDE)


class House:
    """A catalog, a staging root, and the steps of ingestion runs and of replays."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.root = home / "staging"
        self.catalog: Catalog = open_lake(home)

    def stage(
        self, token: str, source: Any, definition: TableDefinition, declared: Any = None, **values: Any
    ) -> staged_batches.StagedBatch:
        options = {name: values.pop(name) for name in ("transforms", "strict") if name in values}
        options = {"strict": False, **options}
        plan = StagingPlan(
            TABLE,
            key=definition.plan.key,
            declared=declared or definition.declared,
            identity=definition.plan.key,
            metadata_columns=definition.metadata_columns,
            **options,
        )
        batch = stage(
            lambda: source,
            plan,
            root=self.root,
            token=token,
            partition_date=DAY,
            run_id=f"run {token}",
            pipelines_dir=self.home / "dlt",
            **values,
        )
        assert batch is not None
        return batch

    def finish(
        self, batch: staged_batches.StagedBatch, definition: TableDefinition, audit: Any = None
    ) -> dict[str, Any]:
        landed = landing.land(self.catalog, self.root, batch, definition)
        assert landed is not None
        return publication.publish(
            self.catalog, self.root, landed, definition, audit or (lambda branch: None)
        ).to_json()

    def run(self, token: str, source: Any, definition: TableDefinition = MERGE, **values: Any) -> dict[str, Any]:
        """Ingest by the narrow schema."""
        return self.finish(self.stage(token, source, definition, NARROW, **values), definition)

    def staged_replay(
        self, token: str, definition: TableDefinition = MERGE, selection: Selection = ALL, **values: Any
    ) -> staged_batches.StagedBatch:
        quarantine.claim(self.catalog, TABLE, selection, token, f"run {token}")
        return self.stage(
            token,
            quarantine.claimed_records(self.catalog, TABLE, token),
            definition,
            replay=True,
            hard_delete=quarantine.hard_delete_column(self.catalog, TABLE, token),
            **values,
        )

    def replay(
        self, token: str, definition: TableDefinition = MERGE, selection: Selection = ALL, **values: Any
    ) -> dict[str, Any]:
        """Replay by the schema of ``definition``, the wide one."""
        audit = values.pop("audit", None)
        return self.finish(self.staged_replay(token, definition, selection, **values), definition, audit)

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        found = self.catalog.load_table(TABLE).scan().to_arrow().select(list(names or ("k", "v")))
        return sorted((tuple(row.values()) for row in found.to_pylist()), key=repr)

    def waiting(self, selection: Selection = ALL) -> list[dict[str, Any]]:
        found = quarantine.find(self.catalog, TABLE, selection, with_records=True)
        records = [json.loads(row["record"]) for row in found]
        return [
            {"k": record["k"] if isinstance(record, dict) else None, **row}
            for record, row in zip(records, found, strict=True)
        ]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def records(*pairs: tuple[Any, Any], **more: Any) -> list[dict[str, Any]]:
    return [{"k": key, "v": value, **more} for key, value in pairs]


# --- looking at it


def test_counts_by_run_day_and_reason(house: House) -> None:
    house.run("one", records((1, 1), (2, 200), (3, 300), ("x", 1)))
    house.run("two", records((4, 400)))
    house.replay("again", selection=Selection(run_id="run two"))
    found = quarantine.counts(house.catalog, TABLE)
    shown = [tuple(row[name] for name in ("run_id", "reason", "records", "replayed")) for row in found]
    assert shown == [
        ("run one", "k: is_integer", 1, 0),
        ("run one", "v: less_than_or_equal_to(100)", 2, 0),
        ("run two", "v: less_than_or_equal_to(100)", 1, 1),
    ]
    assert {row["partition_date"] for row in found} == {dt.date(2024, 1, 15)}
    assert quarantine.quarantines(house.catalog) == [TABLE]


def test_what_waits(house: House) -> None:
    house.run("one", records((1, 1), (2, 200), ("x", 1)))
    house.run("two", records((3, 300)))
    assert [(row["source_position"], row["k"]) for row in house.waiting()] == [(1, 2), (2, "x"), (0, 3)]
    assert [row["k"] for row in house.waiting(Selection(reason="is_integer"))] == ["x"]
    assert [row["k"] for row in house.waiting(Selection(run_id="run two"))] == [3]
    assert [row["k"] for row in house.waiting(Selection(partition_date="2024-01-16"))] == []
    some = quarantine.find(house.catalog, TABLE, ALL, limit=1)
    assert len(some) == 1
    assert "record" not in some[0]
    assert [row["k"] for row in house.waiting(Selection(ids=(some[0]["quarantine_id"],)))] == [2]


def test_a_table_without_quarantine(house: House) -> None:
    with pytest.raises(ConfigurationError, match=r"raw\.t has no quarantine"):
        quarantine.counts(house.catalog, TABLE)
    assert quarantine.claim(house.catalog, TABLE, ALL, "t", "r") == 0


# --- replays


@pytest.mark.long
@pytest.mark.parametrize("definition", [MERGE, APPEND, APPEND_BY_HASH], ids=["merge", "append", "append by hash"])
def test_a_replay_ingests_exactly_what_waits_and_marks_it(house: House, definition: TableDefinition) -> None:
    house.run("one", records((1, 1), (2, 200), (3, 3000), (4, 400)), definition)
    result = house.replay("again", definition)
    expect(result, read=3, inserted=2, quarantined=1)
    assert house.rows("k", "v", "_phlo_run_id", "_phlo_partition_date") == [
        (1, 1.0, "run one", dt.date(2024, 1, 15)),
        (2, 200.0, "run again", dt.date(2024, 1, 15)),
        (4, 400.0, "run again", dt.date(2024, 1, 15)),
    ]
    [left] = house.waiting()
    expect(left, k=3, run_id="run one", replay_token=None)
    assert left["reason"] == "v: less_than_or_equal_to(1000)"
    assert house.replay("nothing new", definition)["inserted"] == 0
    assert len(house.rows()) == 3
    assert sum(row["replayed"] for row in quarantine.counts(house.catalog, TABLE)) == 2


def test_a_selection_is_replayed_and_no_more(house: House) -> None:
    house.run("one", records((1, 200), ("2", 300), ("x", 1)))
    house.replay("again", selection=Selection(reason="v: less"))
    assert house.rows() == [(1, 200.0), (2, 300.0)]
    assert [row["k"] for row in house.waiting()] == ["x"]


def test_the_same_bad_record_again_does_not_undo_the_mark(house: House) -> None:
    house.run("one", records((1, 200)))
    house.replay("again")
    house.run("two", records((1, 200)))
    assert house.waiting() == []


def test_a_replay_ignores_strict_validation(house: House) -> None:
    house.run("one", records((1, 5000), (2, 200)))
    result = house.replay("again", strict=True)
    expect(result, inserted=1, quarantined=1)


def test_the_audit_is_asked_and_a_veto_leaves_all_as_it_was(house: House) -> None:
    house.run("one", records((1, 1), (2, 200)))

    def veto(branch: str) -> None:
        raise QualityCheckError(f"no {branch}")

    batch = house.staged_replay("again")
    landed = landing.land(house.catalog, house.root, batch, MERGE)
    assert landed is not None
    house.run("other", records((7, 7)))  # main moved: audited again
    with pytest.raises(QualityCheckError, match="phlo_again"):
        publication.publish(house.catalog, house.root, landed, MERGE, veto)
    assert house.rows() == [(1, 1.0), (7, 7.0)]
    assert [row["replay_token"] for row in house.waiting()] == ["again"]
    house.replay("once more")
    assert house.rows() == [(1, 1.0), (2, 200.0), (7, 7.0)]
    with pytest.raises(ConfigurationError, match="another replay has taken over the records of run again"):
        publication.publish(house.catalog, house.root, landed, MERGE, lambda branch: None)


def test_two_replays_at_once_ingest_a_record_once(house: House) -> None:
    house.run("one", records((1, 1), (2, 200)), APPEND)
    slow = house.staged_replay("slow", APPEND)
    landed = landing.land(house.catalog, house.root, slow, APPEND)
    house.replay("fast", APPEND)
    assert landed is not None
    with pytest.raises(ConfigurationError, match="has taken over"):
        publication.publish(house.catalog, house.root, landed, APPEND, lambda branch: None)
    with pytest.raises(ConfigurationError, match="has taken over"):
        landing.land(house.catalog, house.root, slow, APPEND)
    assert house.rows() == [(1, 1.0), (2, 200.0)]


def test_what_a_replay_published_before_it_died_is_not_read_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.run("one", records((1, 1), (2, 200)), APPEND)
    with monkeypatch.context() as patched:
        patched.setattr(quarantine, "mark_replayed", lambda *arguments: None)
        house.replay("died", APPEND)
    assert len(house.waiting()) == 1
    result = house.replay("next", APPEND)
    assert result["read"] == 0
    assert house.waiting() == []
    assert house.rows() == [(1, 1.0), (2, 200.0)]


# --- what is newer stays


def test_a_row_that_came_later_stays(house: House) -> None:
    house.run("zero", records((1, 1), (2, 2)))
    house.run("one", records((1, 200), (2, 201), (3, 202)))
    house.run("two", records((1, 3)))
    result = house.replay("again")
    assert house.rows() == [(1, 3.0), (2, 201.0), (3, 202.0)]
    expect(result, inserted=1, updated=1, unchanged=1, outdated=1)
    assert house.waiting() == []


def test_a_row_of_the_same_run_stays(house: House) -> None:
    house.run("one", records((1, 200), (1, 5)))
    house.replay("again")
    assert house.rows() == [(1, 5.0)]


def test_of_several_records_of_a_key_the_last_counts(house: House) -> None:
    house.run("one", records((1, 201), (1, 203), (1, 202)))
    house.run("two", records((2, 201)))
    house.run("three", records((2, 200)))
    house.replay("again")
    assert house.rows() == [(1, 202.0), (2, 200.0)]


def test_the_authors_order_decides(house: House) -> None:
    house.run("zero", records((0, 1), at=1), ORDERED)
    house.run("one", records((1, 200), at=5) + records((2, 200), at=5), ORDERED)
    house.run("two", records((1, 1), at=4) + records((2, 2), at=6), ORDERED)
    house.replay("again", ORDERED)
    assert house.rows() == [(0, 1.0), (1, 200.0), (2, 2.0)]


def test_a_deletion_by_the_resources_hint(house: House) -> None:
    def rows() -> Any:
        yield from records((1, 1), (2, 2)) + records((1, 200), gone=True)

    house.run("zero", records((1, 1)))
    resource = dlt.resource(rows, name="r", columns={"gone": {"hard_delete": True, "data_type": "bool"}})
    house.run("one", resource)
    assert house.waiting()[0]["hard_delete"] == "gone"
    later = house.catalog.load_table(TABLE).scan().to_arrow()
    assert set(later["k"].to_pylist()) == {1, 2}
    assert house.replay("again")["deleted"] == 1
    assert house.rows("k") == [(2,)]


def test_tables_that_a_replay_could_harm(house: House) -> None:
    bare = replace(MERGE, metadata_columns=False)
    house.run("one", records((1, 1), (2, 200)), bare)
    with pytest.raises(ConfigurationError, match=r"nothing says whether a quarantined record is older"):
        house.replay("again", bare)
    whole = replace(MERGE, plan=MergePlan("replace"))
    with pytest.raises(ConfigurationError, match="run the partition date again"):
        house.replay("once more", whole)
    assert house.rows() == [(1, 1.0)]


# --- what a record was


class Anything(PhloSchema):
    k: int
    data: bytes = Field(nullable=True)
    at: dt.datetime = Field(nullable=True)
    v: int = Field(le=10)


class Fixed(Anything):
    v: int = Field(le=1000)


def test_a_replayed_record_is_what_the_source_had(house: House) -> None:
    noon = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    bad = {"k": 1, "data": b"\xff\x00", "at": noon, "v": 11, "moreStuff": {"x": [1, None]}, "time": dt.time(1, 2)}
    definition = TableDefinition(TABLE, MergePlan(key=("k",)), model_columns(Fixed))
    house.finish(house.stage("one", [bad], definition, model_columns(Anything)), definition)
    house.finish(house.staged_replay("again", definition), definition)
    house.finish(house.stage("direct", [{**bad, "k": 2}], definition), definition)
    expected = (b"\xff\x00", noon, 11, '{"x":[1,null]}', dt.time(1, 2))
    assert house.rows("data", "at", "v", "more_stuff", "time") == [expected] * 2


def test_records_that_cannot_be_read_stay(house: House) -> None:
    house.run("one", [["{", None, '{"k": 5, "k": 6, "v": 1}', *records((1, 200))]])
    result = house.replay("again")
    expect(result, read=4, inserted=1, quarantined=3)
    assert [row["reason"] for row in house.waiting()] == ["row: is_json", "row: is_record", "row: unique_names"]


def double(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("v"), "v", pc.multiply(table["v"], 2))


def rebuilt(table: pa.Table) -> pa.Table:
    return pa.table({name: double(table)[name] for name in ("k", "v")})


def exploded(table: pa.Table) -> pa.Table:
    more = double(table).set_column(table.column_names.index("k"), "k", pc.add(table["k"], 100))
    return pa.concat_tables([table, more])


@pytest.mark.parametrize("transform", [double, rebuilt])
def test_transforms_are_applied_to_what_the_source_had(house: House, transform: Any) -> None:
    if transform is rebuilt:
        # the source's own record is not known then: what the transform made is kept, and transformed again
        house.run("one", records((1, 1.0), (2, 99.0)), transforms=(double,))
    else:
        house.run("one", records((1, 1.0), (2, 99.0)), transforms=(transform,))
    result = house.replay("again", transforms=(transform,))
    expect(result, read=1, inserted=1)
    assert house.rows() == [(1, 2.0), (2, 198.0)]


@pytest.mark.parametrize("transform", [double, rebuilt])
def test_what_fails_again_behind_a_transform_is_known(house: House, transform: Any) -> None:
    house.run("one", records((1, 1.0), (2, 99.0), (3, 700.0), (4, 98.0)), transforms=(double,))
    result = house.replay("again", transforms=(transform,))
    expect(result, read=3, inserted=2, quarantined=1)
    assert [row["k"] for row in house.waiting()] == [3]
    assert house.rows() == [(1, 2.0), (2, 198.0), (4, 196.0)]


def test_a_record_of_which_one_row_is_bad_is_bad_as_a_whole(house: House) -> None:
    result = house.run("one", records((1, 1.0), (2, 99.0)), APPEND, transforms=(exploded,))
    expect(result, read=2, added=1, inserted=2, quarantined=1)
    assert house.rows() == [(1, 1.0), (101, 2.0)]
    assert [(row["k"], row["reason"]) for row in house.waiting()] == [(2, "v: less_than_or_equal_to(100)")]
    result = house.replay("again", APPEND, transforms=(exploded,))
    expect(result, read=1, added=1, inserted=2)
    assert house.rows() == [(1, 1.0), (101, 2.0), (102, 198.0), (2, 99.0)]


def test_values_that_another_key_has_can_fail_again(house: House) -> None:
    class Coded(PhloSchema):
        k: int = Field(unique=True)
        v: str = Field(unique=True)

    definition = TableDefinition(TABLE, MergePlan(key=("k",)), model_columns(Coded))
    house.finish(house.stage("one", records((1, "a"), (2, "a"), (3, "b")), definition), definition)
    assert [row["k"] for row in house.waiting()] == [1, 2]
    result = house.finish(house.staged_replay("again", definition), definition)
    expect(result, read=2, quarantined=2)
    assert [(row["k"], row["reason"]) for row in house.waiting()] == [(1, "v: unique"), (2, "v: unique")]
    only = Selection(ids=(house.waiting()[0]["quarantine_id"],))
    house.finish(house.staged_replay("once more", definition, only), definition)
    assert house.rows() == [(1, "a"), (3, "b")]


def test_a_quarantine_of_an_older_version(house: House) -> None:
    house.run("one", records((1, 200)))
    table = house.catalog.load_table(quarantine.quarantine_table(TABLE))
    with table.update_schema(allow_incompatible_changes=True) as update:
        for name in ("hard_delete", "replay_token", "replay_run_id", "replayed_at", "updated_at"):
            update.delete_column(name)
    assert [row["replayed"] for row in quarantine.counts(house.catalog, TABLE)] == [0]
    assert house.replay("again")["inserted"] == 1
    assert house.waiting() == []


def test_a_quarantine_of_a_newer_version(house: House) -> None:
    house.run("one", records((1, 200)))
    table = house.catalog.load_table(quarantine.quarantine_table(TABLE))
    assert table.properties["phlo.quarantine-format"] == "1"
    with table.transaction() as transaction:
        transaction.set_properties({"phlo.quarantine-format": "2"})
    for use in (
        lambda: quarantine.counts(house.catalog, TABLE),
        lambda: house.replay("again"),
        lambda: house.run("two", records((2, 200))),
    ):
        with pytest.raises(ConfigurationError, match=r"a newer version .* \(format 2, this one knows 1\)"):
            use()


def test_strict_runs_set_nothing_aside(house: House) -> None:
    with pytest.raises(ValidationError):
        house.stage("one", records((1, 200)), MERGE, NARROW, strict=True)
    assert quarantine.quarantines(house.catalog) == []
    assert branches.branch_name("one") == "phlo_one"


def test_case_01_any_name_is_replayed_as_it_is_ingested(tmp_path: Path) -> None:
    inside = [
        "first-name",
        "first name",
        "first.name",
        "1st",
        "select",
        "Order",
        "é",
        "名前",
        "it's",
        'say "hi"',
        "x" * 300,
    ]
    columns = ["first-name", "1st", "select", "Order", "名前"]
    record = {"k": 1, "v": 500.0, "p": dict.fromkeys(inside, 7), "l": [dict.fromkeys(inside, "é")]}
    record |= {name: f"of {name}" for name in columns}
    at_once, later = House(tmp_path / "at once"), House(tmp_path / "later")
    expect(at_once.finish(at_once.stage("one", [record], MERGE), MERGE), inserted=1)
    expect(later.run("one", [record]), inserted=0)
    expect(later.replay("again"), inserted=1)
    wanted, found = (_content(house) for house in (at_once, later))
    assert found == wanted
    assert "of 名前" in wanted.values()


def _content(house: House) -> dict[str, Any]:
    [row] = house.catalog.load_table(TABLE).scan().to_arrow().to_pylist()
    return {name: value for name, value in row.items() if name not in METADATA_COLUMNS}
