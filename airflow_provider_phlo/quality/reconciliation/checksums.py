"""
Compare the rows of two sides: checksums find where they differ, values say whether and how.

First one scan a side. A row's key falls on a *place*, and many places share a bucket, which has the number of its
rows, the sum of their 64-bit hashes, and the sum of these times their places. Sums do not depend on order, and unlike
with XOR two equal rows do not cancel out. Buckets that agree are equal but for a collision: two that differ have the
same sum once in 2^64 times.

In a bucket where one key differs, the second sums are as far apart as the first, times its place: that key is found
without a look at all rows of the bucket. Rows that may differ are read again and compared by value: a difference that
is reported is one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from airflow_provider_phlo.quality.bounds import ROUNDING
from airflow_provider_phlo.quality.engines import Engine
from airflow_provider_phlo.quality.reconciliation.canonical import PLACES, DuckDBForms, Forms, Type
from airflow_provider_phlo.quality.reconciliation.differences import (
    DIFFERENT,
    EXTRA,
    MISSING,
    Differences,
    Naming,
    aliases,
    ranked,
    read,
)
from airflow_provider_phlo.quality.reconciliation.sides import Query, Reading, Value, forms_of, united

BUCKETS = 1 << 14
# so many differences are looked for one by one
PLACES_LISTED = 500
# rows that are compared by value at once, of both sides: what bounds the memory
ROWS_AT_ONCE = 2_000_000


class Sum(NamedTuple):
    """What a bucket has: how many rows, the sum of their hashes, and the sum of these times their places."""

    rows: int = 0
    hashes: int = 0
    placed: int = 0

    def place(self, other: Sum, bucket: int) -> int | None:
        """Return the place of the one key that makes two sums of a bucket differ; None if there are more."""
        hashes, placed = self.hashes - other.hashes, self.placed - other.placed
        if not hashes or placed % hashes:
            return None
        place = placed // hashes
        return place if 0 <= place < PLACES and place % BUCKETS == bucket else None


@dataclass(frozen=True)
class ValueTolerance:
    """
    How far floats and decimals may lie apart and still count as equal.

    :param relative: ``|target - source| <= relative * |source|``.
    :param absolute: ``|target - source| <= absolute``.
    """

    relative: float = 0.0
    absolute: float = 0.0

    def __bool__(self) -> bool:
        return self.relative > 0 or self.absolute > 0

    def covers(self, kind: Type) -> bool:
        """Return whether values of a type may lie apart."""
        return bool(self) and kind.family in ("float", "decimal")

    def within(self, source: str, target: str) -> str:
        """Return the condition on two doubles that they are close enough."""
        apart = f"abs({target} - {source})"
        rounding = f"{double(ROUNDING)} * abs({source})"
        bounds = [f"{apart} <= {double(self.absolute)} + {rounding}"] if self.absolute else []
        bounds += [f"{apart} <= {double(self.relative)} * abs({source}) + {rounding}"] if self.relative else []
        finite = " AND ".join(f"abs({value}) <= {double(sys.float_info.max)}" for value in (source, target))
        return f"({finite} AND ({' OR '.join(bounds)}))"

    def rounded(self, value: str) -> str:
        """
        Return a double rounded so that what is equal then is close enough; plain arithmetic, the same on all engines.

        Most of what is close enough is equal then; the rest is compared by value.
        """
        if self.relative:
            # Veltkamp's splitting keeps the leading bits
            bits = min(50, math.floor(53 + math.log2(self.relative / 2)))
            if bits < 1:
                return value
            large = f"({value} * {double(2.0**bits + 1)})"
            return f"CASE WHEN abs({value}) < 1e290 THEN {large} - ({large} - {value}) ELSE {value} END"
        step = 2.0 ** math.floor(math.log2(self.absolute / 2))
        scaled = f"floor({value} / {double(step)} + 0.5e0) * {double(step)}"
        return (
            f"CASE WHEN abs({value}) < {double(min(step * 2**52, sys.float_info.max))} THEN {scaled} ELSE {value} END"
        )


def double(number: float) -> str:
    """Return the literal of a double."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"


class _Rows(NamedTuple):
    """
    Some of the rows.

    :param condition: SQL that they meet, on the place of their key.
    :param keys: for a key column, the values that it may have.
    """

    condition: str
    keys: Mapping[int, tuple[Any, ...]] = {}


@dataclass(frozen=True)
class RowComparison:
    """
    The rows of two sides, matched by their keys.

    :param source: the tables of the source, keys first.
    :param target: those of the target.
    :param keys: how many of the columns are keys.
    :param columns: what the others are called, which are compared.
    :param algorithm: the hash of :mod:`.canonical`; None for the engine's own where it has a good one.
    """

    engine: Engine
    source: Sequence[Reading]
    target: Sequence[Reading]
    keys: int
    columns: tuple[str, ...]
    algorithm: str | None = None
    tolerance: ValueTolerance = ValueTolerance()

    @cached_property
    def _forms(self) -> Forms:
        return forms_of(self.engine)

    @cached_property
    def sums(self) -> tuple[dict[int, Sum], dict[int, Sum]]:
        """The buckets of source and target."""
        return self._sums(self.source), self._sums(self.target)

    def row_counts(self) -> tuple[int, int]:
        """Return how many rows source and target have."""
        source, target = (sum(bucket.rows for bucket in side.values()) for side in self.sums)
        return source, target

    def checksums(self) -> tuple[str, str] | None:
        """
        Return the checksums of source and target: the sum of their rows' hashes, 16 hexadecimal digits.

        None where hashes are not those of the definition: the engine's own, or of rounded values.
        """
        if self._native or self.tolerance:
            return None
        source, target = (sum(bucket.hashes for bucket in side.values()) % 2**64 for side in self.sums)
        return f"{source:016x}", f"{target:016x}"

    def differences(self, naming: Naming) -> Differences:
        """Return how the sides differ, by value."""
        found = Differences()
        for condition in self._conditions():
            query = self._compared(condition, naming.limit)
            read(self.engine.fetch(*query), self.columns, naming, found)
        return found

    # --- checksums --------------------------------------------------------------------------------------------

    @property
    def _native(self) -> bool:
        return self.algorithm is None and isinstance(self._forms, DuckDBForms)

    def _sums(self, side: Sequence[Reading]) -> dict[int, Sum]:
        hashed = united(
            reading.select([f"{self._place(reading)} AS place", f"{self._hash(reading)} AS h"]) for reading in side
        )
        sums = f"count(*), sum(h), sum(CAST(h AS {self._forms.large}) * place)"
        sql = f"SELECT place % {BUCKETS} AS bucket, {sums} FROM ({hashed.sql}) AS u GROUP BY place % {BUCKETS}"  # noqa: S608
        rows = self.engine.fetch(sql, hashed.parameters)
        return {int(bucket): Sum(*map(int, values)) for bucket, *values in rows}

    def _place(self, reading: Reading) -> str:
        keys, forms = reading.values[: self.keys], self._forms
        return forms.place([key.comparable(forms) for key in keys], forms.row_text(keys))

    def _hash(self, reading: Reading) -> str:
        forms = self._forms
        values = [self._rounded(value, place) for place, value in enumerate(reading.values)]
        if isinstance(forms, DuckDBForms) and self._native:
            return forms.native_hash([value.comparable(forms) for value in values])
        return forms.row_hash(forms.row_text(values), self.algorithm or "xxhash64")

    def _rounded(self, value: Value, place: int) -> Value:
        if not self._tolerates(value, place):
            return value
        kind = Type("float")
        return Value(self.tolerance.rounded(self._double(value)), kind, kind)

    # --- values -----------------------------------------------------------------------------------------------

    def _conditions(self) -> Iterator[_Rows]:
        """Yield which rows to compare, as many at once as memory is meant for."""
        source, target = self.sums
        differing = {
            bucket: (source.get(bucket, Sum()), target.get(bucket, Sum()))
            for bucket in sorted(source.keys() | target.keys())
            if source.get(bucket) != target.get(bucket)
        }
        places = {bucket: ours.place(theirs, bucket) for bucket, (ours, theirs) in differing.items()}
        if len(differing) <= PLACES_LISTED:
            located = [place for place in places.values() if place is not None]
            if located:
                yield self._rows_at(located)
            differing = {bucket: sums for bucket, sums in differing.items() if places[bucket] is None}
        chunk: list[int] = []
        rows = 0
        for bucket, (ours, theirs) in differing.items():
            if chunk and rows + ours.rows + theirs.rows > ROWS_AT_ONCE:
                yield _Rows(self._among(chunk))
                chunk, rows = [], 0
            chunk.append(bucket)
            rows += ours.rows + theirs.rows
        if chunk:
            yield _Rows(self._among(chunk))

    def _among(self, buckets: Sequence[int]) -> str:
        """Return the condition that a row is in one of some buckets."""
        first, last = buckets[0], buckets[-1]
        between = sum(first <= bucket <= last for bucket in self.sums[0].keys() | self.sums[1].keys())
        if between == len(buckets):  # where all differ the list would be long
            return f"place % {BUCKETS} BETWEEN {first} AND {last}"
        return f"place % {BUCKETS} IN ({', '.join(map(str, buckets))})"

    def _rows_at(self, places: Sequence[int]) -> _Rows:
        """
        Return the condition that a row's key falls on one of a few places.

        The keys are read first: files and row groups whose bounds exclude them need not be read at all then.
        """
        condition = f"place IN ({', '.join(map(str, places))})"
        names = aliases("k", self.keys)
        keys = united(self._placed([*self.source, *self.target], names))
        sql = f"SELECT DISTINCT {', '.join(names)} FROM ({keys.sql}) AS u WHERE {condition}"  # noqa: S608 - generated
        found = list(zip(*self.engine.fetch(sql, keys.parameters), strict=True))
        return _Rows(condition, {place: tuple(set(values)) for place, values in enumerate(found) if None not in values})

    def _compared(self, rows: _Rows, limit: int) -> Query:
        """Return the query that compares some rows: equal contents of a key cancel out."""
        keys, values = aliases("k", self.keys), aliases("c", len(self.columns))
        both = united(
            [self._marked(self.source, rows, "1 AS s, 0 AS t"), self._marked(self.target, rows, "0 AS s, 1 AS t")]
        )
        columns = ", ".join([*keys, *values])
        flags = dict(zip(self.columns, aliases("f", len(values)), strict=True))
        contents = f"SELECT {columns}, sum(s) AS s, sum(t) AS t FROM ({both.sql}) AS b GROUP BY {columns}"  # noqa: S608
        found = self._keys(contents, keys, values, list(flags.values()))
        return Query(ranked(found, keys, flags, limit), both.parameters)

    def _marked(self, side: Sequence[Reading], rows: _Rows, mark: str) -> Query:
        """Return some rows as comparable values, marked as those of the side."""
        names = [*aliases("k", self.keys), *aliases("c", len(self.columns))]
        selects = united(self._placed(side, names, rows.keys))
        sql = f"SELECT {', '.join(names)}, {mark} FROM ({selects.sql}) AS u WHERE {rows.condition}"  # noqa: S608
        return Query(sql, selects.parameters)

    def _placed(
        self, side: Sequence[Reading], names: Sequence[str], keys: Mapping[int, tuple[Any, ...]] | None = None
    ) -> list[Query]:
        """Return the queries for the places of rows and their first values, as comparable ones."""
        return [
            reading.select(
                [f"{self._place(reading)} AS place", *self._named(reading, names)], _having(reading, keys or {})
            )
            for reading in side
        ]

    def _named(self, reading: Reading, names: Sequence[str]) -> list[str]:
        values = [
            self._double(value) if self._tolerates(value, place) else value.comparable(self._forms)
            for place, value in enumerate(reading.values[: len(names)])
        ]
        return [f"{value} AS {name}" for value, name in zip(values, names, strict=True)]

    def _keys(self, contents: str, keys: Sequence[str], values: Sequence[str], flags: Sequence[str]) -> str:
        """Return the query for the keys that differ, how, and in which columns."""
        surplus = "sum(CASE WHEN s > t THEN s - t ELSE 0 END)"
        lack = "sum(CASE WHEN t > s THEN t - s ELSE 0 END)"
        told = "".join(
            # only of a row on each side it can be said which columns differ
            f", CASE WHEN {surplus} = 1 AND {lack} = 1 THEN {self._differs(place, value)} END AS {flag}"
            for place, (value, flag) in enumerate(zip(values, flags, strict=True))
        )
        what = f"CASE WHEN sum(t) = 0 THEN '{MISSING}' WHEN sum(s) = 0 THEN '{EXTRA}' ELSE '{DIFFERENT}' END AS what"
        names = ", ".join(keys)
        found = (
            f"SELECT {names}, {what}{told} FROM ({contents}) AS c "  # noqa: S608 - generated
            f"GROUP BY {names} HAVING sum(abs(s - t)) > 0"
        )
        if not (self.tolerance and flags):
            return found
        close = " AND ".join(f"{flag} IS NOT NULL AND NOT {flag}" for flag in flags)
        return f"SELECT * FROM ({found}) AS g WHERE NOT (what = '{DIFFERENT}' AND {close})"  # noqa: S608 - generated

    def _differs(self, place: int, value: str) -> str:
        source, target = f"max(CASE WHEN s > t THEN {value} END)", f"max(CASE WHEN t > s THEN {value} END)"
        differs = f"{source} IS DISTINCT FROM {target}"
        if not self._tolerates(self.source[0].values[self.keys + place], self.keys + place):
            return differs
        # NULL beside a number is no number that is close
        return f"{differs} AND NOT coalesce({self.tolerance.within(source, target)}, false)"

    def _tolerates(self, value: Value, place: int) -> bool:
        return place >= self.keys and self.tolerance.covers(value.wanted)

    def _double(self, value: Value) -> str:
        return self._forms.comparable(value.sql, value.found, Type("float"))


def _having(reading: Reading, keys: Mapping[int, tuple[Any, ...]]) -> Query | None:
    """Return the condition that key columns have one of these values; of types whose bounds files keep."""
    conditions: list[str] = []
    parameters: list[Any] = []
    for place, values in keys.items():
        value = reading.values[place]
        kind = reading.part.columns.get(value.sql.strip('"'), "")
        if value.wanted.family in ("integer", "date", "text") and value.found == value.wanted and kind.isalpha():
            conditions.append(f"{value.sql} IN ({', '.join('?' * len(values))})")
            parameters += values
    return Query(" AND ".join(conditions), tuple(parameters)) if conditions else None
