"""Verdicts and counts of the five reconciliations, on random pairs of tables of every type, against plain Python."""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import Any, NamedTuple

import pytest

from airflow_provider_phlo.quality import QualityCheck, QualityCheckResult
from airflow_provider_phlo.quality.reconciliation import (
    AggregateConsistencyCheck,
    AggregateSpec,
    ChecksumReconciliationCheck,
    KeyParityCheck,
    MultiAggregateConsistencyCheck,
    ReconciliationCheck,
    checksums,
)
from airflow_provider_phlo.quality.scan import run_checks_on_frame
from tests.sizes import size
from tests.unit.quality.reconciliation.oracle import (
    Aggregate,
    Counts,
    Pair,
    aggregate_differences,
    count,
    random_aggregates,
    random_pair,
    row_counts,
    row_differences,
    within,
)

SEEDS = range(int(os.environ.get("PHLO_TEST_SEEDS", size(20, 3000))))
STEP = max(10, len(SEEDS) // 60)
RELATIVE = [0.0, 0.0, 0.1, 0.29, 1 / 3, 0.5, 1.0, 2, 1e-9, 0.001]
ABSOLUTE = [0, 0, 1, 3, 0.01, 0.1, 5e-324, 1e300, 50, 49.99, 1e-20, 2**53 + 1]
HASHES = [{}, {"checksums": True}, {"hash_algorithm": "md5"}]


class Case(NamedTuple):
    """A check, what it counts, whether it passes, and whether the checksums are equal, if it gives any."""

    check: QualityCheck
    counts: Counts
    passed: bool
    same: bool | None = None


class Cases:
    """Checks of a pair of tables, and what plain Python says."""

    def __init__(self, chance: random.Random, pair: Pair, source: str = "source") -> None:
        self.chance, self.pair, self.names, self.source = chance, pair, list(pair.kinds), source

    def tolerances(self) -> tuple[Any, Any]:
        return self.chance.choice(RELATIVE), self.chance.choice(ABSOLUTE)

    def allowed(self) -> dict[str, bool]:
        return {name: True for name in ("allow_missing", "allow_extra") if self.chance.random() < 0.1}

    def judged(self, check: Any, counts: Counts, same: bool | None = None) -> Case:
        """Return a case of keys, whose number is within the tolerance of the check or not."""
        counts = without(counts, check)
        total, rows = sum(counts.values()), len(self.pair.rows[0])
        return Case(check, counts, within(total, rows, check.tolerance, check.absolute_tolerance), same)

    def row_counts(self, partition: str | None) -> Case:
        at_least, (relative, absolute) = self.chance.random() < 0.5, self.tolerances()
        kind = "rowcount_gte" if at_least else "rowcount_parity"
        check = ReconciliationCheck(self.source, partition, kind, relative, absolute, **self.allowed())
        # without a partition there are no keys that may be missing
        counts = row_counts(self.pair, partition, at_least, relative, absolute)
        counts = without(counts, check)
        return Case(check, counts if partition else count(), not any(counts.values()))

    def keys(self, keys: list[str]) -> Case:
        relative, absolute = self.tolerances()
        check = KeyParityCheck(self.source, keys, tolerance=relative, absolute_tolerance=absolute, **self.allowed())
        return self.judged(check, row_differences(self.pair, keys, []))

    def rows(self, keys: list[str]) -> Case:
        columns, (relative, absolute) = [name for name in self.names if name not in keys], self.tolerances()
        close, hashing = self.tolerances() if keys else (0, 0), self.chance.choice(HASHES)
        check = ChecksumReconciliationCheck(
            self.source,
            key_columns=keys,
            tolerance=relative,
            absolute_tolerance=absolute,
            value_tolerance=close[0],
            absolute_value_tolerance=close[1],
            **hashing,
            **self.allowed(),
        )
        counts = row_differences(self.pair, keys or columns, columns, *close)
        ours, theirs = (
            Counter(self.pair.key(row, side, self.names) for row in self.pair.rows[side]) for side in (0, 1)
        )
        return self.judged(check, counts, ours == theirs if hashing and not any(close) else None)

    def aggregates(self) -> Case:
        aggregates, (relative, absolute) = random_aggregates(self.chance, self.pair), self.tolerances()
        groups = self.chance.sample(self.names, self.chance.choice([0, 1, min(2, len(self.names))]))
        allowed = self.allowed()
        check = aggregate_check(
            self.source, aggregates, groups, tolerance=relative, absolute_tolerance=absolute, **allowed
        )
        counts = without(aggregate_differences(self.pair, groups, aggregates, relative, absolute), check)
        return Case(check, counts, not any(counts.values()))

    def some(self) -> list[Case]:
        """Return some of the checks of each kind."""
        keys = [
            self.chance.choice([[name], self.chance.sample(self.names, min(2, len(self.names)))]) for name in self.names
        ]
        found = [*map(self.row_counts, [None, *self.names]), *map(self.keys, keys)]
        found += [self.rows(each) for each in (*keys, []) if len(each) < len(self.names)]
        return [*self.chance.sample(found, min(len(found), 8)), self.aggregates(), self.aggregates()]


def without(counts: Counts, check: Any) -> Counts:
    """Return the counts without what the check allows."""
    allowed = {"missing": check.allow_missing, "extra": check.allow_extra}
    return {kind: 0 if allowed.get(kind) else number for kind, number in counts.items()}


def aggregate_check(source: str, aggregates: list[Aggregate], groups: list[str], **tolerances: Any) -> QualityCheck:
    sql = {"distinct": 'count(DISTINCT "{}")', "count": 'count("{}")', "sum": 'sum("{}")', "min": 'min("{}")'}
    expressions = [sql.get(each.function, 'max("{}")').format(each.column) for each in aggregates]
    if len(aggregates) == 1:
        (each,), (expression,) = aggregates, expressions
        target = None if each.held else expression
        return AggregateConsistencyCheck(
            source, each.held or "v", expression, groups, target_expression=target, **tolerances
        )
    specs = [
        AggregateSpec(f"v{place}", expression, each.held, target_expression=None if each.held else expression)
        for place, (each, expression) in enumerate(zip(aggregates, expressions, strict=True))
    ]
    return MultiAggregateConsistencyCheck(source, specs, groups, **tolerances)


def check_seed(seed: int) -> None:
    chance = random.Random(seed)
    pair = random_pair(chance, unique=chance.random() < 0.5)
    expected = Cases(chance, pair).some()
    context = {"tables": {"source": pair.table(0)}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checksums, "ROWS_AT_ONCE", chance.choice([5, 2_000_000]))
        results = run_checks_on_frame(pair.table(1), [case.check for case in expected], context)
    for result, case in zip(results, expected, strict=True):
        judge(result, case, (seed, pair))


def judge(result: QualityCheckResult, case: Case, where: Any) -> None:
    """Hold a result against what plain Python says."""
    assert "missing_count" in result.metrics or "source_count" in result.metrics, (case, result.message, where)
    found = {kind: result.metrics.get(f"{kind}_count", 0) for kind in case.counts}
    assert (found, result.passed) == (case.counts, case.passed), (case, result.message, where)
    if case.same is not None:
        equal = result.metrics["source_checksum"] == result.metrics["target_checksum"]
        assert equal == case.same, (case, result.message, where)


@pytest.mark.long
@pytest.mark.parametrize("seeds", [SEEDS[start : start + STEP] for start in SEEDS[::STEP]])
def test_reconciliations_are_as_plain_python_has_them(seeds):
    for seed in seeds:
        check_seed(seed)
