"""The five reconciliations against a model in plain Python: random pairs of tables, every kind of value."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_provider_phlo.quality.reconciliation import (
    AggregateSpec,
    ChecksumReconciliationCheck,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    Reconciliation,
    ReconciliationCheck,
    checksums,
)

NAN = float("nan")
DAYS = [dt.date(2024, 1, 1), dt.date(2024, 1, 2), dt.date(2024, 1, 3)]
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("part", pa.string()),
        ("day", pa.date32()),
        ("ratio", pa.float64()),
        ("amount", pa.decimal128(12, 2)),
        ("text", pa.string()),
        ("tags", pa.list_(pa.int64())),
    ]
)
# few values each, so that rows meet
VALUES: dict[str, list[Any]] = {
    "id": [0, 1, 2, 3, None],
    "part": ["a", "A", "", None],
    "day": [*DAYS, None],
    "ratio": [0.0, -0.0, 1.0, 1.0 + 2**-52, 1.01, NAN, math.inf, None],
    "amount": [Decimal("1.50"), Decimal("1.51"), Decimal("0.00"), None],
    "text": ["x", "y", "", None],
    "tags": [[], [None], [1], None],
}
ROW = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()})
Row = dict[str, Any]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[Row], list[Row]]:
    """Draw rows, and what became of them: some dropped, doubled, changed in a cell, some added."""
    source = draw(st.lists(ROW, max_size=12))
    target: list[Row] = []
    for row in source:
        fate = draw(st.sampled_from(["same"] * 8 + ["dropped", "doubled", "changed"]))
        name = draw(st.sampled_from(sorted(VALUES)))
        copies = {"dropped": 0, "doubled": 2}.get(fate, 1)
        target += [row | ({name: draw(st.sampled_from(VALUES[name]))} if fate == "changed" else {})] * copies
    return source, draw(st.permutations(target + draw(st.lists(ROW, max_size=2))))


PROPERTY = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
TOLERANCES = st.sampled_from([0.0, 0.0, 0.1, 0.5, 1.0])
ABSOLUTE = st.sampled_from([0, 0, 1, 3])


def result(check: Reconciliation, source: list[Row], target: list[Row]) -> Any:
    frames = {"tables": {"source": pa.Table.from_pylist(source, SCHEMA)}}
    return check.execute(pa.Table.from_pylist(target, SCHEMA), frames)


def plain(value: Any) -> Any:
    """Return a value whose Python equality is that of the contract."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    return ("list", *value) if isinstance(value, list) else value


def key_of(row: Row, names: tuple[str, ...]) -> tuple[Any, ...]:
    return tuple(plain(row[name]) for name in names)


def agrees(difference: float, source: float, relative: float, absolute: float) -> bool:
    return difference <= absolute or difference <= relative * abs(source)


@given(pairs(), st.sampled_from([None, "day"]), st.booleans(), TOLERANCES, ABSOLUTE)
@PROPERTY
def test_row_counts(pair, partition, at_least, relative, absolute):
    source, target = pair
    check = ReconciliationCheck(
        "source", partition, "rowcount_gte" if at_least else "rowcount_parity", relative, absolute, limit=100
    )
    counts = [Counter(row["day"] if partition else None for row in rows) for rows in pair]
    wrong = 0
    for key in counts[0] | counts[1]:
        ours, theirs = counts[0][key], counts[1][key]
        apart = ours - theirs if at_least else abs(ours - theirs)
        wrong += apart > 0 and not agrees(apart, ours, relative, absolute)
    found = result(check, source, target)
    assert found.passed == (wrong == 0), found.message
    assert (found.metrics["source_count"], found.metrics["target_count"]) == (len(source), len(target))
    if partition:
        assert sum(found.metrics[f"{kind}_count"] for kind in ("missing", "extra", "different")) == wrong


def classes(pair: Any, keys: tuple[str, ...], columns: tuple[str, ...]) -> Counter[str]:
    """Return how many keys are missing, extra and different."""
    contents: list[dict[Any, Counter[Any]]] = [defaultdict(Counter), defaultdict(Counter)]
    for side, rows in zip(contents, pair, strict=True):
        for row in rows:
            side[key_of(row, keys)][key_of(row, columns)] += 1
    found: Counter[str] = Counter()
    for key in contents[0].keys() | contents[1].keys():
        ours, theirs = contents[0].get(key), contents[1].get(key)
        if ours != theirs:
            found["missing" if theirs is None else "extra" if ours is None else "different"] += 1
    return found


@contextmanager
def rows_at_once(limit: int) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksums, "ROWS_AT_ONCE", limit)
        yield


KEYS = st.sampled_from([("id",), ("id", "part"), ("ratio",), ("tags",), ("amount", "day")])


@given(pairs(), KEYS, TOLERANCES, ABSOLUTE, st.booleans(), st.booleans(), st.sampled_from([1, 5, 100]))
@PROPERTY
def test_key_parity(pair, keys, relative, absolute, allow_missing, allow_extra, at_once):
    check = KeyParityCheck(
        "source",
        keys,
        tolerance=relative,
        absolute_tolerance=absolute,
        allow_missing=allow_missing,
        allow_extra=allow_extra,
    )
    expected = classes(pair, keys, ())
    wrong = (0 if allow_missing else expected["missing"]) + (0 if allow_extra else expected["extra"])
    with rows_at_once(at_once):
        found = result(check, *pair)
    assert found.failed == wrong, found.message
    assert found.passed == agrees(wrong, len(pair[0]), relative, absolute)


@given(
    pairs(),
    st.one_of(KEYS, st.just(())),
    st.sampled_from(["own", "xxhash64", "md5"]),
    TOLERANCES,
    ABSOLUTE,
    st.sampled_from([1, 5, 100]),
)
@PROPERTY
def test_checksums(pair, keys, hashing, relative, absolute, at_once):
    check = ChecksumReconciliationCheck(
        "source",
        key_columns=keys,
        hash_algorithm="md5" if hashing == "md5" else "xxhash64",
        checksums=hashing == "xxhash64",
        tolerance=relative,
        absolute_tolerance=absolute,
        limit=100,
    )
    with rows_at_once(at_once):
        found = result(check, *pair)
    others = tuple(sorted(VALUES.keys() - {*keys}))
    expected = classes(pair, keys, others) if keys else classes(pair, others, ())
    if not keys:  # a row that is there more often on one side
        ours, theirs = (Counter(key_of(row, others) for row in rows) for rows in pair)
        expected["different"] = sum(ours[row] != theirs[row] for row in ours.keys() & theirs.keys())
    assert {kind: found.metrics[f"{kind}_count"] for kind in ("missing", "extra", "different")} == {
        kind: expected[kind] for kind in ("missing", "extra", "different")
    }, found.message
    assert found.passed == agrees(expected.total(), len(pair[0]), relative, absolute)
    if hashing != "own":
        same = Counter(key_of(row, tuple(VALUES)) for row in pair[0]) == Counter(
            key_of(row, tuple(VALUES)) for row in pair[1]
        )
        assert (found.metrics["source_checksum"] == found.metrics["target_checksum"]) == same


CLOSE = st.sampled_from([(0.0, 0.0), (1e-9, 0.0), (0.0, 0.001), (0.05, 0.0), (0.0, 2.0), (0.001, 0.02)])


@given(pairs(), CLOSE)
@PROPERTY
def test_values_within_a_tolerance_are_equal(pair, close):
    """Keys are unique here: only then rows are paired."""
    relative, absolute = close
    source, target = (list({row["id"]: row for row in rows}.values()) for rows in pair)

    def equal(ours: Any, theirs: Any) -> bool:
        if plain(ours) == plain(theirs):
            return True
        if not all(isinstance(value, float | Decimal) and math.isfinite(value) for value in (ours, theirs)):
            return False
        apart = abs(float(theirs) - float(ours))
        return (absolute > 0 and apart <= absolute) or (relative > 0 and apart <= relative * abs(float(ours)))

    ours, theirs = ({row["id"]: row for row in rows} for rows in (source, target))
    wrong = len(ours.keys() ^ theirs.keys())
    wrong += sum(not all(equal(ours[key][name], theirs[key][name]) for name in VALUES) for key in ours.keys() & theirs)
    check = ChecksumReconciliationCheck(
        "source", key_columns="id", value_tolerance=relative, absolute_value_tolerance=absolute
    )
    found = result(check, source, target)
    assert found.failed == wrong, found.message


GROUPS = st.sampled_from([(), ("day",), ("part",), ("day", "ratio")])


def aggregate(rows: list[Row], groups: tuple[str, ...]) -> dict[Any, tuple[Any, ...]]:
    """Return number, sum of the amounts and greatest text of each group."""
    found: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        found[key_of(row, groups)].append(row)
    if not groups and not rows:
        found[()] = []
    totals = {}
    for key, members in found.items():
        amounts = [row["amount"] for row in members if row["amount"] is not None]
        texts = [row["text"] for row in members if row["text"] is not None]
        totals[key] = (len(members), sum(amounts) if amounts else None, max(texts) if texts else None)
    return totals


def wrong_aggregates(ours: Any, theirs: Any, relative: float, absolute: float) -> bool:
    for one, other in zip(ours, theirs, strict=True):
        numbers = not isinstance(one, str | None) and not isinstance(other, str | None)
        if one != other and not (numbers and agrees(float(abs(other - one)), float(one), relative, absolute)):
            return True
    return False


@given(pairs(), GROUPS, TOLERANCES, ABSOLUTE, st.booleans())
@PROPERTY
def test_aggregates(pair, groups, relative, absolute, allow_missing):
    expressions = {"n": "count(*)", "total": "sum(amount)", "last": "max(text)"}
    check = MultiAggregateConsistencyCheck(
        "source",
        [AggregateSpec(name, sql, target_expression=sql) for name, sql in expressions.items()],
        groups,
        tolerance=relative,
        absolute_tolerance=absolute,
        allow_missing=allow_missing,
    )
    ours, theirs = (aggregate(rows, groups) for rows in pair)
    expected = Counter(missing=0 if allow_missing else len(ours.keys() - theirs), extra=len(theirs.keys() - ours))
    expected["different"] = sum(
        wrong_aggregates(ours[key], theirs[key], relative, absolute) for key in ours.keys() & theirs.keys()
    )
    found = result(check, *pair)
    assert {kind: found.metrics[f"{kind}_count"] for kind in expected} == expected, found.message
    assert found.passed == (expected.total() == 0)
