"""What a merge must do, written down as plainly as it can be: lists of dictionaries, no engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from airflow_provider_phlo.iceberg.merge import MergePlan
from tests.services.batches import Row, plain

OLDEST = (0, None)


class Model:
    """A table in memory. Each row has its source columns and, under ``day``, its partition."""

    def __init__(self) -> None:
        self.rows: list[Row] = []

    def merge(self, batch: Sequence[Row], plan: MergePlan, day: str) -> Counter[str]:
        """Merge a batch; return the counts."""
        counts: Counter[str] = Counter()
        if plan.strategy == "append":
            staged = self._append(batch, plan, counts)
        else:
            staged = deduplicated(batch, plan)
            (self._replace if plan.strategy == "replace" else self._upsert)(staged, plan, day, counts)
        if plan.strategy == "append":
            counts["inserted"] = len(staged)
            self.rows += [{**row, "day": day} for row in staged]
        counts["duplicates"] = len(batch) - sum(counts[n] for n in ("inserted", "updated", "unchanged", "deleted"))
        return +counts

    def _append(self, batch: Sequence[Row], plan: MergePlan, counts: Counter[str]) -> list[Row]:
        if not plan.deduplication:
            return list(batch)
        if plan.method != "hash":
            return deduplicated(batch, plan)
        known = {contents(row) for row in self.rows}
        new = {contents(row): row for row in reversed(batch)}
        return [row for key, row in new.items() if key not in known]

    def _replace(self, staged: list[Row], plan: MergePlan, day: str, counts: Counter[str]) -> None:
        old = [row for row in self.rows if row["day"] == day]
        if Counter(map(contents, old)) == Counter(map(contents, staged)):
            counts["unchanged"] = len(staged)
            return
        counts["replaced"], counts["inserted"] = len(old), len(staged)
        self.rows = [row for row in self.rows if row["day"] != day] + [{**row, "day": day} for row in staged]

    def _upsert(self, staged: list[Row], plan: MergePlan, day: str, counts: Counter[str]) -> None:
        for new in staged:
            same = [row for row in self.rows if key_of(row, plan) == key_of(new, plan)]
            others = [row for row in self.rows if key_of(row, plan) != key_of(new, plan)]
            counts["deleted_duplicates"] += max(len(same) - 1, 0)
            kept = max(same, key=lambda row: (version(row, plan), contents(row) == contents(new)), default=None)
            what, survivor = decided(kept, new, plan)
            counts["unchanged" if what == "outdated" else what] += 1
            counts["outdated"] += what == "outdated"
            survivor = {**new, "day": day} if survivor is new else survivor
            self.rows = others + ([survivor] if survivor is not None else [])


def decided(kept: Row | None, new: Row, plan: MergePlan) -> tuple[str, Row | None]:
    """Return what becomes of a row of the batch, and of the table's row with its key."""
    gone = is_gone(new, plan)
    if kept is None:
        return ("unchanged", None) if gone else ("inserted", new)
    if version(new, plan) < version(kept, plan):
        return "outdated", kept
    if gone:
        return "deleted", None
    return ("unchanged", kept) if contents(new) == contents(kept) else ("updated", new)


def deduplicated(batch: Sequence[Row], plan: MergePlan) -> list[Row]:
    """Return one row per key: the newest version, for ``first`` the oldest; arrival decides among equals."""
    chosen: dict[Any, Row] = {}
    for row in batch:
        key = key_of(row, plan)
        old = chosen.get(key)
        if plan.method == "first":
            better = old is None or version(row, plan) < version(old, plan)
        else:
            better = old is None or version(row, plan) >= version(old, plan)
        if better:
            chosen[key] = row
    return list(chosen.values())


def key_of(row: Row, plan: MergePlan) -> tuple[Any, ...]:
    return tuple(plain(row.get(name)) for name in plan.key)


def contents(row: Row) -> tuple[Any, ...]:
    return tuple(sorted((name, plain(value)) for name, value in row.items() if name != "day" and value is not None))


def version(row: Row, plan: MergePlan) -> Any:
    """Return what says how new a row is; NULL and NaN are older than everything, without order_by all are equal."""
    value = plain(row.get(plan.order_by)) if plan.order_by else None
    return OLDEST if value is None or value == "NaN" else (1, value)


def is_gone(row: Row, plan: MergePlan) -> bool:
    value = row.get(plan.hard_delete) if plan.hard_delete else None
    return value if isinstance(value, bool) else value is not None
