"""A transform."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def uppercase(rows: pa.Table) -> pa.Table:
    """Write all texts in capital letters."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(rows.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            rows = rows.set_column(index, field, pc.utf8_upper(rows.column(index)))
    return rows


#: What `phlo plugin check` tries: rows, and what becomes of them.
uppercase.examples = (  # type: ignore[attr-defined]
    {
        "rows": [{"id": 1, "name": "Ann"}, {"id": 2, "name": None}],
        "gives": [{"id": 1, "name": "ANN"}, {"id": 2, "name": None}],
    },
)
