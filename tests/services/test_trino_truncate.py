"""Truncate partitions at the smallest numbers of a type: Trino puts and seeks such rows at the other end."""

from __future__ import annotations

import decimal

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg import tables
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.merge.engine import EMBEDDED
from airflow_provider_phlo.iceberg.trino import TrinoEngine
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.expect import expect
from tests.services.batches import batch, run

# in one worker: the groups "trino" and "trino checks" at once are enough for Trino
pytestmark = pytest.mark.xdist_group("trino")

PLAN = MergePlan(key=("k",))


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.decimal128(9, 2)])
def test_case_09_a_row_that_trino_would_not_find_again_is_refused(trino, lake, table_name, kind):
    types = {"k": kind, "v": pa.int64()}
    if pa.types.is_integer(kind):
        smallest = -(2 ** (kind.bit_width - 1))
        multiple = -(-smallest // 10) * 10
    else:
        smallest, multiple = decimal.Decimal("-9999999.99"), decimal.Decimal("-9999999.90")
    empty = batch([], types)
    tables.ensure_table(lake, table_name, arrow_to_iceberg(empty.schema), partition_by="truncate(10, k)")
    rows = [{"k": key, "v": 0} for key in (smallest, multiple, 0)]
    expect(run(EMBEDDED, lake, table_name, batch(rows, types), PLAN)[0], inserted=3)
    engine = TrinoEngine(trino.connect)
    changed = [row | {"v": 1} for row in rows]
    with pytest.raises(SchemaError, match=r"1 row\(s\) have a number in 'k' that is below every multiple of 10"):
        run(engine, lake, table_name, batch(changed, types), PLAN)
    # the smallest multiple has a partition in which all engines look
    expect(run(engine, lake, table_name, batch(changed[1:], types), PLAN)[0], updated=2, inserted=0)
    expect(run(EMBEDDED, lake, table_name, batch(changed, types), PLAN)[0], updated=1, unchanged=2)
    found = trino.query(f"SELECT count(*), count(DISTINCT k), sum(v) FROM {table_name}")
    assert [list(row) for row in found] == [[3, 3, 3]]
