"""
What of the Open Data Contract Standard is kept here: the one list of its fields, for reading, checking and export.

Whatever a contract says is enforced, named as not judged, or named as kept in its file only; nothing is passed over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OPERATORS = (
    "mustBe",
    "mustNotBe",
    "mustBeGreaterThan",
    "mustBeGreaterOrEqualTo",
    "mustBeLessThan",
    "mustBeLessOrEqualTo",
    "mustBeBetween",
    "mustNotBeBetween",
)
# rules for people, or for another tool
NOT_FOR_TABLES = ("text", "custom")
MEASURE = "measure"


@dataclass(frozen=True)
class Fields:
    """
    What becomes of the fields of one part of the standard.

    :param read: they are part of the contract here.
    :param unjudged: they promise something that is not checked, and named whenever the contract is checked.
    :param in_file: they are for people and other tools, and stay in the file.
    """

    read: frozenset[str]
    unjudged: frozenset[str] = frozenset()
    in_file: frozenset[str] = frozenset()


def _fields(read: str, unjudged: str = "", in_file: str = "") -> Fields:
    return Fields(*(frozenset(names.split()) for names in (read, unjudged, in_file)))


_ABOUT = "id tags customProperties authoritativeDefinitions"
_ELEMENT = "id businessName deprecated synonyms customProperties authoritativeDefinitions"
_PROPERTY = (
    f"{_ELEMENT} semanticType encryptedName transformSourceObjects transformLogic transformDescription examples "
    "criticalDataElement"
)
FIELDS: Mapping[str, Fields] = {
    "": _fields(
        "apiVersion kind id name version status description tags team schema slaProperties slaDefaultElement "
        "customProperties",
        in_file="tenant servers dataProduct domain support price roles authoritativeDefinitions context "
        "contractCreatedTs",
    ),
    "description": _fields("purpose usage", in_file="limitations authoritativeDefinitions customProperties"),
    "team": _fields("name members username role", in_file=f"description dateIn dateOut replacedByUsername {_ABOUT}"),
    "team.members": _fields(
        "name username role", in_file=f"description dateIn dateOut replacedByUsername {_ABOUT}"
    ),
    "customProperties": _fields("property value", in_file="id description vendor"),
    "slaProperties": _fields(
        "property value unit element",
        "valueExt",
        "id driver description scheduler schedule customProperties authoritativeDefinitions",
    ),
    "schema": _fields(
        "name physicalName logicalType physicalType description properties quality",
        "relationships",
        f"{_ELEMENT} tags dataGranularityDescription context",
    ),
    "properties": _fields(
        "name physicalName logicalType physicalType description properties items map quality required unique "
        "primaryKey primaryKeyPosition partitioned partitionKeyPosition classification tags enum logicalTypeOptions "
        "semanticType",
        "relationships",
        _PROPERTY.replace("semanticType ", ""),
    ),
    "map": _fields("key value"),
    # the keys and values of maps, whose types are compared
    "held": _fields(
        "name logicalType physicalType items map description",
        "properties quality required unique enum logicalTypeOptions relationships",
        f"{_PROPERTY} physicalName primaryKey primaryKeyPosition partitioned partitionKeyPosition classification tags",
    ),
    "logicalTypeOptions": _fields(
        "minimum maximum exclusiveMinimum exclusiveMaximum minLength maxLength pattern minItems maxItems uniqueItems "
        "required timezone dimensions enum",
        "multipleOf format minProperties maxProperties elementType normalized",
        "defaultTimezone distanceMetric embeddingModel embeddingModelVersion",
    ),
    "quality": _fields(
        f"id name description type metric rule query arguments unit severity {' '.join(OPERATORS)}",
        in_file="authoritativeDefinitions businessImpact customProperties dimension method schedule scheduler tags "
        "engine implementation",
    ),
    "enum": _fields("value", in_file=f"label description {_ABOUT}"),
}  # fmt: skip
_NUMBERS = "multipleOf maximum exclusiveMaximum minimum exclusiveMinimum format"
_MOMENTS = "maximum exclusiveMaximum minimum exclusiveMinimum format"
# the options that the standard has for each logical type; some tools have enum among them
OPTIONS: Mapping[str, frozenset[str]] = {
    name: frozenset(options.split()) | {"enum"}
    for name, options in {
        "string": "minLength maxLength pattern format",
        "date": _MOMENTS,
        "timestamp": f"{_MOMENTS} timezone defaultTimezone",
        "time": f"{_MOMENTS} timezone defaultTimezone",
        "integer": _NUMBERS,
        "number": _NUMBERS,
        "boolean": "",
        "object": "minProperties maxProperties required",
        "array": "minItems maxItems uniqueItems",
        "map": "",
        "vector": "dimensions elementType distanceMetric embeddingModel embeddingModelVersion normalized",
    }.items()
}


@dataclass(frozen=True)
class Unread:
    """
    Something that a file says and that is not part of the contract here.

    :param kind: where the standard has it: ``schema.properties.businessName``.
    :param place: whose it is: ``orders.total``; empty for the contract's own.
    :param said: what it says, in a few words.
    :param promise: whether it is a promise, which is not judged.
    """

    kind: str
    place: str
    said: str
    promise: bool

    def words(self) -> str:
        """Return it for people: ``orders.total: multipleOf 5``."""
        return f"{self.place}: {self.said}" if self.place else self.said


def unread(values: Any) -> Iterator[Unread]:
    """
    Yield what a file in the standard's form says that is not part of the contract here.

    :param values: of the file.
    """
    return _unread(values, "", (), ())


def _unread(value: Any, part: str, above: tuple[str, ...], places: tuple[str, ...]) -> Iterator[Unread]:
    if isinstance(value, list):
        for item in value:
            yield from _unread(item, part, above, places)
    elif isinstance(value, Mapping):
        whole = _whole(value, part, above, places)
        if whole:
            yield whole
            return
        inside = (*places, _name(value)) if part in ("schema", "properties", "slaProperties") else places
        for name, below in value.items():
            yield from _field(name, below, part, above, tuple(filter(None, inside)))


def _whole(value: Mapping[str, Any], part: str, above: tuple[str, ...], places: tuple[str, ...]) -> Unread | None:
    """Return what is not read at all: a rule for people or another tool, a measure, which is not a column."""
    kind, place = ".".join(above), ".".join(places)
    if part == "quality" and value.get("type") in NOT_FOR_TABLES:
        about = value.get("name") or value.get("description") or value["type"]
        return Unread(f"{kind}: {about}", place, f"rule of type {value['type']}: {about}", promise=True)
    if part == "properties" and value.get("semanticType") == MEASURE:
        return Unread(f"{kind}: {_name(value)}", place, f"measure {_name(value)}", promise=True)
    return None


def _field(name: str, below: Any, part: str, above: tuple[str, ...], places: tuple[str, ...]) -> Iterator[Unread]:
    fields, path = FIELDS[part], (*above, name)
    if name not in fields.read:
        if below not in (None, False, [], {}, ""):
            promise = name in fields.unjudged
            yield Unread(".".join(path), ".".join(places), f"{name}{_shown(name, below)}", promise)
    elif part == "map":
        yield from _unread(below, "held", path, (*places, name))
    elif name == "items":
        yield from _unread(below, "held" if part == "held" else "properties", path, places)
    elif inside := _part(part, name):
        yield from _unread(below, inside, path, places)


def _part(part: str, name: str) -> str | None:
    """Return the part of the standard that a key leads to; None where it leads to a value."""
    if part == "logicalTypeOptions":
        return None
    return next((key for key in (f"{part}.{name}", name) if key in FIELDS), None)


def _shown(name: str, value: Any) -> str:
    """Return a value for people: plain ones, and where a relationship leads to."""
    if name == "relationships" and isinstance(value, list):
        targets = [str(each.get("to")) for each in value if isinstance(each, Mapping)]
        return f" to {', '.join(targets)}"
    return f" {value}" if isinstance(value, str | int | float) else ""


def _name(value: Mapping[str, Any]) -> str:
    return str(value.get("physicalName") or value.get("name") or value.get("property") or "")
