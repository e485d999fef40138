from __future__ import annotations

import pyarrow as pa
from pyiceberg.avro import file
from pyiceberg.avro.resolver import resolve_reader
from pyiceberg.manifest import ManifestEntry
from pyiceberg.table import Table
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

from airflow_provider_phlo.iceberg.catalogs import avro_readers


def entries(table: Table) -> list[ManifestEntry]:
    snapshot = table.current_snapshot()
    assert snapshot is not None
    return [entry for manifest in snapshot.manifests(table.io) for entry in manifest.fetch_manifest_entry(table.io)]


def test_manifests_read_the_same_and_each_schema_is_converted_once(catalog, monkeypatch) -> None:
    catalog.create_namespace("raw")
    # the first field of partitions differs in name and type
    by_day = catalog.create_table("raw.a", pa.schema([("k", pa.int64()), ("day", pa.string())]))
    with by_day.update_spec() as change:
        change.add_identity("day")
    by_key = catalog.create_table("raw.b", pa.schema([("k", pa.int64()), ("day", pa.string())]))
    with by_key.update_spec() as change:
        change.add_identity("k")
    tables = [by_day, by_key]
    for table in tables * 3:
        table.append(pa.table({"k": [1, 2], "day": ["a", "b"]}))
    kept = [entries(table) for table in tables]
    converted: list[str] = []
    convert = AvroSchemaConversion.avro_to_iceberg
    monkeypatch.setattr(
        AvroSchemaConversion, "avro_to_iceberg", lambda *args: converted.append(args[1]["name"]) or convert(*args)
    )
    assert [entries(table) for table in tables] == kept
    assert converted == []
    monkeypatch.setattr(file.AvroFileHeader, "get_schema", avro_readers._original_schema)
    monkeypatch.setattr(file, "resolve_reader", resolve_reader)
    assert [entries(table) for table in tables] == kept
    assert len(converted) == 8
    assert {entry.data_file.partition[0] for entry in kept[0]} == {"a", "b"}
    assert {entry.data_file.partition[0] for entry in kept[1]} == {1, 2}
