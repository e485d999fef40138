"""What tests of Airflow-facing modules share: a task's context, made of Airflow's own objects, without a server."""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest


@pytest.fixture
def make_context():
    """Return a function that gives the context in which a worker would run a task."""
    return _context


def _context(task=None, *, dag=None, run_type="manual", map_index=-1, try_number=1, events=(), **run):
    from airflow.sdk import DAG, BaseOperator
    from airflow.sdk.api.datamodels._generated import DagRun, TIRunContext
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    if task is None:
        dag = dag or DAG("a_dag", schedule=None)
        task = dag.task_dict.get("a_task") or BaseOperator(task_id="a_task", dag=dag)
    elif not task.has_dag():
        task.dag = DAG("a_dag", schedule=None)
    values = {
        "dag_id": task.dag.dag_id,
        "run_id": f"{run_type}__one",
        "logical_date": None,
        "data_interval_start": None,
        "data_interval_end": None,
        "run_after": datetime(2025, 3, 4, 5, tzinfo=UTC),
        "start_date": datetime(2025, 3, 4, 5, tzinfo=UTC),
        "end_date": None,
        "run_type": run_type,
        "state": "running",
        "consumed_asset_events": list(events),
        "partition_key": None,
        **run,
    }
    dag_run = DagRun.model_validate(values)

    class Instance(RuntimeTaskInstance):
        """A task instance that keeps its XComs: there is no server to send them to."""

        pushed: dict[str, Any]

        def xcom_push(self, key, value, **_):
            self.pushed[key] = value

    instance = Instance.model_construct(
        pushed={},
        id=uuid.uuid4(),
        task_id=task.task_id,
        dag_id=task.dag.dag_id,
        run_id=dag_run.run_id,
        try_number=try_number,
        map_index=map_index,
        task=task,
        start_date=datetime.now(UTC),
        _ti_context_from_server=TIRunContext(dag_run=dag_run, max_tries=task.retries),
    )
    return instance.get_template_context()


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Make the test's folder its ``PHLO_HOME``."""
    monkeypatch.setenv("PHLO_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def catalog(home):
    """Return the embedded catalog of ``home``."""
    from tests.lake import open_lake

    return open_lake(home)


@pytest.fixture
def run_ingestion(home, make_context):
    """Return a function that runs the tasks of a ``@phlo_ingestion`` as a worker would, and gives their results."""

    def run(ingestion, **run):
        tasks = {task.task_id.rpartition(".")[2]: task for task in ingestion.dag().tasks}
        results = {}

        def execute(name):
            results[name] = tasks[name].execute(make_context(tasks[name], **run))
            return results[name]

        # Airflow renders these from XCom
        tasks["merge"].staged = execute("ingest")
        tasks["publish"].merged = execute("merge")
        audits = sorted(tasks.keys() - {"ingest", "merge", "publish"})
        for name in audits:
            tasks[name].branch = results["merge"]["branch"]
            execute(name)
        tasks["publish"].audited = [results[name] for name in audits]
        execute("publish")
        return results

    return run


@pytest.fixture
def plugin_site(tmp_path, monkeypatch):
    """Return a folder on Python's path for packages with plugins; what is imported from it is forgotten afterwards."""
    from airflow_provider_phlo import registry

    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(registry, "_failed", {})
    registry._warn_once.cache_clear()
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(folder) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
