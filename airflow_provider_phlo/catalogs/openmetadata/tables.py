"""Read what there is to say of the tables of a catalog, and of the checks that have run."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.catalogs.openmetadata.described import Check, CheckResult, ColumnFacts, TableFacts
from airflow_provider_phlo.exceptions import ConfigurationError, PhloError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyiceberg.types import IcebergType, NestedField

_TYPES = {
    "boolean": "BOOLEAN",
    "int": "INT",
    "long": "BIGINT",
    "float": "FLOAT",
    "double": "DOUBLE",
    "date": "DATE",
    "time": "TIME",
    "timestamp": "TIMESTAMP",
    "timestamp_ns": "TIMESTAMP",
    "timestamptz": "TIMESTAMPZ",
    "timestamptz_ns": "TIMESTAMPZ",
    "string": "STRING",
    "uuid": "UUID",
    "binary": "BINARY",
    "unknown": "NULL",
}


def selected_tables(catalog: Catalog, patterns: Sequence[str] = (), schema: str | None = None) -> list[str]:
    """
    Return the tables that are meant, as ``namespace.table``.

    :param patterns: names or patterns (``raw.*``); all tables if there are none.
    :param schema: only tables of this namespace.
    :raises ConfigurationError: a pattern matches no table.
    """
    from airflow_provider_phlo.iceberg.duckdb.views import all_tables

    names = [name for name in all_tables(catalog) if schema in (None, name.rpartition(".")[0])]
    if not patterns:
        return names
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            where = f" in the schema {schema}" if schema else ""
            raise ConfigurationError(f"No table is named {pattern}{where}: phlo catalog tables lists them.")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]


def read_tables(catalog: Catalog, names: Iterable[str], problems: list[str]) -> Iterator[TableFacts]:
    """Yield what there is to say of tables; of one that cannot be read, ``problems`` says why."""
    from airflow_provider_phlo.iceberg.tables.lookup import find_current_table
    from airflow_provider_phlo.library_errors import describe

    for name in names:
        try:
            table = find_current_table(catalog, name)
        except Exception as error:  # noqa: BLE001 - one table that is broken keeps no other back; it is reported
            problems.append(f"{name} cannot be read: {describe(error)}")
            continue
        if table is not None:
            yield facts_of(name, table)


def facts_of(identifier: str, table: Table) -> TableFacts:
    """Return what there is to say of a table."""
    from airflow_provider_phlo.iceberg.branches.declared import declared_columns

    namespace, _, name = identifier.rpartition(".")
    key, pii = declared_columns(table)
    snapshot = table.current_snapshot()
    summary: dict[str, Any] = dict(snapshot.summary.additional_properties) if snapshot and snapshot.summary else {}
    # after a merge that only marks rows as deleted, these are counted too
    exact = summary.get("total-delete-files", "0") == "0"
    return TableFacts(
        namespace,
        name,
        tuple(_column(field, pii) for field in table.schema().fields),
        doc=table.properties.get("comment", ""),
        location=table.location(),
        key=key,
        owner=_owner(identifier, table),
        snapshot_id=snapshot.snapshot_id if snapshot else None,
        updated_ms=snapshot.timestamp_ms if snapshot else 0,
        rows=int(summary["total-records"]) if exact and "total-records" in summary else None,
        bytes=int(summary["total-files-size"]) if "total-files-size" in summary else None,
    )


def _owner(identifier: str, table: Table) -> str | None:
    from airflow_provider_phlo.quality.freshness.table_policy import table_policy

    try:
        policy = table_policy(identifier, table.properties)
    except PhloError:  # what the watcher reports
        return None
    return policy.owner if policy else None


def _column(field: NestedField, pii: frozenset[str] = frozenset()) -> ColumnFacts:
    return _typed(field.name, field.field_type, field.doc or "", field.required, field.name in pii)


def _typed(name: str, kind: IcebergType, doc: str = "", required: bool = False, pii: bool = False) -> ColumnFacts:
    from pyiceberg.types import DecimalType, FixedType, ListType, MapType, StructType

    said: dict[str, Any] = {"display": str(kind), "doc": doc, "required": required, "is_pii": pii}
    if isinstance(kind, StructType):
        return ColumnFacts(name, "STRUCT", fields=tuple(_column(each) for each in kind.fields), **said)
    if isinstance(kind, ListType):
        inner = _typed("element", kind.element_type)
        return ColumnFacts(name, "ARRAY", element=inner.type, fields=inner.fields, **said)
    if isinstance(kind, MapType):
        parts = (_typed("key", kind.key_type), _typed("value", kind.value_type))
        return ColumnFacts(name, "MAP", fields=parts, **said)
    if isinstance(kind, DecimalType):
        return ColumnFacts(name, "DECIMAL", precision=kind.precision, scale=kind.scale, **said)
    if isinstance(kind, FixedType):
        return ColumnFacts(name, "FIXED", length=len(kind), **said)
    return ColumnFacts(name, _TYPES.get(str(kind), "UNKNOWN"), **said)


def read_checks(catalog: Catalog, tables: Sequence[str]) -> dict[str, tuple[Check, ...]]:
    """
    Return the checks of main that ``phlo.check_results`` knows of each table, each with its last result.

    What was expected and found, messages and samples stay there.
    """
    from airflow_provider_phlo.iceberg.tables.lookup import find_table
    from airflow_provider_phlo.quality.check_results import TABLE

    table = find_table(catalog, TABLE)
    if table is None or not tables:
        return {}
    wanted = ("table_name", "check_name", "check_type", "columns", "severity", "passed", "failed", "row_count")
    rows = table.scan(selected_fields=(*wanted, "checked_at")).to_arrow().sort_by("checked_at").to_pylist()
    found: dict[str, dict[tuple[str, str | None], Check]] = {name: {} for name in tables}
    for row in rows:
        if row["table_name"] in found and row["check_name"]:
            columns = row["columns"] or []
            column = columns[0] if len(columns) == 1 else None
            result = CheckResult(
                bool(row["passed"]),
                int(row["checked_at"].timestamp() * 1000),
                row["failed"],
                row["row_count"],
                row["severity"] or "error",
            )
            check = Check(row["check_name"], row["check_type"] or "check", column, result)
            found[row["table_name"]][check.name, column] = check
    return {name: tuple(checks.values()) for name, checks in found.items() if checks}


def column_names(catalog: Catalog) -> dict[str, list[str]]:
    """Return the columns of each table that can be read."""
    return {
        facts.id: [column.name for column in facts.columns]
        for facts in read_tables(catalog, selected_tables(catalog), [])
    }
