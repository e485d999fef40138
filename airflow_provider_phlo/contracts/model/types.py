"""The types that contracts promise: names of Iceberg, of SQL engines and of the standard, compared with a column's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FixedType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StringType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
    UUIDType,
)

Kinds = frozenset[type[IcebergType]]

# A promise holds for what readers of that type can read: an int where a long is promised, not the reverse.
_WHOLE: Kinds = frozenset({IntegerType, LongType})
_REAL: Kinds = frozenset({FloatType, DoubleType})
_NUMBER: Kinds = _WHOLE | _REAL | {DecimalType}
_MOMENT: Kinds = frozenset({TimestampType, TimestamptzType})
_TEXT: Kinds = frozenset({StringType})
_BYTES: Kinds = frozenset({BinaryType, FixedType})
_ZONED: Kinds = frozenset({TimestamptzType})
_LOCAL: Kinds = frozenset({TimestampType})
_STRUCT: Kinds = frozenset({StructType})
LISTS: Kinds = frozenset({ListType})
MAPS: Kinds = frozenset({MapType})

_NAMES: dict[str, Kinds] = {
    **dict.fromkeys(("boolean", "bool"), frozenset({BooleanType})),
    # "integer" is the standard's word for whole numbers of any size
    **dict.fromkeys(("integer", "long", "bigint", "int64"), _WHOLE),
    **dict.fromkeys(("int", "int32", "smallint", "tinyint", "int16", "int8"), frozenset({IntegerType})),
    **dict.fromkeys(("double", "double precision", "float64"), _REAL),
    **dict.fromkeys(("float", "real", "float32", "float4"), frozenset({FloatType})),
    **dict.fromkeys(("number", "numeric", "decimal"), _NUMBER),
    **dict.fromkeys(("string", "str", "text", "varchar", "char", "character varying", "json", "variant"), _TEXT),
    **dict.fromkeys(("binary", "bytes", "bytea", "varbinary", "blob", "fixed"), _BYTES),
    "date": frozenset({DateType}),
    "time": frozenset({TimeType}),
    **dict.fromkeys(("timestamp", "datetime"), _MOMENT),
    **dict.fromkeys(("timestamptz", "timestamp_tz", "timestamp with time zone", "timestamp_ltz"), _ZONED),
    **dict.fromkeys(("timestamp_ntz", "timestamp without time zone"), _LOCAL),
    "uuid": frozenset({UUIDType}),
    **dict.fromkeys(("object", "struct", "record", "row"), _STRUCT),
    **dict.fromkeys(("array", "list", "vector"), LISTS),
    "map": MAPS,
}
_WITH_ARGUMENTS = re.compile(r"([A-Za-z][A-Za-z0-9_ ]*?)\s*[(\[<](.*)[)\]>]", re.DOTALL)
_DIGITS = re.compile(r"\s*(\d+)\s*(?:,\s*(\d+)\s*)?")
# ``a: long``, ``a long``, and as Iceberg writes it: ``1: a: optional long``
_MEMBER = re.compile(r"(?:\d+:\s*)?[`\"]?([^\s:`\"]+)[`\"]?(?:\s*:\s*|\s+)(?:(?:optional|required)\s+)?(.+)", re.DOTALL)
_DEEPEST = 32
# what lists and maps hold
ITEM, KEY, VALUE = "item", "key", "value"


@dataclass(frozen=True)
class PromisedType:
    """
    A type as a contract has it; two are equal that promise the same, however they are written.

    :param text: as written.
    :param kinds: the Iceberg types that keep the promise.
    :param decimal: precision and scale, if it is an exact decimal.
    :param length: the most characters of a text, if the type says so.
    :param parts: the types of a struct's members by their names, of a list's ``item``, of a map's ``key`` and
        ``value``; empty if the contract does not say.
    """

    text: str = field(compare=False)
    kinds: Kinds
    decimal: tuple[int, int] | None = None
    length: int | None = None
    parts: tuple[tuple[str, PromisedType], ...] = ()

    def keeps(self, kind: IcebergType) -> bool:
        """Return whether values of ``kind`` are what was promised, and so is what they hold."""
        if self.decimal and isinstance(kind, DecimalType):
            precision, scale = self.decimal
            return kind.scale == scale and kind.precision <= precision
        if type(kind) not in self.kinds or (self.decimal and type(kind) not in _WHOLE):
            return False
        held = _held(kind)
        return all(name in held and part.keeps(held[name]) for name, part in self.parts)

    def is_within(self, other: PromisedType) -> bool:
        """Return whether those who read ``other`` can read this."""
        if not self.kinds <= other.kinds:
            return False
        if other.decimal:
            precision, scale = other.decimal
            if self.decimal is None or self.decimal[1] != scale or self.decimal[0] > precision:
                return False
        if other.length is not None and (self.length is None or self.length > other.length):
            return False
        held = dict(self.parts)
        return all(name in held and held[name].is_within(part) for name, part in other.parts)


def promised_type(text: str) -> PromisedType | None:
    """
    Return what a type's name stands for; None if it stands for nothing here.

    ::

        promised_type("decimal(9, 2)").keeps(DecimalType(9, 2))  # True
        promised_type("list<string>").keeps(ListType(1, LongType()))  # False
    """
    return _promised(text.strip(), 0)


def list_of(text: str, item: PromisedType) -> PromisedType:
    """
    Return the type of lists.

    :param text: as it is written.
    """
    return PromisedType(text if "<" in text else f"{text}<{item.text}>", LISTS, parts=((ITEM, item),))


def map_of(text: str, key: PromisedType | None, value: PromisedType | None) -> PromisedType:
    """
    Return the type of maps.

    :param text: as it is written.
    :param key: None if keys may be of any type; likewise ``value``.
    """
    parts = tuple((name, part) for name, part in ((KEY, key), (VALUE, value)) if part)
    both = key and value and "<" not in text
    return PromisedType(f"{text}<{key.text}, {value.text}>" if key and value and both else text, MAPS, parts=parts)


def known_types() -> tuple[str, ...]:
    """Return the names that are known."""
    return tuple(_NAMES)


def _promised(text: str, depth: int) -> PromisedType | None:
    if depth > _DEEPEST:
        return None
    if text.endswith("[]"):
        item = _promised(text[:-2].strip(), depth + 1)
        return item and PromisedType(text, LISTS, parts=((ITEM, item),))
    name, arguments = text, ""
    if found := _WITH_ARGUMENTS.fullmatch(text):
        name, arguments = found[1], found[2]
    kinds = _NAMES.get(" ".join(name.lower().split()))
    if kinds is None:
        return None
    if kinds in (_STRUCT, LISTS, MAPS) and arguments.strip():
        parts = tuple(_parts(kinds, arguments, depth + 1))
        known = tuple((label, part) for label, part in parts if part)
        return PromisedType(text, kinds, parts=known) if parts and len(known) == len(parts) else None
    decimal = length = None
    if digits := _DIGITS.fullmatch(arguments):
        if kinds == _NUMBER:
            decimal = int(digits[1]), int(digits[2] or 0)
        elif kinds == _TEXT:
            length = int(digits[1])
    return PromisedType(text, kinds, decimal, length)


def _parts(kinds: Kinds, arguments: str, depth: int) -> Iterator[tuple[str, PromisedType | None]]:
    """Yield the names of what a type holds with their types; None for one that is not known."""
    said = [part.strip() for part in _split(arguments)]
    if kinds == _STRUCT:
        for part in said:
            found = _MEMBER.fullmatch(part)
            yield (found[1], _promised(found[2], depth)) if found else (part, None)
        return
    names = (ITEM,) if kinds == LISTS else (KEY, VALUE)
    if len(said) != len(names):
        yield "", None
        return
    for name, part in zip(names, said, strict=True):
        yield name, _promised(part, depth)


def _split(arguments: str) -> Iterator[str]:
    """Yield what stands between the commas that are not within brackets."""
    depth = start = 0
    for position, letter in enumerate(arguments):
        depth += (letter in "<([") - (letter in ">)]")
        if letter == "," and depth == 0:
            yield arguments[start:position]
            start = position + 1
    yield arguments[start:]


def _held(kind: IcebergType) -> dict[str, IcebergType]:
    if isinstance(kind, StructType):
        return {member.name: member.field_type for member in kind.fields}
    if isinstance(kind, ListType):
        return {ITEM: kind.element_type}
    return {KEY: kind.key_type, VALUE: kind.value_type} if isinstance(kind, MapType) else {}
