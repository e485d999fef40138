"""Where dbt looks for the adapter of a profile with ``type: phlo``."""

from airflow_provider_phlo.dbt.adapter import Plugin

__all__ = ["Plugin"]
