"""Checks give the same results on Trino as on DuckDB."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import random
import re
import threading
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.branches.run_branches import branch_name
from airflow_provider_phlo.iceberg.trino import TrinoEngine
from airflow_provider_phlo.iceberg.trino.queries import Queries
from airflow_provider_phlo.operators.quality import QualityCheckOperator
from airflow_provider_phlo.quality import (
    CountCheck,
    CustomSQLCheck,
    FreshnessCheck,
    NullCheck,
    PatternCheck,
    QualityCheck,
    QualityCheckResult,
    RangeCheck,
    SchemaCheck,
    UniqueCheck,
)
from airflow_provider_phlo.quality.engines import DuckDBCatalogEngine, EvaluationError, TrinoCatalogEngine, open_engine
from airflow_provider_phlo.quality.scan import run_checks
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.sql import Query
from tests.patience import PATIENCE, until
from tests.services.batches import batch
from tests.services.batches import create as create_raw

# beside the merges, on a Trino of its own
pytestmark = pytest.mark.xdist_group("trino checks")

NAN = float("nan")
NOW = dt.datetime.now(dt.UTC).replace(microsecond=123456)
HOUR = dt.timedelta(hours=1)
ZONE = dt.timezone(dt.timedelta(hours=2))

TYPES = {
    "id": pa.int64(),
    "small": pa.int32(),
    "v": pa.float64(),
    "w": pa.float32(),
    "amount": pa.decimal128(12, 2),
    "text": pa.string(),
    "flag": pa.bool_(),
    "day": pa.date32(),
    "clock": pa.time64("us"),
    "at": pa.timestamp("us", "UTC"),
    "local": pa.timestamp("us"),
    "spelled": pa.string(),
    "raw": pa.binary(),
    "tags": pa.list_(pa.int64()),
    "pair": pa.struct([("a", pa.int64()), ("b", pa.string())]),
}
VALUES: dict[str, list[Any]] = {
    "id": [1, 2, 3, 2**53 + 1, None],
    "small": [-5, 0, 7, None],
    "v": [None, NAN, 0.0, -0.0, 1.5, 500.0, math.inf, -math.inf],
    "w": [None, NAN, 0.1, -0.0, 3.5],
    "amount": [None, decimal.Decimal("1.50"), decimal.Decimal("-2.00"), decimal.Decimal("9999999999.99")],
    "text": [None, "", "entry_1", "entry_1\n", "x entry_2", "ENTRY_3", "ä'\"", "a\nentry_1", "a b", "3\u0663"],
    "flag": [None, True, False],
    "day": [None, dt.date(2024, 1, 15), dt.date(2024, 1, 16), NOW.date()],
    "clock": [None, dt.time(1, 2, 3)],
    "at": [None, NOW - HOUR, NOW - 30 * HOUR, NOW + 100 * HOUR, dt.datetime(2024, 1, 15, 23, 30, tzinfo=dt.UTC)],
    "local": [None, dt.datetime(2024, 1, 15, 23, 59, 59, 999999), dt.datetime(2024, 1, 16)],
    "spelled": [
        *(None, "", "nope", "2024-01-15", "2024-01-15T10:00:00", "2024-01-15T10:00:00.5Z", "2024-01-15 10:00:00+02"),
        *(str(NOW - 3 * HOUR), (NOW - 2 * HOUR).isoformat(), (NOW - 9 * HOUR).strftime("%Y-%m-%dT%H:%M:%S+0000")),
        (NOW - 4 * HOUR).astimezone(ZONE).isoformat(),
    ],
    "raw": [None, b"", b"\x00\xff"],
    "tags": [None, [], [1, None]],
    "pair": [None, {"a": 1, "b": None}, {"a": None, "b": "b"}],
}


class Model(PhloSchema):
    id: int
    v: float
    text: str
    at: dt.datetime
    nothing: str
    day: int


def checks() -> list[QualityCheck]:
    """Return a check for each thing that engines spell or count differently."""
    ranges = {
        "id": [(2, None), (None, 2.5), (2**53 + 1, None), (decimal.Decimal("1.5"), 3)],
        "small": [(0, 7)],
        "v": [(0, 500), (0, None), (None, 500), (-math.inf, math.inf)],
        "w": [(0.1, None), (0, 3.5), (None, 0.1)],
        "amount": [(0, None), (None, decimal.Decimal("1.50")), (1.5, 2.5)],
        "text": [("a", "y")],
        "day": [(dt.date(2024, 1, 16), None), (None, dt.datetime(2024, 1, 15, 12)), ("2024-01-16", None)],
        "clock": [(dt.time(1, 2, 4), None)],
        "at": [
            *((NOW - 2 * HOUR, NOW), (dt.date(2024, 1, 16), None), (dt.datetime(2024, 1, 15, 23, 30), None)),
            *(((NOW - HOUR).astimezone(ZONE), None), ("2024-01-16", None), ("2024-01-15T23:30:00Z", None)),
        ],
        "local": [
            *((dt.datetime(2024, 1, 16), None), (dt.date(2024, 1, 16), None), ("2024-01-16T00:00:00", None)),
            (dt.datetime(2024, 1, 16, 2, tzinfo=ZONE), None),
        ],
    }
    patterns = [
        *(
            r"entry_\d",
            r"^entry_\d$",
            r"^entry_\d[$]?$",
            r"(?i)entry_3",
            r"^(a|b)",
            r"\d$",
            r"^\w+$",
            r"^$",
            r"[^a-z$]$",
        ),
        *(r"a.entry", r"\s", r"(?m)^entry_\d$", "'", r"^[[:alpha:]]+$"),
    ]
    return [
        CountCheck(1, 5),
        *(NullCheck(name) for name in TYPES),
        NullCheck(["id", "text", "pair"]),
        *(RangeCheck(name, *bounds) for name, each in ranges.items() for bounds in each),
        *(PatternCheck("text", pattern) for pattern in patterns),
        *(PatternCheck(name, "^[0-9t.-]+$") for name in ("id", "amount", "flag", "day")),
        *(FreshnessCheck(name, 5) for name in ("at", "local", "day", "spelled")),
        *(UniqueCheck(name) for name in TYPES if name not in ("tags", "pair")),
        UniqueCheck(["id", "v"]),
        SchemaCheck(Model),
    ]


def wrong_checks(table: str) -> list[QualityCheck]:
    """Return checks that fail because they cannot be evaluated."""
    return [
        NullCheck("nope"),
        RangeCheck("text", 0, 5),
        RangeCheck("v", "a"),
        RangeCheck("at", 5),
        RangeCheck("day", "the day before"),
        FreshnessCheck("id", 5),
        PatternCheck("v", "1"),
        PatternCheck("local", "1"),
        CustomSQLCheck("SELECT nope FROM " + table),
        CustomSQLCheck("SELECT * FROM raw.nope"),
        CustomSQLCheck("DELETE FROM " + table),
        CustomSQLCheck("SELECT 1; SELECT 2"),
        CustomSQLCheck("SELECT"),
    ]


def create(catalog: Any, name: str, rows: list[dict[str, Any]]) -> None:
    """Create a table with these rows."""
    data = pa.table({column: pa.array([row.get(column) for row in rows], kind) for column, kind in TYPES.items()})
    catalog.create_namespace_if_not_exists(name.partition(".")[0])
    catalog.create_table(name, data.schema, properties={"format-version": "2"}).append(data)


def random_rows(chance: random.Random, number: int) -> list[dict[str, Any]]:
    return [{name: chance.choice(values) for name, values in VALUES.items()} for _ in range(number)]


def facts(result: QualityCheckResult) -> dict[str, Any]:
    """Return what must agree: all but the time it took."""
    found = result.to_dict()
    del found["execution_time_seconds"]
    if found.get("age_hours"):
        found["message"] = found["actual"] = found["age_hours"]
    return found


def roughly(found: dict[str, Any]) -> dict[str, Any]:
    """Return facts whose ages need only be almost equal: two scans are some seconds apart."""
    ages = dict.fromkeys(("message", "actual", "age_hours"), pytest.approx(found.get("age_hours"), abs=0.1))
    return {**found, **ages} if found.get("age_hours") else found


def compare(catalog: Any, trino: Any, table: str, given: list[QualityCheck], **where: Any) -> list[QualityCheckResult]:
    """Run checks on both engines; return the results, which must be the same."""
    by_duckdb = run_checks(catalog, table, given, **where)
    by_trino = run_checks(catalog, table, given, trino=Queries(trino.connect), **where)
    for one, other in zip(by_duckdb, by_trino, strict=True):
        assert facts(one) == roughly(facts(other))
    return by_trino


@pytest.mark.parametrize("seed", range(3))
def test_random_rows_give_the_same_results(trino, lake, table_name, seed):
    create(lake, table_name, random_rows(random.Random(seed), 60))
    results = compare(lake, trino, table_name, checks())
    failures = [result for result in results if "cannot be evaluated" in result.message]
    assert not failures
    assert len({result.passed for result in results}) == 2


def test_no_rows_give_the_same_results(trino, lake, table_name):
    create(lake, table_name, [])
    compare(lake, trino, table_name, checks())


def test_checks_that_cannot_be_evaluated_fail_on_both(trino, lake, table_name):
    create(lake, table_name, random_rows(random.Random(1), 10))
    given = wrong_checks(table_name)
    for engine in (None, Queries(trino.connect)):
        results = run_checks(lake, table_name, [*given, CountCheck(10, 10)], trino=engine)
        assert [result.passed for result in results] == [False] * len(given) + [True], engine
    # checks in one scan: the broken ones do not spoil the others' results
    compare(lake, trino, table_name, [*given[:8], RangeCheck("v", 0, 500), NullCheck("id")])


@pytest.mark.parametrize(
    "where", [("day", "2024-01-15"), ("at", "2024-01-15"), ("local", dt.date(2024, 1, 15)), ("id", "2")]
)
def test_one_partition(trino, lake, table_name, where):
    create(lake, table_name, random_rows(random.Random(2), 80))
    column, partition = where
    results = compare(lake, trino, table_name, checks(), partition_column=column, partition=partition)
    assert 0 < results[0].row_count < 80


def test_a_branch_is_read_where_the_table_has_it_and_one_snapshot_of_it(trino, lake, table_name):
    create(lake, table_name, random_rows(random.Random(3), 10))
    table = lake.load_table(table_name)
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "phlo_run").commit()
    table.append(table.scan().to_arrow(), branch="phlo_run")
    bare = CustomSQLCheck(f"SELECT count(*) FROM {table_name[4:]}", 20)
    assert [result.passed for result in compare(lake, trino, table_name, [CountCheck(20, 20), bare], branch="phlo_run")]
    assert compare(lake, trino, table_name, [CountCheck(10, 10)])[0].passed
    assert compare(lake, trino, table_name, [CountCheck(10, 10)], branch=branch_name("0123456789abcdef"))[0].passed
    engine = TrinoCatalogEngine(Queries(trino.connect), lake, "raw", "phlo_run")
    source = engine.table(table_name)
    lake.load_table(table_name).append(table.scan().to_arrow(), branch="phlo_run")
    assert engine.fetch(Query(f"SELECT count(*) FROM {source}")) == [(20,)]


def test_a_column_without_a_snapshot_of_its_own_is_there(trino, lake, table_name):
    create(lake, table_name, random_rows(random.Random(3), 5))
    tables.evolve(lake, table_name, pa.schema([*pa.schema(list(TYPES.items())), ("added", pa.string())]))
    assert compare(lake, trino, table_name, [NullCheck("added")])[0].failed == 5


def test_a_query_reads_other_tables(trino, lake, table_name):
    other = f"gold.{table_name[4:]}"
    create(lake, table_name, [{"id": number, "text": "x -- y"} for number in range(4)])
    create(lake, other, [{"id": 1}, {"id": 2}])
    queries = [
        (f"SELECT count(*) FROM {table_name} AS r JOIN {other} USING (id)", 2),
        (f"WITH gone AS (SELECT * FROM {table_name[4:]} WHERE id > 5) SELECT * FROM gone -- none\n", None),
        (f'SELECT a.id FROM "raw"."{table_name[4:]}" a EXCEPT SELECT id FROM {other};', None),
        (f"SELECT {table_name[4:]}.id FROM {table_name[4:]} WHERE text = 'from raw.nope'", None),
        (f"SELECT max(text) FROM {table_name}", "x -- y"),
        (f"SELECT sum(id) / 4e0 FROM {table_name}", 1.5),
        (f"SELECT count(*) > 3 FROM {table_name}", True),
        (f"SELECT DATE '2024-01-15' FROM {table_name} WHERE id = 1", dt.date(2024, 1, 15)),
        (f"(SELECT id FROM {table_name}) UNION ALL SELECT id FROM {other}", 7),
    ]
    results = compare(lake, trino, table_name, [CustomSQLCheck(sql, expected) for sql, expected in queries])
    assert [result.passed for result in results] == [True, True, False, True, True, True, True, True, False]


@pytest.mark.parametrize(
    "query",
    [
        *("DROP TABLE {}", "WITH x AS (DELETE FROM {}) SELECT 1", "CALL system.runtime.kill_query('x')", "SHOW TABLES"),
        *("SELECT * FROM TABLE(lake.system.query(query => 'DROP'))", "SELEC 1 FROM", "INSERT INTO {} SELECT * FROM {}"),
        *("EXPLAIN ANALYZE SELECT 1", "SELECT * FROM lake.raw.nope", "CREATE TABLE x AS SELECT 1", "-- nothing"),
    ],
)
def test_what_does_not_only_read_is_refused(trino, lake, table_name, query):
    create(lake, table_name, [])
    with pytest.raises(ConfigurationError):
        TrinoCatalogEngine(Queries(trino.connect), lake, "raw").resolve(query.replace("{}", table_name))


def test_a_staged_merge_is_read_by_duckdb(trino, lake, table_name):
    types, token = {"id": pa.int64()}, "0123456789abcdef"
    branch = branch_name(token)
    create_raw(lake, table_name, types)
    from airflow_provider_phlo.iceberg.merge import MergePlan

    rows = batch([{"id": number} for number in range(3)], types)
    engine = TrinoEngine(trino.connect)
    engine.merge(lake, table_name, rows, MergePlan(key=("id",)), token=token, partition_date="2024-01-15")
    queries = Queries(trino.connect)
    with open_engine(lake, table_name, branch=branch, trino=queries) as found:
        assert isinstance(found, DuckDBCatalogEngine)
    assert run_checks(lake, table_name, [CountCheck(3, 3)], branch=branch, trino=queries)[0].passed
    assert run_checks(lake, table_name, [CountCheck(0, 0)], trino=queries)[0].passed
    with pytest.raises(ConfigurationError, match=f"staged under branch {branch}"):
        TrinoCatalogEngine(queries, lake, "raw", branch).table(table_name)


def test_a_frame_has_the_same_values(trino, lake, table_name):
    create(lake, table_name, [*random_rows(random.Random(4), 50), {}])
    seen = []

    class Mine(QualityCheck):
        def execute(self, df, context=None):
            seen.append(df)
            return QualityCheckResult(len(df) == 51)

    compare(lake, trino, table_name, [Mine()])
    one, other = (frame.assign(key=[repr(row) for row in frame.to_dict("records")]) for frame in seen)
    one, other = (frame.sort_values("key", ignore_index=True) for frame in (one, other))
    pd.testing.assert_frame_equal(one, other)


def test_columns_have_duckdbs_types_and_the_tables_names(trino, lake, table_name):
    create(lake, table_name, [])
    with lake.load_table(table_name).update_schema() as update:
        update.rename_column("text", "Text")
    found = []
    for queries in (None, Queries(trino.connect)):
        with open_engine(lake, table_name, trino=queries) as engine:
            found.append(
                {name: kind.replace('"', "") for name, kind in engine.columns(engine.table(table_name)).items()}
            )
    assert found[0] == found[1]
    assert found[0]["pair"] == "STRUCT(a BIGINT, b VARCHAR)"
    compare(lake, trino, table_name, [NullCheck("Text"), PatternCheck("Text", "x")])


def test_a_table_that_trino_does_not_see_is_named(trino, lake):
    lake.create_namespace_if_not_exists("raw")
    lake.create_table_if_not_exists("raw.Upper", pa.schema([("id", pa.int64())]))
    with pytest.raises(ConfigurationError, match=r"Trino cannot read table raw.Upper \(TABLE_NOT_FOUND\)"):
        run_checks(lake, "raw.Upper", [CountCheck(1)], trino=Queries(trino.connect))


def test_a_trino_that_does_not_answer_is_not_a_failed_check(lake, table_name):
    from trino.dbapi import connect

    create(lake, table_name, [])
    gone = Queries(lambda: connect(host="127.0.0.1", port=9, user="phlo", max_attempts=1))
    with pytest.raises(TransientError):
        run_checks(lake, table_name, [CountCheck(0)], trino=gone)


def test_an_engine_names_the_error_and_not_the_query(trino, lake):
    with pytest.raises(EvaluationError) as caught:
        TrinoCatalogEngine(Queries(trino.connect), lake, "raw").fetch(Query("SELECT CAST('secret' AS bigint)"))
    assert str(caught.value) == "INVALID_CAST_ARGUMENT"


def test_the_operator_asks_trino(on_trino, trino, lake, table_name, make_context):
    create(lake, table_name, [{"id": 1, "v": 5.0}, {"id": 2, "v": 900.0}])
    checks = [RangeCheck("v", 0, 500, severity="warn", key_columns="id"), UniqueCheck("id")]
    task = QualityCheckOperator(task_id="check", table=table_name, checks=checks, engine="trino")
    found = task.execute(make_context(task))
    assert found["results"][0]["samples"] == [{"id": 2}]
    asked = trino.query(f"SELECT query FROM system.runtime.queries WHERE query LIKE '%{table_name[4:]}%'")
    assert len([query for (query,) in asked if "count(*)" in query]) == 2  # one scan, uniqueness apart
    rows = lake.load_table("phlo.check_results").scan(f"table_name = '{table_name}'").to_arrow()
    assert rows["check_name"].to_pylist() == ["RangeCheck(v)", "UniqueCheck(id)"]


def test_a_query_is_ended_when_its_task_is_killed(on_trino, trino, lake, table_name, make_context):
    create(lake, table_name, [{"id": number} for number in range(400)])
    name = table_name[4:]
    many = f"{name} a, {name} b, {name} c, {name} d"
    slow = CustomSQLCheck(f"SELECT count(*) FROM {many} WHERE a.id + b.id < c.id * d.id", 1)
    task = QualityCheckOperator(task_id="check", table=table_name, checks=[slow], engine="trino")
    outcomes = []

    def run():
        try:
            task.execute(make_context(task))
        except TransientError as error:
            outcomes.append(str(error))

    running = "SELECT count(*) FROM system.runtime.queries WHERE state = 'RUNNING' AND query LIKE '%a.id + b.id%'"
    running += " AND query NOT LIKE '%runtime%'"
    thread = threading.Thread(target=run)
    thread.start()
    until(lambda: trino.query(running) != [[0]], every=0.1)
    task.on_kill()
    thread.join(timeout=PATIENCE)
    assert not thread.is_alive()
    assert [re.sub(r", query \w+", ", query", each) for each in outcomes] == [
        "A query was ended in Trino (ADMINISTRATIVELY_KILLED, query; its web page says more): retry."
    ]
    assert trino.query(running) == [[0]]
