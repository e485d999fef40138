"""``phlo query --output parquet``: a result as a Parquet file on the standard output, in the types that it has."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# what Parquet does not have, or Arrow would hand on as something else; inside other types, too
_ODD_TYPE = re.compile(r"\b(INTERVAL|BIT|UHUGEINT|TIME WITH TIME ZONE|TIMETZ|UNION|BIGNUM|VARIANT|GEOMETRY)\b")
_ROWS = 100_000


def require_a_file() -> None:
    """
    Refuse to write to a terminal.

    :raises ConfigurationError: if that is what the standard output is.
    """
    if sys.stdout.isatty():
        raise ConfigurationError(
            "--output parquet writes the bytes of a file, and this is a terminal: add > result.parquet."
        )


def print_parquet(connection: DuckDBPyConnection, sql: str, unique: Callable[[Sequence[str]], list[str]]) -> None:
    """
    Write the result of one statement to the standard output, some rows at a time.

    :param unique: makes the names of columns differ.
    :raises ConfigurationError: if a column has a type that Parquet does not have.
    """
    from pyarrow import parquet

    relation = connection.sql(sql)
    names = unique(relation.columns)
    odd = [f"{name} ({kind})" for name, kind in zip(names, relation.types, strict=True) if _ODD_TYPE.search(str(kind))]
    if odd:
        raise ConfigurationError(
            f"Parquet cannot hold the type of {', '.join(odd)}: cast it, as in CAST(column AS VARCHAR)."
        )
    reader = relation.to_arrow_reader(_ROWS)
    schema = reader.schema
    for position, name in enumerate(names):
        schema = schema.set(position, schema.field(position).with_name(name))
    with parquet.ParquetWriter(sys.stdout.buffer, schema) as writer:
        for batch in reader:
            writer.write_batch(batch.rename_columns(names))
    sys.stdout.flush()
