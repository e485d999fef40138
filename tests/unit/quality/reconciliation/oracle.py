"""Random pairs of tables of every type, and what plain Python says of them: the oracle of the five reconciliations."""

from __future__ import annotations

import math
import random
import struct
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from fractions import Fraction
from itertools import accumulate
from typing import Any

import pyarrow as pa

NAN, INF = float("nan"), math.inf
DAY = 86_400_000_000_000
Row = dict[str, Any]

# Each family's values are plain: numbers, or nanoseconds since 1970 or midnight, which any type of the family may hold.
NUMBERS: list[Any] = [
    0, -0.0, 1, -1, 2, 100, 101, 127, -128, 200, 2**31 - 1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1, 2**64 - 1, 10**17,
    10**17 + 50, 10**27, 10**27 + 1, -(10**37), 10**38 - 1, 0.1, 0.3, 1.5, 1 / 3, 5e-324, -1e308, 1e308, NAN, INF, -INF,
    1.0 + 2**-52, *map(Decimal, ("0.01", "0.10", "-0.05", "0.05", "1.50", "1.51", "1.4999999999", "9999999999.99")),
    *map(Decimal, ("20000000000000.00", "20000000000000.02", "0.00000000000000000001", "129", "29.01", "-100")),
]  # fmt: skip
_SECOND = 10**9
MOMENTS = [
    0, -1000, -1, 1, 999, 1000, _SECOND, DAY - 1000, DAY, -DAY, 19737 * DAY, 19737 * DAY + 3600 * _SECOND,
    19737 * DAY + 23 * 3600 * _SECOND, 19737 * DAY + 1001, -62135596800 * _SECOND, 253402300799 * _SECOND + 999_999_000,
]  # fmt: skip
CLOCKS = [0, 1000, 1, 3_723_000_040_000, DAY - 1000, 3600 * _SECOND]
TEXTS = [
    "",
    " ",
    "a",
    "A",
    "a ",
    "ä",
    "a\u0308",
    "N",
    "1:a",
    "NULL",
    "'\"\\",
    "\n",
    "\x00",
    "\U0001f469\u200d\U0001f4bb",
]
BYTES = [b"", b"\x00", b"\xff\x00\xfe", b"abc"]

NUMBER_TYPES: list[pa.DataType] = [
    pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(), pa.float32(),
    pa.float64(), pa.float64(), pa.decimal128(12, 2), pa.decimal128(4, 4), pa.decimal128(20, 0), pa.decimal128(38, 0),
    pa.decimal128(38, 10), pa.decimal128(38, 20), pa.decimal128(18, 2), pa.decimal128(38, 38),
]  # fmt: skip
TIME_TYPES: list[pa.DataType] = [
    pa.date32(), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("ns"),
    pa.timestamp("us", "UTC"), pa.timestamp("us", "Asia/Kolkata"), pa.timestamp("ns", "UTC"),
    pa.timestamp("s", "America/New_York"),
]  # fmt: skip
CLOCK_TYPES: list[pa.DataType] = [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")]
TEXT_TYPES: list[pa.DataType] = [
    pa.string(),
    pa.large_string(),
    pa.string_view(),
    pa.dictionary(pa.int32(), pa.string()),
]
BYTE_TYPES: list[pa.DataType] = [pa.binary(), pa.large_binary()]
# what Iceberg stores as it is
STORED: list[pa.DataType] = [
    pa.int32(), pa.int64(), pa.float32(), pa.float64(), pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"),
    pa.time64("us"), pa.string(), pa.binary(), pa.bool_(), *filter(pa.types.is_decimal, NUMBER_TYPES),
]  # fmt: skip
UNITS = {"s": _SECOND, "ms": 10**6, "us": 1000, "ns": 1}
FAMILIES: dict[str, tuple[list[pa.DataType], list[Any]]] = {
    "number": (NUMBER_TYPES, NUMBERS),
    "time": (TIME_TYPES, MOMENTS),
    "clock": (CLOCK_TYPES, CLOCKS),
    "text": (TEXT_TYPES, TEXTS),
    "bytes": (BYTE_TYPES, BYTES),
    "flag": ([pa.bool_()], [True, False]),
}


_WIDE = Context(prec=80)


# --- plain values of a type -------------------------------------------------------------------------------------------


def is_special(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def held(value: Any, kind: pa.DataType) -> Any:
    """Return what a column of a type holds for a plain value; None if it cannot hold it."""
    if value is None or pa.types.is_null(kind):
        return None
    if pa.types.is_floating(kind):
        return _as_float(value, kind)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        return None if is_special(value) else _as_exact(Fraction(value), kind)
    if pa.types.is_date(kind):
        return value // DAY * DAY
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        whole = value // UNITS[kind.unit] * UNITS[kind.unit]
        return whole if kind.unit != "ns" or abs(whole) < 2**63 else None
    if pa.types.is_list(kind):
        return [held(each, kind.value_type) for each in value]
    return {item.name: held(value[item.name], item.type) for item in kind} if pa.types.is_struct(kind) else value


def _as_float(value: Any, kind: pa.DataType) -> float:
    number = float(value)
    small = kind == pa.float32() and (abs(number) < 3e38 or not math.isfinite(number))
    return float(struct.unpack("f", struct.pack("f", number))[0]) if small else INF if kind == pa.float32() else number


def _as_exact(number: Fraction, kind: pa.DataType) -> Fraction | None:
    units = number * 10 ** (kind.scale if pa.types.is_decimal(kind) else 0)
    low, high = -(2 ** (kind.bit_width - 1)), 2 ** (kind.bit_width - 1) - 1
    if pa.types.is_unsigned_integer(kind):
        low, high = 0, 2**kind.bit_width - 1
    if pa.types.is_decimal(kind):
        low, high = 1 - 10**kind.precision, 10**kind.precision - 1
    return number if units.denominator == 1 and low <= units <= high else None


def array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Return what a column holds as Arrow."""
    missing = pa.array([each is None for each in values], pa.bool_())
    if pa.types.is_struct(kind):
        members = [array([(each or {}).get(item.name) for each in values], item.type) for item in kind]
        return pa.StructArray.from_arrays(members, fields=list(kind), mask=missing)
    if pa.types.is_list(kind):
        ends = list(accumulate((len(each or ()) for each in values), initial=0))
        items = array([item for each in values for item in each or ()], kind.value_type)
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), items, kind, mask=missing)
    unit = DAY if pa.types.is_date(kind) else UNITS[kind.unit] if hasattr(kind, "unit") else 0
    if unit:
        counts = [None if each is None else each // unit for each in values]
        return pa.array(counts, pa.int32() if kind.bit_width == 32 else pa.int64()).cast(kind)
    if pa.types.is_integer(kind):
        return pa.array([None if each is None else int(each) for each in values], kind)
    if pa.types.is_decimal(kind):
        scale = kind.scale
        exact = [None if each is None else Decimal(int(each * 10**scale)).scaleb(-scale, _WIDE) for each in values]
        return pa.array(exact, kind)
    return pa.array(values, kind)


# --- pairs of tables --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """
    Two tables.

    :param kinds: the type of each column in the source, and in the target.
    :param rows: what the columns hold, in the source and in the target.
    :param stored: whether all types are those of Iceberg tables.
    """

    kinds: dict[str, tuple[pa.DataType, pa.DataType]]
    rows: tuple[list[Row], list[Row]]
    stored: bool = False

    def table(self, side: int) -> pa.Table:
        """Return the source (0) or the target (1) as Arrow."""
        rows = self.rows[side]
        return pa.table({name: array([row[name] for row in rows], kind[side]) for name, kind in self.kinds.items()})

    def key(self, row: Row, side: int, names: Sequence[str], day: str | None = None) -> tuple[Any, ...]:
        """Return the values of some columns so that Python finds them equal if the contract does."""
        kinds = self.kinds
        return tuple(
            comparable(row[name] if name != day else _day(row[name], kinds[name]), kinds[name]) for name in names
        )

    def is_number(self, name: str) -> bool:
        return any(map(_is_number, self.kinds[name])) and all(
            _is_number(kind) or pa.types.is_null(kind) for kind in self.kinds[name]
        )


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)


def _day(value: Any, kinds: Sequence[pa.DataType]) -> Any:
    known = value is not None and any(map(pa.types.is_timestamp, kinds))
    return _microseconds(value) * 1000 // DAY * DAY if known else value


def _microseconds(nanoseconds: int) -> int:
    """Return a time without its nanoseconds, as Arrow cuts them when a table stores it: towards 1970."""
    return -(-nanoseconds // 1000) if nanoseconds < 0 else nanoseconds // 1000


def comparable(value: Any, kinds: Sequence[pa.DataType]) -> Any:
    """
    Return a value so that Python finds two equal if the contract does.

    :param kinds: the types of both sides.
    """
    known = [kind for kind in kinds if not pa.types.is_null(kind)]
    if value is None or not known:
        return None
    if _is_number(known[0]):
        if not any(map(pa.types.is_floating, known)):
            return value
        return "NaN" if value != value else float(value) + 0.0
    if pa.types.is_temporal(known[0]):
        return _microseconds(value)
    if isinstance(value, list):
        return ("list", *(comparable(each, [kind.value_type for kind in known]) for each in value))
    if isinstance(value, dict):
        members = {item.name: [kind.field(item.name).type for kind in known] for item in known[0]}
        found = ((name, comparable(value[name], kinds)) for name, kinds in members.items())
        return tuple(member for member in found if member[1] is not None)
    return value


def random_pair(chance: random.Random, *, stored: bool = False, unique: bool = False) -> Pair:
    """
    Return two tables; the target is what became of the source: rows dropped, doubled, changed in a cell, added.

    :param stored: only types that Iceberg has.
    :param unique: no value of ``id`` occurs twice on a side.
    """
    kinds: dict[str, tuple[pa.DataType, pa.DataType]] = {"id": (pa.int64(), pa.int64())}
    values: dict[str, list[Any]] = {}
    for number in range(chance.choice([1, 3, 6])):
        name, family = f"c{number}", chance.choice(["number", "number", *FAMILIES, "list", "struct"])
        kinds[name], values[name] = _random_column(chance, family, stored)
    nulls = {name: chance.choice([0.0, 0.0, 0.3, 1.0]) for name in values}

    def cell(name: str) -> Any:
        return None if chance.random() < nulls[name] else chance.choice(values[name])

    size = chance.choice([0, 1, 2, 5, 12])
    source: list[Row] = [{"id": number, **{name: cell(name) for name in values}} for number in range(size)]
    if not unique:
        source = [{**row, "id": chance.choice([row["id"], row["id"] // 2, None])} for row in source]
    target: list[Row] = []
    for row in source:
        fate, name = chance.random(), chance.choice(list(values))
        copies = 0 if fate < 0.1 else 2 if fate > 0.95 and not unique else 1
        target += [{**row, name: cell(name)} if 0.1 < fate < 0.3 else row] * copies
    if chance.random() < 0.3:
        target.append({"id": size + 1, **{name: cell(name) for name in values}})
    chance.shuffle(target)
    held_by = [
        [{name: held(value, kinds[name][side]) for name, value in row.items()} for row in rows]
        for side, rows in enumerate((source, target))
    ]
    return Pair(kinds, (held_by[0], held_by[1]), stored)


def _random_column(
    chance: random.Random, family: str, stored: bool
) -> tuple[tuple[pa.DataType, pa.DataType], list[Any]]:
    """Return the types of a column on both sides, and some plain values."""
    if family in ("list", "struct"):
        (one, other), values = _random_column(chance, chance.choice(list(FAMILIES)), stored)
        if family == "list":
            lists = [[], [None], *([chance.choice(values), chance.choice([None, *values])] for _ in range(3))]
            return (pa.list_(one), pa.list_(other)), lists
        structs = [{"x": chance.choice([None, *values]), "y": chance.choice([None, "a"])} for _ in range(4)]
        return (_struct(one), _struct(other)), structs
    types, pool = FAMILIES[family]
    types = [kind for kind in types if kind in STORED or not stored]
    one = chance.choice(types)
    other = one if chance.random() < 0.6 else chance.choice([*types, pa.null()] if not stored else types)
    both = [value for value in pool if held(value, one) is not None and held(value, other) is not None]
    wanted = both if both and chance.random() < 0.7 else pool
    return (one, other), chance.sample(wanted, min(len(wanted), chance.choice([1, 2, 4])))


def _struct(kind: pa.DataType) -> pa.DataType:
    return pa.struct([("x", kind), ("y", pa.string())])


# --- what the contract says of a pair ---------------------------------------------------------------------------------


def within(difference: int, source: int, relative: float, absolute: float) -> bool:
    """Return whether a difference of counts is within a tolerance."""
    return difference <= Fraction(str(absolute)) or difference <= Fraction(str(relative)) * source


def close(ours: Any, theirs: Any, kinds: Sequence[pa.DataType], relative: float, absolute: float) -> bool:
    """Return whether two numbers are close enough."""
    if ours is None or theirs is None or is_special(ours) or is_special(theirs):
        return False
    if not any(map(pa.types.is_floating, kinds)):
        room = 9 * Fraction(10) ** (37 - max(getattr(kind, "scale", 0) for kind in kinds))
        return abs(ours) + abs(theirs) < room and bool(within(abs(theirs - ours), abs(ours), relative, absolute))
    ours, theirs = float(ours), float(theirs)
    apart = abs(theirs - ours)
    return (absolute > 0 and apart <= absolute) or apart <= min(relative * (1 + 2**-50), sys.float_info.max) * abs(
        ours
    ) < INF


Counts = dict[str, int]


def count(**kinds: int) -> Counts:
    return {"missing": 0, "extra": 0, "different": 0, "repeated": 0, **kinds}


def row_counts(pair: Pair, partition: str | None, at_least: bool, relative: float, absolute: float) -> Counts:
    """Return how many partitions differ in the number of their rows."""
    names = [partition] if partition else []
    ours, theirs = (Counter(pair.key(row, side, names, partition) for row in pair.rows[side]) for side in (0, 1))
    found: Counter[str] = Counter()
    for key in ours | theirs:
        apart = ours[key] - theirs[key] if at_least else abs(ours[key] - theirs[key])
        if apart > 0 and not within(apart, ours[key], relative, absolute):
            found["missing" if not theirs[key] else "extra" if not ours[key] else "different"] += 1
    return count(**found)


def row_differences(
    pair: Pair, keys: Sequence[str], columns: Sequence[str], relative: float = 0, absolute: float = 0
) -> Counts:
    """Return how many keys are missing, extra and different; without columns, only which keys there are counts."""
    sides: list[dict[Any, list[Row]]] = [defaultdict(list), defaultdict(list)]
    for side, rows in enumerate(pair.rows):
        for row in rows:
            sides[side][pair.key(row, side, keys)].append(row)
    ours, theirs = sides
    different = sum(
        bool(columns) and not _pair_up(pair, ours[key], theirs[key], columns, relative, absolute)
        for key in ours.keys() & theirs.keys()
    )
    return count(missing=len(ours.keys() - theirs.keys()), extra=len(theirs.keys() - ours.keys()), different=different)


def _pair_up(
    pair: Pair, ours: list[Row], theirs: list[Row], columns: Sequence[str], relative: float, absolute: float
) -> bool:
    """Return whether each row of a key has one of its own on the other side that is equal, or close enough."""
    if len(ours) != len(theirs):
        return False

    def alike(one: Row, other: Row) -> bool:
        return all(
            pair.key(one, 0, [name]) == pair.key(other, 1, [name])
            or (_tolerated(pair.kinds[name]) and close(one[name], other[name], pair.kinds[name], relative, absolute))
            for name in columns
        )

    partner: dict[int, int] = {}

    def find(one: int, tried: set[int]) -> bool:
        for other in range(len(theirs)):
            if other not in tried and alike(ours[one], theirs[other]):
                tried.add(other)
                if other not in partner or find(partner[other], tried):
                    partner[other] = one
                    return True
        return False

    return all(find(one, set()) for one in range(len(ours)))


def _tolerated(kinds: Sequence[pa.DataType]) -> bool:
    known = [kind for kind in kinds if not pa.types.is_null(kind)]
    return bool(known) and all(map(_is_number, known)) and not all(map(pa.types.is_integer, known))


@dataclass(frozen=True)
class Aggregate:
    """
    An aggregate of both sides, or of the source beside a column of the target.

    :param function: ``count``, ``distinct``, ``sum``, ``min`` or ``max``.
    :param column: what it is over.
    :param held: the column of the target that is compared with it instead of the same aggregate.
    """

    function: str
    column: str
    held: str | None = None

    def kinds(self, pair: Pair) -> tuple[pa.DataType, pa.DataType]:
        """Return the types of both values, as far as they matter for comparing them."""
        of_target = pair.kinds[self.held or self.column]
        kinds = (pair.kinds[self.column][0], of_target[1])
        if self.function not in ("min", "max"):
            kinds = tuple(pa.int64() if self.function != "sum" or pa.types.is_integer(kind) else kind for kind in kinds)
        return (kinds[0], of_target[1] if self.held else kinds[1])

    def of(self, rows: list[Row], side: int, pair: Pair) -> Any:
        """Return the value of some rows of one side."""
        if side and self.held:
            return _greatest([row[self.held] for row in rows])
        values = [row[self.column] for row in rows if row[self.column] is not None]
        if self.function == "count":
            return Fraction(len(values))
        if self.function == "distinct":
            kinds = [pair.kinds[self.column][side]] * 2
            return Fraction(len({_distinct(value, kinds) for value in values}))
        if self.function == "sum":
            return sum(values, Fraction(0)) if values else None
        return _greatest(values) if self.function == "max" else _least(values)


def _distinct(value: Any, kinds: Sequence[pa.DataType]) -> Any:
    return value if pa.types.is_temporal(kinds[0]) else comparable(value, kinds)


def _greatest(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return next((value for value in known if value != value), max(known, default=None))


def _least(values: list[Any]) -> Any:
    numbers = [value for value in values if value == value]
    return min(numbers, default=NAN if values else None)


def aggregate_differences(
    pair: Pair, groups: Sequence[str], aggregates: Sequence[Aggregate], relative: float, absolute: float
) -> Counts:
    """Return how many groups are missing, extra, repeated in the target, and different."""
    sides: list[dict[Any, list[Row]]] = [defaultdict(list), defaultdict(list)]
    for side, rows in enumerate(pair.rows):
        if not groups:
            sides[side][()] = rows
        for row in rows if groups else ():
            sides[side][pair.key(row, side, groups)].append(row)
    ours, theirs = sides
    found: Counter[str] = Counter()
    for key in ours.keys() & theirs.keys():
        if any(each.held for each in aggregates) and len(theirs[key]) > 1:
            found["repeated"] += 1
        else:
            found["different"] += any(
                _apart(pair, each, ours[key], theirs[key], relative, absolute) for each in aggregates
            )
    return count(missing=len(ours.keys() - theirs.keys()), extra=len(theirs.keys() - ours.keys()), **found)


def _apart(
    pair: Pair, aggregate: Aggregate, ours: list[Row], theirs: list[Row], relative: float, absolute: float
) -> bool:
    kinds = aggregate.kinds(pair)
    one, other = (aggregate.of(rows, side, pair) for side, rows in enumerate((ours, theirs)))
    if comparable(one, kinds) == comparable(other, kinds):
        return False
    return not (any(map(_is_number, kinds)) and close(one, other, kinds, relative, absolute))


def random_aggregates(chance: random.Random, pair: Pair) -> list[Aggregate]:
    """Return one to four aggregates; all of the same form."""
    plain = [name for name, kinds in pair.kinds.items() if not pa.types.is_nested(kinds[0])]
    held = chance.random() < 0.3
    made: list[Aggregate] = []
    for _ in range(chance.choice([1, 2, 4])):
        name = chance.choice(plain)
        functions = ["min", "max"] if held else ["count", "distinct", "min", "max"]
        made.append(
            Aggregate(chance.choice([*functions, *["sum"] * 3 * _can_sum(pair, name)]), name, name if held else None)
        )
    return made


def _can_sum(pair: Pair, name: str) -> bool:
    exact = all(pa.types.is_integer(kind) or pa.types.is_decimal(kind) for kind in pair.kinds[name])
    total = sum(abs(row[name] or 0) for rows in pair.rows for row in rows) if exact else 0
    if pair.stored and any(map(pa.types.is_integer, pair.kinds[name])) and total >= 2**63:
        return False  # Trino's sum of integers has 64 bits
    return exact and total < Fraction(10) ** (37 - max(getattr(kind, "scale", 0) for kind in pair.kinds[name]))
