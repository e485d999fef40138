"""
Validating 1M rows on their way in, against Pandera's ``schema.validate`` alone; what accounting and quarantine cost.

``ours`` is all that a run does between having Arrow rows and knowing which are good: conversion to declared types,
rules, uniqueness, splitting off bad rows; in chunks of 50,000 rows, as runs do. ``schema.validate`` gets a pandas
frame of the same rows that is ready to be checked, in the fastest of three ways: as a whole, in the same chunks, and
by the Polars backend. The cost of accounting and quarantine is that of whole clean ingests (stage, merge, publish) with
and without them, and the time spent in them during one. Ways run in turn; medians count, and ratios are of one run.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandera.polars as polars_pandera
import polars as pl
import pyarrow as pa
from pandera.errors import SchemaErrors
from pandera.pandas import Field

from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.merge import MergePlan
from airflow_provider_phlo.ingestion import landing, publication, quarantine
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.ingestion.staging import StagingPlan, stage
from airflow_provider_phlo.schemas import PhloSchema
from airflow_provider_phlo.schemas.columns import model_columns
from airflow_provider_phlo.schemas.conversion.conform import conform
from airflow_provider_phlo.schemas.failures import bad_rows
from airflow_provider_phlo.schemas.validation.batch import validate
from airflow_provider_phlo.schemas.validation.duplicates import duplicate_rows
from benchmarks.measuring import medians, timed
from benchmarks.report import Section

CHUNK = 50_000
TABLE = "raw.t"
DEVICES = [f"device-{number}" for number in range(100)]
Work = Callable[[], Any]
# what only accounts, or only writes to the quarantine
ACCOUNTING = ((landing, "_require_accounted"), (quarantine, "add"))


class Reading(PhloSchema):
    """Ten columns, a rule on most of them."""

    id: str = Field(unique=True)
    device: str = Field(isin=DEVICES)
    number: int = Field(ge=0)
    value: float = Field(ge=0, le=600)
    score: float = Field(nullable=True, gt=-100, lt=100)
    kind: str = Field(str_matches=r"^[a-z]+$")
    note: str = Field(nullable=True, str_length={"max_value": 50})
    taken_at: datetime = Field(ge=datetime(1970, 1, 1))
    ok: bool
    amount: int = Field(nullable=True, lt=10**9)


class PolarsReading(polars_pandera.DataFrameModel):
    """The same for the Polars backend."""

    id: str = polars_pandera.Field(unique=True)
    device: str = polars_pandera.Field(isin=DEVICES)
    number: int = polars_pandera.Field(ge=0)
    value: float = polars_pandera.Field(ge=0, le=600)
    score: float = polars_pandera.Field(nullable=True, gt=-100, lt=100)
    kind: str = polars_pandera.Field(str_matches=r"^[a-z]+$")
    note: str = polars_pandera.Field(nullable=True, str_length={"max_value": 50})
    taken_at: pl.Datetime = polars_pandera.Field(ge=datetime(1970, 1, 1))
    ok: bool
    amount: int = polars_pandera.Field(nullable=True, lt=10**9)


DECLARED = model_columns(Reading)


def rows(count: int, bad: float = 0.0, seed: int = 1) -> pa.Table:
    """Return rows; a share ``bad`` of them has a value that is too large."""
    chance, ids = np.random.default_rng(seed), np.arange(count)
    value = np.where(chance.random(count) < bad, 5000.0, chance.uniform(0, 600, count))
    return pa.table(
        {
            "id": pa.array(np.char.add("reading-", ids.astype(str))),
            "device": pa.array(np.array(DEVICES)[ids % 100]),
            "number": pa.array(ids),
            "value": pa.array(value),
            "score": pa.array(chance.normal(0, 1, count), mask=chance.random(count) < 0.1),
            "kind": pa.array(np.array(["alpha", "beta", "gamma"])[ids % 3]),
            "note": pa.array(np.char.add("note ", chance.integers(0, 10**6, count).astype(str))),
            "taken_at": pa.array(chance.integers(0, 10**15, count), pa.timestamp("us", "UTC")),
            "ok": pa.array(chance.random(count) < 0.5),
            "amount": pa.array(chance.integers(0, 10**6, count), mask=chance.random(count) < 0.1),
        }
    )


def split(table: pa.Table) -> tuple[int, int]:
    """Return how many rows are good, and how many are split off: as :class:`ingestion._Stager` does it."""
    good, bad = [], 0
    for start in range(0, len(table), CHUNK):
        part, failures = conform(table.slice(start, CHUNK), DECLARED, str)
        part, failures = validate(part, DECLARED, key=("id",), conversion_failures=failures)
        found = bad_rows(failures)
        if found:
            keep = np.ones(len(part), bool)
            keep[found] = False
            part = part.filter(pa.array(keep))
        bad += len(found)
        good.append(part)
    whole = pa.concat_tables(good)
    assert not duplicate_rows(whole, ("id",), ())
    return len(whole), bad


def peers(table: pa.Table) -> dict[str, Work]:
    """Return ``schema.validate`` on frames that are ready for it."""
    frame = table.set_column(7, "taken_at", table["taken_at"].cast(pa.timestamp("us"))).to_pandas()
    frame["amount"] = frame["amount"].astype("float64")
    schema = Reading.to_schema().update_columns({"amount": {"dtype": "float64"}, "taken_at": {"dtype": None}})
    schema.coerce = False
    polars_frame = pl.DataFrame(table).with_columns(pl.col("taken_at").dt.replace_time_zone(None))
    polars_schema = PolarsReading.to_schema()

    def whole() -> None:
        with suppress(SchemaErrors):
            schema.validate(frame, lazy=True)

    def chunks() -> None:
        for start in range(0, len(frame), CHUNK):
            with suppress(SchemaErrors):
                schema.validate(frame.iloc[start : start + CHUNK], lazy=True)

    def by_polars() -> None:
        with suppress(SchemaErrors):
            polars_schema.validate(polars_frame, lazy=True)

    return {"schema.validate": whole, "schema.validate, in chunks": chunks, "schema.validate, Polars": by_polars}


def in_turn(ways: dict[str, Work], repeat: int) -> dict[str, float]:
    """Return the median seconds of each way."""
    return medians({name: partial(timed, work) for name, work in ways.items()}, repeat)


def good_rows(repeat: int, count: int) -> dict[str, float]:
    """Validate rows that are all good."""
    table = rows(count)
    assert split(table) == (count, 0)
    return in_turn({"ours": partial(split, table), **peers(table)}, repeat)


def bad_rows_split_off(repeat: int, count: int) -> dict[str, float]:
    """Validate rows of which 1 % is bad; the peer says which they are, and splits nothing off."""
    table, good = rows(count, bad=0.01), rows(count)
    assert sum(split(table)) == count
    found = in_turn({"ours": partial(split, table), **peers(table)}, repeat)
    alone = in_turn({"schema.validate": peers(good)["schema.validate"]}, repeat)
    return {**found, "schema.validate, all good": alone["schema.validate"]}


def ingests(home: Path, repeat: int, count: int) -> dict[str, float]:
    """Ingest good rows, the same without accounting and quarantine, and rows of which 1 % goes to the quarantine."""
    good, bad = rows(count), rows(count, bad=0.01)

    def ingest(table: pa.Table) -> None:
        shutil.rmtree(home, ignore_errors=True)
        _ingest(home, table)

    def bare() -> None:
        with ExitStack() as stack:
            for owner, name in ACCOUNTING:
                stack.enter_context(patch.object(owner, name, lambda *arguments, **options: None))
            ingest(good)

    return in_turn({"good": partial(ingest, good), "without": bare, "1 % bad": partial(ingest, bad)}, repeat)


def inside(home: Path, count: int) -> dict[str, float]:
    """Return the seconds of one clean ingest, and those that it spends in accounting and quarantine."""
    spent: list[float] = []
    with ExitStack() as stack:
        for owner, name in ACCOUNTING:
            stack.enter_context(patch.object(owner, name, _timed(getattr(owner, name), spent)))
        whole = timed(partial(_ingest, home, rows(count)))
    return {"whole": whole, "accounting and quarantine": sum(spent)}


def _timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    def measured(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*arguments, **options)
        finally:
            spent.append(time.perf_counter() - started)

    return measured


def _ingest(home: Path, table: pa.Table) -> None:
    home.mkdir(parents=True, exist_ok=True)
    catalog, root = open_catalog("phlo", embedded_properties(home)), home / "staging"
    definition = TableDefinition(TABLE, MergePlan(key=("id",)), DECLARED)
    batch = stage(
        lambda: iter(table.to_batches(max_chunksize=10_000)),
        StagingPlan(TABLE, ("id",), DECLARED, strict=False, identity=("id",), batch_rows=CHUNK),
        root=root,
        token="t",
        partition_date="2024-01-15",
        run_id="r",
        pipelines_dir=home / "dlt",
    )
    assert batch is not None
    landed = landing.land(catalog, root, batch, definition)
    assert landed is not None
    result = publication.publish(catalog, root, landed, definition, lambda branch: None)
    assert result.merged.inserted + result.quarantined == len(table)
    catalog.close()


def measure(home: Path, count: int, repeat: int) -> dict[str, Any]:
    logging.disable(logging.CRITICAL)
    return {
        "good rows": good_rows(repeat, count),
        "1 % bad, split off": bad_rows_split_off(repeat, count),
        "ingests": ingests(home / "ingests", repeat, count),
        "inside": inside(home / "inside", count),
    }


def table(found: Mapping[str, Any]) -> str:
    lines = ["| rows | way | seconds | ours / it |", "|---|---|--:|--:|"]
    for name in ("good rows", "1 % bad, split off"):
        ours = found[name]["ours"]
        lines += [f"| {name} | {way} | {seconds:.3f} | {ours / seconds:.2f} |" for way, seconds in found[name].items()]
    whole, parts = found["ingests"], found["inside"]
    lines += [
        "",
        f"- A clean ingest takes {whole['good']:.2f} s, {whole['good'] / whole['without']:.3f}x one without accounting "
        f"and quarantine; their two functions take {parts['accounting and quarantine'] / parts['whole']:.2%} of it.",
        f"- An ingest of which 1 % goes to the quarantine: {whole['1 % bad'] / whole['good']:.2f}x a clean one.",
    ]
    return "\n".join(lines)


SECTION = Section(
    "Validation",
    1_000_000,
    measure,
    table,
    lambda rows, repeat: f"{rows:,} rows of 10 columns; median of {repeat}.",
    ("pandera", "pandas", "polars", "pyarrow"),
)
