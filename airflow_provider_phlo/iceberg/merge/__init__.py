"""
Merge a batch into a table: copy-on-write (:mod:`.copy_on_write`), in three steps.

Read the batch (:mod:`.batch`), decide what comes and goes (:mod:`.changes`, by :mod:`.keys` and content, :mod:`.rows`),
write the files that change (:mod:`.rewrite`). What a merge is to do, and what it did, are plain values (:mod:`.plan`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_phlo.iceberg.merge.plan import MergePlan, MergeResult

if TYPE_CHECKING:
    from airflow_provider_phlo.iceberg.merge.copy_on_write import merge

__all__ = ["MergePlan", "MergeResult", "merge"]


def __getattr__(name: str) -> Any:
    # DAG files import the plan, which must not import Arrow
    if name == "merge":
        from airflow_provider_phlo.iceberg.merge.copy_on_write import merge

        return merge
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
