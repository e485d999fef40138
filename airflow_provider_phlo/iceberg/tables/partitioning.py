"""
Which partition each row goes to, for every transform and every value that a column can have.

PyIceberg's own computation overflows: at the smallest integers, ``truncate`` names a partition at the other end of the
range, where no reader looks. It also lacks a few pairs of transform and type.
"""

from __future__ import annotations

import decimal
import hashlib
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform, TruncateTransform, VoidTransform
from pyiceberg.typedef import Record
from pyiceberg.types import BinaryType, IcebergType, NestedField, UUIDType

from airflow_provider_phlo.exceptions import SchemaError

# bytes of a folder's name; what is kept of a longer one. Readers find the values in the manifests, not here
LONGEST_FOLDER, KEPT_OF_FOLDER = 255, 120
# Iceberg holds the width of a transform in 32 bits
WIDEST = 2**31 - 1
# more than any decimal of Iceberg has
_DIGITS = 60


@dataclass(frozen=True)
class Partition:
    """Values of a partition, as Iceberg holds them; it names the folder of its files."""

    record: Record
    spec: PartitionSpec
    schema: Schema

    def to_path(self) -> str:
        """Return the folder, as PyIceberg's location providers ask for it."""
        path = self.spec.partition_to_path(self.record, self.schema)
        return "/".join(map(_folder, path.split("/")))


def _folder(name: str) -> str:
    """Return a name that file systems take: a long one ends in a digest of the whole."""
    if len(name.encode()) <= LONGEST_FOLDER:
        return name
    return f"{name.encode()[:KEPT_OF_FOLDER].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def partition_schema(table: Table) -> Schema:
    """Return the table's schema, with columns that were dropped and that a partition spec still names."""
    current = table.schema()
    known = {key: item for schema in table.schemas().values() for key, item in schema._lazy_id_to_field.items()}
    needed = {item.source_id for spec in table.specs().values() for item in spec.fields}
    dropped = [known[key] for key in sorted(needed & known.keys() - current._lazy_id_to_field.keys())]
    if not dropped:
        return current
    # another column may have the name by now
    return Schema(
        *current.fields,
        *(NestedField(item.field_id, f"dropped_{item.field_id}", item.field_type) for item in dropped),
        schema_id=current.schema_id,
    )


def identity_values(table: Table, file: DataFile) -> dict[int, Any]:
    """Return what all rows of a file hold in the columns by whose values it is partitioned, by field id."""
    fields = table.specs()[file.spec_id].fields
    return {
        item.source_id: file.partition[position]
        for position, item in enumerate(fields)
        if isinstance(item.transform, IdentityTransform)
    }


def split(rows: pa.Table, table: Table) -> list[tuple[Partition, pa.Table]]:
    """Return the rows of each partition of the table's current spec; within one they keep their order."""
    return [(partition, part()) for partition, part in split_lazily(rows, table)]


def split_lazily(rows: pa.Table, table: Table) -> list[tuple[Partition, Callable[[], pa.Table]]]:
    """Return what :func:`split` does; rows are copied by who calls for them, which may be several threads."""
    spec, schema = table.spec(), partition_schema(table)
    if not spec.fields or not len(rows):
        return [(Partition(Record(), spec, schema), lambda: rows)] if len(rows) else []
    codes = np.zeros(len(rows), np.int64)
    values: list[pa.DictionaryArray] = []
    for item in spec.fields:
        encoded = _transformed(rows, item, schema).dictionary_encode(null_encoding="encode")
        codes = codes * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy(zero_copy_only=False)
        values.append(encoded)
    order = np.argsort(codes, kind="stable") if np.any(np.diff(codes) < 0) else None
    codes = codes if order is None else codes[order]
    starts = np.flatnonzero(np.diff(codes, prepend=codes[0] - 1))
    kinds = [schema.find_type(item.source_id) for item in spec.fields]
    found: list[tuple[Partition, Callable[[], pa.Table]]] = []
    for start, end in itertools.pairwise([*starts.tolist(), len(rows)]):
        at = start if order is None else int(order[start])
        record = Record(*(_value(encoded, at, kind) for encoded, kind in zip(values, kinds, strict=True)))
        found.append((Partition(record, spec, schema), partial(_part, rows, order, start, end)))
    return found


def _part(rows: pa.Table, order: np.ndarray[Any, Any] | None, start: int, end: int) -> pa.Table:
    return rows.slice(start, end - start) if order is None else rows.take(pa.array(order[start:end]))


def _value(encoded: pa.DictionaryArray, row: int, kind: IcebergType) -> Any:
    value = encoded.dictionary[encoded.indices[row].as_py()].as_py()
    return uuid.UUID(bytes=value) if isinstance(kind, UUIDType) and isinstance(value, bytes) else value


def _transformed(rows: pa.Table, item: PartitionField, schema: Schema) -> pa.Array:
    """Return the partition value of every row, in the form in which Iceberg stores it."""
    transform = item.transform
    if isinstance(transform, VoidTransform):
        return pa.nulls(len(rows), pa.int32())
    source = schema.find_field(item.source_id)
    values = _column(rows, schema.find_column_name(item.source_id) or source.name)
    if isinstance(transform, TruncateTransform) and pa.types.is_integer(values.type):
        return _truncated(values, transform.width)
    if isinstance(transform, TruncateTransform) and isinstance(source.field_type, BinaryType):
        return pc.binary_slice(values, 0, transform.width).combine_chunks()
    found = transform.pyarrow_transform(source.field_type)(values)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    if isinstance(transform, TruncateTransform) and pa.types.is_decimal(found.type):
        return pc.max_element_wise(found, pa.scalar(smallest_number(found.type), found.type), skip_nulls=False)
    if isinstance(found, pa.ExtensionArray):
        return found.storage
    if pa.types.is_date32(found.type):
        return found.cast(pa.int32())
    return found.cast(pa.int64()) if pa.types.is_temporal(found.type) else found


def _truncated(values: pa.ChunkedArray, width: int) -> pa.Array:
    """
    Return integers rounded down to multiples of ``width``.

    A multiple below the smallest number of the type does not exist: the smallest number stands for it, so that the
    partition keeps its place in the order, by which ranges are found.
    """
    flat = values.combine_chunks()
    numbers = pc.fill_null(flat, 0).to_numpy(zero_copy_only=False)
    smallest = int(smallest_number(flat.type))
    remainder = np.mod(numbers, numbers.dtype.type(width))  # of the divisor's sign
    rounded = np.where(numbers < smallest + remainder, smallest, numbers - remainder)
    return pa.array(rounded, flat.type, mask=flat.is_null().to_numpy(zero_copy_only=False))


def require_found_by_trino(rows: pa.Table, table: Table) -> None:
    """
    Check that Trino looks for each row where it puts it.

    Below the smallest numbers of a type there are no multiples of a width: Trino's own computation overflows to the
    other end of the range for a row and for a value that is asked for, and not for a range, nor in files of ours.

    :raises SchemaError: if a row has such a number in a column that the table truncates.
    """
    schema = partition_schema(table)
    for item in table.spec().fields:
        if not isinstance(item.transform, TruncateTransform):
            continue
        name = schema.find_column_name(item.source_id) or ""
        values = _column(rows, name)
        if not (pa.types.is_integer(values.type) or pa.types.is_decimal(values.type)):
            continue
        with decimal.localcontext(prec=_DIGITS):
            step = decimal.Decimal((0, (1,), -values.type.scale)) if pa.types.is_decimal(values.type) else 1
            lowest = smallest_number(values.type)
            multiple = -((-lowest) // (item.transform.width * step)) * item.transform.width * step
        below = pc.sum(pc.less(values, pa.scalar(multiple, values.type))).as_py()
        if below:
            raise SchemaError(
                f"{'.'.join(table.name())}: {below} row(s) have a number in {name!r} that is below every multiple of "
                f"{item.transform.width} which its type has. Trino does not find it again in a table partitioned by "
                f"{item.transform}: merge with the embedded engine, or partition by something else."
            )


def smallest_number(kind: pa.DataType) -> int | decimal.Decimal:
    """Return the smallest value of a type of integers or decimals."""
    if pa.types.is_integer(kind):
        return int(-(2 ** (kind.bit_width - 1)))
    return decimal.Decimal((1, (9,) * kind.precision, -kind.scale))


def above_truncation(number: int | decimal.Decimal, kind: pa.DataType) -> int | decimal.Decimal:
    """
    Return ``number``, or what is above every number whose multiple by ``truncate`` the type may not have.

    A filter on a smaller one would be projected to a partition that does not exist.

    :param kind: the type of the column.
    """
    with decimal.localcontext(prec=_DIGITS):
        lowest = smallest_number(kind)
        step = decimal.Decimal((0, (1,), -kind.scale)) if pa.types.is_decimal(kind) else 1
        return min(max(number, lowest + WIDEST * step), -lowest - (0 if pa.types.is_decimal(kind) else 1))


def _column(rows: pa.Table, path: str) -> pa.ChunkedArray:
    """Return a column, or a member of a struct, as Iceberg names it."""
    if path in rows.column_names:
        return rows[path]
    name, _, rest = path.partition(".")
    return pc.struct_field(rows[name], rest.split("."))
