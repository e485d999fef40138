"""Give each undeclared column one type in all files of a batch, with variants for values that it cannot hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pyarrow as pa

from airflow_provider_phlo.exceptions import SchemaError
from airflow_provider_phlo.ingestion.checked_rows import StagingPlan, with_new_hashes
from airflow_provider_phlo.ingestion.staged_batches import BatchWriter
from airflow_provider_phlo.schemas.conversion import undeclared
from airflow_provider_phlo.schemas.conversion.exact import is_number
from airflow_provider_phlo.schemas.conversion.undeclared import Piece
from airflow_provider_phlo.schemas.conversion.variants import VARIANT_OF, logical_type, marked


def unify_types(writer: BatchWriter, plan: StagingPlan) -> None:
    """
    Write files again where the type of a column differs from that in the others, with the hashes that go with it.

    :raises SchemaError: if that needs variants, and ``plan`` refuses them.
    """
    targets = {name: _common_type(writer, name, plan) for name in _mixed(writer.schemas)}
    for number, schema in enumerate(writer.schemas):
        wrong = [name for name, kind in targets.items() if any(_is_part_of(item, name) for item in schema)]
        if wrong:
            rows = writer.read(number)
            for name in wrong:
                rows = _arranged(rows, name, {**plan.known_types, name: targets[name]}, plan)
            writer.rewrite(number, with_new_hashes(rows) if plan.metadata_columns else rows)


def _mixed(schemas: Iterable[pa.Schema]) -> list[str]:
    kinds: dict[str, set[pa.DataType]] = {}
    for schema in schemas:
        for item in schema:
            kinds.setdefault(item.name, set()).add(logical_type(item))
    return [name for name, found in kinds.items() if len(found) > 1]


def _is_part_of(item: pa.Field, name: str) -> bool:
    return item.name == name or (item.metadata or {}).get(VARIANT_OF) == name.encode()


def _pieces(rows: pa.Table, name: str) -> list[Piece]:
    return [Piece(rows[item.name], logical_type(item)) for item in rows.schema if _is_part_of(item, name)]


def _common_type(writer: BatchWriter, name: str, plan: StagingPlan) -> pa.DataType:
    """Return the type in the table, widened if need be, else one for all numbers, else that of the first file."""
    names = [[item.name for item in schema if _is_part_of(item, name)] for schema in writer.schemas]
    pieces = [piece for number, some in enumerate(names) if some for piece in _pieces(writer.read(number, some), name)]
    if name in plan.known_types:
        return undeclared.target_type(pieces, plan.known_types[name])
    first = next(logical_type(schema.field(name)) for schema in writer.schemas if name in schema.names)
    return undeclared.common_number(pieces, first) if is_number(first) else first


def _arranged(rows: pa.Table, name: str, known: Mapping[str, pa.DataType], plan: StagingPlan) -> pa.Table:
    parts = [item.name for item in rows.schema if _is_part_of(item, name)]
    found = undeclared.arrange(name, _pieces(rows, name), known, set(rows.column_names) - set(parts))
    if not plan.variants:
        try:
            undeclared.require_one_type(found, name)
        except SchemaError as error:
            raise SchemaError(f"{plan.table}: {error}") from None
    position = rows.schema.get_field_index(parts[0])
    rows = rows.drop_columns(parts)
    for each, piece in found.items():
        if each == name or piece.array.null_count < len(piece.array):
            rows = rows.add_column(position, marked(each, piece, name), piece.array)
            position += 1
    return rows
