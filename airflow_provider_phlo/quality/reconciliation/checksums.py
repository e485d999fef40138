"""
Compare the rows of two sides: checksums find where they differ, values say whether and how.

One scan of each side comes first. A row's key falls into a *slot*, and many slots share a *bucket*, which has the
number of its rows, the sum of their 64-bit hashes, and the sum of these hashes times their slots. Sums do not depend on
the order of rows, and unlike with XOR two equal rows do not cancel out. Buckets with equal sums hold equal rows, except
for a collision: two buckets that differ have the same sum once in 2^64 times.

In a bucket where a single key differs, the difference of the weighted sums is that of the sums times the key's slot:
this finds the key without reading all rows of the bucket. Rows that may differ are read again and compared by value, so
every difference that is reported is a real one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from airflow_provider_phlo.quality.engines import SQLEngine
from airflow_provider_phlo.quality.reconciliation.canonical import SLOTS, DuckDBForms, Forms
from airflow_provider_phlo.quality.reconciliation.differences import (
    DIFFERENT,
    EXTRA,
    MISSING,
    Differences,
    KeyLabels,
    add_counted,
    aliases,
    counting_query,
)
from airflow_provider_phlo.quality.reconciliation.sides import ComparedTable, ComparedValue, forms_of, union_all
from airflow_provider_phlo.quality.reconciliation.value_tolerance import NO_TOLERANCE, ValueTolerance
from airflow_provider_phlo.sql import Query

BUCKETS = 1 << 12
# with more slots that differ, bounds of files hardly exclude any keys of theirs
SLOTS_LISTED = 500
_HALF = 32  # the bits of half a hash
# the rows of both sides that are compared by value at once: this bounds the memory
ROWS_AT_ONCE = 2_000_000


class BucketSum(NamedTuple):
    """
    The checksum of a bucket.

    :param rows: the number of its rows.
    :param hashes: the sum of their hashes.
    :param weighted: the sum of their hashes, each times the slot of the row's key.
    """

    rows: int = 0
    hashes: int = 0
    weighted: int = 0

    @classmethod
    def of(cls, rows: int, *sums: int) -> BucketSum:
        """Return the checksum out of the sums of hashes and those of weighted ones, or out of the same of halves."""
        if len(sums) == 2:
            return cls(rows, *sums)
        high, low, weighted_high, weighted_low = sums
        return cls(rows, (high << _HALF) + low, (weighted_high << _HALF) + weighted_low)

    def differing_slot(self, other: BucketSum, bucket: int) -> int | None:
        """Return the slot of the one key that makes the sums of a bucket differ; None if there are several."""
        hashes, weighted = self.hashes - other.hashes, self.weighted - other.weighted
        if not hashes or weighted % hashes:
            return None
        slot = weighted // hashes
        return slot if 0 <= slot < SLOTS and slot % BUCKETS == bucket else None


class _Selection(NamedTuple):
    """
    Which rows to compare by value.

    :param condition: SQL that they meet, on the slot of their key.
    :param keys: the values that a key column may have, by its index.
    """

    condition: str
    keys: Mapping[int, tuple[Any, ...]] = {}


@dataclass(frozen=True)
class RowComparison:
    """
    The rows of two sides, matched by their keys.

    :param source: the tables of the source; the columns of the key come first.
    :param target: the tables of the target, in the same columns.
    :param key_count: the number of columns of the key.
    :param columns: the names of the other columns, which are compared.
    :param algorithm: the hash of :mod:`.canonical`; None for the engine's own if it has a good one.
    """

    engine: SQLEngine
    source: Sequence[ComparedTable]
    target: Sequence[ComparedTable]
    key_count: int
    columns: tuple[str, ...]
    algorithm: str | None = None
    tolerance: ValueTolerance = NO_TOLERANCE

    @cached_property
    def _forms(self) -> Forms:
        return forms_of(self.engine)

    @cached_property
    def sums(self) -> tuple[dict[int, BucketSum], dict[int, BucketSum]]:
        """The checksums of the buckets of source and target."""
        return self._sums(self.source), self._sums(self.target)

    def row_counts(self) -> tuple[int, int]:
        """Return the number of rows of source and target."""
        source, target = (sum(bucket.rows for bucket in side.values()) for side in self.sums)
        return source, target

    def checksums(self) -> tuple[str, str] | None:
        """
        Return the checksums of source and target: the sum of the hashes of their rows, in 16 hexadecimal digits.

        None if the hashes are not those of the definition: the engine's own, or hashes of rounded values.
        """
        if self._native or self.tolerance:
            return None
        source, target = (sum(bucket.hashes for bucket in side.values()) % 2**64 for side in self.sums)
        return f"{source:016x}", f"{target:016x}"

    def differences(self, keys: KeyLabels) -> Differences:
        """Return how the values of the sides differ."""
        found = Differences()
        for selection in self._selections():
            add_counted(found, self.engine.fetch(self._query(selection, keys.limit)), self.columns, keys)
        return found

    # --- checksums --------------------------------------------------------------------------------------------

    @property
    def _native(self) -> bool:
        return self.algorithm is None and isinstance(self._forms, DuckDBForms)

    def _sums(self, side: Sequence[ComparedTable]) -> dict[int, BucketSum]:
        hashed = union_all(
            table.select([f"{self._slot(table)} AS slot", f"{self._hash(table)} AS h"]) for table in side
        )
        sums = f"count(*), sum(h), sum(CAST(h AS {self._forms.large}) * slot)"
        if self._native:
            # products of half a hash fit into 64 bits, whose sums are much faster
            halves = (f"CAST(h >> {_HALF} AS BIGINT)", f"CAST(h & {2**_HALF - 1} AS BIGINT)")
            sums = ", ".join(["count(*)", *(f"sum({half}{weight})" for weight in ("", " * slot") for half in halves)])
        sql = f"SELECT slot % {BUCKETS} AS bucket, {sums} FROM ({hashed.sql}) AS u GROUP BY slot % {BUCKETS}"  # noqa: S608
        rows = self.engine.fetch(Query(sql, hashed.parameters))
        return {int(bucket): BucketSum.of(*map(int, values)) for bucket, *values in rows}

    def _slot(self, table: ComparedTable) -> str:
        keys, forms = table.values[: self.key_count], self._forms
        return forms.slot([key.comparable(forms) for key in keys], forms.row_text(keys))

    def _hash(self, table: ComparedTable) -> str:
        forms = self._forms
        values = [self._round(value, index) for index, value in enumerate(table.values)]
        if isinstance(forms, DuckDBForms) and self._native:
            return forms.native_hash([value.comparable(forms) for value in values])
        return forms.row_hash(forms.row_text(values), self.algorithm or "xxhash64")

    def _round(self, value: ComparedValue, index: int) -> ComparedValue:
        if not self._tolerates(value, index):
            return value
        sql, kind = self.tolerance.rounded(value.comparable(self._forms), value.common)
        return ComparedValue(sql, kind, kind)

    # --- values -----------------------------------------------------------------------------------------------

    def _selections(self) -> Iterator[_Selection]:
        """Yield which rows to compare, as many at once as memory allows."""
        source, target = self.sums
        differing = {
            bucket: (source.get(bucket, BucketSum()), target.get(bucket, BucketSum()))
            for bucket in sorted(source.keys() | target.keys())
            if source.get(bucket) != target.get(bucket)
        }
        slots = {bucket: ours.differing_slot(theirs, bucket) for bucket, (ours, theirs) in differing.items()}
        located = [slot for slot in slots.values() if slot is not None]
        if located:
            yield self._select_slots(located)
        differing = {bucket: sums for bucket, sums in differing.items() if slots[bucket] is None}
        chunk: list[int] = []
        rows = 0
        for bucket, (ours, theirs) in differing.items():
            if chunk and rows + ours.rows + theirs.rows > ROWS_AT_ONCE:
                yield _Selection(self._in_buckets(chunk))
                chunk, rows = [], 0
            chunk.append(bucket)
            rows += ours.rows + theirs.rows
        if chunk:
            yield _Selection(self._in_buckets(chunk))

    def _in_buckets(self, buckets: Sequence[int]) -> str:
        """Return the condition that a row is in one of some buckets."""
        first, last = buckets[0], buckets[-1]
        between = sum(first <= bucket <= last for bucket in self.sums[0].keys() | self.sums[1].keys())
        if between == len(buckets):  # no list: it would be long if all buckets differ
            return f"slot % {BUCKETS} BETWEEN {first} AND {last}"
        return f"slot % {BUCKETS} IN ({', '.join(map(str, buckets))})"

    def _select_slots(self, slots: Sequence[int]) -> _Selection:
        """
        Select the rows whose keys fall into one of a few slots.

        The keys of a few are read first: then files and row groups whose bounds exclude them need not be read at all.
        """
        condition = f"slot IN ({', '.join(map(str, slots))})"
        if len(slots) > SLOTS_LISTED:
            return _Selection(condition)
        names = aliases("k", self.key_count)
        keys = union_all(self._with_slots([*self.source, *self.target], names))
        sql = f"SELECT DISTINCT {', '.join(names)} FROM ({keys.sql}) AS u WHERE {condition}"  # noqa: S608 - generated
        columns = zip(*self.engine.fetch(Query(sql, keys.parameters)), strict=True)
        return _Selection(
            condition, {index: tuple(set(values)) for index, values in enumerate(columns) if None not in values}
        )

    def _query(self, selection: _Selection, limit: int) -> Query:
        """Return the query that compares some rows: rows of a key that are equal on both sides cancel out."""
        keys, values = aliases("k", self.key_count), aliases("c", len(self.columns))
        both = union_all(
            [
                self._select_side(self.source, selection, "1 AS s, 0 AS t"),
                self._select_side(self.target, selection, "0 AS s, 1 AS t"),
            ]
        )
        columns = ", ".join([*keys, *values])
        flags = dict(zip(self.columns, aliases("f", len(values)), strict=True))
        if self.tolerance and values:
            classified = self._classify_pairs(both.sql, keys, values, list(flags.values()))
        else:
            contents = f"SELECT {columns}, sum(s) AS s, sum(t) AS t FROM ({both.sql}) AS b GROUP BY {columns}"  # noqa: S608
            classified = self._classify(contents, keys, values, list(flags.values()))
        return Query(counting_query(classified, keys, flags, limit), both.parameters)

    def _select_side(self, side: Sequence[ComparedTable], selection: _Selection, counts: str) -> Query:
        """Return the query for the selected rows of a side as comparable values, with ``counts`` as last columns."""
        names = [*aliases("k", self.key_count), *aliases("c", len(self.columns))]
        rows = union_all(self._with_slots(side, names, selection.keys))
        sql = f"SELECT {', '.join(names)}, {counts} FROM ({rows.sql}) AS u WHERE {selection.condition}"  # noqa: S608
        return Query(sql, rows.parameters)

    def _with_slots(
        self, side: Sequence[ComparedTable], names: Sequence[str], keys: Mapping[int, tuple[Any, ...]] | None = None
    ) -> list[Query]:
        """
        Return one query per table for the slots of rows and their first values, in comparable form.

        :param names: the names that the values get.
        :param keys: as of :class:`_Selection`.
        """
        return [
            table.select(
                [f"{self._slot(table)} AS slot", *self._with_names(table, names)], _key_filter(table, keys or {})
            )
            for table in side
        ]

    def _with_names(self, table: ComparedTable, names: Sequence[str]) -> list[str]:
        values = [value.comparable(self._forms) for value in table.values[: len(names)]]
        return [f"{value} AS {name}" for value, name in zip(values, names, strict=True)]

    def _classify(self, contents: str, keys: Sequence[str], values: Sequence[str], flags: Sequence[str]) -> str:
        """Return the query for the keys that differ, with the kind of difference and the columns that differ."""
        surplus = "sum(CASE WHEN s > t THEN s - t ELSE 0 END)"
        shortfall = "sum(CASE WHEN t > s THEN t - s ELSE 0 END)"
        column_flags = "".join(
            # which columns differ is known only if one row on each side is left over
            f", CASE WHEN {surplus} = 1 AND {shortfall} = 1 THEN {_differs(value)} END AS {flag}"
            for value, flag in zip(values, flags, strict=True)
        )
        what = f"CASE WHEN sum(t) = 0 THEN '{MISSING}' WHEN sum(s) = 0 THEN '{EXTRA}' ELSE '{DIFFERENT}' END AS what"
        names = ", ".join(keys)
        return (
            f"SELECT {names}, {what}{column_flags} FROM ({contents}) AS c "  # noqa: S608 - generated
            f"GROUP BY {names} HAVING sum(abs(s - t)) > 0"
        )

    def _classify_pairs(self, both: str, keys: Sequence[str], values: Sequence[str], flags: Sequence[str]) -> str:
        """
        Return the same where numbers may differ a little: rows of a key that are not equal are compared in pairs.

        Pairs are made in the order of the values: first of those that have to be equal, then of the rounded numbers. So
        rows whose hashes say that they are close enough do pair up.
        """
        names, columns = ", ".join(keys), ", ".join([*keys, *values])
        copies = f"SELECT *, row_number() OVER (PARTITION BY {columns}, s) AS copy FROM ({both}) AS b"  # noqa: S608
        rows = f"SELECT {columns}, sum(s) AS s, sum(t) AS t FROM ({copies}) AS c GROUP BY {columns}, copy"  # noqa: S608
        order = f"PARTITION BY {names}, s, t ORDER BY {', '.join(self._order(values))}"
        placed = f"SELECT *, row_number() OVER ({order}) AS place FROM ({rows}) AS r"  # noqa: S608 - generated
        differs = ", ".join(
            f"{self._differs(index, value)} AS {flag}"
            for index, (value, flag) in enumerate(zip(values, flags, strict=True))
        )
        # an equal pair is one row
        pairs = (
            f"SELECT {names}, sum(s) AS s, sum(t) AS t, abs(s - t) AS unequal, {differs} FROM ({placed}) AS p "  # noqa: S608
            f"GROUP BY {names}, abs(s - t), place"
        )
        what = f"CASE WHEN sum(t) = 0 THEN '{MISSING}' WHEN sum(s) = 0 THEN '{EXTRA}' ELSE '{DIFFERENT}' END AS what"
        found = "".join(
            f", CASE WHEN sum(unequal) = 1 AND sum(s) = sum(t) THEN bool_or(unequal = 1 AND {flag}) END AS {flag}"
            for flag in flags
        )
        apart = " OR ".join(["s <> t", *flags])
        return (
            f"SELECT {names}, {what}{found} FROM ({pairs}) AS q "  # noqa: S608 - generated
            f"GROUP BY {names} HAVING sum(CASE WHEN {apart} THEN 1 ELSE 0 END) > 0"
        )

    def _order(self, values: Sequence[str]) -> list[str]:
        """Return by what rows of a key are put in order."""
        exact, rounded, close = [], [], []
        for index, value in enumerate(values):
            compared = self.source[0].values[self.key_count + index]
            if self._tolerates(compared, self.key_count + index):
                rounded.append(self.tolerance.rounded(value, compared.common)[0])
                close.append(value)
            else:
                exact.append(value)
        return [*exact, *rounded, *close]

    def _differs(self, index: int, value: str) -> str:
        differs, compared = _differs(value), self.source[0].values[self.key_count + index]
        if not self._tolerates(compared, self.key_count + index):
            return differs
        close = self.tolerance.within(_of_source(value), _of_target(value), compared.common, self._forms)
        return f"({differs} AND NOT coalesce({close}, false))"  # NULL is never close to a number

    def _tolerates(self, value: ComparedValue, index: int) -> bool:
        return index >= self.key_count and self.tolerance.covers(value.common)


def _of_source(value: str) -> str:
    """Return a value of the one row that the source has more."""
    return f"max(CASE WHEN s > t THEN {value} END)"


def _of_target(value: str) -> str:
    return f"max(CASE WHEN t > s THEN {value} END)"


def _differs(value: str) -> str:
    return f"{_of_source(value)} IS DISTINCT FROM {_of_target(value)}"


def _key_filter(table: ComparedTable, keys: Mapping[int, tuple[Any, ...]]) -> Query | None:
    """Return the condition that key columns have one of these values, for types whose bounds files keep."""
    conditions: list[str] = []
    parameters: list[Any] = []
    for index, values in keys.items():
        value = table.values[index]
        kind = table.table.columns.get(value.sql.strip('"'), "")
        if value.common.family in ("integer", "date", "text") and value.own == value.common and kind.isalpha():
            conditions.append(f"{value.sql} IN ({', '.join('?' * len(values))})")
            parameters += values
    return Query(" AND ".join(conditions), tuple(parameters)) if conditions else None
