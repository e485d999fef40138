"""The types of values, as far as they matter for comparing them: which can be compared, and as what."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

# the scale of times that have more digits than the six that are compared
NANOSECONDS = 9
INTEGER_DIGITS = {"TINYINT": 3, "SMALLINT": 5, "INTEGER": 10, "BIGINT": 19, "HUGEINT": 39}
INTEGER_DIGITS |= {"U" + name: digits + (name == "BIGINT") for name, digits in INTEGER_DIGITS.items()}
_FAMILIES = {
    '"NULL"': "null",
    "BOOLEAN": "boolean",
    "FLOAT": "float",
    "DOUBLE": "float",
    "VARCHAR": "text",
    "UUID": "text",
    "ENUM": "text",
    "JSON": "text",
    "BLOB": "binary",
    "DATE": "date",
    "TIME": "time",
    "TIMESTAMP": "timestamp",
    "TIMESTAMP_S": "timestamp",
    "TIMESTAMP_MS": "timestamp",
    "TIMESTAMP WITH TIME ZONE": "instant",
}
_NANOSECONDS = {"TIME_NS": "time", "TIMESTAMP_NS": "timestamp", "TIMESTAMPTZ_NS": "instant"}
_TIMES = ("date", "timestamp", "instant")
_NUMBERS = ("integer", "decimal", "float")
_LIST = re.compile(r"\[\d*\]$")


@dataclass(frozen=True)
class ValueType:
    """
    The type of a column's values, as far as it matters for comparing them.

    :param family: null (of values that are all missing), boolean, integer, decimal, float, text, binary, date, time,
        timestamp (without a zone), instant (with one), list, struct or map.
    :param digits: the digits of an integer or a decimal.
    :param scale: the digits of a decimal behind the point; :data:`NANOSECONDS` for times that are so fine.
    :param members: name and type of what a nested value contains.
    """

    family: str
    digits: int = 0
    scale: int = 0
    members: tuple[tuple[str, ValueType], ...] = ()

    @property
    def nested(self) -> bool:
        """Whether values contain others."""
        return self.family in ("list", "struct", "map")

    @property
    def numeric(self) -> bool:
        """Whether values are numbers."""
        return self.family in _NUMBERS


def parse_type(name: str) -> ValueType | None:
    """Return the type that DuckDB calls ``name``; None for one whose values are not compared (INTERVAL, BIT, …)."""
    if _LIST.search(name):
        return _nested("list", [("element", _LIST.sub("", name))])
    head, _, rest = name.partition("(")
    if head == "DECIMAL":
        digits, _, scale = rest.rstrip(")").partition(",")
        return ValueType("decimal", int(digits), int(scale))
    if head == "STRUCT":
        return _nested("struct", [_member(part) for part in _split(rest[:-1])])
    if head == "MAP":
        return _nested("map", list(zip(("key", "value"), _split(rest[:-1]), strict=True)))
    if head in INTEGER_DIGITS:
        return ValueType("integer", INTEGER_DIGITS[head])
    if head in _NANOSECONDS:
        return ValueType(_NANOSECONDS[head], scale=NANOSECONDS)
    return ValueType(_FAMILIES[head]) if head in _FAMILIES else None


def common_type(types: Iterable[ValueType]) -> ValueType | None:
    """Return the type as which values of all these types are compared; None if values of such types are never equal."""
    found = list(types)
    found = [each for each in found if each.family != "null"] or found
    families = {each.family for each in found}
    first = found[0]
    if families <= {"integer", "decimal"}:
        scale = max(each.scale for each in found)
        integer_digits = max(each.digits - each.scale for each in found)
        return ValueType("integer" if families == {"integer"} else "decimal", integer_digits + scale, scale)
    if families <= set(_NUMBERS):
        return ValueType("float")
    if len(families) > 1:
        return ValueType("instant" if "instant" in families else "timestamp") if families <= set(_TIMES) else None
    return _common_members(found) if first.nested else ValueType(first.family)


def _common_members(found: Sequence[ValueType]) -> ValueType | None:
    """Return the common type of structs, lists or maps; a member that one of them lacks is NULL there."""
    kinds: dict[str, list[ValueType]] = {}
    for each in found:
        for name, kind in each.members:
            kinds.setdefault(name, []).append(kind)
    members = {name: common_type(types) for name, types in kinds.items()}
    known = tuple((name, kind) for name, kind in members.items() if kind is not None)
    return replace(found[0], members=known) if len(known) == len(members) else None


def _nested(family: str, members: Sequence[tuple[str, str]]) -> ValueType | None:
    known = [(name if family != "struct" else name.lower(), parse_type(kind)) for name, kind in members]
    found = tuple((name, kind) for name, kind in known if kind is not None)
    return ValueType(family, members=found) if len(found) == len(known) else None


def _member(text: str) -> tuple[str, str]:
    """Return the name and the type in ``name TYPE`` or ``"a name" TYPE``."""
    if text.startswith('"'):
        end = re.match(r'"((?:[^"]|"")*)"', text)
        assert end is not None, text
        return end[1].replace('""', '"'), text[end.end() :].strip()
    name, _, kind = text.partition(" ")
    return name, kind


def _split(text: str) -> list[str]:
    """Split at the commas that are outside brackets and quotes."""
    parts, depth, quoted = [""], 0, False
    for character in text:
        quoted ^= character == '"'
        depth += 0 if quoted else (character in "([") - (character in ")]")
        if character == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
