"""How people say it: numbers, sizes, times, partitions, and what happened to a table."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.terms import MetadataColumn

if TYPE_CHECKING:
    from airflow_provider_phlo.iceberg.branches.history import HistoryEntry

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")
_SPANS = (("day", 86_400), ("hour", 3_600), ("minute", 60))
_TIMES = ("year", "month", "day", "hour")
_WITH_WIDTH = re.compile(r"(bucket|truncate)\[(\d+)\]")
# what a run says of its rows, in the order in which it is read
_COUNTS = ("inserted", "updated", "deleted", "replaced", "duplicates", "quarantined")
_UPKEEP = {"compaction": "files were compacted", "manifests": "manifests were rewritten"}


def number(value: int | None) -> str:
    """Return ``8,643``; nothing for None."""
    return "" if value is None else f"{value:,}"


def plural(count: int, noun: str) -> str:
    """Return ``1 file`` or ``2 files``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def size(count: int) -> str:
    """Return a number of bytes as ``481 KB``; a KB has 1,024 bytes."""
    value, unit = float(count), 0
    while value >= 999.5 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{value:.0f} {_UNITS[unit]}" if unit == 0 or value >= 9.95 else f"{value:.1f} {_UNITS[unit]}"


def span(seconds: float) -> str:
    """Return a duration as ``12 minutes``, in its largest unit."""
    for unit, length in _SPANS:
        if seconds >= length:
            return plural(int(seconds // length), unit)
    return plural(int(seconds), "second")


def seconds(value: float | None) -> str:
    """Return a running time as ``0.42 s``, ``3.1 s``, ``4 min 12 s`` or ``2 h 5 min``; nothing for None."""
    if value is None:
        return ""
    if value < 59.95:
        return f"{value:.2f} s" if value < 0.995 else f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def percent(fraction: float | None) -> str:
    """Return ``97.3 %``; nothing for None. All but none is never all."""
    if fraction is None:
        return ""
    text = f"{fraction * 100:.1f}"
    return "99.9 %" if text == "100.0" and fraction < 1 else f"{text.removesuffix('.0')} %"


def ago(moment: datetime.datetime, now: datetime.datetime | None = None) -> str:
    """Return ``12 minutes ago``; a day for what is more than 30 days ago."""
    seconds = ((now or datetime.datetime.now(datetime.UTC)) - moment).total_seconds()
    if seconds < -60:
        return f"{moment:%Y-%m-%d %H:%M} UTC (this machine's clock is behind)"
    if seconds > 30 * 86_400:
        return f"{moment:%Y-%m-%d}"
    return f"{span(seconds)} ago" if seconds >= _SPANS[-1][1] else "just now"


def partitioning(fields: Sequence[tuple[str, str]]) -> str:
    """
    Return how a table is partitioned.

    :param fields: Iceberg's transform and the column of each field.
    """
    words = [_field(transform, column) for transform, column in fields if transform != "void"]
    return " and ".join(words) or "not partitioned"


def _field(transform: str, column: str) -> str:
    if column == MetadataColumn.PARTITION_DATE and transform in ("identity", "day"):
        return "by day of the run"
    if transform in _TIMES:
        return f"by {transform} of {column}"
    width = _WITH_WIDTH.fullmatch(transform)
    if width is None:
        return f"by {column}" if transform == "identity" else f"by {transform}({column})"
    kind, count = width.groups()
    return f"into {count} buckets of {column}" if kind == "bucket" else f"by {column} cut to {count}"


def sorting(fields: Sequence[tuple[str, str]]) -> str:
    """
    Return how a table is sorted.

    :param fields: column and direction of each field.
    """
    words = [f"{column}{' (descending)' if direction == 'desc' else ''}" for column, direction in fields]
    return f"by {', then '.join(words)}" if words else "none"


def change(entry: HistoryEntry) -> str:
    """Return what a snapshot did: ``merge: 3 inserted, 5 updated``."""
    if entry.strategy in _UPKEEP:
        return _UPKEEP[entry.strategy]
    counts = counted(entry.counts)
    if not entry.strategy:
        return f"{entry.operation} by another writer{f': {counts}' if counts else ''}"
    return f"{entry.strategy}: {counts or 'no row changed'}"


def counted(counts: Mapping[str, int]) -> str:
    """Return what changed, in words; nothing for counts that are zero."""
    return ", ".join(f"{counts[name]:,} {name}" for name in _COUNTS if counts.get(name))
