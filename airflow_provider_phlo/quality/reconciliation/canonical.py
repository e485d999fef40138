"""
When two values are equal, wherever they are: the canonical forms of a value.

``docs/reconciliation.md`` defines them with examples; here they become SQL for DuckDB and for Trino. A value has two
forms. The *comparable* form is a value of the engine: two of them are equal, as ``GROUP BY`` means it (NULL equals
NULL, NaN equals NaN), if and only if the definition says so. The *text* consists of the same characters on every
engine, and is equal for equal values only; the hash of a row is made from it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from airflow_provider_phlo.quality.engines.dialects import DUCKDB
from airflow_provider_phlo.quality.reconciliation.value_types import INTEGER_DIGITS, NANOSECONDS, ValueType
from airflow_provider_phlo.sql import literal, quote_identifier

HASHES = ("xxhash64", "md5", "sha256")
# the numbers that keys are spread over by chance
SLOTS = 1 << 30
MAX_DIGITS = 38  # of a decimal, on either engine
QUIET_NAN = "9221120237041090560"  # the bits of the one NaN that stands for all
_UNTYPED_AS = {"null": "VARCHAR", "boolean": "BOOLEAN"}


class Forms(ABC):
    """SQL that makes the canonical forms of values on one engine."""

    instant = "TIMESTAMP WITH TIME ZONE"
    timestamp = "TIMESTAMP"
    time = "TIME"
    large = "HUGEINT"
    binary = "BLOB"

    # --- values of the engine ---------------------------------------------------------------------------------

    def comparable(self, value: str, own: ValueType, common: ValueType) -> str:
        """
        Return the comparable form of ``value``.

        :param value: SQL.
        :param own: its type.
        :param common: the :func:`common_type` of all types that it is compared with.
        """
        value = self.without_nanoseconds(value, own)
        if own.family == "null" and common.family in ("null", "boolean", "binary"):
            return f"CAST(NULL AS {_UNTYPED_AS.get(common.family, self.binary)})"
        if common.nested or (common.family == "decimal" and common.digits > MAX_DIGITS):
            return self.text(value, own, common)
        if common.family == "float":
            return f"({self.double(value, own)} + 0e0)"  # -0.0 + 0.0 is 0.0
        if common.family in ("boolean", "binary"):
            return value
        return f"CAST({value} AS {self._sql_type(common)})"

    def double(self, value: str, own: ValueType) -> str:
        """Return the double that is nearest to a number."""
        return f"CAST({value} AS DOUBLE)"

    def without_nanoseconds(self, value: str, own: ValueType) -> str:
        """Return a time to the microsecond, as a merge stores it; any other value as it is."""
        return value

    def plain_decimal(self, value: str, own: ValueType) -> str:
        """Return a decimal with all of its digits as text: one before the point at least."""
        return f"CAST({value} AS VARCHAR)"

    @abstractmethod
    def quotient(self, number: str, power: str) -> str:
        """Return the whole part of a quotient of two numbers of type :attr:`large`, exactly."""

    def _sql_type(self, common: ValueType) -> str:
        if common.family == "integer":
            return "BIGINT" if common.digits <= INTEGER_DIGITS["BIGINT"] else self.large
        if common.family == "decimal":
            return f"DECIMAL({common.digits}, {common.scale})"
        times = {"date": "DATE", "time": self.time, "timestamp": self.timestamp, "instant": self.instant}
        return times.get(common.family, "VARCHAR")

    # --- text -------------------------------------------------------------------------------------------------

    def row_text(self, values: Iterable[tuple[str, ValueType, ValueType]]) -> str:
        """
        Return the text of a row: the length and the text of each value, ``N`` for NULL.

        :param values: SQL, own type and common type of each.
        """
        return self.concatenate(self._with_length(self.text(*value)) for value in values)

    def text(self, value: str, own: ValueType, common: ValueType, depth: int = 0) -> str:
        """Return the canonical text of ``value``, NULL for NULL."""
        if own.family == "null":
            return "CAST(NULL AS VARCHAR)"
        if common.family == "struct":
            return self._struct_text(value, own, common, depth)
        if common.family == "list":
            item = f"e{depth}"
            inner = self.text(item, own.members[0][1], common.members[0][1], depth + 1)
            return self.joined(self.transformed(value, item, self._with_length(inner)))
        if common.family == "map":
            return self._map_text(value, own, common, depth)
        if common.family == "decimal":
            # the value in its own scale: the common one may need more digits than a decimal can have
            plain = self.plain_decimal(value, own)
            return rf"regexp_replace({plain}, '\.?0+$', '')" if own.scale else plain
        return self._scalar_text(self.comparable(value, own, common), common)

    def _scalar_text(self, value: str, kind: ValueType) -> str:
        if kind.family == "float":
            bits = f"CAST({self.bits(value)} AS VARCHAR)"
            return f"CASE WHEN {value} = 0 THEN '0' WHEN {self.is_nan(value)} THEN '{QUIET_NAN}' ELSE {bits} END"
        if kind.family == "binary":
            return f"lower({self.hexadecimal(value)})"
        if kind.family == "date":
            return f"CAST(date_diff('day', DATE '1970-01-01', {value}) AS VARCHAR)"
        if kind.family in ("time", "timestamp", "instant"):
            return f"CAST({self.microseconds(value, kind.family)} AS VARCHAR)"
        return f"CAST({value} AS VARCHAR)"

    def _struct_text(self, value: str, own: ValueType, common: ValueType, depth: int) -> str:
        kinds, parts = dict(common.members), []
        for name, kind in sorted(own.members):
            member = self._with_length(self.text(self.member(value, name), kind, kinds[name], depth))
            # a member that is NULL adds nothing: a struct without it is equal
            parts.append(
                f"CASE WHEN {self.member(value, name)} IS NULL THEN '' ELSE {_counted_literal(name)} || {member} END"
            )
        return f"CASE WHEN {value} IS NOT NULL THEN {self.concatenate(parts)} END"

    def _map_text(self, value: str, own: ValueType, common: ValueType, depth: int) -> str:
        entry = f"e{depth}"
        kinds = zip(("key", "value"), own.members, common.members, strict=True)
        texts = [
            self._with_length(self.text(self.entry_part(entry, part), ours, common_type_of_part, depth + 1))
            for part, (_, ours), (_, common_type_of_part) in kinds
        ]
        entries = self.transformed(f"map_entries({value})", entry, " || ".join(texts))
        return f"CASE WHEN {value} IS NOT NULL THEN {self.joined(self.sorted(entries))} END"

    def _with_length(self, text: str) -> str:
        """Return a text behind its length, ``N`` for NULL."""
        return f"coalesce(CAST(length({text}) AS VARCHAR) || ':' || {text}, 'N')"

    @staticmethod
    def concatenate(parts: Iterable[str]) -> str:
        """Return the concatenation of texts, none of which is NULL."""
        return " || ".join(parts) or "''"

    # --- what engines spell differently -----------------------------------------------------------------------

    @abstractmethod
    def is_nan(self, number: str) -> str:
        """Return the condition that a double is NaN."""

    @abstractmethod
    def bits(self, number: str) -> str:
        """Return the IEEE 754 bits of a double as a signed integer."""

    @abstractmethod
    def hexadecimal(self, value: str) -> str:
        """Return bytes in hexadecimal."""

    @abstractmethod
    def microseconds(self, value: str, family: str) -> str:
        """Return a time's microseconds since 1970-01-01 UTC, or since midnight."""

    @abstractmethod
    def member(self, value: str, name: str) -> str:
        """Return the member of a struct."""

    @abstractmethod
    def entry_part(self, entry: str, part: str) -> str:
        """Return ``key`` or ``value`` of an entry of a map."""

    @abstractmethod
    def transformed(self, value: str, item: str, text: str) -> str:
        """Return the list ``value`` with ``text`` in place of each ``item``."""

    @abstractmethod
    def sorted(self, texts: str) -> str:
        """Return a list of texts in the order of their code points."""

    @abstractmethod
    def joined(self, texts: str) -> str:
        """Return the texts of a list as one."""

    @abstractmethod
    def row_hash(self, text: str, algorithm: str) -> str:
        """Return the first 64 bits of a hash of the UTF-8 text, as an exact number, signed or unsigned."""

    @abstractmethod
    def slot(self, keys: Sequence[str], text: str) -> str:
        """
        Return the slot of a key: a number below :data:`SLOTS`, spread by chance; engines need not agree on it.

        :param keys: the comparable forms of the key columns.
        :param text: their text.
        """


class DuckDBForms(Forms):
    """DuckDB, whose session runs in UTC and knows :func:`.xxhash64.register`'s function."""

    def double(self, value: str, own: ValueType) -> str:
        # DuckDB's own cast of such integers rounds twice
        large = own.family == "integer" and own.digits > INTEGER_DIGITS["UBIGINT"]
        return f"CAST(CAST({value} AS VARCHAR) AS DOUBLE)" if large else super().double(value, own)

    def without_nanoseconds(self, value: str, own: ValueType) -> str:
        types = {"time": self.time, "timestamp": self.timestamp, "instant": self.instant}
        if own.scale != NANOSECONDS or own.family not in types:
            return value
        return f"CAST({DUCKDB.without_nanoseconds(value)} AS {types[own.family]})"

    def plain_decimal(self, value: str, own: ValueType) -> str:
        plain = super().plain_decimal(value, own)
        # without digits before the point, DuckDB writes .50
        return rf"regexp_replace({plain}, '^(-?)\.', '\10.')" if own.digits == own.scale else plain

    def quotient(self, number: str, power: str) -> str:
        return f"({number} // {power})"

    def is_nan(self, number: str) -> str:
        return f"isnan({number})"

    def bits(self, number: str) -> str:
        return f"CAST(CAST({number} AS BIT) AS BIGINT)"

    def hexadecimal(self, value: str) -> str:
        return f"hex({value})"

    def microseconds(self, value: str, family: str) -> str:
        return f"epoch_us(DATE '1970-01-01' + {value})" if family == "time" else f"epoch_us({value})"

    def member(self, value: str, name: str) -> str:
        return f"struct_extract({value}, {literal(name)})"

    def entry_part(self, entry: str, part: str) -> str:
        return self.member(entry, part)

    def transformed(self, value: str, item: str, text: str) -> str:
        return f"list_transform({value}, lambda {item}: {text})"

    def sorted(self, texts: str) -> str:
        return f"list_sort({texts})"

    def joined(self, texts: str) -> str:
        return f"array_to_string({texts}, '')"

    def row_hash(self, text: str, algorithm: str) -> str:
        if algorithm == "xxhash64":
            return f"xxhash64({text})"
        return f"CAST('0x' || substr({algorithm}({text}), 1, 16) AS UBIGINT)"

    def slot(self, keys: Sequence[str], text: str) -> str:
        return f"CAST(hash({', '.join(keys)}) & {SLOTS - 1} AS BIGINT)"

    def native_hash(self, values: Sequence[str]) -> str:
        """
        Return DuckDB's own 64-bit hash of a row of comparable values: as good at finding differences, and faster.

        The outer hash mixes: without it the last value would only be XORed in, and a swap of values between two rows
        would show in few bits of their sum.
        """
        return f"hash(hash({', '.join(values)}))"


class TrinoForms(Forms):
    """Trino, whose session runs in UTC."""

    instant = "TIMESTAMP(6) WITH TIME ZONE"
    timestamp = "TIMESTAMP(6)"
    time = "TIME(6)"
    large = f"DECIMAL({MAX_DIGITS}, 0)"
    binary = "VARBINARY"

    def quotient(self, number: str, power: str) -> str:
        return f"(({number} - {number} % {power}) / {power})"  # a division that leaves a rest is rounded

    def is_nan(self, number: str) -> str:
        return f"is_nan({number})"

    def bits(self, number: str) -> str:
        return f"from_big_endian_64(to_ieee754_64({number}))"

    def hexadecimal(self, value: str) -> str:
        return f"to_hex({value})"

    def microseconds(self, value: str, family: str) -> str:
        # date_diff knows milliseconds at best: take whole seconds, and the six digits behind them
        plain = f"CAST({value} AT TIME ZONE 'UTC' AS TIMESTAMP(6))" if family == "instant" else value
        zero = "TIME '00:00:00'" if family == "time" else "TIMESTAMP '1970-01-01 00:00:00'"
        fraction = f"CAST(substr(CAST({plain} AS VARCHAR), -6) AS BIGINT)"
        return f"(date_diff('second', {zero}, date_trunc('second', {plain})) * 1000000 + {fraction})"

    def member(self, value: str, name: str) -> str:
        return f"({value}).{quote_identifier(name)}"

    def entry_part(self, entry: str, part: str) -> str:
        return f"{entry}[{1 if part == 'key' else 2}]"

    def transformed(self, value: str, item: str, text: str) -> str:
        return f"transform({value}, {item} -> {text})"

    def sorted(self, texts: str) -> str:
        return f"array_sort({texts})"

    def joined(self, texts: str) -> str:
        return f"array_join({texts}, '')"

    def row_hash(self, text: str, algorithm: str) -> str:
        return f"CAST(from_big_endian_64(substr({algorithm}(to_utf8({text})), 1, 8)) AS DECIMAL(20, 0))"

    def slot(self, keys: Sequence[str], text: str) -> str:
        return f"bitwise_and(from_big_endian_64(xxhash64(to_utf8({text}))), {SLOTS - 1})"


FORMS: dict[str, Forms] = {"duckdb": DuckDBForms(), "trino": TrinoForms()}


def _counted_literal(text: str) -> str:
    """Return the literal of a known text, behind its length."""
    return literal(f"{len(text)}:{text}")
