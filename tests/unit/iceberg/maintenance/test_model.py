"""Whatever is done to a table, in whatever order: main and the kept branches hold what a dictionary says."""

from __future__ import annotations

import datetime
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule
from pyiceberg.transforms import BucketTransform

from airflow_provider_phlo.exceptions import CommitConflictError, ConfigurationError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.expiry import Retention
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.maintenance import planning
from airflow_provider_phlo.iceberg.maintenance.orphans import normalized, referenced
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.lake import open_lake
from tests.unit.position_deletes import commit_deletes, delete_file

pytestmark = pytest.mark.long

TABLE = "raw.t"
SCHEMA = pa.schema([("k", pa.int64()), ("v", pa.int64())])
ROWS = st.dictionaries(st.integers(0, 12), st.integers(0, 3), min_size=1, max_size=6)
Rows = dict[int, int]


class Table(RuleBasedStateMachine):
    kept = Bundle("kept")

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp())
        self.catalog = open_lake(self.home)
        ensure_table(self.catalog, TABLE, arrow_to_iceberg(SCHEMA), sort_by=("k desc",))
        self.main: Rows = {}
        self.branches: dict[str, Rows] = {}
        self.known: dict[int, Rows] = {}  # what each snapshot that main had holds
        self.runs = 0

    def teardown(self) -> None:
        shutil.rmtree(self.home)

    def merged(self, rows: Rows) -> tuple[str, int | None]:
        self.runs += 1
        batch = pa.table({"k": list(rows), "v": list(rows.values())}, schema=SCHEMA)
        token = f"t{self.runs}"
        return token, merge(self.catalog, TABLE, batch, MergePlan(key=("k",)), token=token).head

    def note(self) -> None:
        head = branch_head(self.catalog.load_table(TABLE))
        if head is not None:
            self.known[head] = dict(self.main)

    def content(self, branch: str = "main") -> list[tuple[int, int]]:
        table = self.catalog.load_table(TABLE)
        head = branch_head(table, branch)
        rows = table.scan(snapshot_id=head).to_arrow().to_pylist() if head else []
        return sorted((row["k"], row["v"]) for row in rows)

    @rule(rows=ROWS)
    def run(self, rows: Rows) -> None:
        token, head = self.merged(rows)
        branches.move_main(self.catalog, TABLE, f"phlo_{token}", token=token, result={}, expected_head=head)
        self.main |= rows
        self.note()

    @rule(target=kept, rows=ROWS)
    def fail(self, rows: Rows) -> str:
        token, head = self.merged(rows)
        if head is not None:
            self.branches[token] = self.main | rows
        return token

    @rule(token=consumes(kept))
    def publish_after_all(self, token: str) -> None:
        expected = self.branches.pop(token, None)
        try:
            branches.move_main(self.catalog, TABLE, f"phlo_{token}", token=token, result={})
        except CommitConflictError:  # main is elsewhere: what landing does then is another test
            branches.drop(self.catalog, TABLE, f"phlo_{token}")
            return
        if expected is not None:
            self.main = expected
        self.note()

    # what is drawn must not depend on snapshot ids or on the order of files, which are never the same twice

    @rule(key=st.integers(0, 12))
    def delete_by_position(self, key: int) -> None:
        table = self.catalog.load_table(TABLE)
        for task in table.scan().plan_files():
            with table.io.new_input(task.file.file_path).open() as stream:
                keys = pq.read_table(stream)["k"].to_pylist()
            if key in self.main and key in keys and not task.delete_files:
                commit_deletes(self.catalog, TABLE, delete_file(table, {task.file: [keys.index(key)]}))
                del self.main[key]
                self.note()
                return

    @rule(choice=st.integers(0, 20))
    def set_main_elsewhere(self, choice: int) -> None:
        if not self.known:
            return
        snapshot_id = list(self.known)[choice % len(self.known)]
        try:
            plan = plan_rollback(self.catalog, TABLE, to_snapshot=snapshot_id)
        except ConfigurationError:  # expired, or not in main's history
            return
        rollback(self.catalog, plan)
        self.main = dict(self.known[snapshot_id])

    @rule(buckets=st.integers(2, 3))
    def partition_anew(self, buckets: int) -> None:
        table = self.catalog.load_table(TABLE)
        with table.update_spec() as update:
            for field in table.spec().fields:
                update.remove_field(field.name)
            update.add_field("k", BucketTransform(buckets), f"b{buckets}_{len(table.specs())}")

    @rule(jobs=st.lists(st.sampled_from(planning.JOBS), min_size=1, unique=True), keep=st.integers(1, 3))
    def maintain(self, jobs: list[str], keep: int) -> None:
        options = planning.MaintenanceOptions(jobs=jobs, retention=Retention(0, keep, 1000), orphan_days=0, force=True)
        now = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)
        planning.run(self.catalog, TABLE, options, now=now)
        self.note()
        if "orphans" in jobs:
            table = self.catalog.load_table(TABLE)
            found = {normalized(str(path)) for path in (self.home / "warehouse/raw/t").rglob("*") if path.is_file()}
            assert found == referenced(table)

    @invariant()
    def main_holds_what_it_should(self) -> None:
        assert self.content() == sorted(self.main.items())

    @invariant()
    def kept_branches_hold_what_they_should(self) -> None:
        for token, rows in self.branches.items():
            assert self.content(f"phlo_{token}") == sorted(rows.items())


TestTable = Table.TestCase
TestTable.settings = settings(
    max_examples=12, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
