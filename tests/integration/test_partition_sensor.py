"""A deferrable sensor in a real run: Airflow's own task runner, database and trigger, and a table that comes late."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from tests.patience import PATIENCE
from tests.real_airflow import migrated_database

DAG = """
from airflow.sdk import dag
from airflow_provider_phlo.sensors.partition import PhloPartitionSensor

@dag(schedule=None)
def waits():
    PhloPartitionSensor(task_id="wait", table="{{ 'readings' }}", deferrable=True, poke_interval=0.2, timeout=60)

waits()
"""

RUN = """
import sqlite3, threading, time
from datetime import date

import pyarrow as pa
from airflow.dag_processing.dagbag import DagBag

from airflow_provider_phlo import settings
from airflow_provider_phlo.iceberg.catalogs.opening import embedded_properties, open_catalog
from airflow_provider_phlo.iceberg.tables.creation import ensure_namespace

def publish_once_it_waits():
    catalog = open_catalog("phlo", embedded_properties(settings.home()))
    ensure_namespace(catalog, "raw")
    rows = pa.table({"_phlo_partition_date": [date(2024, 1, 15)]})
    table = catalog.create_table("raw.readings", rows.schema)
    with sqlite3.connect("file:airflow.db?mode=ro", uri=True) as database:
        while not database.execute("SELECT * FROM trigger").fetchall():
            time.sleep(0.1)
    table.append(rows)

dag = DagBag("dags").get_dag("waits")
threading.Thread(target=publish_once_it_waits, daemon=True).start()
run = dag.test(run_conf={"partition_date": "2024-01-15"})
print("the run is a", run.state)
"""


def test_waits_in_the_trigger_until_the_partition_is_published(tmp_path):
    (tmp_path / "dags").mkdir()
    shutil.copyfile(migrated_database(), tmp_path / "airflow.db")
    (tmp_path / "dags" / "waits.py").write_text(DAG)
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(tmp_path / "dags"),
        "PHLO_HOME": str(tmp_path / "phlo"),
    }
    done = subprocess.run(
        [sys.executable, "-c", RUN], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert "the run is a success" in output
    assert "Partition 2024-01-15 of raw.readings is not there yet" in output
    assert "Partition 2024-01-15 of raw.readings is published" in output
