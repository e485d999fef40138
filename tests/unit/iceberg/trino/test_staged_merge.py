"""What is stored with the rows that Trino is to merge: old forms are read, newer ones refused."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.iceberg.trino.staged_merge import Claim, Intent, stage
from tests.services.batches import batch, create

CLAIM = Claim("20240115_1", {"inserted": 1}, {"phlo.dlt-state": "s"})
INTENT = Intent("t", MergePlan(key=("id", "day")), 1, 2, "2024-01-15", (CLAIM,), True, 3.5)


@pytest.mark.parametrize("stored", [CLAIM, INTENT], ids=["claim", "intent"])
def test_what_is_stored_is_read_as_it_was_written(stored):
    assert json.loads(stored.to_json())["version"] == 1
    assert type(stored).from_json(stored.to_json()) == stored


@pytest.mark.parametrize("stored", [CLAIM, INTENT], ids=["claim", "intent"])
def test_what_was_stored_without_a_version_is_read(stored):
    content = json.loads(stored.to_json())
    del content["version"]
    assert type(stored).from_json(json.dumps(content)) == stored


@pytest.mark.parametrize("stored", [CLAIM, INTENT], ids=["claim", "intent"])
def test_what_a_newer_release_stored_is_refused(stored):
    content = {**json.loads(stored.to_json()), "version": 2, "more": 1}
    with pytest.raises(ConfigurationError, match=r"of a staged merge has format version 2, .* up to 1: upgrade"):
        type(stored).from_json(json.dumps(content))


STRUCTS = pa.list_(pa.struct([("x", pa.int64())]))
NESTED = {"alone": STRUCTS, "inside": pa.struct([("a", STRUCTS)]), "by_key": pa.map_(pa.string(), STRUCTS.value_type)}


@pytest.mark.parametrize("name", NESTED)
def test_null_is_staged_as_null(catalog: Catalog, name: str) -> None:
    """PyIceberg's own append makes an empty list of a list of structs that is NULL, at any depth."""
    types = {"id": pa.int64(), name: NESTED[name]}
    values: list[Any] = [None, [], [("k", {"x": 1})] if name == "by_key" else [{"x": 1}, None]]
    if name == "inside":
        values = [None, *({"a": value} for value in values)]
    create(catalog, "raw.t", types)
    rows = batch([{"id": number, name: value} for number, value in enumerate(values)], types)
    staged = stage(catalog, catalog.load_table("raw.t"), rows, INTENT)
    (task,) = staged.table.scan().plan_files()
    with staged.table.io.new_input(task.file.file_path).open() as file:
        assert pq.read_table(file).column(name).to_pylist() == values


def test_nothing_is_staged_as_a_snapshot_without_files(catalog: Catalog) -> None:
    create(catalog, "raw.t", {"id": pa.int64()})
    staged = stage(catalog, catalog.load_table("raw.t"), batch([], {"id": pa.int64()}), INTENT)
    assert staged.table.current_snapshot() is not None
    assert not [*staged.table.scan().plan_files()]
