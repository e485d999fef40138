"""The Airflow plugin: warm tasks, and assets that only their producers describe."""

from __future__ import annotations

import sys
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_phlo.plugins import assets, preload


class PhloPlugin(AirflowPlugin):
    """What this package adds to Airflow's own processes."""

    name = "phlo"
    listeners = [preload, assets]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Look after assets in a process that has Airflow's database, which ``airflow dags test`` writes too."""
        if "airflow.models.asset" in sys.modules:
            assets.keep_descriptions()
