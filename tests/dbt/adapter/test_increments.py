"""Increments against a model of each strategy in plain Python: random tables and options, round after round."""

from __future__ import annotations

import datetime as dt
import json
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any

import duckdb
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.transforms import parse_transform

from airflow_provider_phlo.dbt.adapter.increments import Increment
from airflow_provider_phlo.dbt.adapter.lakehouse import Lakehouse, forget
from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.merge import changes
from airflow_provider_phlo.iceberg.merge.changes import KEPT_BYTES
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from tests.lake import create_table, open_lake, open_views
from tests.sizes import size

Row = dict[str, Any]
DAY = dt.datetime(2024, 3, 1)
NEW = "new rows"
_names = (f"lab.model_{number}" for number in count())

KINDS: Mapping[str, tuple[str, Sequence[Any]]] = {
    "integer": ("BIGINT", range(4)),
    "text": ("VARCHAR", ("a", "A", "", "ä'\"")),
    "date": ("DATE", [dt.date(2024, 2, 28) + dt.timedelta(days) for days in range(4)]),
    "decimal": ("DECIMAL(9, 2)", [Decimal("1.00"), Decimal("-1.00"), Decimal("0.01")]),
    "boolean": ("BOOLEAN", (True, False)),
}
TYPES = {"k1": "", "k2": "", "amount": "INTEGER", "note": "VARCHAR", "moment": "TIMESTAMP", "part": "VARCHAR"}
PARTITIONS = ((), (("part", "identity"),), (("moment", "day"), ("part", "identity")), (("k1", "bucket[3]"),))


@dataclass(frozen=True)
class Case:
    """One configuration of a model."""

    strategy: str
    types: Mapping[str, str]
    key: tuple[str, ...] = ()
    predicate: str | None = None
    updated: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    partitions: tuple[tuple[str, str], ...] = ()
    period: tuple[dt.datetime, dt.datetime] | None = field(default=None)


# conditions as a project writes them, and what they mean
PREDICATES: Mapping[str, Callable[[Row, Row | None], bool]] = {
    "DBT_INTERNAL_DEST.amount > 1": lambda old, new: old["amount"] is not None and old["amount"] > 1,
    "DBT_INTERNAL_DEST.part = 'x'": lambda old, new: old["part"] == "x",
    "DBT_INTERNAL_SOURCE.amount >= DBT_INTERNAL_DEST.amount": lambda old, new: (
        new is not None
        and None not in (old["amount"], new["amount"])
        and new["amount"] >= old["amount"]
    ),
}  # fmt: skip


def expected(case: Case, old: Sequence[Row], new: Sequence[Row]) -> list[Row]:
    """Return the model's rows after an increment."""
    holds = PREDICATES[case.predicate] if case.predicate else lambda old, new: True
    columns = list(case.types)
    complete = [{name: row.get(name) for name in columns} for row in new]

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in case.key)

    if case.strategy == "append" or (case.strategy in ("merge", "delete+insert") and not case.key):
        return [*old, *complete]
    if case.strategy == "delete+insert":
        kept = [row for row in old if not any(key(row) == key(one) and holds(row, one) for one in complete)]
        return [*kept, *complete]
    if case.strategy == "microbatch":
        start, end = case.period or (dt.datetime.min, dt.datetime.max)
        inside = [row["moment"] is not None and start <= row["moment"] < end for row in old]
        kept = [row for row, is_inside in zip(old, inside, strict=True) if not (is_inside and holds(row, None))]
        return [*kept, *(row for row in complete if row["moment"] is not None and start <= row["moment"] < end)]
    if case.strategy == "insert_overwrite":
        places = {_partition(case, row) for row in complete}
        return [*(row for row in old if case.partitions and _partition(case, row) not in places), *complete]
    return _merged(case, old, new, lambda row, one: key(row) == key(one) and holds(row, one))


def _merged(case: Case, old: Sequence[Row], new: Sequence[Row], matches: Callable[[Row, Row], bool]) -> list[Row]:
    present = list(new[0]) if new else list(case.types)
    taken = [name for name in case.updated or case.types if name in present and name not in case.excluded]
    rows = []
    for row in old:
        found = [one for one in new if matches(row, one)]
        rows.append({**row, **{name: found[0][name] for name in taken}} if found else row)
    rows += [{name: one.get(name) for name in case.types} for one in new if not any(matches(row, one) for row in old)]
    return rows


def _partition(case: Case, row: Row) -> tuple[Any, ...]:
    return tuple(_placed(row[name], transform) for name, transform in case.partitions)


def _placed(value: Any, transform: str) -> Any:
    if value is None or transform == "identity":
        return value
    if transform == "day":
        return value.date()
    # as Iceberg hashes: the model of partitions is not what is tested here
    from pyiceberg.types import BooleanType, DateType, DecimalType, LongType, StringType

    kind = {bool: BooleanType(), int: LongType(), str: StringType(), Decimal: DecimalType(9, 2), dt.date: DateType()}
    if isinstance(value, dt.date):
        value = (value - dt.date(1970, 1, 1)).days
        return parse_transform(transform).transform(DateType())(value)
    return parse_transform(transform).transform(kind[type(value)])(value)


def a_case(random_: random.Random, strategy: str) -> Case:
    """Return a random configuration."""
    first, second = random_.choice([*KINDS]), random_.choice([*KINDS])
    types = TYPES | {"k1": KINDS[first][0], "k2": KINDS[second][0]}
    key = random_.choice([("k1",), ("k1", "k2"), ("k2",)]) if strategy in ("merge", "delete+insert") else ()
    partitions = random_.choice(PARTITIONS)
    if first == "boolean" and ("k1", "bucket[3]") in partitions:  # Iceberg has no buckets of booleans
        partitions = ()
    case = Case(strategy, types, key, partitions=partitions)
    if key and random_.random() < 0.4:
        case = replace(case, predicate=random_.choice([*PREDICATES]))
    if strategy == "microbatch":
        start = DAY + dt.timedelta(days=random_.randrange(3))
        case = replace(case, period=(start, start + dt.timedelta(days=random_.randrange(1, 3))))
        if random_.random() < 0.3:
            case = replace(case, predicate="DBT_INTERNAL_DEST.part = 'x'")
    if strategy == "merge":
        some = tuple(random_.sample(["amount", "note", "moment"], 2))
        case = replace(case, **random_.choice([{}, {}, {"updated": some}, {"excluded": some}]))
    return case


def some_rows(random_: random.Random, case: Case, number: int, columns: Sequence[str]) -> list[Row]:
    """Return random rows: few different values, so that keys and rows occur again, and NULL everywhere."""
    values = {
        "amount": range(4),
        "note": ("n", "m", ""),
        "moment": [DAY + dt.timedelta(hours=hours) for hours in range(0, 96, 7)],
        "part": ("x", "y"),
    }
    values |= {name: next(of for kind, of in KINDS.values() if kind == case.types[name]) for name in ("k1", "k2")}
    return [
        {name: None if random_.random() < 0.15 else random_.choice(values[name]) for name in columns}
        for _ in range(number)
    ]


class Model:
    """A model's table in a catalog, as dbt's adapter sees it."""

    def __init__(self, case: Case, catalog: Catalog, branch: str | None) -> None:
        self.case, self.catalog, self.identifier = case, catalog, next(_names)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("PHLO_DBT_TABLES", self.identifier)
            self.lakehouse = Lakehouse()
        assert self.lakehouse.branch == branch
        self.cursor = duckdb.connect()

    def create(self, rows: Sequence[Row]) -> None:
        """Create the table on main, in two files."""
        empty = self.relation(self.case.types, []).limit(0).to_arrow_table()
        table = create_table(self.catalog, self.identifier, empty)
        if self.case.partitions:
            with table.update_spec() as update:
                for name, transform in self.case.partitions:
                    update.add_field(name, parse_transform(transform), f"{name}_part")
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            table.append(self.relation(self.case.types, part).to_arrow_table())
        self.lakehouse.show_tables(self.cursor)

    def relation(self, columns: Mapping[str, str], rows: Sequence[Row]) -> Any:
        """Return rows as DuckDB has them."""
        self.cursor.execute(f'CREATE OR REPLACE TEMP TABLE "{NEW}" ({", ".join(map(" ".join, columns.items()))})')
        if rows:
            places = ", ".join("?" for _ in columns)
            self.cursor.executemany(
                f'INSERT INTO "{NEW}" VALUES ({places})', [[row[name] for name in columns] for row in rows]
            )
        return self.cursor.sql(f'SELECT * FROM "{NEW}"')

    def apply(self, rows: Sequence[Row], columns: Sequence[str]) -> None:
        self.relation({name: self.case.types[name] for name in columns}, rows)
        case = self.case
        increment = Increment(
            identifier=self.identifier,
            cursor=self.cursor,
            new=f'"{NEW}"',
            old=self.identifier,
            key=case.key,
            predicates=(case.predicate,) if case.predicate else (),
            update_columns=case.updated,
            exclude_columns=case.excluded,
            event_time="moment" if case.period else None,
            period=case.period,
        )
        self.lakehouse.apply(increment, case.strategy, None)

    @property
    def head(self) -> int | None:
        table = self.catalog.load_table(self.identifier)
        branch = self.lakehouse.branch
        return branch_head(table, branch) if branch in table.metadata.refs else branch_head(table)

    def rows(self, branch: str | None = None) -> Counter[str]:
        """Return the rows as somebody else reads them; None is main."""
        with open_views(self.catalog, tables=[self.identifier], branch=branch) as connection:
            found = connection.sql(f"FROM {self.identifier}")
            return counted(dict(zip(found.columns, row, strict=True)) for row in found.fetchall())


def counted(rows: Any) -> Counter[str]:
    return Counter(json.dumps({name: row[name] for name in sorted(row)}, default=str) for row in rows)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PHLO_HOME", str(home))
        yield open_lake(home)


STRATEGIES = ("append", "delete+insert", "merge", "microbatch", "insert_overwrite")


@pytest.mark.parametrize("on_branch", [False, True], ids=["main", "branch"])
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_increments_are_the_models(
    lake: Catalog, monkeypatch: pytest.MonkeyPatch, strategy: str, on_branch: bool
) -> None:
    for seed in range(size(ci=6, soak=2000)):
        forget()
        # rows that are looked at are read again to be written, when there is no room to keep them
        monkeypatch.setattr(changes, "KEPT_BYTES", (0, KEPT_BYTES)[seed % 2])
        if on_branch:
            monkeypatch.setenv("PHLO_RUN_TOKEN", f"run-{strategy.replace('+', '-')}-{seed}")
        play(random.Random(f"{strategy} {seed}"), strategy, lake)


def play(random_: random.Random, strategy: str, lake: Catalog) -> None:
    """Apply some rounds of one random model and compare after each."""
    case = a_case(random_, strategy)
    model = Model(case, lake, Lakehouse().branch)
    rows = some_rows(random_, case, random_.randrange(8), [*case.types])
    model.create(rows)
    before, branch = counted(rows), model.lakehouse.branch
    for _ in range(3):
        columns = [*case.types]
        if random_.random() < 0.3 and not (strategy == "insert_overwrite" and case.partitions):
            columns.remove("note")
        new = some_rows(random_, case, random_.randrange(6), columns)
        random_.shuffle(columns)
        head = model.head
        if strategy == "merge" and _shared(case, new):
            with pytest.raises(SchemaError, match="share their unique_key"):
                model.apply(new, columns)
            assert model.head == head, case
            continue
        model.apply(new, columns)
        rows = expected(case, rows, new)
        assert model.rows(branch) == counted(rows), (case, new)
        again = expected(case, rows, new)
        if counted(again) == counted(rows):
            head = model.head
            model.apply(new, columns)
            assert model.head == head, (case, new)
    if branch:
        assert model.rows() == before


def _shared(case: Case, rows: Sequence[Row]) -> bool:
    return any(number > 1 for number in Counter(tuple(row[name] for name in case.key) for row in rows).values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"key": ("nothing",)}, "has no column 'nothing', which unique_key names"),
        ({"updated": ("nothing",)}, "which merge_update_columns names"),
        ({"excluded": ("nothing",)}, "which merge_exclude_columns names"),
        ({"updated": ("note",), "excluded": ("moment",)}, "merge_update_columns or merge_exclude_columns, not both"),
    ],
)
def test_a_column_that_does_not_exist_is_named(lake: Catalog, changes: dict[str, Any], said: str) -> None:
    case = replace(Case("merge", TYPES | {"k1": "BIGINT", "k2": "BIGINT"}, ("k1",)), **changes)
    model = Model(case, lake, None)
    rows = some_rows(random.Random(1), case, 3, [*case.types])
    model.create(rows)
    head = model.head
    with pytest.raises(ConfigurationError, match=said):
        model.apply(rows[:1], [*case.types])
    assert model.head == head
