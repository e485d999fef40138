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
from pyiceberg.expressions.visitors import bind
from pyiceberg.io.pyarrow import expression_to_pyarrow
from pyiceberg.table import Table
from pyiceberg.types import DateType, IcebergType, StringType, TimestampType, TimestamptzType

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.iceberg.files.manifests import live_tasks
from airflow_provider_phlo.iceberg.files.reading import read_file
from airflow_provider_phlo.iceberg.tables.lookup import find_table
from airflow_provider_phlo.iceberg.tables.refs import branch_head


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
    of_day = _of_day(table, column, day)
    tasks = live_tasks(table, branch_head(table), of_day)
    if any(task.residual == AlwaysTrue() and not task.delete_files and task.file.record_count for task in tasks):
        return True
    accepted = expression_to_pyarrow(bind(table.schema(), of_day, case_sensitive=True))
    return any(len(rows.filter(accepted)) for task in tasks for rows in read_file(table, task, [column]))


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
