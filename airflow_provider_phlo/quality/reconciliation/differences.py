"""What two sides differ in: how many keys (or groups, or partitions) of each kind, and some of them by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# only in the source; only in the target; in both, and not equal; one group in several rows of the target
MISSING, EXTRA, DIFFERENT, REPEATED = "missing", "extra", "different", "repeated"
KINDS = (MISSING, EXTRA, DIFFERENT, REPEATED)
SAME = "same"
MASK = "***"


@dataclass(frozen=True)
class Naming:
    """
    How keys are told.

    :param columns: what a key is made of.
    :param limit: of each kind, at most so many are named.
    :param hidden: columns whose values are never shown.
    """

    columns: tuple[str, ...]
    limit: int = 10
    hidden: frozenset[str] = frozenset()

    def text(self, values: Sequence[Any]) -> str | None:
        """Return one key as text, of whose values the first are told; None if there is nothing to tell."""
        if self.hidden.issuperset(self.columns):
            return None
        shown = zip(self.columns, values, strict=False)
        return ", ".join(f"{name}={MASK if name in self.hidden else _plain(value)}" for name, value in shown)


@dataclass
class Differences:
    """
    :param counts: how many of each kind.
    :param named: some of each kind.
    :param columns: of how many keys each column differs.
    """

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    named: dict[str, list[str]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    columns: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, count: int, names: Iterable[str | None], limit: int) -> None:
        """Take in ``count`` more of a kind, some of which have names."""
        self.counts[kind] += count
        room = limit - len(self.named[kind])
        self.named[kind] += [name for name in names if name is not None][: max(room, 0)]

    def without(self, *kinds: str) -> Differences:
        """Return the same less whole kinds, which somebody does not mind."""
        return Differences(
            {kind: 0 if kind in kinds else count for kind, count in self.counts.items()},
            {kind: [] if kind in kinds else names for kind, names in self.named.items()},
            self.columns,
        )

    @property
    def total(self) -> int:
        """How many keys are not as they should be."""
        return sum(self.counts.values())

    def text(self) -> str:
        """Return a sentence's worth: ``2 missing (id=1; id=2), 1 different (id=3)``."""
        parts = []
        for kind, count in self.counts.items():
            names = self.named[kind]
            more = "; …" if 0 < len(names) < count else ""
            told = f" ({'; '.join(names)}{more})" if names else ""
            parts += [f"{count} {kind}{told}"] if count else []
        return ", ".join(parts)

    def metrics(self) -> dict[str, Any]:
        """Return counts and names for a result."""
        counts = {f"{kind}_count": count for kind, count in self.counts.items() if count or kind != REPEATED}
        return {**counts, **{kind: names for kind, names in self.named.items() if names}}


def ranked(found: str, keys: Sequence[str], flags: Mapping[str, str], limit: int) -> str:
    """
    Return the query that counts and names what ``found`` selects.

    :param found: a query whose columns are ``what`` (a kind, or ``same``), ``keys`` and ``flags``.
    :param flags: for each column that may differ, the name of the truth value that it does.
    :returns: SQL of rows with what, how many of that kind, how many of each flag, and the key.
    """
    order = f" ORDER BY {', '.join(keys)}" if keys else ""
    sums = "".join(f", sum(CASE WHEN {flag} THEN 1 ELSE 0 END) OVER () AS w_{flag}" for flag in flags.values())
    chosen = ", ".join(["what", "n", *(f"w_{flag}" for flag in flags.values()), *keys, "place"])
    return (
        f"SELECT {chosen} FROM (SELECT f.*, count(*) OVER (PARTITION BY what) AS n{sums}, "  # noqa: S608 - generated
        f"row_number() OVER (PARTITION BY what{order}) AS place FROM ({found}) AS f) AS r "
        f"WHERE place <= CASE WHEN what = '{SAME}' THEN 1 ELSE {max(limit, 1)} END ORDER BY what, place"
    )


def read(rows: Iterable[Sequence[Any]], flags: Sequence[str], naming: Naming, into: Differences) -> int:
    """Take what a :func:`ranked` query gave into ``into``; return how many were the same."""
    named: dict[str, tuple[int, list[str | None]]] = {}
    for what, count, *rest in rows:
        values = rest[len(flags) : -1]
        named.setdefault(what, (int(count), []))[1].append(naming.text(values))
        weights = rest[: len(flags)]
    if named:
        for name, weight in zip(flags, weights, strict=True):
            into.columns[name] = into.columns.get(name, 0) + int(weight)
    same = named.pop(SAME, (0, []))[0]
    for kind, (count, names) in named.items():
        into.add(kind, count, names, naming.limit)
    return same


def aliases(letter: str, count: int) -> list[str]:
    """Return names for ``count`` columns of a query that has no others."""
    return [f"{letter}{number}" for number in range(count)]


def _plain(value: Any) -> str:
    if value is None:
        return "NULL"
    return f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray) else str(value)
