"""Tables as Spark, Flink and dlt leave them: a row goes and all others stay, or it is refused and nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.forgetting.everywhere import forget
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.tables import TablePlace
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from tests.other_writers import NAMES, unpacked

T = "raw.t"
# without rows, or with a type that PyIceberg does not know
NOT_HERE = {"spark/never_written", "spark/v3_variant"}
REFUSED = {
    **{name: "format version 3" for name in NAMES if "v3" in name and name not in NOT_HERE},
    **{name: "AVRO" for name in NAMES if "avro" in name},
    **{name: "equality deletes" for name in ("flink/upserted", "flink/upserted_by_partition", "flink/upserted_in_orc")},
    "flink/upserted_v3": "equality deletes|format version 3",
    "flink/upserted_in_avro": "equality deletes|AVRO",
    "spark/orc_far_timestamp": "outside of the years",
}


def rows(table: Table, branch: str) -> list[dict[str, Any]]:
    names = [item.name for item in table.schema().fields]
    parts = [part for task in live_tasks(table, branch_head(table, branch)) for part in read_file(table, task, names)]
    return sorted((row for part in parts for row in part.to_pylist()), key=repr)


def contents(table: Table) -> dict[str, list[dict[str, Any]]]:
    heads = {name: ref for name, ref in table.metadata.refs.items() if ref.snapshot_ref_type == "branch"}
    return {name: rows(table, name) for name in heads}


@pytest.mark.parametrize("name", sorted({*NAMES} - REFUSED.keys() - NOT_HERE))
def test_a_row_goes_and_the_others_stay(catalog: Catalog, name: str) -> None:
    with unpacked(name) as written:
        before = contents(written.register(catalog))
        value = next(row["k"] for row in before["main"] if row["k"] is not None)
        place = TablePlace(catalog, T, Key({"k": str(value)}), drop_tags=True)
        assert place.find().amounts["rows"] == sum(row["k"] == value for row in before["main"])
        assert not any(each.found for each in forget([place]))
        expected = {branch: [row for row in found if row["k"] != value] for branch, found in before.items()}
        assert contents(catalog.load_table(T)) == expected


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_before_anything_is(catalog: Catalog, name: str) -> None:
    with unpacked(name) as written:
        location = written.register(catalog).metadata_location
        with pytest.raises((ConfigurationError, SchemaError), match=REFUSED[name]):
            TablePlace(catalog, T, Key({"k": "1"}), drop_tags=True).find()
        assert catalog.load_table(T).metadata_location == location
