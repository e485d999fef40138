"""
Warm tasks on Celery workers: a worker imports this module if it is among Celery's ``imports``.

``AIRFLOW__CELERY__EXTRA_CELERY_CONFIG='{"imports": ["airflow_provider_phlo.plugins.celery_worker"]}'``
"""

from __future__ import annotations

from typing import Any

from celery.signals import worker_init  # type: ignore[import-untyped]

from airflow_provider_phlo.plugins.preload import preload


@worker_init.connect  # type: ignore[untyped-decorator]
def on_worker_init(**_: Any) -> None:
    """Import what tasks need, before the worker forks the processes of its pool."""
    from airflow_provider_phlo import settings

    if settings.preload():
        preload(for_tasks=True)
