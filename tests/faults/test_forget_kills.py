"""
Kill ``phlo forget`` at every commit and at every file that it removes, and call it again.

It completes, and at no moment does a search find nothing while something is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from airflow_provider_phlo.forgetting import tables
from airflow_provider_phlo.forgetting.everywhere import forget
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.tables import TablePlace
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.expiry import Retention, expire
from airflow_provider_phlo.iceberg.catalogs.sql import CachingSqlCatalog
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.faults.killing import dying_after, dying_before, exit_code
from tests.lake import open_lake
from tests.unit.forgetting.remains import remains
from tests.unit.iceberg.maintenance.test_planning import later

TABLE = "raw.people"
SCHEMA = pa.schema([("id", pa.string()), ("v", pa.int64())])
THEIRS, KEY = "person-4711", Key({"id": "person-4711"})
KINDS = ("before a commit", "after a commit", "before a removal")
# more than there are
MOST = 60


def write(home: Path) -> list[dict[str, Any]]:
    """Make a table with history, a branch, and snapshots that have expired; return the others' rows."""
    catalog = open_lake(home)
    ensure_table(catalog, TABLE, arrow_to_iceberg(SCHEMA), partition_by=("bucket(2, id)",))
    for number in range(4):
        token = f"t{number}"
        rows = pa.Table.from_pylist([{"id": THEIRS, "v": number}, {"id": f"other-{number % 2}", "v": number}], SCHEMA)
        head = merge(catalog, TABLE, rows, MergePlan(key=("id",)), token=token).head
        if number != 2:
            branches.move_main(catalog, TABLE, f"phlo_{token}", token=token, result={}, expected_head=head)
        if number == 1:
            expire(catalog, TABLE, Retention(0, 1, 7), later(seconds=1))
    return others(home)


def others(home: Path) -> list[dict[str, Any]]:
    table = open_lake(home).load_table(TABLE)
    rows = [
        {"branch": branch, **row}
        for branch in ("main", "phlo_t2")
        for row in table.scan(snapshot_id=branch_head(table, branch)).to_arrow().to_pylist()
    ]
    return sorted((row for row in rows if row["id"] != THEIRS), key=str)


def child(home: Path, kind: str, calls: int) -> None:
    if kind == "before a removal":
        tables.remove_file = dying_before(calls, tables.remove_file)
    else:
        wrapper = dying_before if kind == "before a commit" else dying_after
        CachingSqlCatalog.commit_table = wrapper(calls, CachingSqlCatalog.commit_table)  # type: ignore[method-assign]
    forget([TablePlace(open_lake(home), TABLE, KEY)])


def killed(tmp_path: Path, kind: str) -> Iterator[Path]:
    """Yield the homes of calls that were killed, each a step later, until one is not."""
    for calls in range(1, MOST):
        home = tmp_path / str(calls)
        home.mkdir()
        write(home)
        if exit_code(child, home, kind, calls) == 0:
            return
        yield home
    pytest.fail("there is no end")


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_call_is_completed_by_the_next(tmp_path: Path, kind: str) -> None:
    (tmp_path / "whole").mkdir()
    expected = write(tmp_path / "whole")
    steps = []
    for home in killed(tmp_path, kind):
        steps.append(home)
        assert others(home) == expected
        place = TablePlace(open_lake(home), TABLE, KEY)
        root = Path(open_lake(home).load_table(TABLE).location().removeprefix("file://"))
        if not place.find():
            assert remains(root, THEIRS) == []
        assert not any(each.found for each in forget([place]))
        assert remains(root, THEIRS) == []
        assert others(home) == expected
    # both branches and the expiry are commits; data files, manifests, lists and old metadata are removed
    assert len(steps) >= (10 if kind == "before a removal" else 3)
