"""Whose records: those that were set aside, as their source had them, before any conversion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import IcebergType, StringType

from airflow_provider_phlo.exact_json import RepeatedNames
from airflow_provider_phlo.forgetting.keys import Key, RowTest
from airflow_provider_phlo.forgetting.values import as_word, is_value
from airflow_provider_phlo.iceberg.merge.rows import Mask
from airflow_provider_phlo.ingestion.records import read_raw, record_of
from airflow_provider_phlo.schemas.conversion.records import Malformed

RECORD = "record"


@dataclass(frozen=True)
class RecordKey:
    """
    The key of a person's records.

    :param kinds: the types of the key's columns in the table.
    :param normalize: dlt's naming convention: the source's name of a field → the column's.
    """

    key: Key
    kinds: Mapping[str, IcebergType]
    normalize: Callable[[str], str] = field(repr=False)

    def tests(self, table: Table) -> list[RowTest]:
        """Return the test of a quarantine's rows; bounds say nothing of what is inside a record."""
        return [RowTest(table, (RECORD,), self.matches, lambda file: True)]

    def matches(self, rows: pa.Table) -> Mask:
        """Return which rows of a quarantine have a record that is theirs."""
        return np.array([text is not None and self._is_theirs(text) for text in rows[RECORD].to_pylist()], bool)

    def _is_theirs(self, text: str) -> bool:
        try:
            record = record_of(read_raw(text))
        except ValueError:
            return self._is_mentioned(text)
        if isinstance(record, Malformed):
            if not isinstance(record.raw, RepeatedNames):
                return self._is_mentioned(str(record.raw))
            return all(any(self._is(name, found, raw) for found, raw in record.raw.pairs) for name in self.key.values)
        return all(any(self._is(name, found, raw) for found, raw in record.items()) for name in self.key.values)

    def _is(self, column: str, name: Any, raw: Any) -> bool:
        if not isinstance(name, str) or not name or self.normalize(name) != column:
            return False
        return is_value(raw, self.key.values[column], self.kinds[column])

    def _is_mentioned(self, text: str) -> bool:
        """Return whether a text that is not a record has all values as words: what else it says is not known."""
        return all(re.search(as_word(value), text) for value in self.key.values.values())


def kinds_of(table: Table, key: Key) -> dict[str, IcebergType]:
    """Return the types of a key's columns; text, for a column that the table has no longer."""
    known = {item.name: item.field_type for item in table.schema().fields}
    return {name: known.get(name, StringType()) for name in key.values}
