"""Values that no column of a table can hold."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.schemas.conversion import casts, conform
from airflow_provider_phlo.schemas.conversion.casts import convert_column
from airflow_provider_phlo.schemas.conversion.conform import conform_loosely
from airflow_provider_phlo.schemas.conversion.limits import readable

EAST = dt.timezone(dt.timedelta(hours=2))
YEAR_10000 = 253_402_300_800
BEFORE_YEAR_1 = -62_135_596_801


def conformed(chunk: Any) -> tuple[dict[str, list[Any]], list[tuple[str, tuple[int, ...] | None]]]:
    table, failures = conform(chunk, None, str)
    return table.to_pydict(), [(each.check, each.rows) for each in failures]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo"])
@pytest.mark.parametrize("seconds", [YEAR_10000, BEFORE_YEAR_1, YEAR_10000 * 20])
def test_case_10_timestamps_outside_the_years_1_to_9999_are_bad(unit: str, zone: str | None, seconds: int) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    limits = [-62_135_596_800 * per_second, YEAR_10000 * per_second - 1]
    values = pa.array([*limits, seconds * per_second, None], pa.int64()).cast(pa.timestamp(unit, zone))
    for column in (values, values.dictionary_encode()):
        rows, failures = conformed(pa.table({"k": [1, 2, 3, 4], "at": column}))
        assert failures == [("is_timestamp", (2,))]
        assert [each is None for each in rows["at"]] == [False, False, True, True]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_case_10_times_that_are_not_of_a_day_are_bad(unit: str) -> None:
    """Arrow checks nothing of it; readers show another time."""
    day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit]
    plain = pa.int32() if unit in ("s", "ms") else pa.int64()
    kind = pa.time32(unit) if unit in ("s", "ms") else pa.time64(unit)
    values = pa.array([0, day - day // 86_400, -1, day, None], plain).cast(kind)
    for column in (values, values.dictionary_encode()):
        rows, failures = conformed(pa.table({"k": range(5), "at": column}))
        assert failures == [("is_time", (2, 3))]
        assert [each is None for each in rows["at"]] == [False, False, True, True, True]


@pytest.mark.parametrize("kind", [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")], ids=str)
def test_case_10_nested_times_that_are_not_of_a_day_are_bad(kind: pa.DataType) -> None:
    """Python reads them as other times of the day."""
    day = 86_400 * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]
    plain = pa.int32() if kind.bit_width == 32 else pa.int64()
    times = pa.array([day, 0, day - day // 86_400, -1, day, None], plain).cast(kind)[1:]
    starts = pa.array(range(6), pa.int32())
    lists = pa.ListArray.from_arrays(starts, times)
    for column in (
        lists,
        pa.StructArray.from_arrays([times], ["t"]),
        pa.StructArray.from_arrays([lists], ["inside"]),
        pa.MapArray.from_arrays(starts, pa.array(list("abcde")), times),
        pa.MapArray.from_arrays(starts, pa.array(list("xabcde"))[1:], lists),
    ):
        rows, failures = conformed(pa.table({"k": range(5), "at": column}))
        assert failures == [("is_time", (2, 3))]
        assert [each is None for each in rows["at"]] == [False, False, True, True, False]


@pytest.mark.parametrize("value", [dt.timedelta.max, dt.timedelta.min])
def test_case_10_a_duration_of_more_than_arrow_has_is_bad(value: dt.timedelta) -> None:
    assert conformed([{"k": 1, "v": value}])[1] == [("is_duration", (0,))]


@pytest.mark.parametrize("days", [2_932_897, -719_163, 2**31 - 1, -(2**31)])
def test_case_10_dates_outside_the_years_1_to_9999_are_bad(days: int) -> None:
    values = pa.array([2_932_896, -719_162, days], pa.int32()).cast(pa.date32())
    rows, failures = conformed(pa.table({"on": values}))
    assert failures == [("is_date", (2,))]
    assert rows["on"] == [dt.date.max, dt.date.min, None]


def test_case_10_a_bad_row_is_written_as_text() -> None:
    far = pa.array([YEAR_10000 * 10**6], pa.int64())
    rows = pa.table(
        {"at": far.cast(pa.timestamp("us")), "all": pa.array([[far[0].as_py()]]).cast(pa.list_(pa.timestamp("us")))}
    )
    [record] = readable(rows).to_pylist()
    assert record["at"].startswith("10000-01-01")
    assert record["all"][0].startswith("10000-01-01")


def test_case_10_a_nested_date_outside_the_years_is_bad() -> None:
    values = pa.array([[0], [YEAR_10000 * 10**6]]).cast(pa.list_(pa.timestamp("us")))
    rows, failures = conformed(pa.table({"all": values}))
    assert failures == [("is_text", (1,))]
    assert rows["all"][0] is not None


@pytest.mark.parametrize("zone", [None, dt.UTC, EAST, dt.timezone(-dt.timedelta(hours=2))])
def test_case_10_instants_of_records_outside_the_years_in_utc_are_bad(zone: dt.tzinfo | None) -> None:
    ends = [dt.datetime.min.replace(tzinfo=zone), dt.datetime.max.replace(tzinfo=zone)]
    bad = () if zone in (None, dt.UTC) else (1,) if zone is EAST else (2,)
    ordinary = dt.datetime(2024, 1, 15, tzinfo=zone)
    rows, failures = conformed([{"at": each} for each in (ordinary, *ends, None)])
    assert failures == ([("is_timestamp", bad)] if bad else [])
    assert [at for at, each in enumerate(rows["at"]) if each is None] == [*bad, 3]
    # beside values that break another rule
    _, failures = conformed([{"at": each} for each in (Decimal("Infinity"), *ends, dt.time(1, tzinfo=EAST))])
    assert dict(failures) == {"is_decimal": (0,), "is_time": (3,)} | ({"is_timestamp": bad} if bad else {})


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
@pytest.mark.parametrize("sign", [1, -1])
def test_case_12_a_finite_number_does_not_become_infinite(kind: pa.DataType, sign: int) -> None:
    power = 400 if kind == pa.float64() else 40
    beyond = [Decimal(f"{sign}E{power}"), f"{sign}e{power}", sign * 10**power]
    endless = [sign * float("inf"), f"{sign * float('inf')}", Decimal(sign * float("inf")), " +Infinity"]
    if kind == pa.float32():
        beyond.append(sign * 1e40)
        arrow = pa.chunked_array([[1.5, sign * 1e40, None, endless[0]]])
        assert convert_column(arrow, kind)[1] == [1]
    for number in beyond:
        found, bad = convert_column([1.5, number, None], kind)
        assert (found.to_pylist(), bad) == ([1.5, None, None], [1]), type(number)
    for number in endless:
        assert convert_column([1.5, number, None], kind)[1] == []
    texts = pa.chunked_array([["1.5", f"{sign}e{power}", "inf"]])
    assert convert_column(texts, kind)[1] == [1]


@pytest.mark.parametrize("value", [dt.time(10, tzinfo=EAST), dt.time(10, tzinfo=dt.UTC), "10:00:00-05:00", "10:00Z"])
def test_case_11_a_time_with_an_offset_is_bad(value: Any) -> None:
    assert convert_column([dt.time(10), value], pa.time64("us"))[1] == [1]
    if isinstance(value, dt.time):
        rows, failures = conformed([{"t": dt.time(10)}, {"t": value}])
        assert (rows["t"], failures) == ([dt.time(10), None], [("is_time", (1,))])


@pytest.mark.parametrize("gap", [Decimal("NaN"), Decimal("sNaN"), Decimal("-NaN")])
def test_case_12_a_decimal_that_is_not_a_number_is_a_gap(gap: Decimal) -> None:
    rows, failures = conformed([{"d": Decimal("1.5")}, {"d": gap}, {"d": 2}])
    assert (rows["d"], failures) == ([Decimal("1.5"), None, Decimal(2)], [])


@pytest.mark.parametrize("others", [[Decimal("1.5")], [1], [Decimal("NaN")], [None], ["text"], [0.5]])
def test_case_12_an_infinite_decimal_is_bad(others: list[Any]) -> None:
    records = [{"d": each} for each in (*others, Decimal("Infinity"), Decimal("-Infinity"))]
    assert conformed(records)[1] == [("is_decimal", (1, 2))]


@pytest.mark.parametrize("others", [[], [1], [0.5], [Decimal(1)], [True], ["text"], [{"a": 1}], [None]])
def test_case_13_an_integer_of_thousands_of_digits_is_bad(others: list[Any]) -> None:
    records = [{"k": at, "n": each} for at, each in enumerate([*others, 10**5000])]
    rows, failures = conformed(records)
    assert failures == [("is_text", (len(others),))]
    assert rows["k"] == list(range(len(records)))


@pytest.mark.parametrize("others", [[], [1], [{"a": 1}]])
def test_case_13_values_nested_100000_deep_are_bad(others: list[Any]) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    records = [{"n": each} for each in (*others, deep)]
    assert conformed(records)[1] == [("is_text", (len(others),))]


def test_case_13_values_of_several_kinds_that_no_text_holds() -> None:
    """Each kind of value is converted by itself; all of them that cannot be are named."""
    deep: object = []
    for _ in range(300):
        deep = [deep]
    records = [{"v": 10**5000}, {"v": deep}, {"v": "text"}, {"v": 1.5}, {"v": {"a": 10**5000}}]
    for wanted in ({}, {"v": pa.date32()}):
        table, failures = conform_loosely(records, wanted, str, {}, {})
        assert {row for failure in failures for row in failure.rows or ()} == {0, 1, 4}
        assert len(table) == 5


@pytest.mark.parametrize(
    "text",
    [
        "2024-01-15T00:00:00Z",
        "2024-01-15T23:59:59.123456Z",
        "2024-01-15T23:59:59.1Z",
        "2024-02-29T12:00:00Z",
        "2023-02-29T12:00:00Z",
        "2024-01-15T24:00:00Z",
        "2024-01-15T25:00:00Z",
        "2024-01-15T23:60:59Z",
        "2024-01-15T23:59:60Z",
        "2024-13-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "1000-01-01T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2024-01-15T00:00:00.1234567Z",
        "2024-01-15T00:00:00Z\n",
        "2024-01-15T00:00:00z",
        "2024-01-15 00:00:00Z",
        "2024-01-15T00:00:00",
        "2024-01-15T01:00:00+01:00",
    ],
)
def test_times_are_read_alike_by_arrow_and_one_by_one(text: str) -> None:
    kind, texts = pa.timestamp("us", "UTC"), [text, None]
    forms = (texts, pa.chunked_array([texts]), pa.chunked_array([pa.array(texts, pa.string_view())]))
    one_by_one = casts._convert_one_by_one(texts, kind)
    for form in forms:
        found, bad = casts.convert_column(form, kind)
        assert (found.to_pylist(), bad) == (one_by_one[0].to_pylist(), one_by_one[1])


@pytest.mark.parametrize("value", [Decimal("1E-30"), Decimal("7E-778"), "7E-652", 6.335989054991934e-223], ids=repr)
def test_a_number_with_more_decimals_than_its_column_is_not_zero(value: Any) -> None:
    found, bad = convert_column([Decimal(1), value, Decimal("0E-900")], pa.decimal128(38, 9))
    assert (found.to_pylist(), bad) == ([1, None, 0], [1])
