"""Create tables, adopt the ones that exist, and evolve their schema within what Iceberg allows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError, TableAlreadyExistsError
from pyiceberg.io.pyarrow import schema_to_pyarrow
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
    BinaryType,
    IcebergType,
    NestedField,
    PrimitiveType,
    TimestampType,
    TimestamptzType,
)

from airflow_provider_phlo.exceptions import ConfigurationError, SchemaError
from airflow_provider_phlo.iceberg.catalog import TABLE_PROPERTIES, ensure_namespace
from airflow_provider_phlo.iceberg.distinct_names import require_distinct_names, require_distinct_table
from airflow_provider_phlo.iceberg.partitioning import WIDEST
from airflow_provider_phlo.iceberg.retries import disk_errors, retry_commit
from airflow_provider_phlo.schemas.types import DOC, Path, differences, iceberg_type, promotes, without_ids
from airflow_provider_phlo.terms import names_of

_NOT_UNDERSTOOD = (
    "partition_by={!r} is not understood: write a column, or year/month/day/hour(column), bucket(16, column), "
    "truncate(10, column)."
)
_TRANSFORM = re.compile(r"(\w+)\((?:\s*(\d+)\s*,)?\s*(.+?)\s*(?:,\s*(\d+)\s*)?\)", re.DOTALL)
_NUMBERS = frozenset(
    {"write.target-file-size-bytes", "write.parquet.row-group-limit", "write.metadata.previous-versions-max"}
)
_CHOICES = {
    "format-version": ("2",),
    "write.format.default": ("parquet",),
    "write.parquet.compression-codec": ("zstd", "snappy", "gzip", "lz4", "brotli", "uncompressed"),
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


def find_table(catalog: Catalog, identifier: str) -> Table | None:
    """Return the table, or None if there is none."""
    try:
        return catalog.load_table(identifier)
    except NoSuchTableError:
        return None


def column_names(table: Table) -> list[str]:
    """Return the names of the columns; PyIceberg's list has the members of nested ones too."""
    return [item.name for item in table.schema().fields]


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
    _check_properties(identifier, properties or {})
    spec = partition_spec(schema, names_of(partition_by))
    order = sort_order(schema, names_of(sort_by))
    require_distinct_names(identifier, schema)
    require_distinct_table(catalog, identifier)
    ensure_namespace(catalog, identifier.partition(".")[0])
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


def _check_properties(identifier: str, properties: Mapping[str, str]) -> None:
    """Refuse properties with which the table could not be written."""
    problems = [f"{name!r} is kept by this provider" for name in properties if name.startswith("phlo.")]
    for name in _NUMBERS & properties.keys():
        if not str(properties[name]).isdecimal() or not int(properties[name]):
            problems.append(f"{name}={properties[name]!r} is not a whole number above 0")
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
        if not transform.can_transform(source.field_type) or not _is_written_here(transform, source.field_type):
            raise ConfigurationError(
                f"partition_by={expression!r}: {column!r} is {source.field_type}, which {transform} does not take."
            )
        identity = isinstance(transform, IdentityTransform)
        name = column if identity else f"{column}_{str(transform).partition('[')[0]}"
        if any(each.source_id == source.field_id for each in fields):
            raise ConfigurationError(f"partition_by={expression!r}: {column!r} is named twice, give each column once.")
        fields.append(PartitionField(source.field_id, PARTITION_FIELD_ID_START + position, transform, name))
    return PartitionSpec(*fields)


def _is_written_here(transform: Transform[Any, Any], kind: IcebergType) -> bool:
    """Return whether PyIceberg can compute the partition of rows; of binary values it cannot truncate."""
    return not (isinstance(transform, TruncateTransform) and isinstance(kind, BinaryType))


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


def require_fit(rows: pa.Table, schema: Schema, identifier: str) -> None:
    """
    Check that ``rows`` can go into a table with ``schema``, perhaps after :func:`evolve`; nothing is written.

    :raises SchemaError: if a type differs in a way that Iceberg does not widen, or a required value is missing.
    """
    additions, _ = _changes(schema, rows.schema, identifier)
    _require_distinct_additions(identifier, schema, additions)
    present = set(rows.column_names)
    for item in schema.fields:
        if item.required and len(rows):
            missing = rows[item.name].null_count if item.name in present else len(rows)
            if missing:
                raise SchemaError(
                    f"{identifier}: required column {item.name!r} has {missing} NULL(s) in a batch of {len(rows)} "
                    "rows: fill it at the source or in a transform, or make it optional in the table."
                )


def evolve(catalog: Catalog, identifier: str, batch: pa.Schema) -> Table:
    """
    Make the table fit ``batch``: add new columns, widen types as Iceberg allows.

    :returns: the table with its schema as it is now.
    :raises SchemaError: for any other difference; nothing is changed then.
    :raises CommitConflictError: if other writers changed the table in every round.
    """

    def attempt() -> Table:
        table = catalog.load_table(identifier)
        additions, widenings = _changes(table.schema(), batch, identifier)
        _require_distinct_additions(identifier, table.schema(), additions)
        if additions or widenings:
            with table.update_schema() as update:
                for path, kind in additions.items():
                    update.add_column(path, kind, doc=_comment(batch, path))
                for path, wider in widenings.items():
                    update.update_column(path, wider)
        return table

    return retry_commit(attempt, identifier)


def rename_columns(catalog: Catalog, identifier: str, renames: Mapping[str, str]) -> None:
    """
    Give columns other names, all in one commit; again changes nothing.

    :param renames: the new name by the old one; names may be exchanged.
    :raises CommitConflictError: if other writers changed the table in every round.
    """
    ids = {old: catalog.load_table(identifier).schema().find_field(old).field_id for old in renames}

    def attempt() -> None:
        table = catalog.load_table(identifier)
        present = {item.name: item.field_id for item in table.schema().fields}
        if all(present.get(new) == ids[old] for old, new in renames.items()):
            return
        with table.update_schema() as update:
            for old, new in renames.items():
                update.rename_column(old, new)

    retry_commit(attempt, identifier)


def _comment(batch: pa.Schema, path: Path) -> str | None:
    """Return the comment of a column that is added; members of nested ones have none."""
    comment = (batch.field(path[0]).metadata or {}).get(DOC) if len(path) == 1 else None
    return comment.decode() if comment else None


def _changes(
    schema: Schema, batch: pa.Schema, identifier: str
) -> tuple[dict[Path, IcebergType], dict[Path, PrimitiveType]]:
    """Return the fields to add and those to widen, members of nested ones included."""
    known, new_id = {item.name: item.field_type for item in schema.fields}, schema.highest_field_id + 1
    additions: dict[Path, IcebergType] = {}
    widenings: dict[Path, PrimitiveType] = {}
    for column in batch:
        if pa.types.is_null(column.type):  # nothing but NULLs: any type holds them
            continue
        kind = iceberg_type(column.type, count(new_id))
        for path, present, wanted in differences((column.name,), known.get(column.name), kind):
            if present is None:
                additions[path] = wanted
            elif isinstance(wanted, PrimitiveType) and promotes(present, wanted):
                widenings[path] = wanted
            else:
                raise SchemaError(
                    f"{identifier}: column {'.'.join(path)!r} is {without_ids(present)} in the table and "
                    f"{without_ids(wanted)} in the batch. Iceberg widens int to long, float to double and decimals in "
                    "precision, and adds members to structs: declare the column as it is in the table, convert it in "
                    "a transform, or load it under another name."
                )
    return additions, widenings


def _require_distinct_additions(identifier: str, schema: Schema, additions: Mapping[Path, IcebergType]) -> None:
    """Refuse new columns or members that differ from others in nothing but case."""
    if not additions:
        return
    known = {name.lower(): name for name in schema.column_names}
    for name in map(".".join, additions):
        other = known.setdefault(name.lower(), name)
        if other != name:
            raise SchemaError(
                f"{identifier} would have {other!r} and {name!r}, which differ in nothing but case: DuckDB and Trino "
                "take them for one name. Rename one at the source or in a transform."
            )
    inside = (NestedField(at, str(at), kind, required=False) for at, kind in enumerate(additions.values(), start=1))
    require_distinct_names(identifier, Schema(*inside))


def fit(rows: pa.Table, table: Table) -> pa.Table:
    """
    Return ``rows`` with the table's columns, order and types; a missing optional column is NULL.

    :raises SchemaError: if a required column is missing or holds NULL, a value does not fit its column, or a column
        is not the table's.
    """
    identifier = ".".join(table.name())
    target = schema_to_pyarrow(table.schema(), include_field_ids=False)
    known, present = set(target.names), set(rows.column_names)
    unknown = [item.name for item in rows.schema if item.name not in known and not pa.types.is_null(item.type)]
    if unknown:
        raise SchemaError(f"{identifier} has no column(s) {', '.join(unknown)}: add them first (tables.evolve).")
    require_fit(rows, table.schema(), identifier)
    columns = [
        _cast(rows[wanted.name], wanted, identifier) if wanted.name in present else pa.nulls(len(rows), wanted.type)
        for wanted in target
    ]
    return pa.table(columns, schema=target)


def _cast(values: pa.ChunkedArray, wanted: pa.Field, identifier: str) -> pa.ChunkedArray:
    try:
        # nanoseconds are cut to microseconds
        return values.cast(wanted.type, safe=not pa.types.is_timestamp(wanted.type))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # their messages hold values
        raise SchemaError(
            f"{identifier}: column {wanted.name!r} has values of {values.type} that do not fit {wanted.type}: "
            "convert it in a transform."
        ) from None
