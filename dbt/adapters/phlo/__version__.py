"""The version that dbt shows for the adapter."""

from airflow_provider_phlo import __version__ as version

__all__ = ["version"]
