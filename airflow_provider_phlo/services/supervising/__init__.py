"""Airflow's processes and Postgres as supervised services: start, watch, stop, status."""
