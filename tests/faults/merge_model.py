"""
What a table holds after a run, by the rules of the manual, on plain lists and dicts: nothing of the engine is used.

Rows are dicts of all columns. ``DAY`` and ``RUN`` are the metadata that the model follows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Row = dict[str, Any]
DAY, RUN = "_phlo_partition_date", "_phlo_run_id"


@dataclass(frozen=True)
class Plan:
    """What an author says of a merge; the names are those of ``MergePlan``."""

    strategy: str = "merge"
    key: tuple[str, ...] = ()
    deduplication: bool = True
    method: str = "last"
    order_by: str | None = None
    hard_delete: str | None = None


class Refused(Exception):
    """The batch cannot be merged, and nothing may be written."""


@dataclass
class Expected:
    """
    What a run should do.

    :param rows: the table afterwards, but for ``choices``.
    :param choices: of keys that the table has several times: the rows one of which is left.
    """

    counts: Counter[str]
    rows: list[Row]
    choices: list[list[Row]] = field(default_factory=list)
    changed: bool = True


def plain(value: Any) -> Hashable:
    """Return what values that count as equal have in common."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else value + 0.0
    if isinstance(value, Mapping):
        return tuple((name, plain(each)) for name, each in sorted(value.items()))
    if isinstance(value, list):
        return tuple(plain(each) for each in value)
    return value  # type: ignore[no-any-return]


def content(row: Row) -> Hashable:
    """Return the source columns that are not NULL."""
    return frozenset((name, plain(value)) for name, value in row.items() if value is not None and name[0] != "_")


def whole(row: Row) -> Hashable:
    """Return the row with its metadata, in a form that can be counted."""
    return content(row), row.get(DAY), row.get(RUN)


def age(row: Row, column: str) -> tuple[Any, ...]:
    """Return what orders versions: NULL and NaN are older than everything."""
    value = row[column]
    return () if value is None or value != value else (value,)


def apply(plan: Plan, table: list[Row], batch: list[Row], day: Any) -> Expected:
    """Return what the table holds when ``batch`` has been merged."""
    if plan.strategy == "append":
        return _append(plan, table, batch)
    if plan.strategy == "replace":
        return _replace(plan, table, batch, day)
    return _merge(plan, table, batch)


def _append(plan: Plan, table: list[Row], batch: list[Row]) -> Expected:
    new = batch
    if plan.deduplication and plan.method == "hash":
        seen = {content(row) for row in table}
        new = [row for row in _distinct(batch) if content(row) not in seen]
    elif plan.deduplication:
        new = _one_of_each(plan, batch)
    counts = Counter(inserted=len(new), duplicates=len(batch) - len(new))
    return Expected(counts, table + new, changed=bool(new))


def _replace(plan: Plan, table: list[Row], batch: list[Row], day: Any) -> Expected:
    new = batch
    if plan.key:
        new = _one_of_each(plan, batch)
    elif plan.deduplication and plan.method == "hash":
        new = _distinct(batch)
    old = [row for row in table if row[DAY] == day]
    counts = Counter(duplicates=len(batch) - len(new))
    if Counter(map(content, old)) == Counter(map(content, new)):
        return Expected(counts + Counter(unchanged=len(new)), table, changed=False)
    kept = [row for row in table if row[DAY] != day]
    return Expected(counts + Counter(inserted=len(new), replaced=len(old)), kept + new)


def _merge(plan: Plan, table: list[Row], batch: list[Row]) -> Expected:
    survivors = _one_of_each(plan, batch)
    at: dict[Hashable, list[Row]] = {}
    for row in table:
        at.setdefault(_key(plan, row), []).append(row)
    counts = Counter(duplicates=len(batch) - len(survivors))
    rows, choices = [], []
    for row in survivors:
        hits = at.pop(_key(plan, row), [])
        counts["deleted_duplicates"] += max(len(hits) - 1, 0)
        newest = _newest(plan, hits)
        newest = [hit for hit in newest if hit and content(hit) == content(row)] or newest
        outcomes = [_outcome(plan, hit, row) for hit in newest]
        counts[outcomes[0][0]] += 1
        counts["outdated"] += newest[0] is not None and _is_older(plan, row, newest[0])
        left = {whole(each): each for _, each in outcomes if each is not None}
        if len(left) > 1:
            choices.append(list(left.values()))
        rows += list(left.values()) if len(left) == 1 else []
    rows += [row for rest in at.values() for row in rest]
    names = ("inserted", "updated", "deleted", "deleted_duplicates")
    return Expected(counts, rows, choices, any(counts[name] for name in names))


def _outcome(plan: Plan, hit: Row | None, row: Row) -> tuple[str, Row | None]:
    """Return how a row of the batch is counted, and what is left of the key."""
    deletes = plan.hard_delete is not None and row[plan.hard_delete] not in (None, False)
    if hit is None:
        return ("unchanged", None) if deletes else ("inserted", row)
    if _is_older(plan, row, hit):
        return "unchanged", hit
    if deletes:
        return "deleted", None
    return ("unchanged", hit) if content(hit) == content(row) else ("updated", row)


def _is_older(plan: Plan, row: Row, other: Row) -> bool:
    return plan.order_by is not None and age(row, plan.order_by) < age(other, plan.order_by)


def _newest(plan: Plan, hits: list[Row]) -> list[Row | None]:
    """Return the rows of the table that may be the one that counts."""
    if not hits or plan.order_by is None:
        return [*hits] or [None]
    newest = max(age(row, plan.order_by) for row in hits)
    return [row for row in hits if age(row, plan.order_by) == newest]


def _key(plan: Plan, row: Row) -> Hashable:
    return tuple(plain(row[name]) for name in plan.key)


def _distinct(rows: Iterable[Row]) -> list[Row]:
    found: dict[Hashable, Row] = {}
    for row in rows:
        found.setdefault(content(row), row)
    return list(found.values())


def _one_of_each(plan: Plan, batch: list[Row]) -> list[Row]:
    if not plan.key:
        return batch
    if any(row[name] is None for row in batch for name in plan.key):
        raise Refused("NULL in a key")
    groups: dict[Hashable, list[Row]] = {}
    for row in batch:
        groups.setdefault(_key(plan, row), []).append(row)
    if not plan.deduplication and len(groups) < len(batch):
        raise Refused("a key twice, and deduplication is off")
    return [_standing_for_all(plan, rows) for rows in groups.values()]


def _standing_for_all(plan: Plan, rows: list[Row]) -> Row:
    column = plan.order_by
    if plan.method == "first":
        return rows[0] if column is None else min(rows, key=lambda row: age(row, column))
    return rows[-1] if column is None else max(reversed(rows), key=lambda row: age(row, column))
