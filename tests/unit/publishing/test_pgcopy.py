"""Every Arrow type arrives in PostgreSQL exactly."""

from __future__ import annotations

import math
import uuid
from datetime import UTC, date, datetime, time
from decimal import Context, Decimal

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.publishing.postgres import publish
from airflow_provider_phlo.publishing.postgres.binary_copy import column_type

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

NAN, INF = math.nan, math.inf
WIDE = Context(prec=80)
BIG = Decimal("9" * 38)
MATRIX = [
    (pa.bool_(), "boolean", [True, False]),
    (pa.int8(), "smallint", [-128, 127]),
    (pa.int16(), "smallint", [-(2**15), 2**15 - 1]),
    (pa.int32(), "integer", [-(2**31), 2**31 - 1]),
    (pa.int64(), "bigint", [-(2**63), 2**63 - 1, 0]),
    (pa.uint8(), "smallint", [255]),
    (pa.uint16(), "integer", [65535]),
    (pa.uint32(), "bigint", [2**32 - 1]),
    (pa.uint64(), "numeric(20,0)", [2**64 - 1, 0]),
    (pa.float32(), "real", [1.5, -0.0, NAN, INF, -INF]),
    (pa.float64(), "double precision", [0.1 + 0.2, 5e-324, 1.7976931348623157e308, NAN, INF, -INF, -0.0]),
    (pa.string(), "text", ["", "NULL", "\\N", "\\.", "a\tb\nc\r\\d", "'\"", "ü€😀", "x" * 5000, "nan"]),
    (pa.large_string(), "text", ["", "a"]),
    (pa.string_view(), "text", ["", "a", "longer than twelve bytes"]),
    (pa.dictionary(pa.int8(), pa.string()), "text", ["a", "b", "a"]),
    (pa.binary(), "bytea", [b"", b"\x00\xff\n\\"]),
    (pa.binary(3), "bytea", [b"abc", b"\x00\x01\x02"]),
    (pa.uuid(), "uuid", [uuid.UUID(int=5), uuid.UUID(int=2**128 - 1)]),
    (pa.date32(), "date", [date(1, 1, 1), date(1999, 12, 31), date(2000, 1, 1), date(9999, 12, 31)]),
    (pa.date64(), "date", [date(1969, 12, 31)]),
    (pa.time32("s"), "time without time zone", [time(23, 59, 59)]),
    (pa.time64("us"), "time without time zone", [time(0), time(23, 59, 59, 999999)]),
    (
        pa.timestamp("us"),
        "timestamp without time zone",
        [datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999)],
    ),
    (pa.timestamp("s"), "timestamp without time zone", [datetime(1969, 12, 31, 23, 59, 59)]),
    (pa.timestamp("us", tz="UTC"), "timestamp with time zone", [datetime(2024, 1, 15, 12, 0, 0, 1, tzinfo=UTC)]),
    (pa.timestamp("ms", tz="Europe/Berlin"), "timestamp with time zone", [datetime(2024, 7, 1, tzinfo=UTC)]),
    (pa.decimal128(38, 0), "numeric(38,0)", [BIG, BIG.copy_negate(), Decimal(0), Decimal(10_000)]),
    (pa.decimal128(38, 38), "numeric(38,38)", [BIG.scaleb(-38, WIDE), Decimal("1E-38")]),
    (pa.decimal128(10, 3), "numeric(10,3)", [Decimal("-0.001"), Decimal("1234567.891"), Decimal("1000.000")]),
    (pa.decimal128(5, 5), "numeric(5,5)", [Decimal("0.00001"), Decimal("-0.99999")]),
    (pa.decimal256(50, 10), "numeric(50,10)", [Decimal("9" * 40 + "." + "1" * 10)]),
    (pa.decimal64(12, 2), "numeric(12,2)", [Decimal("-1234567890.12")]),
    (pa.list_(pa.int64()), "jsonb", [[], [1, None, 2]]),
    (pa.struct([("a", pa.string()), ("b", pa.list_(pa.float64()))]), "jsonb", [{"a": 'é"\n', "b": [1.5]}]),
    (pa.map_(pa.string(), pa.int64()), "jsonb", [{"k": 1}]),
    (pa.null(), "text", []),
]


def read(connection):
    # not prepared: the type of v changes from test to test
    return [row[0] for row in connection.execute("SELECT v FROM marts.t ORDER BY n", prepare=False).fetchall()]


def as_arrow(kind, values):
    if pa.types.is_dictionary(kind):
        return pa.array(values).dictionary_encode()
    if isinstance(kind, pa.UuidType):
        storage = pa.array([value and value.bytes for value in values], pa.binary(16))
        return pa.ExtensionArray.from_storage(kind, storage)
    if pa.types.is_map(kind):
        values = [value if value is None else list(value.items()) for value in values]
    return pa.array(values, kind)


def publish_column(connection, array):
    publish(pa.table({"n": pa.array(range(len(array)), pa.int32()), "v": array}), connection, "t")


@pytest.mark.parametrize(("kind", "sql", "values"), MATRIX, ids=[str(kind) for kind, _, _ in MATRIX])
def test_type_round_trip(connection, kind, sql, values):
    values = [None, *values, None, *values]
    publish_column(connection, as_arrow(kind, values))
    found = read(connection)
    assert list(map(repr, found)) == list(map(repr, expected(kind, values)))
    query = "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'marts.t'::regclass"
    assert connection.execute(query + " AND attname = 'v'").fetchone() == (sql,)


def expected(kind, values):
    if pa.types.is_decimal(kind):
        step = Decimal(1).scaleb(-kind.scale)
        return [value if value is None else value.quantize(step, context=WIDE) for value in values]
    if pa.types.is_uint64(kind):
        return [value if value is None else Decimal(value) for value in values]
    return values


@pytest.mark.parametrize("offset", [0, 1, 5])
def test_slices_and_bytes_behind_nulls(connection, offset):
    texts = pa.array(["gone", "b", None, "", "eé", "f"])
    # a NULL whose slot still spans bytes
    hidden = pa.Array.from_buffers(
        pa.string(), 6, [pa.py_buffer(bytes([0b110111])), *texts.fill_null("zzz").buffers()[1:]]
    )
    for array in (texts, hidden):
        publish_column(connection, array.slice(offset))
        assert read(connection) == array.slice(offset).to_pylist()
    decimals = pa.array([Decimal("1.5"), None, Decimal("-2.25")] * 2, pa.decimal128(9, 2)).slice(offset)
    publish_column(connection, decimals)
    assert read(connection) == decimals.to_pylist()


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (pa.array(["a\x00b"]), "U\\+0000"),
        (pa.array([1], pa.timestamp("ns")), "lose digits"),
        (pa.array([-(2**63)], pa.timestamp("us")), "before the first date"),
        (pa.array([-210_866_803_200_000_001], pa.timestamp("us", "UTC")), "before the first date"),
        (pa.array([-(2**31)], pa.int32()).cast(pa.date32()), "before the first date"),
        (pa.array([-2_440_589], pa.int32()).cast(pa.date32()), "before the first date"),
        (pa.array([2_145_042_906], pa.int32()).cast(pa.date32()), "after its last"),
        (pa.array([[NAN]]), "lose digits"),
        (pa.array([[("secret", 1), ("secret", 2)]], pa.map_(pa.string(), pa.int64())), "one of its keys twice"),
        (pa.array([[({"x": 1}, 1)]], pa.map_(pa.struct([("x", pa.int64())]), pa.int64())), "keys of a map are nested"),
        (pa.array([[(date(2024, 1, 15), 1)]], pa.map_(pa.date32(), pa.int64())), "keys of another type; cast them"),
        (pa.array([[(b"secret", 1)]], pa.map_(pa.binary(), pa.int64())), "keys of another type; cast them"),
        (pa.array([[b"secret"]]), "JSON has no bytes"),
        (pa.array([[1]], pa.list_(pa.time64("ns"))), "lose digits"),
        (pa.array([{"a": [86_400_000_000]}], pa.struct([("a", pa.list_(pa.time64("us")))])), "lose digits"),
        (pa.array([{"a": [{"b": b"secret"}]}]), "JSON has no bytes"),
    ],
)
def test_what_postgres_cannot_hold_is_refused_without_showing_it(connection, array, reason):
    with pytest.raises(SchemaError, match=rf"Column v .*{reason}") as found:
        publish_column(connection, array)
    assert "secret" not in str(found.value)
    assert connection.execute("SELECT to_regclass('marts.t')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("number", "kind", "text"),
    [
        (-2_440_588, pa.date32(), "4714-11-24 BC"),
        (2_145_042_905, pa.date32(), "5874897-12-31"),
        (-210_866_803_200_000_000, pa.timestamp("us"), "4714-11-24 00:00:00 BC"),
        (2**63 - 1, pa.timestamp("us"), "294247-01-10 04:00:54.775807"),
    ],
)
def test_the_first_and_last_day_of_postgres_arrive(connection, number, kind, text):
    publish_column(connection, pa.array([number], pa.int32() if kind == pa.date32() else pa.int64()).cast(kind))
    assert connection.execute("SELECT v::text FROM marts.t").fetchall() == [(text,)]


def test_a_type_without_counterpart_is_refused():
    with pytest.raises(SchemaError, match="Column v: PostgreSQL has no type for Arrow's duration"):
        column_type(pa.field("v", pa.duration("s")))


columns = st.one_of(
    st.tuples(st.just(pa.int64()), st.lists(st.none() | st.integers(-(2**63), 2**63 - 1))),
    st.tuples(st.just(pa.float64()), st.lists(st.none() | st.floats(allow_nan=False))),
    st.tuples(
        st.just(pa.string()), st.lists(st.none() | st.text(st.characters(exclude_characters="\x00", codec="utf-8")))
    ),
    st.tuples(st.just(pa.binary()), st.lists(st.none() | st.binary())),
    st.tuples(st.just(pa.decimal128(20, 7)), st.lists(st.none() | st.decimals(-(10**12), 10**12, places=7))),
    st.tuples(st.just(pa.date32()), st.lists(st.none() | st.dates())),
    st.tuples(st.just(pa.timestamp("us")), st.lists(st.none() | st.datetimes())),
    st.tuples(st.just(pa.time64("us")), st.lists(st.none() | st.times())),
    st.tuples(st.just(pa.bool_()), st.lists(st.none() | st.booleans())),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns)
def test_any_column_round_trips(connection, column):
    kind, values = column
    publish_column(connection, pa.array(values, kind))
    assert read(connection) == pa.array(values, kind).to_pylist()


def test_time_zones_are_instants(connection):
    winter = datetime(2024, 1, 15, 12, tzinfo=UTC)
    publish_column(connection, pa.array([winter], pa.timestamp("us", tz="America/New_York")))
    assert read(connection) == [winter]
