"""The same models as Cosmos' tasks; each mode writes a catalog of its own."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

from airflow.sdk import dag
from cosmos import DbtTaskGroup, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, InvocationMode, LoadMode, TestBehavior

PROJECT = Path(os.environ["BENCHMARK_PROJECT"])
# what is fastest in each
TESTS = {"local": TestBehavior.BUILD, "watcher": TestBehavior.AFTER_EACH}


def cosmos_dag(mode: str) -> None:
    @dag(dag_id=f"cosmos_{mode}", schedule=None, start_date=datetime(2020, 1, 1), catchup=False)
    def models() -> None:
        DbtTaskGroup(
            group_id=mode,
            project_config=ProjectConfig(
                dbt_project_path=PROJECT,
                manifest_path=os.environ["BENCHMARK_MANIFEST"],
                install_dbt_deps=False,
                env_vars={"PHLO_HOME": f"{os.environ['BENCHMARK_HOMES']}/{mode}", "PHLO_PARTITION_DATE": "2024-01-01"},
            ),
            profile_config=ProfileConfig(
                profile_name="phlo", target_name="duckdb", profiles_yml_filepath=PROJECT / "profiles.yml"
            ),
            execution_config=ExecutionConfig(
                execution_mode=ExecutionMode(mode), invocation_mode=InvocationMode.DBT_RUNNER
            ),
            render_config=RenderConfig(
                load_method=LoadMode.DBT_MANIFEST,
                select=[os.environ["BENCHMARK_SELECT"]],
                test_behavior=TESTS[mode],
                emit_datasets=False,
            ),
            operator_args={"install_deps": False},
        )

    models()


for name in TESTS:
    cosmos_dag(name)
