"""
Compare the rows of two sides: checksums find where they differ, values say whether and how.

First one scan a side: a row's key puts it into one of :data:`BUCKETS`, a bucket has the number of its rows and the sum
of their 64-bit hashes. Sums do not depend on order, and unlike XOR two equal rows do not cancel out. Buckets that agree
are equal but for a collision (two sides that differ have the same sum once in 2^64 times). Only of buckets that do not
agree the rows are read again, and compared by value: a difference that is reported is one.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from airflow_provider_phlo.quality.canonical import DuckDBForms, Forms, Type
from airflow_provider_phlo.quality.differences import (
    DIFFERENT,
    EXTRA,
    MISSING,
    Differences,
    Naming,
    aliases,
    ranked,
    read,
)
from airflow_provider_phlo.quality.engines import Engine
from airflow_provider_phlo.quality.sides import Query, Reading, Value, forms_of, united

BUCKETS = 1 << 14
# rows that are compared by value at once, of both sides: what bounds the memory
ROWS_AT_ONCE = 2_000_000


class Sum(NamedTuple):
    """What a bucket has: how many rows, and the sum of their hashes."""

    rows: int = 0
    hashes: int = 0


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
        bounds = [f"{apart} <= {double(self.absolute)}"] if self.absolute else []
        bounds += [f"{apart} <= {double(self.relative)} * abs({source})"] if self.relative else []
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
        return f"CASE WHEN abs({value}) < {double(step * 2**52)} THEN {scaled} ELSE {value} END"


def double(number: float) -> str:
    """Return the literal of a double."""
    text = repr(float(number))
    return text if "e" in text else f"{text}e0"


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
        for buckets in self._chunks():
            query = self._compared(buckets, naming.limit)
            read(self.engine.fetch(*query), self.columns, naming, found)
        return found

    # --- checksums --------------------------------------------------------------------------------------------

    @property
    def _native(self) -> bool:
        return self.algorithm is None and isinstance(self._forms, DuckDBForms)

    def _sums(self, side: Sequence[Reading]) -> dict[int, Sum]:
        hashed = united(
            reading.select([f"{self._bucket(reading)} AS bucket", f"{self._hash(reading)} AS h"]) for reading in side
        )
        sql = f"SELECT bucket, count(*), sum(h) FROM ({hashed.sql}) AS u GROUP BY bucket"  # noqa: S608 - generated
        rows = self.engine.fetch(sql, hashed.parameters)
        return {int(bucket): Sum(int(count), int(hashes)) for bucket, count, hashes in rows}

    def _bucket(self, reading: Reading) -> str:
        keys, forms = reading.values[: self.keys], self._forms
        return forms.bucket([key.comparable(forms) for key in keys], forms.row_text(keys), BUCKETS)

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

    def _chunks(self) -> Iterator[list[int]]:
        """Yield the buckets that differ, as many at once as may be compared at once."""
        source, target = self.sums
        chunk: list[int] = []
        rows = 0
        for bucket in sorted(source.keys() | target.keys()):
            ours, theirs = source.get(bucket, Sum()), target.get(bucket, Sum())
            if ours == theirs:
                continue
            if chunk and rows + ours.rows + theirs.rows > ROWS_AT_ONCE:
                yield chunk
                chunk, rows = [], 0
            chunk.append(bucket)
            rows += ours.rows + theirs.rows
        if chunk:
            yield chunk

    def _compared(self, buckets: Sequence[int], limit: int) -> Query:
        """Return the query that compares the rows of some buckets: all equal contents of a key cancel out."""
        keys, values = aliases("k", self.keys), aliases("c", len(self.columns))
        both = united(
            [self._rows(self.source, buckets, "1 AS s, 0 AS t"), self._rows(self.target, buckets, "0 AS s, 1 AS t")]
        )
        columns = ", ".join([*keys, *values])
        flags = dict(zip(self.columns, aliases("f", len(values)), strict=True))
        contents = f"SELECT {columns}, sum(s) AS s, sum(t) AS t FROM ({both.sql}) AS b GROUP BY {columns}"  # noqa: S608
        found = self._keys(contents, keys, values, list(flags.values()))
        return Query(ranked(found, keys, flags, limit), both.parameters)

    def _rows(self, side: Sequence[Reading], buckets: Sequence[int], mark: str) -> Query:
        """Return the rows of some buckets as comparable values, marked as those of the side."""
        names = [*aliases("k", self.keys), *aliases("c", len(self.columns))]
        selects = united(
            reading.select([f"{self._bucket(reading)} AS bucket", *self._named(reading, names)]) for reading in side
        )
        sql = f"SELECT {', '.join(names)}, {mark} FROM ({selects.sql}) AS u WHERE {self._among(buckets)}"  # noqa: S608
        return Query(sql, selects.parameters)

    def _among(self, buckets: Sequence[int]) -> str:
        """Return the condition that a row is in one of some buckets."""
        first, last = buckets[0], buckets[-1]
        between = sum(first <= bucket <= last for bucket in self.sums[0].keys() | self.sums[1].keys())
        if between == len(buckets):  # where all differ the list would be long
            return f"bucket BETWEEN {first} AND {last}"
        return f"bucket IN ({', '.join(map(str, buckets))})"

    def _named(self, reading: Reading, names: Sequence[str]) -> list[str]:
        values = [
            self._double(value) if self._tolerates(value, place) else value.comparable(self._forms)
            for place, value in enumerate(reading.values)
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
