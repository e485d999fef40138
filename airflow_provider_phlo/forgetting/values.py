"""Whether a value of a source, before it was converted, is the one that a key names."""

from __future__ import annotations

import decimal
import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.types import DecimalType, DoubleType, FloatType, IcebergType, IntegerType, LongType

from airflow_provider_phlo.forgetting.keys import typed
from airflow_provider_phlo.iceberg.merge.rows import Mask

_NUMBERS = (IntegerType, LongType, FloatType, DoubleType, DecimalType)


def is_value(raw: Any, text: str, kind: IcebergType) -> bool:
    """
    Return whether staging would make of ``raw`` what ``text`` is as a value of a column.

    In a column of text, ``"007"`` and 7 are two; in a column of numbers, 7, 7.0 and ``" 7"`` are one.

    :param kind: the type of the column.
    """
    if raw is None:
        return False
    if isinstance(kind, _NUMBERS):
        number = _number(raw)
        return number is not None and number == _number(text)
    written = raw.isoformat() if hasattr(raw, "isoformat") else str(raw)
    if written == text:
        return True
    if isinstance(raw, float) and raw.is_integer():
        return str(int(raw)) == text
    wanted, found = typed(text, kind), typed(written, kind)
    return found is not None and found == wanted


def _number(raw: Any) -> decimal.Decimal | None:
    try:
        found = decimal.Decimal(str(raw).strip())
    except decimal.InvalidOperation:
        return None
    return found if found.is_finite() else None


def as_word(value: str) -> str:
    """Return the pattern of a value in a text: not as a part of another one, ``7`` in ``17`` or ``7-2``."""
    spellings = {value, json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    return rf"(?<![\w-])(?:{'|'.join(map(re.escape, sorted(spellings)))})(?![\w-])"


def rows_with(rows: pa.Table, values: Mapping[str, str], kinds: Mapping[str, IcebergType]) -> Mask:
    """
    Return which rows have all of the values, whatever types their columns have.

    :param rows: with all columns of ``values``.
    :param kinds: the types that these columns have in the table.
    """
    found = np.ones(len(rows), bool)
    for name, text in values.items():
        column = rows[name].combine_chunks()
        distinct = column if pa.types.is_nested(column.type) else column.unique()
        known = np.array([is_value(raw, text, kinds[name]) for raw in distinct.to_pylist()], bool)
        if distinct is not column:
            positions = pc.index_in(column, value_set=distinct).to_numpy(zero_copy_only=False)
            known = known[positions.astype(np.int64)] if len(distinct) else np.zeros(len(rows), bool)
        found &= known
    return found
