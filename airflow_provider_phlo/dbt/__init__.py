"""
dbt: the models of a project, with their tests, as Airflow tasks (:mod:`.rendering`). A task runs its model in its own
process (:mod:`.runner`), from the parsed project (:mod:`.manifest`), on the Iceberg catalog (:mod:`.adapter`, which dbt
itself loads).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.dbt.rendering.task_group import phlo_dbt_task_group

__all__ = ["phlo_dbt_task_group"]


def __getattr__(name: str) -> Any:
    # dbt loads .adapter, which must not import Airflow
    if name in __all__:
        from airflow_provider_phlo.dbt.rendering import task_group

        return getattr(task_group, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
