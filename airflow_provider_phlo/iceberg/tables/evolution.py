"""Evolve a table's schema within what Iceberg allows, and fit rows to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.types import IcebergType, NestedField, PrimitiveType

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.iceberg.catalogs.retries import retry_commit
from airflow_provider_phlo.iceberg.tables.casting import cast
from airflow_provider_phlo.iceberg.tables.names import require_distinct_names
from airflow_provider_phlo.iceberg.tables.support import require_committable
from airflow_provider_phlo.schemas.types import DOC, Path, differences, iceberg_type, promotes, without_ids

# as PyIceberg says it
_PARTITION_NAME = re.compile(r"(?s)^Cannot create (?:identity )?partition .*in schema: (.+)$")
#: the property of a table that Spark and Trino show as its comment
COMMENT = "comment"


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
    :raises SchemaError: for any other difference, or for a name that a partition has; nothing is changed then.
    :raises CommitConflictError: if other writers changed the table in every round.
    """

    def attempt() -> Table:
        table = catalog.load_table(identifier)
        with table.transaction() as transaction:
            stage_evolution(transaction, batch)
        return table

    return retry_commit(attempt, identifier)


def stage_evolution(transaction: Transaction, batch: pa.Schema) -> None:
    """
    Stage what :func:`evolve` commits.

    :raises SchemaError: as :func:`evolve`.
    """
    table, schema = transaction._table, transaction.table_metadata.schema()
    identifier = ".".join(table.name())
    additions, widenings = _changes(schema, batch, identifier)
    _require_distinct_additions(identifier, schema, additions)
    if not (additions or widenings):
        return
    require_committable(table)
    with apart_from_partitions(identifier), transaction.update_schema() as update:
        for path, kind in additions.items():
            update.add_column(path, kind, doc=_comment(batch, path))
        for path, wider in widenings.items():
            update.update_column(path, wider)


@contextmanager
def apart_from_partitions(identifier: str) -> Iterator[None]:
    """
    Say it plainly where a column would be called what a partition of the table, now or before, is called.

    :raises SchemaError: if so; nothing is changed then.
    """
    try:
        yield
    except ValueError as error:
        found = _PARTITION_NAME.search(str(error))
        if found is None:
            raise
        raise SchemaError(
            f"{identifier} is, or was, partitioned by a field called {found[1]!r}, and Iceberg lets no column have "
            "that name: load it under another one (rename it in a transform), or add it with the engine that made the "
            "table."
        ) from None


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
        with apart_from_partitions(identifier), table.update_schema() as update:
            for old, new in renames.items():
                update.rename_column(old, new)

    retry_commit(attempt, identifier)


def describe(catalog: Catalog, identifier: str, table_text: str | None, column_texts: Mapping[str, str]) -> None:
    """
    Set the comments of a table and of its columns, in one commit; none when they are there already.

    :param table_text: None leaves the table's as it is.
    :param column_texts: by column; those that are not named keep theirs.
    :raises CommitConflictError: if other writers changed the table in every round.
    """

    def attempt() -> None:
        with catalog.load_table(identifier).transaction() as transaction:
            stage_description(transaction, table_text, column_texts)

    retry_commit(attempt, identifier)


def stage_description(transaction: Transaction, table_text: str | None, column_texts: Mapping[str, str]) -> None:
    """Stage what :func:`describe` commits."""
    table, metadata = transaction._table, transaction.table_metadata
    changes = {
        item.name: column_texts[item.name]
        for item in metadata.schema().fields
        if item.name in column_texts and column_texts[item.name] != (item.doc or "")
    }
    is_new = table_text is not None and table_text != metadata.properties.get(COMMENT, "")
    if not (is_new or changes):
        return
    require_committable(table)
    if is_new:
        transaction.set_properties({COMMENT: table_text})
    if changes:
        with apart_from_partitions(".".join(table.name())), transaction.update_schema() as update:
            for name, text in changes.items():
                update.update_column(name, doc=text)


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


def _cast(values: pa.ChunkedArray, wanted: pa.Field, identifier: str) -> pa.ChunkedArray:
    try:
        # nanoseconds are cut to microseconds
        return values.cast(wanted.type, safe=False) if pa.types.is_timestamp(wanted.type) else cast(values, wanted.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # their messages hold values
        raise SchemaError(
            f"{identifier}: column {wanted.name!r} has values of {values.type} that do not fit {wanted.type}: "
            "convert it in a transform."
        ) from None
