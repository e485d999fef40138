"""
Merge a batch into a table: copy-on-write (:mod:`.copy_on_write`), in three steps.

Read the batch (:mod:`.batch`), decide what comes and goes (:mod:`.changes`, by :mod:`.keys` and content, :mod:`.rows`),
write the files that change (:mod:`.rewrite`).
"""

from airflow_provider_phlo.iceberg.merge.batch import MergePlan
from airflow_provider_phlo.iceberg.merge.copy_on_write import MergeResult, merge

__all__ = ["MergePlan", "MergeResult", "merge"]
