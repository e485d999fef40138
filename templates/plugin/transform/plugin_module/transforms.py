"""The transform."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def plugin_name(rows: pa.Table) -> pa.Table:
    """Remove the spaces around all texts. Other columns are passed on: one of them says which record a row is from."""
    # what takes time to import is imported in here: DAG files import this module
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, field in enumerate(rows.schema):
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            rows = rows.set_column(index, field, pc.utf8_trim_whitespace(rows.column(index)))
    return rows


#: What `phlo plugin check` tries: rows, and what becomes of them.
plugin_name.examples = (  # type: ignore[attr-defined]
    {"rows": [{"id": 1, "name": " Ann "}, {"id": 2}], "gives": [{"id": 1, "name": "Ann"}, {"id": 2, "name": None}]},
)
