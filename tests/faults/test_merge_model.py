"""
Random sequences of runs, crashes included, against a model of plain lists.

A failing sequence is made shorter and printed. ``PHLO_SEED=<seed>`` runs just that one again::

    PHLO_SEED=17 python -m pytest tests/faults/test_merge_model.py -k one_sequence
"""

from __future__ import annotations

import datetime as dt
import errno
import inspect
import os
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pprint import pformat
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg import branches, tables
from airflow_provider_phlo.iceberg.branches import commits, run_branches
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, all_marks
from airflow_provider_phlo.iceberg.duckdb import views as duckdb_views
from airflow_provider_phlo.iceberg.files import manifests
from airflow_provider_phlo.iceberg.merge import MergePlan, batch, changes, copy_on_write, rewrite
from airflow_provider_phlo.ingestion import landing, preparation, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from airflow_provider_phlo.row_hash import row_hashes
from airflow_provider_phlo.schemas.iceberg import METADATA_FIELDS
from tests.faults import merge_model
from tests.faults.merge_model import DAY, RUN, Expected, Refused, Row, content, whole
from tests.faults.sequences import Crash, Run, Sequence_, sequence
from tests.lake import open_lake
from tests.sizes import size

SEQUENCES = size(200, 20_000)
SHARES = 2
SHRINKING_SECONDS = 30

WRITING = inspect.getmodule(rewrite.PartitionWriters)
STEPS: dict[str, tuple[Any, str]] = {
    "evolve": (tables, "evolve"),
    "write a data file": (WRITING.OpenFile, "write"),
    "close a data file": (WRITING.OpenFile, "close"),
    "write a manifest": (manifests, "_write"),
    "write a manifest list": (commits, "_snapshot"),
    "commit_files": (copy_on_write, "commit_files"),
    "create a branch": (branches, "create"),
    "publish": (branches, "move_main"),
    "make the mark": (run_branches, "_property_updates"),
    "commit to the catalog": (SqlCatalog, "commit_table"),
}
TUNINGS: dict[str, list[tuple[Any, str, int]]] = {
    "small batch memory": [(batch, "BYTES_IN_MEMORY", 64), (staged_batches, "BYTES_IN_MEMORY", 64)],
    "few rows a group": [(WRITING, "ROW_GROUP_ROWS", 2), (changes, "LOOKUP_ROWS", 3), (WRITING, "BYTES_WAITING", 200)],
    "small files": [(WRITING, "TARGET_BYTES", 1), (WRITING, "ROW_GROUP_BYTES", 100)],
    "few small files": [(rewrite, "SMALL_FILES", 2)],
    "small manifests": [(manifests, "LEAST_FILES", 2), (manifests, "SMALL_MANIFESTS", 2)],
    "one thread": [(changes, "WORKERS", 1)],
}


class Killed(Exception):
    """Stands for the end of the process: nothing of the engine catches it."""


@contextmanager
def crashing(crash: Crash) -> Iterator[None]:
    """Raise where ``crash`` says; a step that is not reached does not crash."""
    owner, name = STEPS[crash.step]
    function, left = getattr(owner, name), [crash.call]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and crash.before:
            raise error()
        result = function(*args, **kwargs)
        if left[0] == 0 and not crash.before:
            raise error()
        return result

    def error() -> Exception:
        return Killed() if crash.error == "kill" else OSError(errno.EIO, "a broken disk")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, wrapped)
        yield


def attempted(step: Callable[[], Any], crashes: tuple[Crash, ...]) -> Any:
    """Return what ``step`` returns in the end: once for every crash, then as Airflow's retry."""
    for crash in crashes:
        try:
            with crashing(crash):
                return step()
        except (Killed, OSError):
            continue
    return step()


class Lake:
    """A table, what it should hold, and the runs that write to it."""

    def __init__(self, home: Path, catalog: Catalog, case: Sequence_) -> None:
        self.root = home / "staging"
        self.catalog = catalog
        self.case = case
        self.table = f"raw.t{case.seed}"
        self.rows: list[Row] = []
        self.tokens: list[str] = []
        self.changed: list[str] = []
        self.pending: set[str] = set()

    def staged(self, run: Run) -> str:
        token = run.token
        writer = staged_batches.BatchWriter(self.root, self.table, str(run.day), token)
        for part in run.parts:
            writer.write(as_table(part, run))
        number = sum(map(len, run.parts))
        facts = {"read": number, "rows": number, "state": f"state of {token}"}
        staged = staged_batches.StagedBatch(
            self.table, token, str(run.day), f"run {token}", writer.attempt, tuple(writer.files), **facts
        )
        return writer.finish(staged).folder

    def run(self, run: Run) -> None:
        """Land and publish, with all crashes, and check what that has done."""
        plan = MergePlan(**vars(run.plan))
        definition = TableDefinition(
            self.table, plan, None, self.case.metadata, self.case.partition_by, self.case.sort_by
        )
        folder = self.staged(run)

        def land() -> Any:
            return landing.land(self.catalog, self.root, staged_batches.load(self.root, folder), definition)

        try:
            self.expected(run)
        except Refused:
            with pytest.raises(SchemaError):
                attempted(land, run.landing_crashes)
            self.check(Expected(Counter(), self.rows, changed=False), None)
            if run.inside:
                self.run(run.inside)
            return
        landed = attempted(land, run.landing_crashes)
        if run.inside:
            self.pending.add(landed.branch)
            self.run(run.inside)
            self.pending.clear()
        expected = self.expected(run)
        result = attempted(
            lambda: publication.publish(self.catalog, self.root, landed, definition, lambda branch: None),
            run.publishing_crashes,
        )
        self.tokens.append(run.token)
        self.changed += [run.token] if expected.changed else []
        self.check(expected, result.to_json())

    def expected(self, run: Run) -> Expected:
        rows = [complete(row, run, self.case) for part in run.parts for row in part]
        return merge_model.apply(run.plan, self.rows, rows, run.day)

    def check(self, expected: Expected, result: dict[str, Any] | None) -> None:
        if not self.catalog.table_exists(self.table):
            assert not self.tokens
            return
        table = self.catalog.load_table(self.table)
        rows = observed(table)
        self.rows = expected.rows + chosen(expected, rows)
        assert Counter(map(whole, rows)) == Counter(map(whole, self.rows)), "the table's rows"
        if result is not None:
            check_counts(expected, result)
        self.check_history(table)

    def check_history(self, table: Table) -> None:
        """Each run that changed the table has one snapshot in main, every run has its mark, and no branch is left."""
        published = [table.snapshot_by_id(entry.snapshot_id) for entry in table.history()]
        tokens = [each.summary["phlo.token"] for each in published if each and each.summary]
        assert tokens == self.changed, "snapshots of main"
        marks = set(all_marks(table.properties))
        assert marks == {MARK_PREFIX + token for token in self.tokens}, "marks"
        if self.tokens:
            assert preparation.table_state(table) == f"state of {self.tokens[-1]}"
            assert set(table.metadata.refs) <= {"main", *self.pending}, "branches"
        snapshot = table.current_snapshot()
        if snapshot and snapshot.summary:
            assert snapshot.summary["total-records"] == str(len(self.rows)), "total-records"

    def check_views(self) -> None:
        """DuckDB sees the same table, with all columns that it has ever been given."""
        if not self.catalog.table_exists(self.table):
            return
        with duckdb_views.connect(self.catalog, tables=[self.table]) as connection:
            rows = connection.sql(f'SELECT * FROM "raw"."{self.table.partition(".")[2]}"').to_arrow_table().to_pylist()
        assert Counter(map(content, rows)) == Counter(map(content, self.rows)), "DuckDB's view"


def as_table(rows: tuple[Row, ...], run: Run) -> pa.Table:
    """Return rows as the ingestion stages them."""
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in run.types.items()}
    made = pa.table(columns)
    if not run.metadata:
        return made
    values = {
        "_dlt_load_id": [run.token] * len(rows),
        "_dlt_id": [f"{run.token}-{position}" for position in range(len(rows))],
        "_cascade_ingested_at": [dt.datetime.now(dt.UTC)] * len(rows),
        RUN: [run.token] * len(rows),
        DAY: [run.day] * len(rows),
        "_phlo_row_hash": row_hashes(made).to_pylist(),
    }
    for name, kind, _ in METADATA_FIELDS:
        made = made.append_column(name, pa.array(values[name], kind))
    return made


def complete(row: Row, run: Run, case: Sequence_) -> Row:
    known = {name: None for each in all_runs(case) for name in each.types}
    return {**known, **row, DAY: run.day if run.metadata else None, RUN: run.token if run.metadata else None}


def all_runs(case: Sequence_) -> Iterator[Run]:
    for run in case.runs:
        yield run
        if run.inside:
            yield run.inside


def observed(table: Table) -> list[Row]:
    """Return the rows as they are in the files: PyIceberg's scan reads NULL lists as empty ones."""
    names = {item.field_id: item.name for item in table.schema().fields}
    rows: list[Row] = []
    for task in table.scan().plan_files():
        assert not task.delete_files
        part = pq.read_table(task.file.file_path.removeprefix("file://"), partitioning=None, use_threads=False)
        known = [names[int(item.metadata[b"PARQUET:field_id"])] for item in part.schema]
        rows += part.rename_columns(known).to_pylist()
    return rows


def chosen(expected: Expected, rows: list[Row]) -> list[Row]:
    """Return which row of each ambiguous key the table has kept; the first if it is not one of them."""
    present: set[Hashable] = set(map(whole, rows))
    return [next((row for row in each if whole(row) in present), each[0]) for each in expected.choices]


def check_counts(expected: Expected, result: dict[str, Any]) -> None:
    accounted = ("inserted", "updated", "unchanged", "duplicates", "deleted")
    assert result["rows"] == sum(result[name] for name in accounted), "rows are accounted for"
    names = (*accounted, "outdated", "replaced", "deleted_duplicates")
    counted = {name: result[name] for name in names}
    wanted = {name: expected.counts[name] for name in names}
    assert counted == wanted, "counts"
    assert (result["snapshot_id"] is not None) == expected.changed, "a snapshot if and only if something changed"


@contextmanager
def tuned(names: tuple[str, ...]) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for owner, name, value in (each for tuning in names for each in TUNINGS[tuning]):
            patch.setattr(owner, name, value)
        yield


def play(home: Path, catalog: Catalog, case: Sequence_) -> None:
    """Run a sequence; the table is gone afterwards."""
    lake = Lake(home, catalog, case)
    try:
        with tuned(case.tunings):
            for run in case.runs:
                lake.run(run)
            lake.check_views()
    finally:
        if catalog.table_exists(lake.table):
            catalog.drop_table(lake.table)
        shutil.rmtree(lake.root, ignore_errors=True)
        shutil.rmtree(home / "warehouse" / "raw" / lake.table.partition(".")[2], ignore_errors=True)


def fails(home: Path, catalog: Catalog, case: Sequence_) -> Exception | None:
    try:
        play(home, catalog, case)
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  # whatever it is, it is reported
        return error  # type: ignore[return-value]
    return None


def shorter(home: Path, catalog: Catalog, case: Sequence_) -> Sequence_:
    """Leave runs out as long as the rest still fails; the first one makes the table."""
    deadline = time.monotonic() + SHRINKING_SECONDS
    for number in range(len(case.runs) - 1, 0, -1):
        candidate = case.without(number)
        if time.monotonic() < deadline and fails(home, catalog, candidate):
            case = candidate
    return case


def require_agreement(home: Path, catalog: Catalog, seed: int) -> None:
    case = sequence(seed)
    error = fails(home, catalog, case)
    if error is not None:
        text = pformat(shorter(home, catalog, case), width=160)
        raise AssertionError(
            f"Sequence {seed} fails: {error}\n{text}\nRun just it: PHLO_SEED={seed} pytest {__file__} -k one_sequence"
        ) from error


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Return a folder in memory where there is such a thing."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def catalog(home: Path) -> Catalog:
    return open_lake(home)


@pytest.mark.parametrize("share", range(SHARES))
def test_any_sequence_of_runs_agrees_with_the_model(home: Path, catalog: Catalog, share: int) -> None:
    for seed in range(share, SEQUENCES, SHARES):
        require_agreement(home, catalog, seed)


@pytest.mark.skipif("PHLO_SEED" not in os.environ, reason="PHLO_SEED names the sequence to run again")
def test_one_sequence(home: Path, catalog: Catalog) -> None:
    require_agreement(home, catalog, int(os.environ["PHLO_SEED"]))
