"""
Contracts of the Open Data Contract Standard, versions 3, by its own models.

What of the standard is kept here, what is named as not judged, and what stays in the file, is in
:mod:`.standard_fields`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
    Team,
)

from airflow_provider_phlo.contracts.forms.standard_fields import MEASURE, NOT_FOR_TABLES, OPERATORS, Unread, unread
from airflow_provider_phlo.contracts.forms.type_options import problem_of_options, zoned
from airflow_provider_phlo.contracts.model.contract import (
    ITEM,
    Bounds,
    Column,
    Consumer,
    Contract,
    Form,
    Promise,
    Rule,
    ServiceLevel,
    is_personal,
)
from airflow_provider_phlo.contracts.model.durations import OF_ELEMENTS, kind_of
from airflow_provider_phlo.contracts.model.types import LISTS, MAPS, PromisedType, list_of, map_of, promised_type
from airflow_provider_phlo.contracts.rules.metrics import METRICS, problem_of_metric
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.yaml_lines import Document, KeyPath
from airflow_provider_phlo.yaml_models import checked

# what every contract of the standard says, beside its version
_REQUIRED = ("version", "id", "kind", "status")


def read(document: Document) -> Contract:
    """
    Return the contract of a file in the standard's form.

    :raises ConfigurationError: as :func:`~airflow_provider_phlo.yaml_models.checked`; also what the standard allows
        and cannot be kept here: version 2, no schema, a rule without an operator.
    """
    document.values = _with_moments_as_text(document.values)
    _check_version(document)
    said = checked(document, OpenDataContractStandard)
    missing = [name for name in _REQUIRED if not getattr(said, name)]
    if missing:
        raise ConfigurationError(f"{document.path}: {' and '.join(missing)} is missing, which the standard requires.")
    if not said.schema_:
        raise ConfigurationError(
            f"{document.path}: schema is missing: the standard does without, but nothing is promised of a table then. "
            "Write the tables there."
        )
    problems: list[str] = []
    left = list(unread(document.values))
    promises = tuple(
        _promise(table, ("schema", str(index)), document, problems) for index, table in enumerate(said.schema_)
    )
    if problems:
        raise ConfigurationError("\n".join(problems))
    return Contract(
        name=said.name or said.id or "",
        version=said.version or "",
        owner=_owner(said),
        promises=promises,
        form=Form.ODCS,
        source=document.path,
        status=said.status or "active",
        description=(said.description.purpose or said.description.usage or "") if said.description else "",
        service_levels=tuple(
            ServiceLevel(
                *(each.property or "", each.value, each.unit or "", _element(each, said)),
                line=document.lines.get(("slaProperties", str(index))),
            )
            for index, each in enumerate(said.slaProperties or ())
        ),
        consumers=tuple(_consumers(said.customProperties or ())),
        tags=tuple(said.tags or ()),
        unjudged=tuple(dict.fromkeys(each.words() for each in (*left, *_unknown_types(said)) if each.promise)),
        in_file=tuple(dict.fromkeys(each.kind for each in left if not each.promise)),
    )


def _element(level: ServiceLevelAgreementProperty, said: OpenDataContractStandard) -> str | None:
    """Return the element of a service level: its own, or the default of those that are about times in a column."""
    if level.element or kind_of(level.property or "") not in OF_ELEMENTS:
        return level.element
    return said.slaDefaultElement


def _unknown_types(said: OpenDataContractStandard) -> Iterator[Unread]:
    """Yield the types that nothing can be compared with: another engine's, without a logical one."""
    for table in said.schema_ or ():
        for item in table.properties or ():
            if item.physicalType and not item.logicalType and promised_type(item.physicalType) is None:
                place = f"{table.physicalName or table.name}.{item.physicalName or item.name}"
                yield Unread("physicalType", place, f"physicalType {item.physicalType}", promise=True)


def _with_moments_as_text(value: Any) -> Any:
    """Return values in which dates and times are text, as in the JSON that the standard is defined by."""
    if isinstance(value, dict):
        return {key: _with_moments_as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_moments_as_text(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def _check_version(document: Document) -> None:
    version = document.values.get("apiVersion")
    if not (isinstance(version, str) and version.removeprefix("v").startswith("3.")):
        raise ConfigurationError(
            f"{document.where(('apiVersion',))}: apiVersion has to be v3.0.0 or a later 3: this is written for "
            "another version of the Open Data Contract Standard."
        )
    if document.values.get("kind", "DataContract") != "DataContract":
        raise ConfigurationError(f"{document.where(('kind',))}: kind has to be DataContract.")


def _promise(table: SchemaObject, key: KeyPath, document: Document, problems: list[str]) -> Promise:
    name = table.physicalName or table.name
    if not name:
        problems.append(f"{document.where(key)}: {'.'.join(key)}: write the table's name.")
    properties = table.properties or []
    return Promise(
        table=name or "",
        columns=tuple(
            _column(item, (*key, "properties", str(index)), document, problems)
            for index, item in enumerate(properties)
            if item.semanticType != MEASURE
        ),
        description=table.description or "",
        primary_key=_positions(properties, "primaryKey", "primaryKeyPosition"),
        partitioned_by=_positions(properties, "partitioned", "partitionKeyPosition"),
        rules=tuple(_rules(table.quality, (*key, "quality"), document, problems)),
        line=document.lines.get(key),
        logical_name=table.name or "",
    )


def _positions(properties: Sequence[SchemaProperty], flag: str, position: str) -> tuple[str, ...]:
    chosen = [item for item in properties if getattr(item, flag)]
    chosen.sort(key=lambda item: getattr(item, position) or 0)
    return tuple(item.physicalName or item.name or "" for item in chosen)


def _column(item: SchemaProperty, key: KeyPath, document: Document, problems: list[str]) -> Column:
    name = item.physicalName or item.name
    if not name:
        problems.append(f"{document.where(key)}: {'.'.join(key)}: write the column's name.")
    options = item.logicalTypeOptions or {}
    problems += [f"{document.where(key)}: {'.'.join(key)}.{each}." for each in problem_of_options(item)]
    nested = item.properties or (item.items.properties if item.items else None) or []
    tags = tuple(item.tags or ())
    return Column(
        name=name or "",
        type=_type(item, key, document, problems),
        description=item.description or "",
        # a key has a value in every row, whether the contract says so or not
        required=bool(item.required or item.primaryKey),
        unique=bool(item.unique),
        values=_bounds(options, "minimum", "maximum"),
        lengths=_lengths(options),
        pattern=options.get("pattern"),
        allowed=_allowed(item),
        classification=item.classification,
        pii=is_personal(tags, item.classification),
        tags=tags,
        rules=tuple(_rules(item.quality, (*key, "quality"), document, problems, _says_valid(item))),
        members=tuple(
            _member(member, (*key, "properties", str(index)), document, problems, _required(item))
            for index, member in enumerate(nested)
        ),
        line=document.lines.get(key),
        logical_name=item.name or "",
        distinct_items=options.get("uniqueItems") is True,
        items=_items(item, key, document, problems),
    )


def _member(
    item: SchemaProperty, key: KeyPath, document: Document, problems: list[str], required: Sequence[str]
) -> Column:
    found = _column(item, key, document, problems)
    return replace(found, required=True) if found.name in required or item.name in required else found


def _required(item: SchemaProperty) -> Sequence[str]:
    """Return the members that every value has, as the options of an object say."""
    options = [each.logicalTypeOptions or {} for each in (item, item.items) if each]
    return [name for each in options for name in each.get("required") or ()]


def _items(item: SchemaProperty, key: KeyPath, document: Document, problems: list[str]) -> Column | None:
    """Return what is promised of the items of a list beside their type and members; None if nothing is."""
    if item.items is None:
        return None
    named = item.items.model_copy(update={"name": ITEM, "physicalName": None, "properties": None})
    found = _column(named, (*key, "items"), document, problems)
    bare = Column(ITEM, type=found.type, line=found.line, logical_name=ITEM, members=found.members)
    says_more = replace(found, description="", tags=(), classification=None) != bare
    return replace(found, members=()) if says_more else None


def _lengths(options: dict[str, Any]) -> Bounds:
    """Return how long texts, and lists, may be; a vector has as many items as dimensions."""
    low, high = (
        next((options[name] for name in names if options.get(name) is not None), None)
        for names in (("minLength", "minItems", "dimensions"), ("maxLength", "maxItems", "dimensions"))
    )
    return Bounds(low, high)


def _type(item: SchemaProperty, key: KeyPath, document: Document, problems: list[str]) -> PromisedType | None:
    """Return the promised type: the physical one if it is known here (it may be another engine's), else the logical."""
    physical = promised_type(item.physicalType) if item.physicalType else None
    if physical and (physical.parts or not (item.items or item.map)):
        return physical
    if not item.logicalType:
        return physical
    logical = zoned(item) or promised_type(item.logicalType)
    if logical is None:
        problems.append(f"{document.where((*key, 'logicalType'))}: {item.logicalType} is not a logical type.")
    return _holding(item, physical or logical, key, document, problems)


def _holding(
    item: SchemaProperty, promised: PromisedType | None, key: KeyPath, document: Document, problems: list[str]
) -> PromisedType | None:
    """Return the type of a list or map with the types of what it holds, where the contract says them."""
    if promised and item.items and promised.kinds == LISTS and not item.items.properties:  # which are members
        inner = _type(item.items, (*key, "items"), document, problems)
        return list_of(promised.text, inner) if inner else promised
    if promised and item.map and promised.kinds == MAPS:
        held = [
            _type(part, (*key, "map", name), document, problems) if part else None
            for name, part in (("key", item.map.key), ("value", item.map.value))
        ]
        return map_of(promised.text, *held)
    return promised


def _allowed(item: SchemaProperty) -> tuple[Any, ...] | None:
    """Return the only values of a column: the standard has them beside the type, some tools among its options."""
    if item.enum:
        return tuple(each.value for each in item.enum)
    listed = (item.logicalTypeOptions or {}).get("enum")
    return tuple(listed) if isinstance(listed, list) and listed else None


def _says_valid(item: SchemaProperty) -> bool:
    bounds = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern"}
    return bool(bounds & set(item.logicalTypeOptions or {})) or _allowed(item) is not None


def _bounds(options: dict[str, Any], low: str, high: str) -> Bounds:
    """Return the bounds of values; exclusive ones are numbers of their own (3.0), or a flag beside them."""
    lowest, highest = options.get(low), options.get(high)
    out_low, out_high = options.get(f"exclusive{low.capitalize()}"), options.get(f"exclusive{high.capitalize()}")
    if out_low is not None and not isinstance(out_low, bool):
        lowest, out_low = out_low, True
    if out_high is not None and not isinstance(out_high, bool):
        highest, out_high = out_high, True
    return Bounds(lowest, highest, bool(out_low), bool(out_high))


def _rules(
    quality: Sequence[DataQuality] | None,
    key: KeyPath,
    document: Document,
    problems: list[str],
    valid: bool | None = None,
) -> Iterator[Rule]:
    """
    Yield the rules of a table or a column.

    :param valid: whether the column itself says which values are valid; None for a table.
    """
    for index, each in enumerate(quality or ()):
        path = (*key, str(index))
        kind = each.type or ("sql" if each.query else "library")
        if kind in NOT_FOR_TABLES:
            continue
        metric = each.metric or each.rule
        problem = _problem_of_rule(each, kind, metric) or (
            problem_of_metric(each, metric, valid) if kind == "library" else ""
        )
        if problem:
            problems.append(f"{document.where(path)}: {'.'.join(path)}: {problem}.")
            continue
        operator = next(name for name in OPERATORS if getattr(each, name) is not None)
        yield Rule(
            name=each.name or each.id or metric or f"rule {index + 1}",
            metric=metric if kind == "library" else None,
            query=each.query if kind == "sql" else None,
            operator=operator,
            operand=getattr(each, operator),
            unit=each.unit or "rows",
            severity=each.severity or "error",
            description=each.description or "",
            arguments=each.arguments or {},
            id=each.id or "",
            line=document.lines.get(path),
        )


def _problem_of_rule(each: DataQuality, kind: str, metric: str | None) -> str:
    given = [name for name in OPERATORS if getattr(each, name) is not None]
    if kind == "sql" and not each.query:
        return "a rule of type sql needs a query"
    if kind == "library" and metric not in METRICS:
        return f"metric has to be one of {', '.join(METRICS)}"
    if kind not in ("sql", "library"):
        return "type has to be library, sql, text or custom"
    if len(given) != 1:
        return f"write one of {', '.join(OPERATORS)}"
    return ""


def _owner(said: OpenDataContractStandard) -> str:
    """Return who owns the contract: a property of that name, the team's, or the member whose role is owner."""
    for each in said.customProperties or ():
        if each.property == "owner" and isinstance(each.value, str):
            return each.value.strip()
    team = said.team
    members = team.members if isinstance(team, Team) else team
    owners = [one.username or one.name for one in members or () if (one.role or "").lower().endswith("owner")]
    named = team.name if isinstance(team, Team) else None
    return (named or next(filter(None, owners), None) or "").strip()


def _consumers(properties: Sequence[CustomProperty]) -> Iterator[Consumer]:
    """Yield the consumers, which the standard has no place for, from a custom property of that name."""
    for each in properties:
        if each.property == "consumers" and isinstance(each.value, list):
            for consumer in each.value:
                if isinstance(consumer, dict) and consumer.get("name"):
                    yield Consumer(str(consumer["name"]), str(consumer.get("usage", "")))
                elif isinstance(consumer, str):
                    yield Consumer(consumer)
