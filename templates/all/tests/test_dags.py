"""Every DAG file can be imported, and has a DAG."""

from __future__ import annotations

from pathlib import Path

from airflow.dag_processing.dagbag import DagBag

DAGS = Path(__file__).parents[1] / "dags"


def test_every_dag_file_has_a_dag():
    found = DagBag(DAGS)
    assert found.import_errors == {}
    assert {Path(dag.fileloc) for dag in found.dags.values()} == set(DAGS.rglob("*.py"))
