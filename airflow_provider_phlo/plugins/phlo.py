"""The Airflow plugin: warm tasks."""

from __future__ import annotations

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_phlo.plugins import preload


class PhloPlugin(AirflowPlugin):
    """What this package adds to Airflow's own processes."""

    name = "phlo"
    listeners = [preload]
