"""Hooks: what opens a catalog, a database or a staging area for a task, from Airflow's connections and settings."""
