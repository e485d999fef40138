"""Random sequences of runs: plans, batches of few keys, schemas that change, crashes, runs that overlap."""

from __future__ import annotations

import datetime as dt
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa

from tests.faults.merge_model import Plan, Row

DAYS = (dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3))
UTC = dt.UTC
NESTED = pa.list_(pa.struct([("x", pa.int64()), ("y", pa.string())]))
NAN = math.nan
TIMES = [dt.datetime(2024, 1, 1, tzinfo=UTC), dt.datetime(1969, 12, 31, 23, 59, 59, 999999, UTC)]
TIMES += [dt.datetime(2024, 1, 2, 3, 4, 5, 678901, UTC)]
# bounds in manifests are cut after 16 characters
LONG = "a common beginning of keys "
FLOATS = [None, 0.0, -0.0, 1.5, -2.25, NAN, math.inf, 0.1]
TEXTS = [None, "", "a", "ab", "abc", "ä", LONG + "1", LONG + "2", "\U0010ffff" * 20]
INTS = [None, 0, -1, 7, 10, 11, 2**31 - 1]
DECIMALS = [None, Decimal("0.00"), Decimal("-1.50"), Decimal("99.99")]

# column: its type, the type it may become, its values, and those that only the wider type holds
COLUMNS: dict[str, tuple[pa.DataType, pa.DataType, Sequence[Any], Sequence[Any]]] = {
    "i": (pa.int32(), pa.int64(), INTS, [2**31, -(2**40)]),
    "g": (pa.float32(), pa.float64(), FLOATS, [0.2]),
    "f": (pa.float64(), pa.float64(), FLOATS, []),
    "d": (pa.decimal128(9, 2), pa.decimal128(12, 2), DECIMALS, [Decimal("1234567890.01")]),
    "s": (pa.string(), pa.string(), TEXTS, []),
    "t": (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), [None, *TIMES], []),
    "n": (NESTED, NESTED, [None, [], [{"x": 1, "y": "a"}], [{"x": None, "y": None}, {"x": 2, "y": "ä"}]], []),
    "b": (pa.bool_(), pa.bool_(), [None, True, False, False], []),
}
KEYS: dict[str, tuple[pa.DataType, pa.DataType, Sequence[Any], Sequence[Any]]] = {
    "k_int": (pa.int32(), pa.int64(), [0, 1, 2, 3, -1, 2**31 - 1], [2**31, 2**40]),
    "k_text": (pa.string(), pa.string(), [text for text in TEXTS if text is not None], []),
    "k_float": (pa.float64(), pa.float64(), [0.0, -0.0, NAN, 1.5, -math.inf], []),
    "k_decimal": (pa.decimal128(9, 2), pa.decimal128(12, 2), DECIMALS[1:], [Decimal("1234567890.01")]),
    "k_time": (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC"), TIMES, []),
    "k_date": (pa.date32(), pa.date32(), list(DAYS), []),
    "k_bool": (pa.bool_(), pa.bool_(), [True, False], []),
    "k_nested": (NESTED, NESTED, [[], [{"x": 1, "y": "a"}], [{"x": None, "y": "b"}]], []),
}
PARTITIONS: list[tuple[str, ...]] = [
    (),
    ("day(t)",),
    ("s",),
    ("bucket(3, s)",),
    ("truncate(2, s)",),
    ("truncate(10, i)",),
    ("bucket(4, i)",),
    ("i",),
    ("truncate(1, d)",),
    ("month(t)", "bucket(2, i)"),
]
CRASHES = [
    "evolve",
    "write a data file",
    "close a data file",
    "write a manifest",
    "write a manifest list",
    "commit_files",
    "create a branch",
    "publish",
    "make the mark",
    "commit to the catalog",
]
# sizes of the engine that are made small, so that few rows meet what many do
TUNINGS = ["small batch memory", "few rows a group", "small files", "few small files", "small manifests", "one thread"]


@dataclass(frozen=True)
class Crash:
    """Die at a step: ``before`` or after its ``call``-th call; ``error`` is what is raised."""

    step: str
    before: bool
    call: int
    error: str


@dataclass(frozen=True)
class Run:
    """
    One run.

    :param types: of the batch's columns.
    :param parts: rows of each staged file.
    :param metadata: whether the batch has metadata columns.
    :param inside: a run that lands and publishes between this one's landing and publication.
    """

    token: str
    plan: Plan
    day: dt.date
    types: dict[str, pa.DataType]
    parts: tuple[tuple[Row, ...], ...]
    metadata: bool = True
    landing_crashes: tuple[Crash, ...] = ()
    publishing_crashes: tuple[Crash, ...] = ()
    inside: Run | None = None


@dataclass(frozen=True)
class Sequence_:
    """Runs on one table."""

    seed: int
    partition_by: tuple[str, ...]
    sort_by: tuple[str, ...]
    metadata: bool
    tunings: tuple[str, ...]
    runs: tuple[Run, ...] = field(default=())

    def without(self, number: int) -> Sequence_:
        """Return the sequence without one of its runs."""
        return replace(self, runs=self.runs[:number] + self.runs[number + 1 :])


class Generator:
    """Make the sequence of a seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        chance = self.chance
        self.key = tuple(chance.sample(sorted(KEYS), chance.choice([1, 1, 1, 2, 3])))
        self.columns = {name: COLUMNS[name] for name in chance.sample(sorted(COLUMNS), chance.randint(2, 6))}
        self.pool = {**{name: KEYS[name] for name in self.key}, **self.columns}
        self.metadata = chance.random() < 0.8
        self.wide: set[str] = set()
        possible = [each for each in PARTITIONS if all(_column(text) in self.columns for text in each)]
        by_day = [("_phlo_partition_date",)] * 3 if self.metadata else []
        self.partition_by = chance.choice(possible + by_day)
        self.sort_by = self._sort_by()
        needed = {_column(text) for text in self.partition_by} | {text.split()[0] for text in self.sort_by}
        self.later = [name for name in self.columns if name not in needed and chance.random() < 0.25]
        self.order_by = self._option("f", "t", "i", "d", "s")
        self.hard_delete = self._option("b", "t", "s")
        tunings = chance.sample(TUNINGS, chance.randint(0, len(TUNINGS)))
        runs = tuple(self._run(f"r{number}") for number in range(chance.randint(2, 6)))
        self.sequence = Sequence_(seed, self.partition_by, self.sort_by, self.metadata, tuple(tunings), runs)

    def _sort_by(self) -> tuple[str, ...]:
        names = [name for name in (*self.columns, *self.key) if name not in ("n", "k_nested")]
        if not names or self.chance.random() < 0.6:
            return ()
        return tuple(f"{name}{self.chance.choice(['', ' desc'])}" for name in self.chance.sample(names, 1))

    def _option(self, *names: str) -> str | None:
        possible = [name for name in names if name in self.columns and name not in self.later]
        return self.chance.choice(possible) if possible and self.chance.random() < 0.5 else None

    def _run(self, token: str, *, nested: bool = False) -> Run:
        chance, first = self.chance, token == "r0"
        metadata = self.metadata and (first or chance.random() < 0.9)
        plan = self._plan(metadata)
        types = self._types(first)
        rows = [self._row(types, plan) for _ in range(chance.choice([0, 1, 3, 5, 8, 12]))]
        cuts = sorted(chance.randint(0, len(rows)) for _ in range(chance.choice([0, 0, 1, 2])))
        parts = tuple(tuple(rows[a:b]) for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True))
        run = Run(token, plan, chance.choice(DAYS), types, parts, metadata, self._crashes(), self._crashes())
        if not nested and not first and chance.random() < 0.25:
            run = replace(run, inside=self._run(f"{token}i", nested=True))
        return run

    def _plan(self, metadata: bool) -> Plan:
        chance = self.chance
        strategy = chance.choice(["merge", "merge", "merge", "append", "replace"] if metadata else ["merge", "append"])
        method, on = chance.choice(["last", "first", "hash"]), chance.random() < 0.85
        if strategy == "merge":
            hard_delete = self.hard_delete if chance.random() < 0.6 else None
            return Plan("merge", self.key, on, method, self.order_by, hard_delete)
        key = self.key if chance.random() < 0.5 else ()
        on = on if chance.random() < 0.7 else False
        by_key = on and key and (strategy, method) != ("append", "hash")
        return Plan(strategy, key, on, method, self.order_by if by_key else None)

    def _types(self, first: bool) -> dict[str, pa.DataType]:
        chance = self.chance
        needed = {*self.key} | ({name for name in self.columns if name not in self.later} if first else set())
        later = set(self.later) if first else set()
        types = {}
        for name, (narrow, wide, _, _) in self.pool.items():
            if name in later or (name not in needed and chance.random() < 0.1):
                continue
            if not first and chance.random() < 0.15:
                self.wide.add(name)
            is_wide = name in self.wide and chance.random() < 0.7
            types[name] = wide if is_wide else narrow
            if name not in needed and not first and chance.random() < 0.04:
                types[name] = pa.null()
        names = list(types)
        chance.shuffle(names)
        return {name: types[name] for name in names}

    def _row(self, types: dict[str, pa.DataType], plan: Plan) -> Row:
        chance, row = self.chance, {}
        for name, kind in types.items():
            _, wide, values, wider = self.pool[name]
            value = chance.choice([*values, *(wider if kind == wide else [])])
            if name in self.key and chance.random() < (0.002 if plan.strategy == "merge" else 0.02):
                value = None
            if kind == pa.null():
                value = None
            row[name] = float(np.float32(value)) if kind == pa.float32() and value is not None else value
        if plan.hard_delete and row.get(plan.hard_delete) == "":
            row[plan.hard_delete] = None  # a text that says no is refused
        return row

    def _crashes(self) -> tuple[Crash, ...]:
        chance = self.chance
        number = chance.choice([0, 0, 0, 0, 1, 2])
        return tuple(self._crash() for _ in range(number))

    def _crash(self) -> Crash:
        chance = self.chance
        error = chance.choice(["kill", "kill", "io"])
        return Crash(chance.choice(CRASHES), chance.random() < 0.5, chance.randint(1, 3), error)


def _column(expression: str) -> str:
    inside = expression.partition("(")[2].rstrip(")") or expression
    return inside.split(",")[-1].strip()


def sequence(seed: int) -> Sequence_:
    """Return the sequence of a seed."""
    return Generator(seed).sequence
