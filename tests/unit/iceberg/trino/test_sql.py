"""The merge as SQL, run by DuckDB, which reads the same text as Trino."""

from __future__ import annotations

import datetime

import duckdb
import pytest

from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.trino.sql import MergeSql

COLUMNS = ("k", "v", "p", "_dlt_id", "_phlo_row_hash", "_phlo_partition_date")


@pytest.mark.parametrize(
    ("plan", "same", "updated"),
    [
        (MergePlan(key=("k",)), {"unchanged": 2}, {"unchanged": 1, "update": 1}),
        (MergePlan("append", method="hash"), {"insert": 0}, {"insert": 1}),
        (MergePlan("replace"), {"different": 0, "replaced": 2}, {"different": 2, "replaced": 2}),
    ],
    ids=["merge", "append", "replace"],
)
def test_case_07_a_hash_that_another_engine_carried_along_is_not_believed(
    plan: MergePlan, same: dict[str, int], updated: dict[str, int]
) -> None:
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE t AS SELECT * FROM (VALUES (1, 'nan'::DOUBLE, {'a': 1}, 'x', 'h1', DATE '2024-01-15'), "
            f"(2, 5, NULL, 'y', 'h2', DATE '2024-01-15')) t ({', '.join(COLUMNS)})"
        )
        connection.execute("CREATE TABLE s AS SELECT *, k AS _phlo_row FROM t")
        day = datetime.date(2024, 1, 15)
        sql = MergeSql("t", "s", plan, COLUMNS, frozenset({"v"}), day=day, is_nan="isnan")
        assert {what: number for what, _, number in connection.execute(sql.counts).fetchall()} == same
        connection.execute("UPDATE t SET v = 6 WHERE k = 2")
        assert {what: number for what, _, number in connection.execute(sql.counts).fetchall()} == updated
