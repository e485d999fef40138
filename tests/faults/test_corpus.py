"""Thousands of malformed records: nothing breaks, the sum holds, good rows are merged, bad ones kept as they were."""

from __future__ import annotations

import datetime as dt
import random
import resource
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pandera.pandas import Field

from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, quarantine
from airflow_provider_phlo.ingestion.accounting import Accounting
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.records import raw_text
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from tests.expect import expect
from tests.faults.corpus import BAD, GOOD, MAKERS, corpus
from tests.faults.killing import exit_code
from tests.lake import open_lake
from tests.sizes import size

TABLE = "raw.t"
COUNT = size(10_000, 1_000_000)
# for the process, with all libraries and 10 MB records included
LIMIT_BYTES = 3 * 1024**3


class Record(PhloSchema):
    id: str = Field(unique=True)
    n: int = Field(ge=0, lt=1000)
    x: float = Field(nullable=True)
    at: dt.datetime
    ok: bool = Field(nullable=True)
    note: str = Field(nullable=True)


DECLARED = model_columns(Record)


def ingest(
    home: Path, records: Any, plan: MergePlan, *, transforms: Any = (), batch_rows: int = 5000
) -> dict[str, Any]:
    catalog, root = open_lake(home), home / "staging"
    definition = TableDefinition(TABLE, plan, DECLARED)
    batch = stage(
        lambda: records,
        StagingPlan(
            TABLE, ("id",), DECLARED, strict=False, identity=("id",), transforms=transforms, batch_rows=batch_rows
        ),
        root=root,
        token="t",
        partition_date="2024-01-15",
        run_id="run",
        pipelines_dir=home / "dlt",
    )
    assert batch is not None
    landed = landing.land(catalog, root, batch, definition)
    assert landed is not None
    return publication.publish(catalog, root, landed, definition, lambda branch: None).to_json()


def pages(records: Iterator[tuple[str, Any]], counts: Counter[str], raw: Counter[int]) -> Iterator[list[Any]]:
    """Yield pages of records, and note what is to become of them."""
    while page := list(islice(records, 100)):
        for fate, record in page:
            counts[fate] += 1
            if fate == BAD:
                raw[hash(raw_text(record))] += 1
        yield [record for _, record in page]


def check(home: Path, result: dict[str, Any], counts: Counter[str], raw: Counter[int]) -> None:
    assert Accounting.of(result).balanced
    expect(result, read=counts.total(), quarantined=counts[BAD])
    assert result["rows"] == counts[GOOD]
    catalog = open_lake(home)
    table = catalog.load_table(TABLE)
    assert table.scan().count() == result["inserted"] == counts[GOOD]
    held = catalog.load_table(quarantine.quarantine_table(TABLE)).scan(selected_fields=("record",))
    found: Counter[int] = Counter()
    for batch in held.to_arrow_batch_reader():
        found.update(hash(text) for text in batch["record"].to_pylist())
    assert found == raw
    summary = table.current_snapshot().summary.additional_properties
    assert {name: int(summary[f"phlo.{name}"]) for name in ("read", "quarantined", "inserted", "dropped", "added")} == {
        name: result[name] for name in ("read", "quarantined", "inserted", "dropped", "added")
    }


def child(home: Path) -> None:
    counts: Counter[str] = Counter()
    raw: Counter[int] = Counter()
    source = pages(corpus(COUNT, megabytes=size(2, 50)), counts, raw)
    result = ingest(home, source, MergePlan(key=("id",)), batch_rows=50_000)
    check(home, result, counts, raw)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 < LIMIT_BYTES


def test_a_corpus_of_malformed_records(tmp_path: Path) -> None:
    """In a process of its own, whose memory is measured."""
    assert exit_code(child, tmp_path, seconds=size(240, 7200)) == 0


@pytest.mark.parametrize("name", MAKERS)
def test_each_kind_alone_is_what_it_says(tmp_path: Path, name: str) -> None:
    fate, maker = MAKERS[name]
    chance = random.Random(3)
    records = [("good", MAKERS["plain"][1](chance, 0)), *((fate, maker(chance, number)) for number in range(1, 6))]
    counts: Counter[str] = Counter()
    raw: Counter[int] = Counter()
    result = ingest(tmp_path, pages(iter(records), counts, raw), MergePlan(key=("id",)))
    expect(result, read=6, inserted=counts[GOOD])
    if counts[BAD]:
        check(tmp_path, result, counts, raw)


def shifted(table: pa.Table) -> pa.Table:
    return table.set_column(table.column_names.index("ok"), "ok", pa.nulls(len(table), pa.bool_()))


@pytest.mark.parametrize("strategy", ["merge", "append", "replace"])
def test_every_strategy_and_transforms(tmp_path: Path, strategy: str) -> None:
    counts: Counter[str] = Counter()
    raw: Counter[int] = Counter()
    source = pages(corpus(1000, seed=5, megabytes=0), counts, raw)
    plan = MergePlan(strategy, ("id",) if strategy != "append" else (), deduplication=strategy != "append")
    result = ingest(tmp_path, source, plan, transforms=(shifted,), batch_rows=300)
    assert Accounting.of(result).balanced
    assert result["read"] == 1000
    assert result["inserted"] + result["duplicates"] + result["quarantined"] == 1000
