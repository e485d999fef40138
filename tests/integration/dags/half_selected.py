"""A task that makes an asset and fails for one day, before one that only says so."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, task

with DAG("half_selected", schedule=None):

    @task(outlets=[Asset("half")])
    def make(dag_run=None):
        if dag_run.conf["partition_date"] == "2024-01-02":
            raise ValueError("this day fails")

    @task
    def notify():
        pass

    make() >> notify()
