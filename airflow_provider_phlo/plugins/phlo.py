"""The Airflow plugin: warm tasks, assets that only their producers describe, failed tasks, the API of public events."""

from __future__ import annotations

import sys
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_phlo.plugins import alerts, assets, judged, preload
from airflow_provider_phlo.ui import mounted


class PhloPlugin(AirflowPlugin):
    """What this package adds to Airflow's own processes."""

    name = "phlo"
    listeners = [preload, judged, assets, alerts]
    fastapi_apps = [{"name": "phlo-events", "app": mounted.MountedApp(), "url_prefix": mounted.URL_PREFIX}]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Look after assets in a process that has Airflow's database, which ``airflow dags test`` writes too."""
        if "airflow.models.asset" in sys.modules:
            assets.keep_descriptions()
