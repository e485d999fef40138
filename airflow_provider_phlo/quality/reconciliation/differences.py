"""How two sides differ: how many keys (or groups, or partitions) of each kind, and some of them by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# only in the source; only in the target; in both, but not equal; one group that the target has in several rows
MISSING, EXTRA, DIFFERENT, REPEATED = "missing", "extra", "different", "repeated"
KINDS = (MISSING, EXTRA, DIFFERENT, REPEATED)
SAME = "same"
MASK = "***"


@dataclass(frozen=True)
class KeyLabels:
    """
    How keys are shown in results.

    :param columns: the columns of a key.
    :param limit: the largest number of keys of each kind that are shown.
    :param hidden: columns whose values are masked.
    """

    columns: tuple[str, ...]
    limit: int = 10
    hidden: frozenset[str] = frozenset()

    def label(self, values: Sequence[Any]) -> str | None:
        """
        Return one key as text; None if nothing of it may be shown.

        :param values: those of the columns; more behind them are left out.
        """
        if self.hidden.issuperset(self.columns):
            return None
        shown = zip(self.columns, values, strict=False)
        return ", ".join(f"{name}={MASK if name in self.hidden else _as_text(value)}" for name, value in shown)


@dataclass
class Differences:
    """
    How many keys differ, and which.

    :param counts: the number of keys of each kind.
    :param labels: some keys of each kind, as text.
    :param columns: for each column, the number of keys whose values of it differ.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    labels: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    columns: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, count: int, labels: Iterable[str | None], limit: int) -> None:
        """
        Add ``count`` keys of a kind.

        :param labels: some of them as text; None for keys that may not be shown.
        :param limit: the largest number of labels to keep.
        """
        self.counts[kind] += count
        room = limit - len(self.labels[kind])
        self.labels[kind] += [label for label in labels if label is not None][: max(room, 0)]

    def without(self, *kinds: str) -> Differences:
        """Return the differences without those of some kinds."""
        return Differences(
            {kind: 0 if kind in kinds else count for kind, count in self.counts.items()},
            {kind: [] if kind in kinds else labels for kind, labels in self.labels.items()},
            self.columns,
        )

    @property
    def total(self) -> int:
        """The number of keys that differ."""
        return sum(self.counts.values())

    def text(self) -> str:
        """Return the differences as text: ``2 missing (id=1; id=2), 1 different (id=3)``."""
        parts = []
        for kind, count in self.counts.items():
            labels = self.labels[kind]
            more = "; …" if 0 < len(labels) < count else ""
            shown = f" ({'; '.join(labels)}{more})" if labels else ""
            parts += [f"{count} {kind}{shown}"] if count else []
        return ", ".join(parts)

    def metrics(self) -> dict[str, Any]:
        """Return the counts and labels for a result."""
        counts = {f"{kind}_count": count for kind, count in self.counts.items() if count or kind != REPEATED}
        return {**counts, **{kind: labels for kind, labels in self.labels.items() if labels}}


def counting_query(classified: str, keys: Sequence[str], flags: Mapping[str, str], limit: int) -> str:
    """
    Return the query that counts keys by kind, and selects the first ones of each.

    :param classified: a query with one row per key; its columns are ``what`` (the kind, or ``same``), ``keys`` and
        ``flags``.
    :param flags: for each column that is compared, the name of the truth value that says it differs.
    :param limit: the number of keys of each kind that are selected.
    :returns: SQL of rows with ``what``, the count of that kind, the count of each flag, the key, and its rank.
    """
    order = f" ORDER BY {', '.join(keys)}" if keys else ""
    totals = "".join(f", sum(CASE WHEN {flag} THEN 1 ELSE 0 END) OVER () AS w_{flag}" for flag in flags.values())
    chosen = ", ".join(["what", "n", *(f"w_{flag}" for flag in flags.values()), *keys, "rank"])
    return (
        f"SELECT {chosen} FROM (SELECT f.*, count(*) OVER (PARTITION BY what) AS n{totals}, "  # noqa: S608 - generated
        f"row_number() OVER (PARTITION BY what{order}) AS rank FROM ({classified}) AS f) AS r "
        f"WHERE rank <= CASE WHEN what = '{SAME}' THEN 1 ELSE {max(limit, 1)} END ORDER BY what, rank"
    )


def add_counted(
    differences: Differences, rows: Iterable[Sequence[Any]], columns: Sequence[str], keys: KeyLabels
) -> int:
    """
    Add the rows of a :func:`counting_query` to ``differences``.

    :param columns: the columns whose flags the query has.
    :returns: the number of keys that do not differ.
    """
    counts: dict[str, int] = {}
    labels: dict[str, list[str | None]] = {}
    totals: Sequence[Any] = ()
    for what, count, *rest in rows:
        totals, values = rest[: len(columns)], rest[len(columns) : -1]
        counts[what] = int(count)
        labels.setdefault(what, []).append(keys.label(values))
    if counts:
        for name, total in zip(columns, totals, strict=True):
            differences.columns[name] = differences.columns.get(name, 0) + int(total)
    for kind, count in counts.items():
        if kind != SAME:
            differences.add(kind, count, labels[kind], keys.limit)
    return counts.get(SAME, 0)


def aliases(letter: str, count: int) -> list[str]:
    """Return short names for ``count`` columns of a query: ``a0``, ``a1``, …."""
    return [f"{letter}{number}" for number in range(count)]


def _as_text(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray) else str(value)
