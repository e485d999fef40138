"""
Which files of a table hold rows of a person physically, whatever a snapshot says of them.

A row that position deletes hide, or that a later snapshot no longer has, is in its file as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table

from airflow_provider_phlo.forgetting.keys import RowTest, Wanted
from airflow_provider_phlo.iceberg.files.projection import constant
from airflow_provider_phlo.iceberg.files.reading import FileReader
from airflow_provider_phlo.iceberg.merge.rows import Mask
from airflow_provider_phlo.iceberg.tables.partitioning import identity_values


class State(Enum):
    """What a search of a file found."""

    FREE = "no such rows"
    HOLDS = "has such rows"
    GONE = "is not there any more; its bounds leave room for such rows"


@dataclass
class Holdings:
    """
    Search data and delete files, each once: a file never changes.

    :param table: as it is now.
    :param wanted: whose rows.
    :raises ConfigurationError: nobody can say which they are: see :meth:`Key.tests`.
    """

    table: Table
    wanted: Wanted
    rows: dict[str, int] = field(default_factory=dict, init=False)
    tests: list[RowTest] = field(init=False)
    _states: dict[str, State] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self.tests = self.wanted.tests(self.table)

    def state(self, file: DataFile) -> State:
        """
        Return whether a file has such rows; :attr:`rows` then says how many.

        :raises SchemaError: it is of a format that is not read.
        """
        path = file.file_path
        if path not in self._states:
            self._states[path] = self._searched(file)
        return self._states[path]

    def _searched(self, file: DataFile) -> State:
        try:
            if file.content == DataFileContent.POSITION_DELETES:
                theirs = any(_is_of_their_partition(test, file) for test in self.tests)
                return State.HOLDS if theirs or _copies_rows(self.table, file) else State.FREE
            tests = [test for test in self.tests if test.may_be_in(file)]
            if not tests:
                return State.FREE
            whole = FileScanTask(file, set())
            found = sum(int(part.sum()) for part in _masks(tests, whole))
        except FileNotFoundError:
            return State.GONE
        if found:
            self.rows[file.file_path] = found
        return State.HOLDS if found else State.FREE

    def take_over(self, before: Holdings) -> None:
        """Take over what another search of the table found: what is in a file stays."""
        self.rows |= before.rows
        self._states |= {path: state for path, state in before._states.items() if state != State.GONE}

    def mask(self, task: FileScanTask) -> Mask:
        """Return which of the live rows of a file are theirs."""
        return np.concatenate([np.zeros(0, bool), *_masks(self.tests, task)])


def _masks(tests: list[RowTest], task: FileScanTask) -> Iterator[Mask]:
    """Yield a mask for each part of a file: its rows by any of the tests."""
    readers = [_read(test, task) for test in tests]
    for masks in zip(*readers, strict=True):
        yield np.logical_or.reduce(masks)


def _read(test: RowTest, task: FileScanTask) -> Iterator[Mask]:
    with FileReader(test.view, task) as reader:
        for rows in reader.rows(test.columns):
            yield test.matches(rows)


def _copies_rows(table: Table, file: DataFile) -> bool:
    """Return whether a file of position deletes has copies of what it deletes; whose rows these are is not asked."""
    if file.file_format != FileFormat.PARQUET:
        return False
    with table.io.new_input(file.file_path).open() as source:
        return "row" in pq.read_schema(source).names


def _is_of_their_partition(test: RowTest, file: DataFile) -> bool:
    """Return whether the values by which a file is partitioned are those of the key."""
    values = identity_values(test.view, file)
    fields = [test.view.schema().find_field(name) for name in test.columns]
    if not all(item.field_id in values for item in fields):
        return False
    schema = schema_to_pyarrow(Schema(*fields), include_field_ids=False)
    row = [constant(values[item.field_id], 1, kind) for item, kind in zip(fields, schema.types, strict=True)]
    return bool(test.matches(pa.table(row, schema=schema)).all())
