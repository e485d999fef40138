"""From a source to staged files: counts, quarantine, metadata, dlt's state, retries."""

from __future__ import annotations

import datetime
import json
import logging
import multiprocessing
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import dlt
import pandera.pandas as pandera
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pandera.pandas import Field

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError, TransientError, ValidationError
from airflow_provider_phlo.ingestion import staged_batches
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.row_hash import row_hashes
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.conversion.variants import logical_type
from airflow_provider_phlo.terms import METADATA_COLUMNS
from tests.expect import expect
from tests.patience import PATIENCE

DAY = "2024-01-15"


class Reading(PhloSchema):
    _id: str = Field(unique=True)
    sgv: int = Field(ge=1, le=1000)
    date_string: datetime.datetime | None = Field(nullable=True)


PLAN = StagingPlan("raw.readings", key=("_id",), declared=model_columns(Reading), identity=("_id",))


def plan(**changes: Any) -> StagingPlan:
    values = {name: getattr(PLAN, name) for name in PLAN.__dataclass_fields__}
    return StagingPlan(**{**values, **changes})


def readings(count: int, **changes: Any) -> list[dict[str, Any]]:
    return [
        {"_id": f"r{number}", "sgv": 100 + number, "dateString": f"2024-01-15T00:00:{number:02d}Z", **changes}
        for number in range(count)
    ]


class Stage:
    """Stages into one area; each call is a new worker with a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "staging"
        self.workers = 0

    def __call__(self, source: Any, plan: StagingPlan = PLAN, token: str = "t", **values: Any) -> Any:
        self.workers += 1
        return stage(
            source if callable(source) else lambda: source,
            plan,
            root=self.root,
            token=token,
            partition_date=DAY,
            run_id="manual__1",
            pipelines_dir=self.folder / f"worker{self.workers}",
            **values,
        )

    def rows(self, batch: staged_batches.StagedBatch) -> list[dict[str, Any]]:
        found = staged_batches.read_rows(self.root, batch)
        return found.select([name for name in found.column_names if name not in METADATA_COLUMNS]).to_pylist()

    def rejected(self, batch: staged_batches.StagedBatch) -> list[dict[str, Any]]:
        return staged_batches.read_rejected(self.root, batch).to_pylist()


@pytest.fixture
def run(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


# --- good rows


def test_rows_and_metadata(run: Stage) -> None:
    before = datetime.datetime.now(datetime.UTC)
    batch = run(readings(3))
    table = staged_batches.read_rows(run.root, batch)
    expect(batch, read=3, rows=3, quarantined=0, state="")
    assert table.column_names == ["_id", "sgv", "date_string", *METADATA_COLUMNS]
    assert len(set(table["_dlt_load_id"].to_pylist())) == 1
    assert all(re.fullmatch(r"[0-9a-f]{20}", identity) for identity in table["_dlt_id"].to_pylist())
    assert len(set(table["_dlt_id"].to_pylist())) == 3
    assert table["_cascade_ingested_at"].type == pa.timestamp("us", "UTC")
    assert before <= table["_cascade_ingested_at"][0].as_py() <= datetime.datetime.now(datetime.UTC)
    assert set(table["_phlo_run_id"].to_pylist()) == {"manual__1"}
    assert set(table["_phlo_partition_date"].to_pylist()) == {datetime.date(2024, 1, 15)}
    source = table.select(["sgv", "date_string", "_id"])
    assert table["_phlo_row_hash"].combine_chunks().equals(row_hashes(source))


def test_without_metadata_columns(run: Stage) -> None:
    batch = run(readings(2), plan(metadata_columns=False))
    assert staged_batches.read_rows(run.root, batch).column_names == ["_id", "sgv", "date_string"]


def test_metadata_of_another_load_is_replaced(run: Stage) -> None:
    batch = run(readings(1, _dlt_id="theirs", _dlt_load_id="theirs"))
    assert staged_batches.read_rows(run.root, batch)["_dlt_id"].to_pylist() != ["theirs"]
    assert run.rows(batch)[0].keys() == {"_id", "sgv", "date_string"}


def test_none_makes_no_batch(run: Stage) -> None:
    assert run(None) is None
    assert not run.root.exists()


def test_no_rows_are_a_batch(run: Stage) -> None:
    batch = run([])
    expect(batch, read=0, rows=0, files=())
    assert staged_batches.find(run.root, PLAN.table, DAY, "t") == batch


def test_without_a_schema(run: Stage) -> None:
    records = [{"id": 1, "tags": ["x"], "owner": {"b": 1, "a": 2}, "none": None}, {"id": 2, "more": 0.5}]
    batch = run(records, StagingPlan("raw.things", key=("id",)))
    assert run.rows(batch) == [
        {"id": 1, "tags": '["x"]', "owner": '{"a":2,"b":1}', "more": None},
        {"id": 2, "tags": None, "owner": None, "more": 0.5},
    ]


@pytest.mark.parametrize("size", [1, 3, 50])
def test_chunk_sizes_change_nothing(run: Stage, size: int) -> None:
    records = readings(7)
    batch = run(records, plan(batch_rows=size))
    assert len(batch.files) == -(-7 // size)
    whole = run(records, token="whole")
    assert run.rows(batch) == run.rows(whole)
    first, second = (staged_batches.read_rows(run.root, each)["_phlo_row_hash"] for each in (batch, whole))
    assert first.to_pylist() == second.to_pylist()


@pytest.mark.parametrize(
    "values",
    [[1, 2.5, 3], [1, "a", 2], [True, 1], [1.0, "x"], [1, 2**70], [{"a": 1}, 5], [None, 1, None, 0.5]],
    ids=str,
)
def test_rows_hash_the_same_however_their_chunks_were_typed(run: Stage, values: list[Any]) -> None:
    records = [{"id": number, "x": value} for number, value in enumerate(values)]
    things = StagingPlan("raw.things", key=("id",))
    whole = staged_batches.read_rows(run.root, run(records, things, token="whole"))
    one_by_one = StagingPlan("raw.things", key=("id",), batch_rows=1)
    apart = staged_batches.read_rows(run.root, run(records, one_by_one, token="apart"))
    for name in ("id", "x", "_phlo_row_hash"):
        assert apart[name].type == whole[name].type
        assert apart[name].to_pylist() == whole[name].to_pylist()
    known = {item.name: logical_type(item) for item in whole.schema}
    later = StagingPlan("raw.things", key=("id",), batch_rows=1, known_types=known)
    again = staged_batches.read_rows(run.root, run(records, later, token="again"))
    assert again["_phlo_row_hash"].to_pylist() == whole["_phlo_row_hash"].to_pylist()


def test_keys_that_are_not_in_the_data(run: Stage) -> None:
    with pytest.raises(SchemaError, match=r"raw\.things: key column\(s\) nr are not in the data; it has id\."):
        run([{"id": 1}], StagingPlan("raw.things", key=("id", "nr")))


class Renamed(PhloSchema):
    _id: str
    email: str = Field(alias="userEmail", metadata={"pii": True})
    OrderId: int = Field(nullable=True)


def test_a_schema_whose_names_no_row_has_is_refused_before_anything_is_read(run: Stage) -> None:
    def source() -> Any:
        raise AssertionError("nothing is extracted")

    for replay in (False, True):
        with pytest.raises(
            SchemaError,
            match=r"Renamed declares columns .*: declare 'user_email' instead of 'userEmail', 'order_id' instead",
        ):
            run(source, StagingPlan("raw.users", key=("_id",), declared=model_columns(Renamed)), replay=replay)


def test_the_convention_is_the_one_set_in_dlt(run: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCHEMA__NAMING", "direct")
    users = StagingPlan("raw.users", key=("_id",), declared=model_columns(Renamed))
    batch = run([{"_id": "u", "userEmail": "a@b.org", "OrderId": 1}], users)
    assert run.rows(batch) == [{"_id": "u", "userEmail": "a@b.org", "OrderId": 1}]


# --- bad rows

BAD = [
    {"_id": "a", "sgv": 100},
    {"_id": "b", "sgv": 5000},
    {"_id": None, "sgv": 120},
    {"_id": "c", "sgv": "high"},
    {"_id": "d", "sgv": 90, "dateString": "yesterday"},
    {"_id": "e", "sgv": 95},
    {"_id": "f"},
]


@pytest.mark.parametrize("size", [1, 2, 3, 50])
def test_strict_names_column_check_count_and_positions_and_stages_nothing(run: Stage, size: int) -> None:
    with pytest.raises(ValidationError) as caught:
        run(BAD, plan(batch_rows=size))
    positions: dict[str, list[int]] = {}
    for failure in caught.value.failures:
        positions[failure.column] = sorted([*positions.get(failure.column, []), *failure.positions])
        assert failure.count == len(failure.positions)
    assert positions == {"_id": [2], "sgv": [1, 3, 6], "date_string": [4]}
    assert "raw.readings: 5 row(s) break the validation schema; nothing was merged." in str(caught.value)
    assert not re.search(r"5000|high|yesterday", str(caught.value))
    assert staged_batches.find(run.root, PLAN.table, DAY, "t") is None


@pytest.mark.parametrize("size", [1, 2, 3, 50])
@pytest.mark.parametrize("as_table", [False, True])
def test_otherwise_bad_rows_are_set_aside(
    run: Stage, size: int, as_table: bool, caplog: pytest.LogCaptureFixture
) -> None:
    records = [{**record, "sgv": str(record["sgv"])} if "sgv" in record else record for record in BAD]
    with caplog.at_level(logging.WARNING):
        text = pa.schema(dict.fromkeys(["_id", "sgv", "dateString"], pa.string()))
        source = pa.Table.from_pylist(records, text) if as_table else records
        batch = run(source, plan(strict=False, batch_rows=size))
    expect(batch, read=7, rows=2, quarantined=5)
    assert [row["_id"] for row in run.rows(batch)] == ["a", "e"]
    rejected = run.rejected(batch)
    assert [(row["source_position"], row["column_name"]) for row in rejected] == [
        (1, "sgv"),
        (2, "_id"),
        (3, "sgv"),
        (4, "date_string"),
        (6, "sgv"),
    ]
    assert rejected[0]["reason"] == "sgv: less_than_or_equal_to(1000)"
    assert rejected[0]["check_name"] == "less_than_or_equal_to(1000)"
    expect(rejected[0], run_id="manual__1", partition_date=datetime.date(2024, 1, 15))
    assert json.loads(rejected[3]["record"])["dateString"] == "yesterday"
    assert "quarantined: column 'sgv'" in caplog.text
    assert not re.search(r"5000|high|yesterday", caplog.text)


def test_a_record_has_the_same_id_in_the_quarantine_of_every_run(run: Stage) -> None:
    twice = [*BAD, *BAD]
    first, second = (run(twice, plan(strict=False), token=token) for token in ("one", "two"))
    ids = [row["quarantine_id"] for row in run.rejected(first)]
    assert len(set(ids)) == len(ids) == 10
    assert [row["quarantine_id"] for row in run.rejected(second)] == ids


def test_several_reasons_of_one_row(run: Stage) -> None:
    batch = run([{"_id": None, "sgv": 0}], plan(strict=False))
    assert sorted(run.rejected(batch)[0]["reason"].split("; ")) == [
        "_id: not_nullable",
        "sgv: greater_than_or_equal_to(1)",
    ]


def test_all_rows_bad(run: Stage) -> None:
    batch = run([{"_id": "a", "sgv": 0}], plan(strict=False))
    expect(batch, read=1, rows=0, quarantined=1, files=())


def test_a_rule_that_names_no_rows_fails_always(run: Stage) -> None:
    class Model(PhloSchema):
        id: int

        @pandera.dataframe_check
        def enough(cls, frame: Any) -> bool:
            return len(frame) > 1

    whole = StagingPlan("raw.m", key=("id",), declared=model_columns(Model), strict=False)
    with pytest.raises(ValidationError, match="whole rows: check enough fails for the batch as a whole"):
        run([{"id": 1}], whole)
    assert run([{"id": 1}, {"id": 2}], whole).rows == 2


def test_without_rules_types_and_keys_still_hold(run: Stage) -> None:
    records = [{"_id": "a", "sgv": 5000}, {"_id": "a", "sgv": "high"}, {"sgv": 1}]
    batch = run(records, plan(check_rows=False, strict=False))
    assert [row["sgv"] for row in run.rows(batch)] == [5000]
    assert [row["reason"] for row in run.rejected(batch)] == ["sgv: is_integer", "_id: not_nullable"]


@pytest.mark.parametrize(("strict", "more"), [(False, {"more"}), ("filter", set())])
def test_undeclared_columns(run: Stage, strict: Any, more: set[str]) -> None:
    model = type("Model", (Reading,), {"Config": type("Config", (), {"strict": strict})})
    batch = run(readings(1, more=1), plan(declared=model_columns(model)))
    assert run.rows(batch)[0].keys() == {"_id", "sgv", "date_string"} | more


def test_undeclared_columns_that_are_forbidden(run: Stage) -> None:
    model = type("Model", (Reading,), {"Config": type("Config", (), {"strict": True})})
    with pytest.raises(ValidationError, match="column 'more': check column_in_schema fails for 2"):
        run([*readings(2, more=1), {"_id": "z", "sgv": 5}], plan(declared=model_columns(model)))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1], pa.duration("s")),
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),
        pa.array([3], pa.decimal256(50, 0)),
        [datetime.timedelta(1)],
    ],
)
def test_types_that_no_table_has(run: Stage, values: Any) -> None:
    source = [{"id": 1, "took": values[0]}] if isinstance(values, list) else pa.table({"id": [1], "took": values})
    things = StagingPlan("raw.things", key=("id",))
    with pytest.raises(
        SchemaError, match=r"raw\.things: column 'took': Arrow type .* convert the column in a transform"
    ):
        run(source, things)
    assert not [*run.root.rglob("*.parquet")]

    def seconds(rows: pa.Table) -> pa.Table:
        texts = pa.array(map(str, rows["took"].to_pylist()))
        return rows.set_column(rows.schema.get_field_index("took"), "took", texts)

    assert run(source, replace(things, transforms=(seconds,)), token="converted").rows == 1


# --- uniqueness


class Coded(PhloSchema):
    id: int = Field(unique=True)
    code: str | None = Field(nullable=True, unique=True)


CODED = StagingPlan("raw.coded", key=("id",), declared=model_columns(Coded), identity=("id",), batch_rows=2)


def coded(*pairs: tuple[int, str | None]) -> list[dict[str, Any]]:
    return [{"id": identity, "code": code} for identity, code in pairs]


def test_what_the_merge_makes_one_is_unique(run: Stage) -> None:
    assert run(coded((1, "a"), (2, "b"), (1, "a"), (1, "c"), (3, None), (4, None)), CODED).rows == 6


def test_values_that_two_keys_share(run: Stage) -> None:
    with pytest.raises(ValidationError, match=r"'code': check unique fails for 3 row\(s\), at positions 0, 2, 4"):
        run(coded((1, "a"), (2, "b"), (3, "a"), (4, "c"), (3, "a")), CODED)
    assert staged_batches.find(run.root, "raw.coded", DAY, "t") is None


def test_values_that_two_keys_share_are_set_aside(run: Stage) -> None:
    loose = StagingPlan("raw.coded", ("id",), model_columns(Coded), strict=False, identity=("id",), batch_rows=2)
    records = coded((0, "z"), (1, "a"), (2, "b"), (3, "a"), (4, "c"))
    batch = run([{"id": "bad"}, *records], loose)
    expect(batch, read=6, rows=3, quarantined=3)
    assert [row["id"] for row in run.rows(batch)] == [0, 2, 4]
    assert [(row["source_position"], row["reason"]) for row in run.rejected(batch)] == [
        (0, "id: is_integer"),
        (2, "code: unique"),
        (4, "code: unique"),
    ]
    assert json.loads(run.rejected(batch)[1]["record"]) == {"id": 1, "code": "a"}


def test_sets_of_columns(run: Stage) -> None:
    class Together(PhloSchema):
        id: int
        day: str
        hour: int

        class Config:
            unique = ["day", "hour"]

    together = StagingPlan("raw.t", ("id",), model_columns(Together), identity=("id",))
    records = [{"id": 1, "day": "a", "hour": 1}, {"id": 2, "day": "a", "hour": 2}, {"id": 3, "day": "a", "hour": 1}]
    with pytest.raises(ValidationError, match=r"'day, hour': check unique fails for 2 row\(s\), at positions 0, 2"):
        run(records, together)
    assert run(records[:2], together).rows == 2


def test_appending_exact_copies_are_one_row(run: Stage) -> None:
    by_hash = StagingPlan("raw.coded", ("id",), model_columns(Coded), identity=("_phlo_row_hash",))
    assert run(coded((1, "a"), (1, "a")), by_hash).rows == 2
    with pytest.raises(ValidationError, match=r"'id': check unique fails for 2 row\(s\), at positions 0, 1"):
        run(coded((1, "a"), (1, "b")), by_hash, token="other")


# --- transforms


def test_transforms_run_before_validation_in_order(run: Stage) -> None:
    def scale(table: pa.Table) -> pa.Table:
        assert table["sgv"].type == pa.int64()
        assert table["date_string"].type == pa.timestamp("us", "UTC")
        return table.set_column(table.column_names.index("sgv"), "sgv", pc.multiply(table["sgv"], 10))

    def halve(table: pa.Table) -> pa.Table:
        return table.set_column(table.column_names.index("sgv"), "sgv", pc.divide(table["sgv"], 2))

    batch = run(readings(2, sgv="7"), plan(transforms=(scale, halve), batch_rows=1))
    assert [row["sgv"] for row in run.rows(batch)] == [35, 35]


def drop_first(table: pa.Table) -> pa.Table:
    return table.slice(1)


def by_number(table: pa.Table) -> pa.Table:
    return table.rename_columns(["_id", "sgv"]).slice(1)


def twice(table: pa.Table) -> pa.Table:
    return pa.concat_tables([table, table.slice(1)])


def rebuilt(table: pa.Table) -> pa.Table:
    return pa.table({"_id": ["new", "b"], "sgv": [7, 0]})


@pytest.mark.parametrize(
    ("transform", "dropped", "added", "good", "bad"),
    [
        (drop_first, 1, 0, ["a"], [(2, " b ")]),
        (by_number, 1, 0, ["a"], [(None, " b ")]),
        (twice, 0, 1, ["x", "a", "a"], [(2, " b ")]),
        (rebuilt, 1, 0, ["new"], [(None, "b")]),
    ],
)
def test_what_transforms_drop_and_add_is_counted(
    run: Stage, transform: Any, dropped: int, added: int, good: list[str], bad: list[Any]
) -> None:
    records = [{"Id_": "x", "sgv": "1"}, {"Id_": "a", "sgv": "5"}, {"Id_": " b ", "sgv": "0"}]

    def renamed(table: pa.Table) -> pa.Table:
        return table.set_column(0, "_id", table[0]) if "_id" not in table.column_names else table

    batch = run(records, plan(transforms=(renamed, transform), strict=False))
    expect(batch, read=3, dropped=dropped, added=added)
    assert batch.read + batch.added == batch.rows + batch.quarantined + batch.dropped
    assert [row["_id"] for row in run.rows(batch)] == good
    records = [(row["source_position"], json.loads(row["record"])) for row in run.rejected(batch)]
    assert [(position, record.get("Id_", record.get("_id"))) for position, record in records] == bad
    # the source's own record where it is known, text and all
    assert all(("Id_" in record) == (position is not None) for position, record in records)


def test_what_cannot_be_read_does_not_reach_a_transform(run: Stage) -> None:
    seen = []

    def look(table: pa.Table) -> pa.Table:
        seen.append(table["_id"].to_pylist())
        return table

    batch = run([["[1]", *readings(1), '{"_id": "b", "sgv": 5}']], plan(transforms=(look,), strict=False))
    assert (batch.read, batch.rows, batch.quarantined, seen) == (3, 2, 1, [["r0", "b"]])
    [rejected] = run.rejected(batch)
    expect(rejected, reason="row: is_record", record='"[1]"', source_position=0)


def test_columns_that_only_bad_rows_have_are_left_out(run: Stage) -> None:
    batch = run([*readings(1), {"_id": "x", "sgv": "high", "junk": 1}], plan(strict=False))
    assert run.rows(batch)[0].keys() == {"_id", "sgv", "date_string"}
    assert json.loads(run.rejected(batch)[0]["record"])["junk"] == 1


def test_records_that_cannot_be_read(run: Stage) -> None:
    records = [{"_id": "a", "sgv": 1}, {"_id": "b", "": 1}, None, "{", b'{"_id": "c", "sgv": 2}', {"_id": "d", 1: 2}]
    batch = run([records], plan(strict=False))
    expect(batch, read=6, rows=2, quarantined=4)
    found = [(row["source_position"], row["reason"], row["record"]) for row in run.rejected(batch)]
    assert found == [
        (1, "row: column_names", '{"":1,"_id":"b"}'),
        (2, "row: is_record", "null"),
        (3, "row: is_json", '"{"'),
        (5, "row: column_names", '{"$object":[["_id","d"],[1,2]]}'),
    ]
    with pytest.raises(
        ValidationError, match=r"whole rows: check column_names fails for 2 row\(s\), at positions 1, 5"
    ):
        run([records], token="strict")
    unread = run([[None, "x"]], StagingPlan("raw.things", key=("id",), strict=False), token="nothing to read")
    expect(unread, read=2, quarantined=2, files=())


def test_nested_columns_survive_transforms(run: Stage) -> None:
    class Tagged(PhloSchema):
        id: int
        tags: list[str]
        owner: dict

    tagged = StagingPlan("raw.t", ("id",), model_columns(Tagged), transforms=(lambda table: table,))
    record = {"id": 1, "tags": ["a", "b"], "owner": {"b": 1, "a": 2}}
    expected = [{"id": 1, "tags": ["a", "b"], "owner": '{"a":2,"b":1}'}]
    assert run.rows(run([record], tagged)) == expected
    assert run.rows(run(pa.Table.from_pylist([record]), tagged, token="arrow")) == expected


def test_a_transform_that_drops_everything_or_returns_something_else(run: Stage) -> None:
    batch = run(readings(3), plan(transforms=(lambda table: table.slice(0, 0),)))
    expect(batch, read=3, rows=0, dropped=3)
    with pytest.raises(ConfigurationError, match=r"raw\.readings: transform .* returned NoneType, not"):
        run(readings(1), plan(transforms=(lambda table: None,)), token="other")


# --- retries


class Source:
    """Counts how often it was asked."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows
        self.calls = 0

    def __call__(self) -> Any:
        self.calls += 1
        return self.rows


def test_a_retry_finds_what_is_staged(run: Stage) -> None:
    source = Source(readings(2))
    first, again = run(source), run(source)
    assert (source.calls, first) == (1, again)


def test_refresh_extracts_again(run: Stage) -> None:
    source = Source(readings(2))
    run(source)
    source.rows = readings(3)
    assert run(source, refresh=True).rows == 3
    assert run(source).rows == 3
    assert source.calls == 2


def test_another_run_extracts_for_itself(run: Stage) -> None:
    source = Source(readings(2))
    run(source, token="one")
    run(source, token="two")
    assert source.calls == 2


def test_a_failed_refresh_leaves_the_batch_that_was_there(run: Stage) -> None:
    run(readings(2))
    with pytest.raises(ValidationError):
        run(BAD, refresh=True)
    found = staged_batches.find(run.root, PLAN.table, DAY, "t")
    assert found is not None
    assert len(run.rows(found)) == 2


def test_an_attempt_that_dies_half_way_is_not_seen(run: Stage) -> None:
    def dying() -> Iterator[Any]:
        yield readings(3)
        raise TransientError("connection lost")

    with pytest.raises(TransientError, match="connection lost"):
        run(dlt.resource(dying, name="r"), plan(batch_rows=2))
    assert staged_batches.find(run.root, PLAN.table, DAY, "t") is None
    assert run(readings(4)).rows == 4


def _attempt(folder: Path) -> staged_batches.StagedBatch:
    batch = stage(
        counter,
        StagingPlan("raw.n", key=("n",)),
        root=folder / "staging",
        token="t",
        partition_date=DAY,
        run_id="r",
        pipelines_dir=folder / "dlt",
        refresh=True,
    )
    assert batch is not None
    return batch


def test_two_attempts_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as pool:
        attempts = list(pool.map(_attempt, [tmp_path] * 8))
    assert {batch.rows for batch in attempts} == {4}
    assert len({batch.attempt for batch in attempts}) == 8
    assert staged_batches.find(tmp_path / "staging", "raw.n", DAY, "t") in attempts
    assert not list((tmp_path / "dlt").iterdir())


# --- dlt's state


@dlt.resource(name="counter")
def counter(n: Any = dlt.sources.incremental("n", initial_value=0)) -> Iterator[Any]:  # noqa: B008  # dlt's own way
    start = n.last_value
    yield [{"n": start + step} for step in range(1, 5)]


@dlt.resource(name="visits")
def visits() -> Iterator[Any]:
    state = dlt.current.resource_state()
    state["count"] = state.get("count", 0) + 1
    state["at"] = datetime.datetime(2024, 1, 15, tzinfo=datetime.UTC)
    yield {"n": state["count"]}


@pytest.mark.parametrize("wrapped", [False, True])
def test_cursors_go_in_and_come_out_as_text(run: Stage, wrapped: bool) -> None:
    numbers = StagingPlan("raw.n", key=("n",))

    def source() -> Any:
        return dlt.source(lambda: counter(), name="numbers")() if wrapped else counter()

    first = run(source, numbers, token="one")
    second = run(source, numbers, token="two", state=first.state)
    unpublished = run(source, numbers, token="three", state=first.state)
    assert [row["n"] for row in run.rows(first)] == [1, 2, 3, 4]
    assert [row["n"] for row in run.rows(second)] == [5, 6, 7, 8]
    assert [row["n"] for row in run.rows(unpublished)] == [5, 6, 7, 8]
    assert json.loads(first.state)
    assert not [path for path in run.folder.rglob("*") if "worker" in str(path) and path.is_file()]


def test_a_source_keeps_whatever_it_wants(run: Stage) -> None:
    things = StagingPlan("raw.n", key=("n",))
    state = ""
    for expected in (1, 2, 3):
        batch = run(visits, things, token=f"t{expected}", state=state)
        assert [row["n"] for row in run.rows(batch)] == [expected]
        state = batch.state


def test_a_failed_attempt_returns_no_state(run: Stage) -> None:
    with pytest.raises(SchemaError):
        run(visits, StagingPlan("raw.n", key=("missing",)))
    assert [row["n"] for row in run.rows(run(visits, StagingPlan("raw.n", key=("n",))))] == [1]


def test_a_source_sees_its_state_while_it_is_made(run: Stage) -> None:
    @dlt.source(name="numbers")
    def numbers() -> Any:
        seen = dlt.current.source_state().get("made", 0)

        @dlt.resource(name="made")
        def made() -> Iterator[Any]:
            dlt.current.source_state()["made"] = seen + 1
            yield {"n": seen}

        return made

    things = StagingPlan("raw.n", key=("n",))
    first = run(lambda: numbers(), things, token="one")
    assert run.rows(run(lambda: numbers(), things, token="two", state=first.state)) == [{"n": 1}]


def _attempt_watched(folder: Path) -> list[str]:
    """Return what an attempt does outside ``folder``: files it writes, folders it makes, addresses it calls."""
    seen = []
    allowed = (str(folder), "/dev/")

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and set(str(arguments[1])) & set("wax+") and not str(arguments[0]).startswith(allowed):
            seen.append(f"writes {arguments[0]}")
        if event == "os.mkdir" and not str(arguments[0]).startswith(allowed):
            seen.append(f"makes {arguments[0]}")
        if event in ("socket.connect", "socket.getaddrinfo"):
            seen.append(f"calls {arguments[1:]}")

    sys.addaudithook(watch)
    _attempt(folder)
    return [each for each in seen if ".pyc" not in each and "__pycache__" not in each]


def test_nothing_is_written_elsewhere_and_nobody_is_called(tmp_path: Path) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(_attempt_watched, tmp_path).result(PATIENCE) == []


def test_a_full_disk(run: Stage) -> None:
    run.root.mkdir(parents=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", run.root], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        records = [{"_id": f"{number:040d}{hash(number * 7.3):x}", "sgv": 5} for number in range(20_000)]
        with pytest.raises(TransientError, match="No space left while staging"):
            run(records)
        assert staged_batches.find(run.root, PLAN.table, DAY, "t") is None
        assert run(readings(3)).rows == 3
    finally:
        subprocess.run(["umount", run.root], check=True)


def test_case_65_an_arrow_table_that_a_source_makes_keeps_the_offsets_of_its_times(run, monkeypatch):
    monkeypatch.setenv("PYARROW_IGNORE_TIMEZONE", "1")  # as Pandera leaves it, when a DAG file imports it
    at = datetime.datetime(2024, 1, 15, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))
    batch = run(lambda: pa.Table.from_pylist([{"id": 1, "at": at}]), StagingPlan("raw.t", key=("id",)))
    (row,) = run.rows(batch)
    assert row["at"] == datetime.datetime(2024, 1, 14, 23, tzinfo=datetime.UTC)


@pytest.mark.parametrize("kind", [pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.list_(pa.timestamp("us"))])
def test_case_10_a_row_of_the_year_10000_is_set_aside(run: Stage, kind: pa.DataType) -> None:
    far = 253_402_300_800_000_000
    values = [[0], [far]] if pa.types.is_list(kind) else [0, far]
    source = pa.table({"_id": ["a", "b"], "at": pa.array(values).cast(kind)})
    batch = run(source, plan(strict=False, declared=None))
    expect(batch, read=2, rows=1, quarantined=1)
    [rejected] = run.rejected(batch)
    assert rejected["column_name"] == "at"
    assert "10000-01-01" in rejected["record"]
