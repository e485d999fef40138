"""
What checks and alerts have written down of rows of a person: results name keys that differ, and show samples.

A result or incident that names the key is removed whole: nobody can say what else of it is theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import StringType

from airflow_provider_phlo.alerts.incidents.store import TABLE as INCIDENTS
from airflow_provider_phlo.forgetting.keys import Key, RowTest
from airflow_provider_phlo.forgetting.values import as_word
from airflow_provider_phlo.iceberg.merge.rows import Mask
from airflow_provider_phlo.quality.check_results import TABLE as CHECK_RESULTS

TABLES = (CHECK_RESULTS, INCIDENTS)
_TABLE_NAME = "table_name"


@dataclass(frozen=True)
class Mentions:
    """
    The keys of a person, as results about several tables may name them.

    :param keys: table → the keys of its rows: their column with the value behind it is a mention, a bare number is not.
    """

    keys: Mapping[str, Sequence[Key]]

    def tests(self, table: Table) -> list[RowTest]:
        """Return the test of a table of results or incidents; bounds say nothing of what is inside a text."""
        texts = tuple(item.name for item in table.schema().fields if isinstance(item.field_type, StringType))
        return [RowTest(table, texts, self.matches, lambda file: True)]

    def matches(self, rows: pa.Table) -> Mask:
        """Return which rows are about one of the tables and name one of the keys."""
        return np.array([self._is_named(row) for row in rows.to_pylist()], bool)

    def _is_named(self, row: Mapping[str, Any]) -> bool:
        if row.get(_TABLE_NAME) not in self.keys:
            return False
        # a reconciliation may name the columns of the other table
        text = "\n".join(value for value in row.values() if value is not None)
        return any(
            all(re.search(_mention(name, value), text) for name, value in key.values.items())
            for keys in self.keys.values()
            for key in keys
        )


def _mention(column: str, value: str) -> str:
    """Return the pattern of a column with its value, as messages (``id=7``, ``id 7``) and JSON have it."""
    return rf'(?<!\w){re.escape(column)}"?\s*[:=]?\s*"?{as_word(value)}'
