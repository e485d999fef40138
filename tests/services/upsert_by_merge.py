"""A plugin for PyIceberg's own tests: ``Table.upsert`` is our merge, published at once."""

from __future__ import annotations

import itertools

import pyarrow as pa
from pyiceberg.table import Table, UpsertResult

from airflow_provider_phlo.iceberg import branches
from airflow_provider_phlo.iceberg.merge import MergePlan, merge
from airflow_provider_phlo.terms import MAIN_BRANCH

_TOKENS = itertools.count()


def upsert(
    table: Table,
    df: pa.Table,
    join_cols: list[str] | None = None,
    when_matched_update_all: bool = True,
    when_not_matched_insert_all: bool = True,
    case_sensitive: bool = True,
    branch: str | None = MAIN_BRANCH,
    snapshot_properties: dict[str, str] | None = None,
) -> UpsertResult:
    """Do what ``Table.upsert`` does; a merge has no word for what is not passed on."""
    key = join_cols or [str(table.schema().find_column_name(each)) for each in table.schema().identifier_field_ids]
    identifier, token = ".".join(table.name()), f"upsert-{next(_TOKENS)}"
    plan = MergePlan(key=tuple(key), deduplication=False)
    found = merge(table.catalog, identifier, df, plan, token=token, summary=snapshot_properties)
    if branch is not None:
        branches.move_main(table.catalog, identifier, branches.branch_name(token))
    table.refresh()
    return UpsertResult(rows_updated=found.updated, rows_inserted=found.inserted)


setattr(Table, "upsert", upsert)  # noqa: B010  # mypy does not take another signature
