"""
Incremental publication against a simple model: whatever happened to the source, the mart and other publishers, a mart
that was published equals the snapshot.

Long sequences with ``PHLO_SOAK=1``.
"""

from __future__ import annotations

import contextlib
import os
import random
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest
from pyiceberg.types import StringType

from airflow_provider_phlo.exceptions import TransientError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace
from airflow_provider_phlo.publishing import publish_marts_to_postgres
from airflow_provider_phlo.publishing.postgres import Declaration
from tests.lake import open_lake

# one worker starts the server
pytestmark = pytest.mark.xdist_group("published")

STEPS = 400 if "PHLO_SOAK" in os.environ else 15
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64()),
        pa.field("day", pa.string()),
        pa.field("v", pa.float64()),
        pa.field("t", pa.string()),
        pa.field("d", pa.decimal128(9, 2)),
    ]
)
TABLES = {"m": "marts.m", "n": "marts.n"}
TEXTS = ["", "é", "it's", "a\tb", None]
NUMBERS = [0.0, -0.0, float("nan"), float("inf"), 1.5, None]


class World:
    """Two sources, two marts, and what may happen to them."""

    def __init__(self, home, connection, seed, *, keyed):
        self.home, self.connection, self.keyed = home, connection, keyed
        self.choose = random.Random(seed)
        self.catalog = open_lake(home)
        self.token = 0
        self.modes = []
        self.kills = self.survived = 0
        ensure_namespace(self.catalog, "marts")
        for name in TABLES.values():
            schema = SCHEMA.remove(SCHEMA.get_field_index("t")) if name == "marts.n" else SCHEMA
            self.catalog.create_table(name, schema)
            if self.choose.random() < 0.7:
                self.partition(name)

    def partition(self, name):
        table = self.catalog.load_table(name)
        with table.update_spec() as update:
            update.add_identity("day")

    def table(self):
        return self.catalog.load_table(self.choose.choice(list(TABLES.values())))

    def rows(self, table, ids):
        rows = [
            {
                "id": number,
                "day": f"2024-01-0{1 + number % 5}",
                "v": self.choose.choice(NUMBERS),
                "t": self.choose.choice(TEXTS),
                "d": Decimal(self.choose.randrange(1000)) / 100,
                "more": self.choose.choice(TEXTS),
            }
            for number in ids
        ]
        names = table.schema().column_names
        return pa.Table.from_pylist(rows, pa.schema([(f.name, f.type) for f in table.schema().as_arrow()])).select(
            names
        )

    def ids(self, most=60):
        return sorted(self.choose.sample(range(most), self.choose.randrange(1, 12)))

    # --- what may happen

    def upsert(self):
        table = self.table()
        self.token += 1
        name = ".".join(table.name())
        merge(self.catalog, name, self.rows(table, self.ids()), MergePlan(key=("id",)), token=f"t{self.token}")
        branches.move_main(self.catalog, name, branches.branch_name(f"t{self.token}"))

    def append(self):
        table = self.table()
        present = set(table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist())
        free = [number for number in range(60, 400) if number not in present]
        if self.keyed:
            table.append(self.rows(table, free[: self.choose.randrange(1, 9)]))
        else:  # rows that are there already, too
            table.append(self.rows(table, self.choose.choices(range(60), k=self.choose.randrange(1, 9))))

    def delete(self):
        self.table().delete(f"id >= {self.choose.randrange(200)}")

    def overwrite(self):
        table = self.table()
        table.overwrite(self.rows(table, self.ids(40)))

    def rewrite(self):
        """The same rows in another order and other files."""
        table = self.table()
        rows = table.scan().to_arrow()
        table.overwrite(rows.take(pa.array(self.choose.sample(range(len(rows)), len(rows)), pa.int64())))

    def add_column(self):
        table = self.table()
        if "more" not in table.schema().column_names:
            with table.update_schema() as update:
                update.add_column("more", StringType())

    def drop_column(self):
        table = self.table()
        if "more" in table.schema().column_names:
            with table.update_schema() as update:
                update.delete_column("more")

    def expire(self):
        table = self.table()
        current = table.current_snapshot()
        old = [s.snapshot_id for s in table.snapshots() if current and s.snapshot_id != current.snapshot_id]
        if old:
            table.maintenance.expire_snapshots().by_ids(old).commit()

    def roll_back(self):
        table = self.table()
        if table.snapshots():
            chosen = self.choose.choice(table.snapshots())
            table.manage_snapshots().set_current_snapshot(snapshot_id=chosen.snapshot_id).commit()

    def edit(self):
        mart = self.choose.choice("mn")
        statement = self.choose.choice(
            [
                "UPDATE marts.{} SET d = 7 WHERE id % 3 = 0",
                "DELETE FROM marts.{} WHERE id % 4 = 1",
                "INSERT INTO marts.{} (id, d) VALUES (-1, 1)",
                "TRUNCATE marts.{}",
                "ALTER TABLE marts.{} DISABLE TRIGGER ALL; DELETE FROM marts.{}",
                "BEGIN; DELETE FROM marts.{}; ROLLBACK",
                "DROP TABLE marts.{}",
                "VACUUM FULL marts.{}",
            ]
        )
        if self.connection.execute("SELECT to_regclass(%s)", [f"marts.{mart}"]).fetchone() != (None,):
            for each in statement.format(mart, mart).split("; "):
                self.connection.execute(each)

    def kill(self):
        """A publisher whose connection ends somewhere on the way, as when it is killed."""
        left = iter(range(self.choose.randrange(1, 120), 0, -1))

        class Mortal(psycopg.Cursor):
            def execute(self, *arguments, **options):
                if next(left, 0) == 1:
                    self.connection.close()
                return super().execute(*arguments, **options)

        dsn, password = self.connection.info.dsn, self.connection.info.password
        with (
            psycopg.connect(dsn, password=password, autocommit=True, cursor_factory=Mortal) as mortal,
            contextlib.suppress(TransientError),
        ):
            self.publish_to(mortal)
            self.survived += 1
        self.kills += 1

    def publish_to(self, connection):
        declared = {name: Declaration(key=("id",)) for name in TABLES} if self.keyed else {}
        return publish_marts_to_postgres(None, None, connection, TABLES, catalog=self.catalog, declared=declared)

    def publish(self):
        results = self.publish_to(self.connection)
        self.modes += [str(result.mode) for result in results.values()]
        for name, source in TABLES.items():
            rows = self.catalog.load_table(source).scan().to_arrow()
            assert results[name].rows == len(rows)
            query = f"SELECT {', '.join(rows.column_names)} FROM marts.{name}"
            found = self.connection.execute(query, prepare=False).fetchall()
            expected = list(zip(*rows.to_pydict().values(), strict=True))
            assert sorted(map(repr, found)) == sorted(map(repr, expected)), results[name]


CHANGES = [
    *[World.upsert] * 8,
    *[World.append] * 4,
    World.delete,
    World.overwrite,
    World.rewrite,
    World.add_column,
    World.drop_column,
    World.expire,
    World.roll_back,
    *[World.edit] * 2,
]


@pytest.mark.long
@pytest.mark.parametrize("keyed", [True, False], ids=["key", "whole rows"])
def test_a_published_mart_equals_the_snapshot_whatever_happened(tmp_path, connection, keyed):
    seed = int(os.environ.get("PHLO_SEED", random.randrange(10**6))) if "PHLO_SOAK" in os.environ else 13
    world = World(tmp_path, connection, seed, keyed=keyed)
    done = []
    try:
        for step in range(STEPS):
            happening = [world.choose.choice(CHANGES) for _ in range(world.choose.randrange(1, 4))]
            if step % 5 == 3:
                happening.append(World.kill)
            for change in happening:
                done.append(change.__name__)
                change(world)
            world.publish()
    except BaseException:
        print(f"seed {seed}, last: {done[-8:]}")
        raise
    assert {"full", "incremental", "unchanged"} <= set(world.modes)
    assert world.modes.count("incremental") > STEPS / 5
    assert world.kills
    if "PHLO_SOAK" in os.environ:  # of few, all may come before a commit, or none
        assert 0 < world.survived < world.kills
