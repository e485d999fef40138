"""Ask a table's metadata what it holds for a day."""

from __future__ import annotations

import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    LessThan,
)
from pyiceberg.table import Table
from pyiceberg.types import DateType, IcebergType, StringType, TimestampType, TimestamptzType

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head
from airflow_provider_phlo.iceberg.tables.support import require_readable


def has_partition(catalog: Catalog, identifier: str, column: str, day: str) -> bool:
    """
    Return whether main of a table has a row of ``day``; False if there is no such table yet.

    Manifests suffice for files that hold nothing else, as in a table partitioned by ``column``. Only files that may
    hold other rows too, or have deleted rows, are read: one column of each, up to the first match.

    :param identifier: ``namespace.table``.
    :param column: a date, a timestamp (the UTC day counts), or text that is written as ``day`` is.
    :param day: ``YYYY-MM-DD``.
    :raises ConfigurationError: if the table has no such column, or it holds no day.
    """
    table = find_table(catalog, identifier)
    if table is None:
        return False
    require_readable(table, branch_head(table))
    scan = table.scan(row_filter=_of_day(table, column, day), selected_fields=(column,), limit=1)
    tasks = list(scan.plan_files())
    if any(task.residual == AlwaysTrue() and not task.delete_files and task.file.record_count for task in tasks):
        return True
    return bool(tasks) and len(scan.to_arrow()) > 0


def _of_day(table: Table, column: str, day: str) -> BooleanExpression:
    kind = _type_of(table, column)
    if not isinstance(kind, (TimestampType, TimestamptzType)):
        return EqualTo(column, value=day)  # type: ignore[misc]
    zone = "+00:00" if isinstance(kind, TimestamptzType) else ""
    following = datetime.date.fromisoformat(day) + datetime.timedelta(days=1)
    return And(
        GreaterThanOrEqual(column, value=f"{day}T00:00:00{zone}"),  # type: ignore[misc]
        LessThan(column, value=f"{following}T00:00:00{zone}"),  # type: ignore[misc]
    )


def _type_of(table: Table, column: str) -> IcebergType:
    name, types = ".".join(table.name()), {field.name: field.field_type for field in table.schema().fields}
    if column not in types:
        raise ConfigurationError(
            f"Table {name} has no column {column}: set partition_column to one of {', '.join(types)}."
        )
    kind = types[column]
    if not isinstance(kind, (DateType, StringType, TimestampType, TimestamptzType)):
        raise ConfigurationError(
            f"Column {column} of {name} is {kind}, which holds no day: set partition_column to a date, timestamp or "
            "text column."
        )
    return kind
