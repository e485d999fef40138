"""Checks that passed where they must fail, or the reverse: each input as it was found, and its kind."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import random
import re
import uuid
from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Any

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.quality import (
    AggregateConsistencyCheck,
    ChecksumReconciliationCheck,
    CountCheck,
    CustomSQLCheck,
    KeyParityCheck,
    MeanDriftCheck,
    QualityCheck,
    QualityCheckResult,
    RangeCheck,
    ReconciliationCheck,
    SchemaCheck,
    ThresholdCheck,
)
from airflow_provider_phlo.quality.scan import run_checks, run_checks_on_frame
from airflow_provider_phlo.schemas import PhloSchema, pandera_to_iceberg
from tests.expect import expect

NAN = float("nan")


def reconcile(check: QualityCheck, source: Any, target: Any) -> QualityCheckResult:
    """Compare two frames; the check names the source ``source``."""
    return check.execute(target, {"table": "target", "tables": {"source": source}})


@pytest.fixture
def lake(catalog):
    """Return a function that makes the table ``raw.t`` (or another) of some rows."""
    ensure_namespace(catalog, "raw")

    def create(rows: pa.Table, name: str = "raw.t") -> Any:
        table = catalog.create_table(name, schema=rows.schema)
        table.append(rows)
        return catalog

    return create


class Everything(PhloSchema):
    key: uuid.UUID
    code: Annotated[pd.ArrowDtype, pa.binary(4)]
    counts: Annotated[pd.ArrowDtype, pa.map_(pa.string(), pa.int64())]
    blob: bytes
    flag: bool
    whole: int
    small: Annotated[pd.ArrowDtype, pa.uint8()]
    large: Annotated[pd.ArrowDtype, pa.uint64()]
    ratio: float
    amount: Decimal
    name: str
    day: dt.date
    at: dt.datetime
    clock: dt.time
    tags: list[str]
    nested: dict
    kinds: Annotated[pd.ArrowDtype, pa.dictionary(pa.int32(), pa.string())]
    long: Annotated[pd.ArrowDtype, pa.large_string()]
    local: Annotated[pd.ArrowDtype, pa.timestamp("us")]
    pair: Annotated[pd.ArrowDtype, pa.struct([("a", pa.int64())])]


def test_case_66_the_table_of_a_model_has_its_columns(catalog):
    ensure_namespace(catalog, "raw")
    catalog.create_table("raw.t", pandera_to_iceberg(Everything))
    (result,) = run_checks(catalog, "raw.t", [SchemaCheck(Everything)])
    expect(result, passed=True, mistyped_columns=[], missing_columns=[])


@pytest.mark.parametrize(
    ("source", "target", "tolerance", "passed"),
    [
        ("20000000000000.00", "20000000000000.02", 0.01, False),
        ("20000000000000.00", "20000000000000.01", 0.01, True),
        (10**17, 10**17 + 50, 0.01, False),
        (10**19, 10**19 + 1000, 1, False),
        (10**19, 10**19 + 1, 1, True),
        ("-0.05", "0.05", 0.09, False),
        ("-0.05", "0.05", 0.1, True),
        ("0.29", "0.30", 0.009, False),
        ("-99999999999999999999999999999999999.99", "99999999999999999999999999999999999.99", 1e30, False),
    ],
)
def test_case_67_decimals_are_subtracted_exactly(source, target, tolerance, passed):
    sides = [pa.table({"id": [1], "v": pa.array([Decimal(v)], pa.decimal128(38, 2))}) for v in (source, target)]
    check = ChecksumReconciliationCheck("source", key_columns="id", absolute_value_tolerance=tolerance)
    assert reconcile(check, *sides).passed is passed
    aggregate = AggregateConsistencyCheck(
        "source", aggregate_column="v", source_expression="max(v)", group_by="id", absolute_tolerance=tolerance
    )
    assert reconcile(aggregate, *sides).passed is passed


@pytest.mark.parametrize(
    ("source", "target", "tolerance", "passed"),
    [(2e13, 2e13 + 0.02, 0.01, False), (1e17, 1e17 + 48, 0.01, False), (1.0, 1.25, 0.25, True), (0.0, NAN, 1, False)],
)
def test_case_67_doubles_have_no_slack(source, target, tolerance, passed):
    check = ChecksumReconciliationCheck("source", key_columns="id", absolute_value_tolerance=tolerance)
    sides = [pa.table({"id": [1], "v": pa.array([v], pa.float64())}) for v in (source, target)]
    assert reconcile(check, *sides).passed is passed


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "days"),
    [
        (pa.int32(), [20240115, 20240116, None]),
        (pa.int64(), [20240115, 20240116, None]),
        (pa.string(), ["20240115", "20240116", None]),
        (pa.string(), ["2024-01-15", "2024-01-16", None]),
        (pa.decimal128(10, 2), [Decimal(20240115), Decimal(20240116), None]),
        (pa.float64(), [20240115.0, 20240116.0, None]),
        (pa.date32(), [dt.date(2024, 1, 15), dt.date(2024, 1, 16), None]),
    ],
)
def test_case_68_a_day_is_found_however_its_column_spells_it(lake, kind, days):
    catalog = lake(pa.table({"dt": pa.array(days, kind), "v": [-1, 1, 1]}))
    checks = [CountCheck(1, 1), RangeCheck("v", min_value=0)]
    for day in ("2024-01-15", dt.date(2024, 1, 15), "20240115"):
        count, values = run_checks(catalog, "raw.t", checks, partition_column="dt", partition=day)
        assert (count.passed, values.passed, values.failed) == (True, False, 1)
    (empty,) = run_checks(catalog, "raw.t", [CountCheck(0, 0)], partition_column="dt", partition="2024-01-17")
    assert empty.passed, "a day without rows is one all the same"


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.bool_(), [True, False]),
        (pa.int64(), [1705276800, 1705363200]),
        (pa.int32(), [2024, 7]),
        (pa.decimal128(12, 2), [Decimal("1.50"), Decimal(2)]),
        (pa.string(), ["15.01.2024", "16.01.2024"]),
        (pa.binary(), [b"2024-01-15", b""]),
        (pa.list_(pa.string()), [["2024-01-15"], []]),
        (pa.time64("us"), [dt.time(1), dt.time(2)]),
    ],
)
def test_case_68_a_column_that_holds_no_days_is_refused(lake, kind, values):
    catalog = lake(pa.table({"dt": pa.array(values, kind), "v": [-1, 1]}))
    with pytest.raises(ConfigurationError, match="dt"):
        run_checks(catalog, "raw.t", [RangeCheck("v", min_value=0)], partition_column="dt", partition="2024-01-15")


@pytest.mark.parametrize(
    ("kind", "values", "partition"),
    [
        (pa.bool_(), [True, False], "true"),
        (pa.int32(), [7, 8], "7"),
        (pa.string(), ["north", "south"], "north"),
        (pa.decimal128(4, 2), [Decimal("1.50"), Decimal(2)], "1.5"),
        (pa.float64(), [0.5, NAN], "0.5"),
    ],
)
def test_case_68_a_partition_may_be_another_value(lake, kind, values, partition):
    catalog = lake(pa.table({"p": pa.array(values, kind), "v": [1, 2]}))
    (result,) = run_checks(catalog, "raw.t", [CountCheck(1, 1)], partition_column="p", partition=partition)
    assert result.passed


def test_case_71_the_columns_of_all_records_count():
    class Strict(pandera.DataFrameModel):
        id: int

        class Config:
            strict = True

    records = [{"id": 1}, {"id": 2, "v": 5}]
    assert SchemaCheck(Strict).execute(records).unexpected_columns == ["v"]
    expect(RangeCheck("v", max_value=4).execute(records), passed=False, failed=1)


@pytest.mark.parametrize("kind", [pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64()])
def test_case_72_integers_stay_integers_in_a_check_of_your_own(kind):
    largest = 2 ** (kind.bit_width - str(kind).startswith("int")) - 1
    seen = []

    class Own(QualityCheck):
        def execute(self, df: pd.DataFrame, context: Any = None) -> QualityCheckResult:
            seen.append(df)
            return QualityCheckResult(bool((df["v"] == df["w"]).all()))

    rows = pa.table({"v": pa.array([largest, None, 1], kind), "w": pa.array([largest - 1, 1, 1], kind)})
    nested = rows.append_column("n", pa.array([[2**53 + 1, None]] * 3))
    (result,) = run_checks_on_frame(nested, [Own()])
    assert not result.passed
    assert seen[0]["v"][0] == largest
    assert seen[0]["v"].isna().tolist() == [False, True, False]
    assert seen[0]["n"][0][0] == 2**53 + 1


BOUNDS = [2.0**53, -(2.0**53), 2**53 + 1, 10**40, -(10**40), 1e300, math.inf, -math.inf, 0.5, -0.5, 2.0**64, 255, 0]
BOUNDS += [Decimal("0.005"), Decimal(2**63), Decimal("-1e30"), -1, 127.5, 1e19]


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int64(), [2**53 + 1, 2**53, -(2**53) - 1, 2**63 - 1, -(2**63), 0]),
        (pa.uint64(), [2**53 + 1, 2**64 - 1, 2**63, 0]),
        (pa.int8(), [-128, 127, 0, 1]),
        (pa.uint8(), [255, 0, 1]),
        (pa.decimal128(38, 0), [Decimal(2**53 + 1), Decimal(2**53), Decimal(10**37)]),
        (pa.decimal128(20, 2), [Decimal("0.01"), Decimal("0.00"), Decimal("-0.01"), Decimal(2**53) + Decimal("0.01")]),
        (pa.float64(), [2.0**53, 2.0**53 + 2, 0.5, math.inf, -math.inf, 1e300]),
    ],
)
def test_case_73_bounds_are_exact(kind, values):
    rows = pa.table({"v": pa.array([*values, None], kind)})
    for bound in BOUNDS:
        above = sum(value > bound for value in values)
        below = sum(value < bound for value in values)
        result = RangeCheck("v", max_value=bound).execute(rows)
        expect(result, failed=above, passed=not above)
        expect(RangeCheck("v", min_value=bound).execute(rows), failed=below, passed=not below)
        expect(ThresholdCheck("v", bound).execute(rows), failed=above, total=len(values))


@pytest.mark.parametrize(
    ("query", "expected", "options", "passed"),
    [
        ("SELECT 1000000000500", 1e12, {}, False),
        ("SELECT 1000000000500", 1e12, {"tolerance": 1e-9}, True),
        ("SELECT 1000000000500", 1e12, {"absolute_tolerance": 500}, True),
        ("SELECT 1000000000500", 1e12, {"absolute_tolerance": 499.9}, False),
        ("SELECT 0.1", 0.1, {}, True),
        ("SELECT 0.1e0 + 0.2e0", 0.3, {}, False),
        ("SELECT 0.1e0 + 0.2e0", 0.3, {"tolerance": 1e-9}, True),
        ("SELECT CAST(9007199254740993 AS BIGINT)", 2.0**53, {}, False),
        ("SELECT 'NaN'::DOUBLE", 1, {"tolerance": 1}, False),
        ("SELECT 'NaN'::DOUBLE", NAN, {}, True),
        ("SELECT 'NaN'::DOUBLE", NAN, {"tolerance": 1}, True),
        ("SELECT 1", NAN, {"tolerance": 1}, False),
        ("SELECT NULL", NAN, {}, False),
        ("SELECT NULL", 0, {"absolute_tolerance": 1}, False),
    ],
)
def test_case_74_a_number_is_compared_exactly_unless_a_tolerance_is_given(query, expected, options, passed):
    assert CustomSQLCheck(query, expected, **options).execute([{"id": 1}]).passed is passed


def test_case_74_a_second_column_is_refused():
    result = CustomSQLCheck("SELECT id, id + 1 AS other FROM df", 1).execute([{"id": 1}])
    expect(result, passed=False, message="the query returns 2 columns, one is expected")


@pytest.mark.parametrize("options", [{"tolerance": -1}, {"absolute_tolerance": NAN}, {"tolerance": "1"}])
def test_case_74_tolerances_are_numbers_from_0(options):
    with pytest.raises(ConfigurationError):
        CustomSQLCheck("SELECT 1", 1, **options)
    with pytest.raises(ConfigurationError, match="needs a number"):
        CustomSQLCheck("SELECT 1", "a", tolerance=1)


@pytest.mark.parametrize(
    "check",
    [
        ReconciliationCheck("t"),
        ReconciliationCheck("raw.t"),
        ReconciliationCheck("raw.t", target_table="t"),
        ReconciliationCheck("t", source_filter="id > 0", target_filter="id > 0"),
        ReconciliationCheck("t", source_columns={"id": "id"}),
        KeyParityCheck("t", key_columns=["id"]),
        ChecksumReconciliationCheck("t", key_columns=["id"]),
        AggregateConsistencyCheck(
            "t", aggregate_column="n", source_expression="count(*)", target_expression="count(*)", group_by="id"
        ),
        ReconciliationCheck(["t", "raw.t"], target_table="raw.u"),
        ReconciliationCheck("raw.u", target_table=["t", "raw.t"]),
    ],
)
def test_case_75_a_table_compared_with_itself_or_named_twice_is_refused(lake, check):
    rows = pa.table({"id": [1, 2]})
    lake(rows, "raw.u")
    (result,) = run_checks(lake(rows), "raw.t", [check])
    assert not result.passed
    assert "same tables" in result.message or "names a table twice" in result.message


def test_case_75_a_column_may_be_an_aggregate_of_its_own_table(lake):
    catalog = lake(pa.table({"id": [1, 2], "n": [1, 2]}))
    check = AggregateConsistencyCheck("t", aggregate_column="n", source_expression="count(*)", group_by="id")
    (result,) = run_checks(catalog, "raw.t", [check])
    expect(result, passed=False, different_count=1)


def test_case_75_a_side_names_no_table_twice():
    with pytest.raises(ConfigurationError, match="source_table names a table twice: a, a"):
        ReconciliationCheck(["a", "a"])


def test_case_75_a_day_is_not_compared_with_itself(lake):
    catalog = lake(pa.table({"day": [dt.date(2024, 1, 15)], "v": [1]}))
    check = MeanDriftCheck("v", partition_column="day", source_table="t", source_partition_column="day")
    (result,) = run_checks(catalog, "raw.t", [check], run_date="2024-01-15")
    expect(result, passed=False)
    assert "compared with itself" in result.message


def test_case_76_frames_without_rows_and_columns_without_values_agree():
    class Nullable(pandera.DataFrameModel):
        id: int
        v: float = pandera.Field(nullable=True)

    empty, nothing = pd.DataFrame({"id": [], "v": []}, dtype=object), [{"id": 1, "v": None}, {"id": 2, "v": None}]
    checks = [ReconciliationCheck("source", "v"), KeyParityCheck("source", key_columns=["id"])]
    checks += [ChecksumReconciliationCheck("source", key_columns=["id"]), ChecksumReconciliationCheck("source")]
    checks += [ChecksumReconciliationCheck("source", hash_algorithm="md5")]
    for check in checks:
        for rows in (empty, nothing):
            result = reconcile(check, rows, rows)
            assert result.passed, (check.check_name(), result.message)
    assert SchemaCheck(Nullable).execute(nothing).passed
    assert SchemaCheck(Nullable).execute(empty).passed
    for check in (RangeCheck("v", 0, 5), ThresholdCheck("v", 5), RangeCheck("v", "a", "b")):
        assert check.execute(nothing).passed


@pytest.mark.long
@pytest.mark.parametrize(
    "values",
    [[1, 2], [0.5, NAN], ["a", None], [True, None], [b"x", b""], [[1], []], [{"a": 1}, None], [Decimal(1), None]],
)
def test_case_76_a_column_without_values_is_compared_with_any(values):
    rows = pa.table({"id": [1, 2], "v": pa.array(values)})
    nothing = pa.table({"id": [1, 2], "v": pa.nulls(2)})
    for algorithm in ("xxhash64", "md5"):
        check = ChecksumReconciliationCheck("source", key_columns=["id"], hash_algorithm=algorithm)
        differing = sum(value is not None for value in values)
        expect(reconcile(check, nothing, rows), failed=differing, different_count=differing)
        expect(reconcile(check, rows, nothing), failed=differing)


@pytest.mark.parametrize(
    ("query", "failed"),
    [
        ("WITH readings AS (SELECT * FROM readings) SELECT * FROM readings WHERE v > 1", 1),
        ("WITH readings AS (SELECT * FROM df) SELECT * FROM readings WHERE v > 1", 1),
        ("SELECT * FROM (WITH r AS (SELECT 5 AS v) SELECT * FROM r) AS q, r WHERE q.v > r.v", 2),
        ("WITH RECURSIVE n AS (SELECT 1 AS v UNION ALL SELECT v + 1 FROM n WHERE v < 3) SELECT * FROM n", 3),
        ("WITH a AS (SELECT * FROM b), b AS (SELECT 0 AS v) SELECT * FROM a", 2),
        ("SELECT * FROM raw.t AS x WHERE EXISTS (WITH t AS (SELECT 1 AS v) SELECT * FROM t WHERE t.v = x.v)", 1),
    ],
)
def test_case_77_names_are_resolved_as_sql_scopes_them(lake, query, failed):
    expect(CustomSQLCheck(query).execute([{"v": 1}, {"v": 2}]), failed=failed, passed=not failed)
    if "df" not in query:
        name = re.search(r"(?:FROM |, )(?:raw\.)?(readings|r|b|t)\b", query)
        table = f"raw.{name[1] if name else 't'}"
        (result,) = run_checks(lake(pa.table({"v": [1, 2]}), table), table, [CustomSQLCheck(query)])
        expect(result, failed=failed)


@pytest.mark.parametrize("kind", [pa.float64(), pa.float32()])
def test_case_78_nan_is_one_partition(kind):
    rows = pa.table({"p": pa.array([NAN, -NAN, 1.0, None, -0.0], kind), "id": [1, 2, 3, 4, 5]})
    other = pa.table({"p": pa.array([NAN, NAN, 1.0, None, 0.0], kind), "id": [1, 2, 3, 4, 5]})
    for check in (
        ReconciliationCheck("source", "p"),
        KeyParityCheck("source", key_columns=["id"], partition_column="p"),
        ChecksumReconciliationCheck("source", key_columns=["id"], partition_column="p"),
        AggregateConsistencyCheck(
            "source",
            aggregate_column="n",
            source_expression="count(*)",
            target_expression="count(*)",
            group_by="p",
        ),
    ):
        assert reconcile(check, rows, other).passed, check.check_name()
    fewer = reconcile(ReconciliationCheck("source", "p"), rows, other.slice(1))
    expect(fewer, passed=False, different_count=1, missing_count=0, extra_count=0)


@pytest.mark.parametrize(
    "frame", [[{"a": 1, "A": 2}], pa.table({"a": [1], "A": [2]}), pd.DataFrame({"a": [1], "A": [2]})]
)
def test_case_79_columns_that_differ_in_case_only_are_refused_in_frames(frame):
    for check in (RangeCheck("a", 0, 9), CountCheck(1), ChecksumReconciliationCheck("source")):
        with pytest.raises(ConfigurationError, match=r"columns a and A of this .* cannot be told apart"):
            check.execute(frame)
    with pytest.raises(ConfigurationError, match="told apart"):
        CountCheck(1).execute(pa.table({"s": pa.array([{"b": 1, "B": 2}])}))
    with pytest.raises(ConfigurationError, match="columns ä and Ä of"):  # which DuckDB tells apart, and Trino does not
        CountCheck(1).execute(pa.table({"ä": [1], "Ä": [2]}))


def test_case_79_columns_that_differ_in_case_only_are_refused_in_tables(lake):
    catalog = lake(pa.table({"a": [1], "A": [2]}))
    with pytest.raises(ConfigurationError, match=r"raw.t has 'a' and 'A', which differ in nothing but case"):
        run_checks(catalog, "raw.t", [RangeCheck("a", 0, 9)])


# --- an oracle in plain Python ------------------------------------------------------------------------------------


@pytest.mark.long
def test_tolerances_of_values_are_as_plain_python_has_them():
    """Thousands of pairs near the tolerance, of both kinds, as decimals of every size and as doubles."""
    generator = random.Random(67)
    for round_ in range(12):
        scale = generator.choice([0, 1, 2, 9])
        digits = generator.choice([4, 15, 17, 20, 28])
        absolute = generator.choice([0.0, 0.01, 0.005, 1.0, 0.25, 50.0, 1e-7])
        relative = 0.0 if absolute and generator.random() < 0.7 else generator.choice([0.01, 0.5, 1e-9])
        unit = Decimal(1).scaleb(-scale)
        step = max(Decimal(repr(absolute)), unit)
        pairs = []
        with decimal.localcontext(decimal.Context(prec=60)):
            for _ in range(150):
                value = generator.randrange(-(10**digits), 10**digits) * unit
                apart = (step * generator.choice([0, 1, -1, 2])).quantize(unit) + generator.choice([0, 1, -1]) * unit
                pairs.append((value, value + apart))
        for kind in (pa.decimal128(38, scale), pa.float64()):
            _check_pairs([tuple(map(kind_of(kind), pair)) for pair in pairs], kind, relative, absolute, round_)


def kind_of(kind: pa.DataType) -> Any:
    return float if pa.types.is_floating(kind) else Decimal


def _check_pairs(
    pairs: list[tuple[Any, Any]], kind: pa.DataType, relative: float, absolute: float, round_: int
) -> None:
    def agree(source: Any, target: Any) -> bool:
        if isinstance(source, float):
            return abs(target - source) <= max(absolute, relative * (1 + 2.0**-50) * abs(source)) or source == target
        apart = abs(Fraction(target) - Fraction(source))
        return apart <= Fraction(str(absolute)) or apart <= Fraction(str(relative)) * abs(Fraction(source))

    differing = sum(not agree(*pair) for pair in pairs)
    source, target = (
        pa.table({"id": range(len(pairs)), "v": pa.array([pair[side] for pair in pairs], kind)}) for side in (0, 1)
    )
    check = ChecksumReconciliationCheck(
        "source", key_columns="id", value_tolerance=relative, absolute_value_tolerance=absolute
    )
    assert reconcile(check, source, target).failed == differing, (round_, kind, relative, absolute)


@pytest.mark.parametrize("bound", ["2024-01-15T10:00:00.0000009", "2024-01-15 10:00:00,1234567+00:00", pd.Timestamp(1)])
def test_a_bound_of_time_is_not_cut(bound: Any) -> None:
    """Python leaves out the digits beyond microseconds: the bound would be another."""
    moments = pa.table({"at": pa.array([dt.datetime(2024, 1, 15, 10)])})
    result = RangeCheck("at", min_value=bound).execute(moments)
    assert not result.passed
    assert "more exact than microseconds" in result.message
    assert RangeCheck("at", min_value="2024-01-15T10:00:00.000000000").execute(moments).passed


@pytest.mark.parametrize("column", [[0, 1], [0.0, 1.0], [Decimal("0.5")]], ids=str)
def test_truth_is_not_a_bound_of_numbers(column: list[Any]) -> None:
    result = RangeCheck("v", min_value=False, max_value=True).execute(pa.table({"v": column}))
    assert not result.passed
    assert "a bound must be a number, not bool" in result.message
