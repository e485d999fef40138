"""A contract in the form of the Open Data Contract Standard, by its own models."""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from open_data_contract_standard.model import (
    CustomProperty,
    DataQuality,
    Description,
    EnumValue,
    OpenDataContractStandard,
    SchemaObject,
    SchemaProperty,
    ServiceLevelAgreementProperty,
    Team,
)
from pyiceberg.types import (
    BooleanType,
    DateType,
    IntegerType,
    ListType,
    LongType,
    MapType,
    StructType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

from airflow_provider_phlo.contracts.conversion.yaml_text import document_of, to_yaml
from airflow_provider_phlo.contracts.forms import odcs, standard_fields
from airflow_provider_phlo.contracts.model.contract import Column, Contract, Promise, Rule
from airflow_provider_phlo.contracts.model.types import PromisedType
from airflow_provider_phlo.yaml_lines import Document

VERSION = "v3.1.0"
_LOGICAL: dict[type, str] = {
    BooleanType: "boolean",
    DateType: "date",
    TimestampType: "timestamp",
    TimestamptzType: "timestamp",
    TimeType: "time",
    IntegerType: "integer",
    LongType: "integer",
    StructType: "object",
    MapType: "object",
    ListType: "array",
}


def write(contract: Contract) -> str:
    """Return the text of a contract in the standard's form."""
    return to_yaml(_said(_standard(contract)))


def read(text: str, _contract: Contract) -> Contract:
    """Return the contract that a text in the standard's form says."""
    return odcs.read(document_of(text))


def unread(contract: Contract) -> list[str]:
    """Return what the file of a contract says that is not part of the contract here: ``servers``, ``price``."""
    return list(dict.fromkeys(each.kind for each in standard_fields.unread(Document(contract.source).values)))


def _said(standard: OpenDataContractStandard) -> dict[str, Any]:
    values: dict[str, Any] = standard.model_dump(exclude_defaults=True, exclude_none=True, by_alias=True)
    first = ("apiVersion", "kind", "id", "name", "version", "status", "description", "tags", "team")
    head = {name: values[name] for name in first if name in values}
    return head | {name: value for name, value in values.items() if name not in head}


def _standard(contract: Contract) -> OpenDataContractStandard:
    consumers = [
        {"name": each.name, "usage": each.usage} if each.usage else {"name": each.name} for each in contract.consumers
    ]
    return OpenDataContractStandard(
        apiVersion=VERSION,
        kind="DataContract",
        # the same name is the same contract, however often it is written
        id=str(uuid5(NAMESPACE_URL, f"phlo:contract:{contract.name}")),
        name=contract.name,
        version=contract.version,
        status=contract.status,
        description=Description(purpose=contract.description) if contract.description else None,
        tags=list(contract.tags) or None,
        team=Team(name=contract.owner) if contract.owner else None,
        schema=[_table(promise) for promise in contract.promises],
        slaProperties=[
            ServiceLevelAgreementProperty(
                property=level.property, value=level.value, unit=level.unit or None, element=level.element
            )
            for level in contract.service_levels
        ]
        or None,
        customProperties=[CustomProperty(property="consumers", value=consumers)] if consumers else None,
    )


def _table(promise: Promise) -> SchemaObject:
    return SchemaObject(
        name=promise.table.rpartition(".")[2],
        physicalName=promise.table,
        logicalType="object",
        physicalType="table",
        description=promise.description or None,
        quality=[_rule(rule) for rule in promise.rules] or None,
        properties=[_property(column, promise) for column in promise.columns],
    )


def _property(column: Column, promise: Promise | None = None) -> SchemaProperty:
    key = promise.primary_key if promise else ()
    partitions = promise.partitioned_by if promise else ()
    members = [_property(member) for member in column.members] or None
    logical = _logical_type(column.type) if column.type else None
    listed = logical == "array"
    tags = [*column.tags, *(["pii"] if column.pii and "pii" not in map(str.lower, column.tags) else [])]
    return SchemaProperty(
        name=column.name,
        logicalType=logical,
        physicalType=column.type.text if column.type else None,
        description=column.description or None,
        required=column.required or None,
        unique=column.unique or None,
        primaryKey=True if column.name in key else None,
        primaryKeyPosition=key.index(column.name) + 1 if column.name in key else None,
        partitioned=True if column.name in partitions else None,
        partitionKeyPosition=partitions.index(column.name) + 1 if column.name in partitions else None,
        classification=column.classification,
        tags=tags or None,
        logicalTypeOptions=_options(column, logical) or None,
        enum=[EnumValue(value=value) for value in column.allowed] if column.allowed is not None else None,
        quality=[_rule(rule) for rule in column.rules] or None,
        properties=None if listed else members,
        items=_items(column, members) if listed else None,
    )


def _items(column: Column, members: list[SchemaProperty] | None) -> SchemaProperty | None:
    """Return what is said of the items of a list."""
    said = _property(column.items) if column.items else SchemaProperty(logicalType="object") if members else None
    if said:
        said.name, said.properties = None, members or said.properties
    return said


def _logical_type(promised: PromisedType) -> str:
    """Return the standard's type of what is promised; numbers of several kinds are a ``number``."""
    if promised.decimal:
        return "number"
    names = {_LOGICAL.get(kind, "") for kind in promised.kinds}
    if len(names) == 1 and (name := names.pop()):
        return name
    text = {kind.__name__ for kind in promised.kinds}
    return "number" if text & {"FloatType", "DoubleType", "DecimalType"} else "string"


def _options(column: Column, logical: str | None) -> dict[str, Any]:
    values, lengths = column.values, column.lengths
    listed = logical == "array"
    given = {
        "exclusiveMinimum" if values.exclusive_low else "minimum": values.low,
        "exclusiveMaximum" if values.exclusive_high else "maximum": values.high,
        "minItems" if listed else "minLength": lengths.low,
        "maxItems" if listed else "maxLength": lengths.high,
        "uniqueItems": column.distinct_items or None,
        "pattern": column.pattern,
    }
    known = standard_fields.OPTIONS.get(logical or "")
    return {name: value for name, value in given.items() if value is not None and (known is None or name in known)}


def _rule(rule: Rule) -> DataQuality:
    said: dict[str, Any] = {
        "id": rule.id or None,
        "name": rule.name,
        "description": rule.description or None,
        "type": "sql" if rule.query else "library",
        "metric": rule.metric,
        "query": rule.query,
        "arguments": dict(rule.arguments) or None,
        "unit": rule.unit if rule.unit != "rows" else None,
        "severity": rule.severity if rule.severity != "error" else None,
        rule.operator: rule.operand,
    }
    return DataQuality(**said)
