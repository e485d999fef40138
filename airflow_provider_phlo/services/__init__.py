"""
What runs beside Airflow: a project's environment (:mod:`.environment`), the bundled Postgres (:mod:`.postgres`),
supervised processes (:mod:`.supervising`), ``make demo`` (:mod:`.demo`), and what they need of the machine
(:mod:`.machine`).

DAG authors ask :func:`get_service_config` where a service of their project is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_phlo.services.environment.projects import get_service_config

__all__ = ["get_service_config"]


def __getattr__(name: str) -> Any:
    # what reads phlo.yaml loads more than the other modules need
    if name in __all__:
        from airflow_provider_phlo.services.environment import projects

        return getattr(projects, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
