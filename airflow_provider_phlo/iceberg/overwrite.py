"""
Replace what a table holds, in one snapshot, and only if it differs.

For tables that are computed whole each time (dbt models): a run with no new data must leave no trace.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
    ValidationError,
)
from pyiceberg.io.pyarrow import _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.types import NestedField

from airflow_provider_phlo.exceptions import CommitConflictError, SchemaError
from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.catalog import ensure_namespace
from airflow_provider_phlo.iceberg.duckdb import create_view
from airflow_provider_phlo.sql import quote, quote_identifier

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table, Transaction
