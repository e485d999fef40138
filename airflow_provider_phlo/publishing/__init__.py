"""
Publishing: copy marts of the lakehouse (:mod:`.lakehouse`, :mod:`.changed_rows`) to a database that applications read
(:mod:`.postgres`), or to a file for analysts (:mod:`.duckdb_file`). DAG authors call :mod:`.marts`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.publishing.marts import publish_marts_to_duckdb, publish_marts_to_postgres

__all__ = ["publish_marts_to_duckdb", "publish_marts_to_postgres"]


def __getattr__(name: str) -> Any:
    # .marts looks connections up, which the rest does not know of
    if name in __all__:
        from airflow_provider_phlo.publishing import marts

        return getattr(marts, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
