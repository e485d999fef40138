"""Columns that no schema declares: every value exactly, over records, batches, runs and declarations."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pandera.pandas import Field
from typing_extensions import TypedDict

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.branches.declared import declared_columns
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.preparation import table_types
from airflow_provider_phlo.ingestion.results import LandedBatch
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.conversion.variants import is_json_comment, variant_of
from tests.lake import open_lake
from tests.sizes import size

TABLE = "raw.t"
MERGE = TableDefinition(TABLE, MergePlan(key=("k",)))
UTC = dt.UTC


class House:
    """A catalog, and what the tasks of one run do in it."""

    def __init__(self, home: Path) -> None:
        self.home, self.runs = home, 0
        self.catalog = open_lake(home)

    def run(self, records: Any, definition: TableDefinition = MERGE, **changes: Any) -> LandedBatch:
        self.runs += 1
        plan = StagingPlan(
            TABLE,
            key=definition.plan.key,
            declared=definition.declared,
            known_types=table_types(find_table(self.catalog, TABLE)),
            **changes,
        )
        day = (dt.date(2024, 1, 1) + dt.timedelta(self.runs)).isoformat()
        batch = stage(
            lambda: iter([records]) if isinstance(records, pa.Table) else iter(records),
            plan,
            root=self.home / "staging",
            token=f"t{self.runs}",
            partition_date=day,
            run_id=f"run {self.runs}",
            pipelines_dir=self.home / "dlt",
        )
        assert isinstance(batch, staged_batches.StagedBatch)
        landed = landing.land(self.catalog, self.home / "staging", batch, definition)
        assert landed is not None
        return publication.publish(self.catalog, self.home / "staging", landed, definition, lambda branch: None)

    def values(self, *columns: str) -> list[dict[str, Any]]:
        """Return the rows by key, without metadata columns and NULLs."""
        rows = self.catalog.load_table(TABLE).scan().to_arrow().sort_by("k").to_pylist()
        return [
            {name: value for name, value in row.items() if value is not None and not name.startswith("_")}
            for row in rows
        ]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


MOMENT = dt.datetime(2024, 1, 16, 5, 30, tzinfo=UTC)


@pytest.mark.long
@pytest.mark.parametrize("same_run", [True, False], ids=["one run", "two runs"])
@pytest.mark.parametrize("batch_rows", [1, 100])
@pytest.mark.parametrize(
    ("first", "second", "name"),
    [
        (dt.date(2024, 1, 15), MOMENT, "v__v_timestamp"),
        (MOMENT, dt.date(2024, 1, 15), "v__v_date"),
        (1, "007", "v__v_text"),
        ("007", 1, "v__v_bigint"),
        (0.5, 2**60 + 1, "v__v_bigint"),
        (2**60 + 1, 0.5, "v__v_double"),
        (True, 1, "v__v_bigint"),
        (1, True, "v__v_bool"),
        ({"a": 1}, 5, "v__v_bigint"),
        (5, {"a": 1}, "v__v_json"),
        ('{"a":1}', {"a": 1}, "v__v_json"),
        ({"a": 1}, '{"a":1}', "v__v_text"),
        ("a", b"a", "v__v_binary"),
        (b"a", "a", "v__v_text"),
        (dt.time(1), "01:00:00", "v__v_text"),
    ],
    ids=repr,
)
def test_case_15_a_value_of_another_type_is_kept_exactly_beside_the_column(
    house: House, first: Any, second: Any, name: str, same_run: bool, batch_rows: int
) -> None:
    records = [{"k": 1, "v": first}, {"k": 2, "v": second}]
    for some in [records] if same_run else [records[:1], records[1:]]:
        house.run(some, batch_rows=batch_rows)
    rows = house.values()
    text = '{"a":1}'
    assert rows == [
        {"k": 1, "v": text if isinstance(first, dict) else first},
        {"k": 2, name: text if isinstance(second, dict) else second},
    ]


@pytest.mark.parametrize("arrow", [False, True])
def test_a_column_of_the_source_is_not_a_variant_whatever_its_name(house: House, arrow: bool) -> None:
    own = [{"k": 3, "v__v_text": "own"}]
    for some in ([{"k": 1, "v": 1}], [{"k": 2, "v": "x"}], pa.Table.from_pylist(own) if arrow else own):
        house.run(some)
    assert house.values() == [{"k": 1, "v": 1}, {"k": 2, "v__v_text": "x"}, {"k": 3, "v_v_text": "own"}]


def test_case_15_a_column_of_a_database_that_was_altered(house: House) -> None:
    """What sql_table yields: Arrow tables, of dates and then of timestamps."""
    house.run(pa.table({"k": [1], "at": pa.array([dt.date(2024, 1, 15)], pa.date32())}))
    house.run(pa.table({"k": [2], "at": pa.array([MOMENT.replace(tzinfo=None)], pa.timestamp("us"))}))
    house.run(pa.table({"k": [3], "at": pa.array([{"y": 1}])}))
    assert house.values() == [
        {"k": 1, "at": dt.date(2024, 1, 15)},
        {"k": 2, "at__v_timestamp_ntz": MOMENT.replace(tzinfo=None)},
        {"k": 3, "at__v_json": '{"y":1}'},
    ]


@pytest.mark.parametrize("as_arrow", [True, False], ids=["arrow", "records"])
def test_case_15_nested_values_stay_in_the_nested_columns_of_an_adopted_table(house: House, as_arrow: bool) -> None:
    schema = pa.schema(
        [
            ("k", pa.int64()),
            ("tags", pa.list_(pa.string())),
            ("p", pa.struct([("x", pa.int64()), ("y", pa.list_(pa.float64()))])),
        ]
    )
    rows = [{"k": 1, "tags": ["a", None], "p": {"x": 1, "y": [0.5]}}, {"k": 2, "tags": [], "p": {"x": None, "y": []}}]
    ensure_namespace(house.catalog, "raw")
    table = house.catalog.create_table(TABLE, schema)
    table.append(pa.Table.from_pylist(rows, table.schema().as_arrow()))

    def run(records: list[dict[str, Any]], columns: pa.Schema) -> None:
        house.run(pa.Table.from_pylist(records, columns) if as_arrow else records)

    rows[1] = {"k": 2, "tags": ["c"], "p": {"x": 2, "y": [None, 1.5]}}
    run(rows, schema)
    assert house.values() == rows
    member = pa.schema([("k", pa.int64()), ("p", pa.struct([("x", pa.int64())]))])
    run([{"k": 3, "p": {"x": 7}}], member)
    more = pa.schema([("k", pa.int64()), ("p", pa.struct([("x", pa.int64()), ("z", pa.int64())]))])
    run([{"k": 4, "p": {"x": 8, "z": None}}, {"k": 5, "p": {"x": 9, "z": 10}}], more)
    run([{"k": 6, "tags": [1]}], pa.schema([("k", pa.int64()), ("tags", pa.list_(pa.int64()))]))
    assert house.values() == [
        *rows,
        {"k": 3, "p": {"x": 7, "y": None}},
        {"k": 4, "p": {"x": 8, "y": None}},
        {"k": 5, "p__v_json": '{"x":9,"z":10}'},
        {"k": 6, "tags__v_json": "[1]"},
    ]


def test_case_16_a_number_with_a_fraction_stops_no_day(house: House) -> None:
    house.run([{"k": 1, "filtered": 118}])
    for day in range(2, 5):
        house.run([{"k": day, "filtered": 116.5 + day}, {"k": 10 * day, "filtered": 119.0}])
    assert house.values()[:4] == [
        {"k": 1, "filtered": 118},
        {"k": 2, "filtered__v_double": 118.5},
        {"k": 3, "filtered__v_double": 119.5},
        {"k": 4, "filtered__v_double": 120.5},
    ]
    assert house.values()[4:] == [{"k": 10 * day, "filtered": 119} for day in range(2, 5)]


def test_case_16_decimals_of_another_scale_all_arrive(house: House) -> None:
    for day, digits in enumerate(["10.25", "0.12345", "1234567890123456789.5", "1E+30", "1E-30"], 1):
        value = decimal.Decimal(digits)
        if day == 1:
            house.run(pa.table({"k": [1], "v": pa.array([value], pa.decimal128(10, 2))}))
        else:
            house.run([{"k": day, "v": value}])
    found = [decimal.Decimal(value) for row in house.values() for name, value in row.items() if name != "k"]
    assert found == [
        decimal.Decimal(digits) for digits in ("10.25", "0.12345", "1234567890123456789.5", "1E+30", "1E-30")
    ]


def test_a_tiny_number_is_not_zero(house: House) -> None:
    """Of its 568 digits Arrow makes a decimal 0."""
    tiny = 6.335989054991934e-223
    for day, value in enumerate([decimal.Decimal("0.1"), decimal.Decimal("36.508"), tiny]):
        house.run([{"k": day, "v": value}])
    assert house.values()[-1] == {"k": 2, "v__v_double": tiny}


def test_what_iceberg_widens_still_widens(house: House) -> None:
    house.run(pa.table({"k": [1], "i": pa.array([1], pa.int32()), "f": pa.array([0.5], pa.float32())}))
    house.run([{"k": 2, "i": 2**40, "f": 0.1}])
    assert house.values() == [{"k": 1, "i": 1, "f": 0.5}, {"k": 2, "i": 2**40, "f": 0.1}]


def test_a_row_that_moves_to_a_variant_and_back_is_updated(house: House) -> None:
    house.run([{"k": 1, "v": 118}])
    for value, column in ((118.5, "v__v_double"), ("118", "v__v_text"), (118, "v")):
        assert house.run([{"k": 1, "v": value}]).merged.updated == 1
        assert house.values() == [{"k": 1, column: value}]
        assert house.run([{"k": 1, "v": value}]).merged.unchanged == 1


def test_an_odd_value_is_an_error_if_that_is_set(house: House) -> None:
    house.run([{"k": 1, "v": 118}])
    with pytest.raises(
        SchemaError, match=r"raw\.t: column 'v' has 1 value\(s\) that its type int64 cannot hold.*v__v_double"
    ):
        house.run([{"k": 2, "v": 118.5}], variants=False)
    with pytest.raises(SchemaError, match=r"raw\.t: column 'w' has 1 value"):
        house.run([{"k": 3, "w": 1}, {"k": 4, "w": "x"}], variants=False, batch_rows=1)
    assert house.values() == [{"k": 1, "v": 118}]


class Filtered(PhloSchema):
    k: int = Field(unique=True)
    filtered: float = Field(nullable=True)


@pytest.mark.long
@pytest.mark.parametrize("kind", [float, int, str, decimal.Decimal], ids=lambda kind: kind.__name__)
def test_a_later_declaration_brings_variants_together(house: House, kind: type) -> None:
    old = [{"k": 1, "filtered": 118}, {"k": 2, "filtered": 118.5}, {"k": 3, "filtered": "119"}]
    for record in old:
        house.run([record])
    model = type("Model", (Filtered,), {"__annotations__": {"filtered": kind | None}})
    declared = TableDefinition(TABLE, MERGE.plan, declared=model_columns(model))
    house.run([{"k": 4, "filtered": "120"}], declared)
    assert house.values()[3] == {"k": 4, "filtered": kind("120")}
    # what was read before stays where it is, under the name of its type, and every value can be read
    found = [{name: value for name, value in row.items() if name != "k"} for row in house.values()[:3]]
    assert [list(row.values()) for row in found] == [[118], [118.5], ["119"]]
    # and comes together when it is read again
    house.run([record for record in old if not (kind is int and record["k"] == 2)], declared)
    again = {row["k"]: row for row in house.values()}
    assert again[1] == {"k": 1, "filtered": kind("118")}
    assert again[3] == {"k": 3, "filtered": kind("119")}


class Point(TypedDict):
    x: int


class Placed(PhloSchema):
    k: int = Field(unique=True)
    at: Point = Field(nullable=True, metadata={"pii": True})


def declared_as(model: type, plan: MergePlan = MERGE.plan) -> TableDefinition:
    return TableDefinition(TABLE, plan, declared=model_columns(model))


def test_case_15_members_that_a_struct_does_not_declare_are_kept_until_they_are_declared(house: House) -> None:
    house.run([{"k": 1, "at": {"x": 1}}], declared_as(Placed))
    assert house.run([{"k": 1, "at": {"x": 1, "y": 2}}, {"k": 2, "at": {"x": 2}}], declared_as(Placed)).merged.updated
    assert house.values() == [{"k": 1, "at": {"x": 1}, "at__v_json": '{"y":2}'}, {"k": 2, "at": {"x": 2}}]
    assert declared_columns(house.catalog.load_table(TABLE))[1] == {"at", "at__v_json"}
    later = type("Later", (Placed,), {"__annotations__": {"at": TypedDict("Point", {"x": int, "y": int})}})
    house.run([{"k": 3, "at": {"x": 3, "y": 4, "z": 5}}], declared_as(later))
    house.run([{"k": 2, "at": {"x": 2, "y": 7}}], declared_as(later))
    assert house.values() == [
        {"k": 1, "at": {"x": 1, "y": None}, "at__v_json": '{"y":2}'},
        {"k": 2, "at": {"x": 2, "y": 7}},
        {"k": 3, "at": {"x": 3, "y": 4}, "at__v_json": '{"z":5}'},
    ]


@pytest.mark.parametrize("strict", [True, "filter"])
def test_case_15_a_strict_schema_decides_about_members_of_its_structs(house: House, strict: Any) -> None:
    model = type("Strict", (Placed,), {"Config": type("Config", (Placed.Config,), {"strict": strict})})
    landed = house.run([{"k": 1, "at": {"x": 1, "y": 2}}, {"k": 2, "at": {"x": 2}}], declared_as(model), strict=False)
    assert landed.quarantined == (1 if strict is True else 0)
    assert house.values() == [{"k": 1, "at": {"x": 1}}, {"k": 2, "at": {"x": 2}}][landed.quarantined :]


class Once(Placed):
    u: int = Field(unique=True)
    j: dict = Field(nullable=True)


def test_nested_values_of_a_row_that_is_not_unique_come_back_as_they_were(house: House) -> None:
    more = {"at": {"x": 1, "y": 2}, "o": {"a": [1]}, "j": "text"}
    landed = house.run([{"k": 1, "u": 7, **more}, {"k": 2, "u": 7, **more}], declared_as(Once), strict=False)
    assert landed.quarantined == 2
    raw = house.catalog.load_table(f"{TABLE}__quarantine").scan().to_arrow()["record"].to_pylist()
    assert house.run([{**json.loads(text), "u": at} for at, text in enumerate(raw)], declared_as(Once)).merged.inserted
    kept = {"at": {"x": 1}, "at__v_json": '{"y":2}', "o": '{"a":[1]}', "j": '"text"'}
    assert house.values() == [{"k": 1 + at, "u": at, **kept} for at in (0, 1)]


# --- thirty days of anything

NUMBERS = [
    st.integers(-5, 5),
    st.integers(-(2**80), 2**80),
    st.sampled_from([2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), 10**37, 10**45]),
    st.floats(allow_nan=False),
    st.sampled_from([0.0, 1.0, -0.0, 118.5, 2.0**60, math.inf, -math.inf]),
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6),
    st.sampled_from([decimal.Decimal(text) for text in ("0.1", "0.5", "1E-15", "1E+33")]),
]
TIMES = [
    st.dates(),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),
    st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.times(),
]
OTHERS = [
    st.booleans(),
    st.none(),
    st.text(st.characters(codec="utf-8"), max_size=4),
    st.sampled_from(["007", "7", "true", "2024-01-15", '{"a":1}', "[1]", "null"]),
    st.binary(max_size=3),
    st.dictionaries(st.sampled_from("ab"), st.integers(-9, 9), max_size=2),
    st.lists(st.integers(-9, 9), max_size=2),
]
VALUE = st.one_of(*NUMBERS, *TIMES, *OTHERS)
DAYS = st.lists(st.lists(VALUE, min_size=1, max_size=4), min_size=30, max_size=30)


def same(stored: Mapping[str, Any], json_columns: set[str], value: Any) -> bool:
    """Return whether exactly one of the columns holds exactly ``value``."""
    if value is None:
        return not stored
    if len(stored) != 1:
        return False
    [(name, found)] = stored.items()
    if isinstance(value, (dict, list)) or name in json_columns:
        return name in json_columns and json.loads(found) == value
    if isinstance(value, (int, float, decimal.Decimal)) and not isinstance(value, bool):
        if isinstance(found, str):  # more digits than any number of a table
            found = decimal.Decimal(found)
        if isinstance(value, float) and value == 0 and math.copysign(1, value) < 0:
            return isinstance(found, float) and math.copysign(1, found) < 0
        return not isinstance(found, bool) and found == value
    return type(found) is type(value) and found == value


@pytest.mark.long
@settings(max_examples=size(4, 100), deadline=None, suppress_health_check=list(HealthCheck))
@given(days=DAYS, batch_rows=st.sampled_from([1, 2, 100]))
def test_thirty_days_of_changing_types_hold_every_value_exactly(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[Any]], batch_rows: int
) -> None:
    house = House(tmp_path_factory.mktemp("days"))
    expected: dict[int, Any] = {}
    for day, values in enumerate(days):
        records = [{"k": 100 * day + row, "v": value} for row, value in enumerate(values)]
        expected |= {record["k"]: record["v"] for record in records}
        house.run(records, batch_rows=batch_rows)
    table = house.catalog.load_table(TABLE)
    json_columns = {item.name for item in table.schema().fields if is_json_comment(item.doc)}
    rows = house.values()
    assert len(rows) == len(expected)
    for row in rows:
        stored = {name: value for name, value in row.items() if name != "k"}
        assert all(name == "v" or variant_of(name) == "v" for name in stored)
        assert same(stored, json_columns, expected[row["k"]]), (row, expected[row["k"]])


class Changes(PhloSchema):
    k: int = Field(unique=True)
    at: dt.datetime | None
    gone: bool | None


@pytest.mark.parametrize(
    "plan", [{"order_by": "at"}, {"hard_delete": "gone"}, {"order_by": "at", "hard_delete": "gone"}]
)
def test_a_table_of_changes_starts_without_any(house: House, plan: dict[str, str]) -> None:
    """What the error asks for is declared, and then the first rows need not have it."""
    merge = MergePlan(key=("k",), **plan)
    with pytest.raises(
        ConfigurationError, match=r"has no column\(s\).*If no record has had one yet, declare"
    ) as caught:
        house.run([{"k": 1}, {"k": 2}], TableDefinition(TABLE, merge))
    types = {"at": "at: datetime | None", "gone": "gone: bool | None"}
    assert [each in str(caught.value) for each in types.values()] == [name in plan.values() for name in types]
    declared = declared_as(Changes, merge)
    house.run([{"k": 1}, {"k": 2}], declared)
    house.run([{"k": 1, "at": MOMENT, "gone": True}, {"k": 2, "at": MOMENT, "gone": None}], declared)
    assert [row["k"] for row in house.values()] == ([2] if "hard_delete" in plan else [1, 2])
    house.run([{"k": 2, "at": MOMENT - dt.timedelta(1)}], declared)
    assert (house.values()[-1]["at"] == MOMENT) == ("order_by" in plan)


@pytest.mark.parametrize("plan", [{"order_by": "at"}, {"hard_delete": "at"}])
def test_case_15_a_column_that_decides_has_no_variants(house: House, plan: dict[str, str]) -> None:
    """A value of ``order_by`` or ``hard_delete`` beside its column would not be seen by the merge."""
    definition = TableDefinition(TABLE, MergePlan(key=("k",), **plan))
    house.run([{"k": 1, "at": True}], definition)
    with pytest.raises(SchemaError, match=r"raw\.t: at__v_text holds values"):
        house.run([{"k": 1, "at": "yes"}], definition)
    assert house.values() == ([{"k": 1, "at": True}] if "order_by" in plan else [])


@pytest.mark.long
@pytest.mark.parametrize(
    "value", [0, 0.0, -0.0, decimal.Decimal("0.0"), "0", "false", " False ", "F", "no", "N", "", b"", b"\0", {}, []]
)
def test_case_19_a_value_that_says_no_removes_no_row(house: House, value: Any) -> None:
    """As dlt has it, any value but NULL and false removes a key: a flag of 0 and 1 would empty the table."""
    definition = TableDefinition(TABLE, MergePlan(key=("k",), hard_delete="gone"))
    house.run([{"k": 1, "gone": None}], TableDefinition(TABLE, MergePlan(key=("k",))))
    with pytest.raises(SchemaError, match=r"raw\.t: hard_delete='gone' is a column of .*declare the column as bool"):
        house.run([{"k": 1, "gone": value}, {"k": 2, "gone": None}], definition)
    assert house.values() == [{"k": 1}]


@pytest.mark.long
@pytest.mark.parametrize("value", [1, "true", "2024-01-15", dt.date(1970, 1, 1), dt.time(0), 0.5, {"by": 0}])
def test_case_19_a_value_that_is_not_null_removes_its_row(house: House, value: Any) -> None:
    definition = TableDefinition(TABLE, MergePlan(key=("k",), hard_delete="gone"))
    house.run([{"k": 1}, {"k": 2}], TableDefinition(TABLE, MergePlan(key=("k",))))
    house.run([{"k": 1, "gone": value}, {"k": 2, "gone": None}], definition)
    assert [row["k"] for row in house.values()] == [2]


@pytest.mark.parametrize("value", [{"n": 9}, [9]])
def test_case_9_nested_values_say_not_which_row_is_newer(house: House, value: Any) -> None:
    definition = TableDefinition(TABLE, MergePlan(key=("k",), order_by="o"))
    with pytest.raises(SchemaError, match=r"raw\.t: order_by='o' holds nested values"):
        house.run([{"k": 1, "o": value}], definition)


@pytest.mark.parametrize("plan", [{"key": ("k", "_dlt_id")}, {"key": ("k",), "hard_delete": "_phlo_run_id"}], ids=str)
def test_case_7_a_column_that_each_run_writes_anew_is_not_a_key(plan: dict[str, Any]) -> None:
    """As dlt's ids of a source that dlt has written: each run would insert every row again."""
    with pytest.raises(ConfigurationError, match=r"raw\.t: (unique_key='_dlt_id'|hard_delete='_phlo_run_id') is a"):
        TableDefinition(TABLE, MergePlan(**plan))
    assert TableDefinition(TABLE, MergePlan(**plan), metadata_columns=False, partition_by=())


def test_what_a_source_has_in_metadata_columns_is_replaced_and_said_once(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [{"k": number, "_dlt_id": "theirs"} for number in (1, 2)]
    house.run(rows, TableDefinition(TABLE, MergePlan(key=("k",))))
    assert [row["k"] for row in house.values()] == [1, 2]
    assert caplog.text.count("raw.t: _dlt_id of the source is replaced by that of the run") == 1
