"""Create tables, partitioned and sorted as they are declared; adopt the ones that exist."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, TableAlreadyExistsError
from pyiceberg.partitioning import PARTITION_FIELD_ID_START, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    YearTransform,
)
from pyiceberg.types import (
    NestedField,
    TimestampType,
    TimestamptzType,
)
from sqlalchemy.exc import IntegrityError

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.catalogs.retries import disk_errors
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.names import require_distinct_names, require_distinct_table
from airflow_provider_phlo.iceberg.tables.partitioning import WIDEST
from airflow_provider_phlo.iceberg.tables.properties import malformed
from airflow_provider_phlo.terms import names_of

# what every table is created with
TABLE_PROPERTIES = {
    "format-version": "2",
    "write.parquet.compression-codec": "zstd",
    # remove old metadata files when new ones are written: a table that is written daily for years stays small
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "50",
}

_NOT_UNDERSTOOD = (
    "partition_by={!r} is not understood: write a column, or year/month/day/hour(column), bucket(16, column), "
    "truncate(10, column)."
)
_TRANSFORM = re.compile(r"(\w+)\((?:\s*(\d+)\s*,)?\s*(.+?)\s*(?:,\s*(\d+)\s*)?\)", re.DOTALL)
_CHOICES = {
    "format-version": ("2",),
    "write.format.default": ("parquet",),
}
_TIME_TRANSFORMS: dict[str, Callable[[], Transform[Any, Any]]] = {
    "year": YearTransform,
    "month": MonthTransform,
    "day": DayTransform,
    "hour": HourTransform,
    "identity": IdentityTransform,
}
_WIDTH_TRANSFORMS: dict[str, Callable[[int], Transform[Any, Any]]] = {
    "bucket": BucketTransform,
    "truncate": TruncateTransform,
}


def ensure_namespace(catalog: Catalog, namespace: str) -> None:
    """Create ``namespace`` and those that it is in unless they exist; two processes may do so at once."""
    if not catalog.namespace_exists(namespace):
        outer = namespace.rpartition(".")[0]
        if outer:
            ensure_namespace(catalog, outer)
        with suppress(NamespaceAlreadyExistsError, IntegrityError):  # another process was faster
            catalog.create_namespace(namespace)


def ensure_table(
    catalog: Catalog,
    identifier: str,
    schema: Schema,
    *,
    partition_by: str | Sequence[str] = (),
    sort_by: str | Sequence[str] = (),
    properties: Mapping[str, str] | None = None,
) -> Table:
    """
    Return the table, created if it is missing; one that exists is adopted as it is.

    :param identifier: ``namespace.table``.
    :param partition_by: columns (a timestamp means its day) or transforms: ``hour(c)``, ``month(c)``,
        ``bucket(16, c)``, ``truncate(10, c)``.
    :param sort_by: columns, each with an optional `` desc``.
    :param properties: table properties over the defaults.
    :raises ConfigurationError: if a partition or sort column is not in the schema.
    """
    table = find_table(catalog, identifier)
    if table is not None:
        return table
    check_properties(identifier, properties or {})
    spec = partition_spec(schema, names_of(partition_by))
    order = sort_order(schema, names_of(sort_by))
    require_distinct_names(identifier, schema)
    require_distinct_table(catalog, identifier)
    ensure_namespace(catalog, identifier.rpartition(".")[0])
    try:
        with disk_errors(identifier):
            return catalog.create_table(
                identifier,
                schema,
                partition_spec=spec,
                sort_order=order,
                properties={**TABLE_PROPERTIES, **(properties or {})},
            )
    except TableAlreadyExistsError:  # another process was faster
        return catalog.load_table(identifier)


def check_properties(identifier: str, properties: Mapping[str, str]) -> None:
    """Refuse properties with which the table could not be written."""
    problems = [f"{name!r} is kept by this provider" for name in properties if name.startswith("phlo.")]
    problems += malformed(properties)
    for name, known in _CHOICES.items():
        if properties.get(name, known[0]) not in known:
            problems.append(f"{name}={properties[name]!r} is not one of {', '.join(known)}")
    if problems:
        raise ConfigurationError(f"{identifier}: table_properties: {'; '.join(problems)}.")


def partition_spec(schema: Schema, partition_by: Sequence[str]) -> PartitionSpec:
    """Return the partition spec that ``partition_by`` (see :func:`ensure_table`) means for ``schema``."""
    fields: list[PartitionField] = []
    for position, expression in enumerate(partition_by):
        transform, column = _transform(schema, expression)
        source = _field(schema, column, f"partition_by={expression!r}")
        if not transform.can_transform(source.field_type):
            raise ConfigurationError(
                f"partition_by={expression!r}: {column!r} is {source.field_type}, which {transform} does not take."
            )
        identity = isinstance(transform, IdentityTransform)
        name = column if identity else _free_name(schema, f"{column}_{str(transform).partition('[')[0]}")
        if any(each.source_id == source.field_id for each in fields):
            raise ConfigurationError(f"partition_by={expression!r}: {column!r} is named twice, give each column once.")
        fields.append(PartitionField(source.field_id, PARTITION_FIELD_ID_START + position, transform, name))
    return PartitionSpec(*fields)


def _free_name(schema: Schema, name: str) -> str:
    """Return a name for a partition that no column has, in either case."""
    taken = {each.lower() for each in schema.column_names}
    while name.lower() in taken:
        name += "_"
    return name


def _transform(schema: Schema, expression: str) -> tuple[Transform[Any, Any], str]:
    named = expression in {item.name for item in schema.fields}
    match = None if named else _TRANSFORM.fullmatch(expression.strip())
    if match is None and not named and not expression.strip().isidentifier():
        raise ConfigurationError(_NOT_UNDERSTOOD.format(expression))
    if match is None:
        kind = _field(schema, expression, f"partition_by={expression!r}").field_type
        by_day = isinstance(kind, (TimestampType, TimestamptzType))
        return (DayTransform() if by_day else IdentityTransform()), expression
    name, before, column, after = match.groups()
    width = before or after
    if width is not None and int(width) > WIDEST:
        raise ConfigurationError(f"partition_by={expression!r}: {width} is more than {WIDEST}, Iceberg's largest.")
    if name in _TIME_TRANSFORMS and width is None:
        return _TIME_TRANSFORMS[name](), column
    if name in _WIDTH_TRANSFORMS and width is not None and int(width) > 0:
        return _WIDTH_TRANSFORMS[name](int(width)), column
    raise ConfigurationError(_NOT_UNDERSTOOD.format(expression))


def sort_order(schema: Schema, sort_by: Sequence[str]) -> SortOrder:
    """Return the sort order that ``sort_by`` (see :func:`ensure_table`) means for ``schema``."""
    fields = []
    for expression in sort_by:
        column, direction = expression, ""
        if column not in {item.name for item in schema.fields}:
            column, _, direction = expression.rpartition(" ") if " " in expression else (expression, "", "")
            column = column.strip()
        source = _field(schema, column, f"sort_by={expression!r}").field_id
        if direction.strip().lower() not in ("", "asc", "desc"):
            raise ConfigurationError(f"sort_by={expression!r} is not understood: write 'column' or 'column desc'.")
        descending = direction.strip().lower() == "desc"
        fields.append(
            SortField(
                source_id=source,
                transform=IdentityTransform(),
                direction=SortDirection.DESC if descending else SortDirection.ASC,
                null_order=NullOrder.NULLS_LAST if descending else NullOrder.NULLS_FIRST,
            )
        )
    return SortOrder(*fields)


def _field(schema: Schema, column: str, what: str) -> NestedField:
    found = next((item for item in schema.fields if item.name == column), None)
    if found is None:
        names = ", ".join(item.name for item in schema.fields)
        raise ConfigurationError(f"{what}: there is no column {column!r}; the table has {names}.")
    return found
