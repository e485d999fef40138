"""
Random histories: merges, branches, tags, deletes of other writers, compaction, expiry, orphan removal.

Whatever happened before, nothing of a person is left in any file, and everybody else's rows are as they were.
"""

from __future__ import annotations

import datetime
import random
import secrets
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from airflow_provider_phlo.forgetting.everywhere import forget
from airflow_provider_phlo.forgetting.keys import Key
from airflow_provider_phlo.forgetting.tables import TablePlace
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.branches.expiry import Retention, expire
from airflow_provider_phlo.iceberg.branches.marks import find_published_result
from airflow_provider_phlo.iceberg.branches.rollback import plan_rollback, rollback
from airflow_provider_phlo.iceberg.branches.run_branches import no_upkeep
from airflow_provider_phlo.iceberg.branches.upkeep import MOST_PROPERTY, expire_with
from airflow_provider_phlo.iceberg.maintenance.compaction import compact
from airflow_provider_phlo.iceberg.maintenance.manifests import rewrite_manifests
from airflow_provider_phlo.iceberg.maintenance.orphans import remove_orphans
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head, lineage
from airflow_provider_phlo.schemas.iceberg import arrow_to_iceberg
from tests.sizes import size
from tests.unit.forgetting.remains import remains
from tests.unit.position_deletes import commit_deletes, delete_file

TABLE = "raw.people"
SCHEMA = pa.schema([("id", pa.string()), ("mail", pa.string()), ("day", pa.string())])
PARTITIONS = [(), ("day",), ("id",), ("bucket(2, id)",), ("truncate(3, id)", "day")]


class History:
    """A table, and the steps that may happen to it."""

    def __init__(self, catalog: Catalog, chance: random.Random) -> None:
        self.catalog, self.chance = catalog, chance
        self.theirs, self.mail = f"person-{secrets.token_hex(8)}", f"mail-{secrets.token_hex(8)}"
        self.published: list[str] = []
        properties = {
            "write.metadata.metrics.default": chance.choice(["full", "truncate(16)", "counts"]),
            "write.metadata.compression-codec": chance.choice(["none", "gzip"]),
            "history.expire.min-snapshots-to-keep": "1",
        }
        schema, partitions = arrow_to_iceberg(SCHEMA), chance.choice(PARTITIONS)
        table = ensure_table(catalog, TABLE, schema, partition_by=partitions, properties=properties)
        with table.transaction() as transaction:
            transaction.set_properties({MOST_PROPERTY: "3"})

    def batch(self) -> pa.Table:
        ids = self.chance.sample([f"other-{number}" for number in range(6)], 3)
        rows = [{"id": each, "mail": secrets.token_hex(4), "day": self.chance.choice("de")} for each in ids]
        if self.chance.random() < 0.5:
            rows.append({"id": self.theirs, "mail": self.mail, "day": self.chance.choice("de")})
        return pa.Table.from_pylist(rows, SCHEMA)

    def merge(self, *, published: bool = True) -> None:
        token = secrets.token_hex(8)
        head = merge(self.catalog, TABLE, self.batch(), MergePlan(key=("id",)), token=token).head
        if published:
            upkeep = expire_with if self.chance.random() < 0.5 else no_upkeep
            branches.move_main(
                self.catalog,
                TABLE,
                f"phlo_{token}",
                token=token,
                result={"n": token},
                expected_head=head,
                upkeep=upkeep,
            )
            self.published.append(token)

    def leave_a_branch(self) -> None:
        self.merge(published=False)

    def tag(self) -> None:
        table = self.catalog.load_table(TABLE)
        if (head := branch_head(table)) is not None:
            table.manage_snapshots().create_tag(head, f"tag-{secrets.token_hex(3)}").commit()

    def delete(self) -> None:
        table = self.catalog.load_table(TABLE)
        if branch_head(table) is not None:
            table.delete(f"id = '{self.theirs}'")

    def hide(self) -> None:
        """Delete rows as merge-on-read engines do."""
        table = self.catalog.load_table(TABLE)
        for task in table.scan().plan_files() if branch_head(table) is not None else ():
            if self.chance.random() < 0.3:
                commit_deletes(self.catalog, TABLE, delete_file(table, {task.file: [0]}))
                return

    def compact(self) -> None:
        compact(self.catalog, TABLE)

    def rewrite_manifests(self) -> None:
        rewrite_manifests(self.catalog, TABLE)

    def expire(self) -> None:
        expire(self.catalog, TABLE, Retention(0, 1, branch_days=1), _later(seconds=1))

    def remove_orphans(self) -> None:
        remove_orphans(self.catalog, TABLE, days=1, now=_later(days=2))

    def roll_back(self) -> None:
        table = self.catalog.load_table(TABLE)
        known = {item.snapshot_id for item in table.metadata.snapshots}
        before = [each for each in list(lineage(table.metadata, branch_head(table)))[1:] if each in known]
        if before:
            rollback(self.catalog, plan_rollback(self.catalog, TABLE, to_snapshot=before[0]))

    def contents(self) -> dict[str, list[tuple[str, ...]]]:
        """Return the rows of others on every branch."""
        table = self.catalog.load_table(TABLE)
        return {
            name: sorted(
                tuple(row.values())
                for row in table.scan(snapshot_id=ref.snapshot_id).to_arrow().to_pylist()
                if row["id"] != self.theirs
            )
            for name, ref in table.metadata.refs.items()
            if ref.snapshot_ref_type == "branch"
        }


def _later(**delta: float) -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC) + datetime.timedelta(**delta)


@pytest.mark.parametrize("seed", range(size(16, 2000)))
def test_nothing_is_left_and_others_stay(catalog: Catalog, seed: int) -> None:
    chance = random.Random(seed)
    history = History(catalog, chance)
    steps: list[Callable[[], None]] = [
        *[history.merge] * 4, history.leave_a_branch, history.tag, history.delete, history.hide, history.compact,
        history.rewrite_manifests, history.expire, history.remove_orphans, history.roll_back,
    ]  # fmt: skip
    done = []
    for _ in range(chance.randrange(3, 14)):
        step = chance.choice(steps)
        done.append(step.__name__)
        step()
    before = history.contents()
    place = TablePlace(catalog, TABLE, Key({"id": history.theirs}), drop_tags=True)
    assert not any(each.found for each in forget([place])), done
    root = Path(catalog.load_table(TABLE).location().removeprefix("file://"))
    assert remains(root, history.theirs, history.mail) == [], done
    assert history.contents() == before, done
    table = catalog.load_table(TABLE)
    assert all(find_published_result(table, token) for token in history.published if token in str(table.properties))
    for snapshot in table.metadata.snapshots:  # those that stay can be read
        table.scan(snapshot_id=snapshot.snapshot_id).to_arrow()
    history.merge()  # and the table can be written
