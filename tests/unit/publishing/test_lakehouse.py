"""Where published rows come from."""

from __future__ import annotations

import pyarrow as pa
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.publishing.lakehouse import open_catalog_tables, trino_type
from tests.lake import open_lake


def test_all_sources_are_read_as_they_were_at_the_start(tmp_path):
    catalog = open_lake(tmp_path)
    ensure_namespace(catalog, "marts")
    rows = pa.table({"n": range(50_000)})
    table = catalog.create_table("marts.m", rows.schema)
    table.append(rows)
    with open_catalog_tables(catalog, ["marts.m", "marts.m"]) as sources:
        table.append(rows)
        columns = sources["marts.m"].columns
        batches = list(sources["marts.m"].read())
    assert sum(batch.num_rows for batch in batches) == 50_000
    assert len(batches) > 1
    assert batches[0].schema == columns
    with (
        pytest.raises(ConfigurationError, match=r"marts\.nope does not exist"),
        open_catalog_tables(catalog, ["marts.nope"]),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("bigint", pa.int64()),
        ("varchar(12)", pa.string()),
        ("decimal(22,2)", pa.decimal128(22, 2)),
        ("timestamp(6)", pa.timestamp("us")),
        ("timestamp(6) with time zone", pa.timestamp("us", tz="UTC")),
        ("time(6)", pa.time64("us")),
    ],
)
def test_types_of_trino(name, kind):
    assert trino_type(name) == kind


def test_a_type_of_trino_without_counterpart_is_refused():
    with pytest.raises(SchemaError, match=r"Trino's type array\(bigint\)"):
        trino_type("array(bigint)")
