"""
Files: load a folder of them into DuckDB, each exactly once.

:func:`.loading.load_files` scans the folder, skips what it has loaded before by its SHA-256, and loads each file in a
transaction of its own. What the files hold is a :class:`.staging.Target`'s to say.
"""

from airflow_provider_phlo.files.loading import load_files
from airflow_provider_phlo.files.results import LoadResult
from airflow_provider_phlo.files.staging import Target

__all__ = ["LoadResult", "Target", "load_files"]
