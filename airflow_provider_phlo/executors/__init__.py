"""Executors: how the scheduler of an embedded Airflow runs tasks."""
