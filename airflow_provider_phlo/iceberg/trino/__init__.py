"""
Trino: the same merge as one ``MERGE`` statement (:mod:`.engine`, :mod:`.sql`) of staged rows (:mod:`.staged_merge`),
which can be read before it runs (:mod:`.preview`).
"""

from airflow_provider_phlo.iceberg.trino.engine import TrinoEngine

__all__ = ["TrinoEngine"]
