"""
Trino: the same merge as one ``MERGE`` statement (:mod:`.engine`, :mod:`.sql`) of staged rows (:mod:`.staged_merge`),
which can be read before it runs (:mod:`.preview`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.iceberg.trino.engine import TrinoEngine

__all__ = ["TrinoEngine"]


def __getattr__(name: str) -> Any:
    # whoever reads a branch on DuckDB asks .preview for what is staged, and needs no client of Trino
    if name in __all__:
        from airflow_provider_phlo.iceberg.trino import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
