"""Names that Iceberg has and SQL lacks: twins but for case, and what DuckDB calls things of its own."""

from __future__ import annotations

from collections.abc import Iterable

from pyiceberg.catalog import Catalog
from pyiceberg.schema import Schema
from pyiceberg.types import IcebergType, ListType, MapType, StructType

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.tables.lookup import namespaces

# its databases, as which it takes the first part of a name, and the schemas that it keeps
_OF_DUCKDB = frozenset({"memory", "temp", "system", "pg_catalog", "information_schema"})


def require_nameable(identifier: str) -> None:
    """
    Refuse a table that SQL cannot name in DuckDB.

    :raises ConfigurationError: its namespace is called like something of DuckDB's own.
    """
    namespace = identifier.rpartition(".")[0]
    if namespace.lower() in _OF_DUCKDB:
        raise ConfigurationError(
            f"{identifier} cannot be read with DuckDB, which has a database or schema of its own called {namespace}: "
            "give it another namespace, or read it with Trino."
        )


def require_distinct_names(identifier: str, schema: Schema) -> None:
    """
    Refuse columns, and members of a struct, that DuckDB and Trino take for one.

    :raises ConfigurationError: if there are any.
    """
    for members in structs(schema.as_struct()):
        twins = case_twins(item.name for item in members.fields)
        if twins:
            raise ConfigurationError(
                f"{identifier} has {twins[0]!r} and {twins[1]!r}, which differ in nothing but case: DuckDB and Trino "
                "take them for one. Rename one at the source or in a transform; where both are in the table, drop one "
                "or read it with PyIceberg."
            )


def require_distinct_table(catalog: Catalog, identifier: str) -> None:
    """
    Refuse a new table whose name another has but for case.

    :raises ConfigurationError: if there is one.
    """
    namespace = identifier.rpartition(".")[0]
    alike = [name for name in namespaces(catalog) if ".".join(name).lower() == namespace.lower()]
    for name in alike:
        for other in catalog.list_tables(name):
            _refuse_twins(case_twins([".".join(other), identifier]))


def require_distinct_tables(identifiers: Iterable[str]) -> None:
    """
    Refuse tables whose names differ in nothing but case.

    :raises ConfigurationError: if there are any.
    """
    _refuse_twins(case_twins(identifiers))


def case_twins(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two of ``names`` that differ in nothing but case; None if there are none."""
    known: dict[str, str] = {}
    for name in names:
        other = known.setdefault(name.lower(), name)
        if other != name:
            return other, name
    return None


def structs(kind: IcebergType) -> list[StructType]:
    """Return a type, if it is a struct, and all structs inside it."""
    if isinstance(kind, StructType):
        return [kind, *(each for item in kind.fields for each in structs(item.field_type))]
    if isinstance(kind, ListType):
        return structs(kind.element_type)
    return [*structs(kind.key_type), *structs(kind.value_type)] if isinstance(kind, MapType) else []


def _refuse_twins(twins: tuple[str, str] | None) -> None:
    if twins:
        raise ConfigurationError(
            f"Tables {twins[0]} and {twins[1]} differ in nothing but case: DuckDB and Trino take them for one name. "
            "Give one of them another name."
        )
