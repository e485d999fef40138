"""What is sent to OpenMetadata, in the forms of its requests."""

from __future__ import annotations

from typing import Any

from airflow_provider_phlo.catalogs.openmetadata.described import Check, CheckResult, ColumnFacts, Promise, TableFacts
from airflow_provider_phlo.catalogs.openmetadata.names import below, entity_name

Body = dict[str, Any]
#: The tag of columns that are declared to hold personal data: one that OpenMetadata brings itself.
PII_TAG: Body = {"tagFQN": "PII.Sensitive", "source": "Classification", "labelType": "Automated", "state": "Confirmed"}
#: The one level between service and schema.
DATABASE = "default"
SERVICE_TYPE = "CustomDatabase"


def service(name: str) -> Body:
    """Return the service that the catalog is: without a connection, nobody else reads it."""
    return {
        "name": entity_name(name),
        "serviceType": SERVICE_TYPE,
        "description": "Iceberg tables of airflow-provider-phlo.",
    }


def database(service_fqn: str) -> Body:
    """Return the database of the service."""
    return {"name": DATABASE, "service": service_fqn}


def schema(database_fqn: str, namespace: str) -> Body:
    """Return a namespace of the catalog."""
    return {"name": entity_name(namespace), "displayName": namespace, "database": database_fqn}


def table(schema_fqn: str, facts: TableFacts) -> Body:
    """Return a table that is new."""
    body: Body = {
        "name": entity_name(facts.name),
        "displayName": facts.name,
        "tableType": "Iceberg",
        "columns": columns(facts),
        "databaseSchema": schema_fqn,
        "locationPath": facts.location,
    }
    if facts.doc:
        body["description"] = facts.doc
    if facts.key:
        names = [entity_name(each) for each in facts.key]
        body["tableConstraints"] = [{"constraintType": "PRIMARY_KEY", "columns": names}]
    return body


def columns(facts: TableFacts) -> list[Body]:
    """Return the columns of a table."""
    return [column(each, position) for position, each in enumerate(facts.columns, 1)]


def column(facts: ColumnFacts, position: int | None = None) -> Body:
    """Return a column, or a field of one."""
    body: Body = {
        "name": entity_name(facts.name),
        "displayName": facts.name,
        "dataType": facts.type,
        "dataTypeDisplay": facts.display,
    }
    optional = {
        "precision": facts.precision,
        "scale": facts.scale,
        "dataLength": facts.length,
        "arrayDataType": facts.element,
        "ordinalPosition": position,
        "description": facts.doc or None,
        "constraint": "NOT_NULL" if facts.required else None,
        "children": [column(each) for each in facts.fields] or None,
        "tags": [PII_TAG] if facts.is_pii else None,
    }
    return {**body, **{name: value for name, value in optional.items() if value is not None}}


def profile(facts: TableFacts) -> Body:
    """Return the counts of a table's snapshot."""
    counts = {"rowCount": facts.rows, "sizeInByte": facts.bytes}
    known = {name: value for name, value in counts.items() if value is not None}
    return {"tableProfile": {"timestamp": facts.updated_ms, "columnCount": len(facts.columns), **known}}


def edge(source_id: str, target_id: str, column_lineage: list[Body]) -> Body:
    """Return that a table is made from another."""
    details: Body = {"source": "PipelineLineage", "description": "By airflow-provider-phlo."}
    if column_lineage:
        details["columnsLineage"] = column_lineage
    ends = {"fromEntity": {"id": source_id, "type": "table"}, "toEntity": {"id": target_id, "type": "table"}}
    return {"edge": {**ends, "lineageDetails": details}}


def test_suite(table_fqn: str) -> Body:
    """Return the suite of a table's checks."""
    return {"name": f"{table_fqn}.testSuite"[-256:], "basicEntityReference": table_fqn}


def test_definition(check: Check) -> Body:
    """Return what a kind of check is; it is run here, not by OpenMetadata."""
    return {
        "name": definition_name(check),
        "displayName": f"{check.kind} (phlo)",
        "description": f"The check {check.kind} of airflow-provider-phlo, which runs it.",
        "entityType": "COLUMN" if check.column else "TABLE",
        "testPlatforms": ["Other"],
        "parameterDefinition": [],
    }


def definition_name(check: Check) -> str:
    """Return what OpenMetadata calls a kind of check, of a column or of a table."""
    return entity_name(f"phlo_{check.kind}_{'column' if check.column else 'table'}").replace(".", "_")


def test_case(table_fqn: str, check: Check) -> Body:
    """Return a check of a table or column."""
    name = case_name(check)
    return {
        "name": name,
        "displayName": check.name,
        "testDefinition": definition_name(check),
        "entityLink": entity_link(table_fqn, check.column),
    }


def case_name(check: Check) -> str:
    """Return what OpenMetadata calls a check."""
    return entity_name(check.name)


def case_fqn(table_fqn: str, check: Check) -> str:
    """Return a check's fully qualified name: it is in its column, or in the table."""
    parent = below(table_fqn, check.column) if check.column else table_fqn
    return below(parent, case_name(check))


def entity_link(table_fqn: str, column_name: str | None) -> str:
    """Return OpenMetadata's link to a table or column."""
    of_column = f"::columns::{entity_name(column_name)}" if column_name else ""
    return f"<#E::table::{table_fqn}{of_column}>"


def test_result(result: CheckResult) -> Body:
    """Return a verdict and counts."""
    body: Body = {
        "timestamp": result.at_ms,
        "testCaseStatus": "Success" if result.passed else "Failed",
        "result": "passed" if result.passed else f"failed ({result.severity})",
        "testResultValue": [],
    }
    if result.failed is not None and result.rows is not None:
        body |= {"failedRows": result.failed, "passedRows": max(result.rows - result.failed, 0)}
    return body


def contract(table_id: str, facts: TableFacts, promise: Promise) -> Body:
    """Return a contract about a table."""
    named = {name.lower() for name in promise.columns}
    described = [each for each in columns(facts) if each["displayName"].lower() in named]
    for each in described:
        each.pop("ordinalPosition", None)
    relied = f"\n\nRelied on by {', '.join(promise.consumers)}." if promise.consumers else ""
    body: Body = {
        "name": entity_name(promise.name),
        "displayName": f"{promise.name} {promise.version}".strip(),
        "entity": {"id": table_id, "type": "table"},
        "description": f"{promise.description}{relied}".strip() or f"The contract {promise.name}.",
        "entityStatus": "Approved",
    }
    if described:
        body["schema"] = described
    if promise.freshness_hours is not None:
        body["sla"] = {"maxLatency": {"value": max(round(promise.freshness_hours * 60), 1), "unit": "minute"}}
    return body
