"""What marks columns of JSON text and variant columns, in Arrow tables and as comments in Iceberg tables."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa

from airflow_provider_phlo.schemas.conversion.undeclared import JSON, Piece
from airflow_provider_phlo.schemas.types import DOC

# a comment that begins with this word says that the column's text is JSON
JSON_COMMENT = "JSON"
# in the metadata of an Arrow field: the column whose values are in this one
VARIANT_OF = b"variant_of"
_VARIANT = re.compile(
    r"(.+?)((?:__v_(?:text|double|bool|timestamp|timestamp_ntz|bigint|binary|json|decimal|wei|date|time))+)"
)


def variant_of(name: str) -> str:
    """Return the column whose values a variant column holds; empty if ``name`` is not a variant's."""
    match = _VARIANT.fullmatch(name)
    return match[1] if match else ""


def normalize_variant(name: str, normalize: Callable[[str], str]) -> str:
    """Return ``name`` as ``normalize`` has it, which would take the two underscores out of a variant's name."""
    match = _VARIANT.fullmatch(name) if "__v_" in name else None
    return normalize(name) if match is None else normalize(match[1]) + match[2]


def marked(name: str, piece: Piece, base: str) -> pa.Field:
    """Return the field of an undeclared column ``base``, or of its variant ``name``."""
    json = JSON_COMMENT if piece.kind == JSON else ""
    metadata = {}
    if name != base:
        values = f"values of {base} that its type cannot hold"
        metadata = {DOC: f"{json}: {values}" if json else values.capitalize(), VARIANT_OF: base}
    elif json:
        metadata = {DOC: json}
    return pa.field(name, piece.array.type, metadata=metadata or None)


def is_json_comment(comment: str | None) -> bool:
    """Return whether a column's comment says that its text is JSON."""
    return comment is not None and (
        comment == JSON_COMMENT or comment.startswith((f"{JSON_COMMENT}:", f"{JSON_COMMENT};"))
    )


def is_json(item: pa.Field) -> bool:
    """Return whether the text of a column is JSON of nested values."""
    is_text = pa.types.is_string(item.type) or pa.types.is_large_string(item.type)
    return is_text and is_json_comment((item.metadata or {}).get(DOC, b"").decode())


def logical_type(item: pa.Field) -> pa.DataType:
    """Return the type of a column, JSON apart from other text."""
    return JSON if is_json(item) else item.type


def with_marks_of(rows: pa.Table, before: pa.Schema) -> pa.Table:
    """Return ``rows`` with the marks of columns that a transform has passed on without them."""
    fields = [
        before.field(item.name)
        if item.metadata is None and item.name in before.names and before.field(item.name).type == item.type
        else item
        for item in rows.schema
    ]
    return pa.table(rows.columns, schema=pa.schema(fields))
