"""Kill writers of one table again and again at the same step: after every retry nothing is lost or there twice."""

from __future__ import annotations

import datetime as dt
import inspect
import random
import signal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.marks import MARK_PREFIX, all_marks
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog as SqlCatalog
from airflow_provider_phlo.iceberg.maintenance.orphans import remove_orphans
from airflow_provider_phlo.iceberg.merge import MergePlan, copy_on_write
from airflow_provider_phlo.ingestion import landing, publication, staged_batches
from airflow_provider_phlo.ingestion.definition import TableDefinition
from tests.faults.killing import CatalogSettings, Wrapper, die_after, dying_after, dying_before, exit_code
from tests.sizes import size

# of one table; its history makes each run slower, so that 500 kills of a step are those of ten tables
KILLS, TABLES = size(25, 50), size(1, 10)
TABLE, DAY = "raw.t", "2024-01-15"
ROWS = 4
MERGE = TableDefinition(TABLE, MergePlan(key=("k",)), metadata_columns=False)
# rows that come twice would stay: nothing but the run's mark keeps them out
APPEND = TableDefinition(TABLE, MergePlan("append", key=("k",), deduplication=False), metadata_columns=False)

STEPS: dict[str, tuple[Any, str, Wrapper, int]] = {
    "staged": (staged_batches.BatchWriter, "finish", dying_after, 1),
    "files written": (copy_on_write, "commit_files", dying_before, 1),
    "metadata of the branch written, the catalog does not know": (SqlCatalog, "_write_metadata", dying_after, 1),
    "committed to the branch": (copy_on_write, "commit_files", dying_after, 1),
    "metadata of the publication written, the catalog does not know": (SqlCatalog, "_write_metadata", dying_after, 2),
    "branch published": (branches, "move_main", dying_after, 1),
    "result not returned": (publication, "publish", dying_after, 1),
}
UNCOMMITTED = ("files written", "metadata of the branch written, the catalog does not know")
PUBLISHED = ("branch published", "result not returned")


def definition(version: int) -> TableDefinition:
    return APPEND if version % 2 else MERGE


def batch(version: int) -> dict[int, int]:
    """Return keys and values of a run: new keys, and when it merges the newest of the run before."""
    first = version * ROWS
    return {key: version for key in range(max(0, first if version % 2 else first - 2), first + ROWS)}


def run(root: Path, settings: CatalogSettings, version: int) -> dict[str, Any]:
    """Do what the tasks of one run do, one after the other: every one of them can be repeated."""
    staged = staged_batches.find(root, TABLE, DAY, f"v{version}") or stage(root, version)
    with settings.open() as catalog:
        landed = landing.land(catalog, root, staged, definition(version))
        assert landed is not None
        return publication.publish(catalog, root, landed, definition(version), lambda branch: None).to_json()


def stage(root: Path, version: int) -> staged_batches.StagedBatch:
    rows, token = batch(version), f"v{version}"
    writer = staged_batches.BatchWriter(root, TABLE, DAY, token)
    writer.write(pa.table({"k": list(rows), "v": list(rows.values())}))
    return writer.finish(
        staged_batches.StagedBatch(
            TABLE, token, DAY, f"run {token}", writer.attempt, tuple(writer.files), read=len(rows), rows=len(rows)
        )
    )


def killed_at(root: Path, settings: CatalogSettings, version: int, step: str) -> None:
    owner, name, wrapper, calls = STEPS[step]
    wrapped = wrapper(calls, getattr(owner, name))
    is_static = isinstance(inspect.getattr_static(owner, name), staticmethod)
    setattr(owner, name, staticmethod(wrapped) if is_static else wrapped)
    run(root, settings, version)


def killed_after(root: Path, settings: CatalogSettings, version: int, seconds: float) -> None:
    die_after(seconds)
    run(root, settings, version)


def content(table: Table) -> list[tuple[int, int]]:
    rows = table.scan().to_arrow()
    return sorted(zip(rows["k"].to_pylist(), rows["v"].to_pylist(), strict=True))


def check(settings: CatalogSettings, model: dict[int, int], versions: int) -> None:
    """Main has the model's rows, one snapshot and one mark of every run, and no branch is left."""
    table = settings.load_table(TABLE)
    assert content(table) == sorted(model.items())
    tokens = [f"v{version}" for version in range(versions)]
    published = [table.snapshot_by_id(entry.snapshot_id) for entry in table.history()]
    assert [each.summary["phlo.token"] for each in published if each and each.summary] == tokens
    assert set(all_marks(table.properties)) == {MARK_PREFIX + token for token in tokens}
    assert set(table.refs()) == {"main"}


@pytest.mark.parametrize("number", range(TABLES))
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_one_step_again_and_again(tmp_path: Path, settings: CatalogSettings, step: str, number: int) -> None:
    root = tmp_path / "staging"
    model = dict(batch(0))
    run(root, settings, 0)
    for version in range(1, KILLS + 1):
        assert exit_code(killed_at, root, settings, version, step) == -signal.SIGKILL
        after = {**model, **batch(version)}
        main = content(settings.load_table(TABLE))
        assert main == sorted((after if step in PUBLISHED else model).items())
        result = run(root, settings, version)
        assert run(root, settings, version) == result  # and once more, as a cleared task
        model = after
        check(settings, model, version + 1)
    check_orphans(settings, some=step in UNCOMMITTED)


@pytest.mark.parametrize("number", range(TABLES))
def test_killed_at_random_moments_again_and_again(tmp_path: Path, settings: CatalogSettings, number: int) -> None:
    root, chance = tmp_path / "staging", random.Random(11 + number)
    model: dict[int, int] = dict(batch(0))
    run(root, settings, 0)
    kills = version = 0
    while kills < KILLS:
        version += 1
        code = exit_code(killed_after, root, settings, version, chance.uniform(0.01, 0.25))
        assert code in (0, -signal.SIGKILL)
        kills += code != 0
        after = {**model, **batch(version)}
        assert content(settings.load_table(TABLE)) in (sorted(model.items()), sorted(after.items()))
        run(root, settings, version)
        model = after
        check(settings, model, version + 1)
    check_orphans(settings)


def check_orphans(settings: CatalogSettings, *, some: bool = False) -> None:
    """
    What killed writers left are files that no snapshot refers to; the maintenance reclaims these and nothing else.

    :param some: whether there must be data files among them.
    """
    table = settings.load_table(TABLE)
    data = {entry["file_path"] for entry in table.inspect.all_files().select(["file_path"]).to_pylist()}
    folder = Path(table.location().removeprefix("file://"))
    on_disk = {str(path) for path in (folder / "data").rglob("*.parquet")}
    referenced = {path.removeprefix("file://") for path in data}
    assert referenced <= on_disk
    if some:
        assert on_disk - referenced
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=30)
    before = content(table)
    with settings.open() as catalog:
        remove_orphans(catalog, TABLE, days=7, now=later)
    assert {str(path) for path in (folder / "data").rglob("*.parquet")} == referenced
    table = settings.load_table(TABLE)
    assert content(table) == before
    for snapshot in table.snapshots():  # time travel needs its files too
        assert table.scan(snapshot_id=snapshot.snapshot_id).to_arrow().num_columns == 2
