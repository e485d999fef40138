"""The models of ``benchmarks/dbt.py`` as our tasks."""

from __future__ import annotations

import os
from datetime import datetime

from airflow.sdk import dag

from airflow_provider_phlo.dbt import phlo_dbt_task_group


@dag(schedule=None, start_date=datetime(2020, 1, 1), catchup=False)
def phlo_models() -> None:
    phlo_dbt_task_group(os.environ["BENCHMARK_SELECT"], project_dir=os.environ["BENCHMARK_PROJECT"])


phlo_models()
