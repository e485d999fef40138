"""An api-server that answers as Airflow's does, of DAGs and assets that a test describes."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.materializing.assets import AssetMap

MODULES = {
    "QualityCheckOperator": "airflow_provider_phlo.operators.quality",
    "DbtModelOperator": "airflow_provider_phlo.dbt.rendering.operators",
}


def dag(dag_id: str, **more: Any) -> dict[str, Any]:
    """Return a DAG as the API lists it, with what it says of one beside."""
    return {
        "dag_id": dag_id,
        "is_stale": False,
        "is_paused": False,
        "tags": [],
        "relative_fileloc": f"{dag_id}.py",
        "has_import_errors": False,
        "next_dagrun_run_after": None,
        "timezone": "UTC",
        **more,
    }


def task(task_id: str, *below: str, kind: str = "PythonOperator", rule: str = "all_success") -> dict[str, Any]:
    """Return a task as the API lists it."""
    return {
        "task_id": task_id,
        "downstream_task_ids": list(below),
        "trigger_rule": rule,
        "class_ref": {"module_path": MODULES.get(kind, "airflow.sdk"), "class_name": kind},
    }


def asset(name: str, *makers: str, readers: tuple[str, ...] = (), group: str = "asset", **extra: Any) -> dict[str, Any]:
    """Return an asset as the API lists it; tasks are written ``dag/task``."""
    return {
        "id": 1,
        "name": name,
        "uri": f"iceberg://phlo/{name.replace('.', '/')}" if ":" not in name else name,
        "group": group,
        "extra": extra,
        "producing_tasks": [_task(each) for each in makers],
        "consuming_tasks": [_task(each) for each in readers],
    }


def _task(text: str) -> dict[str, str]:
    dag_id, _, task_id = text.partition("/")
    return {"dag_id": dag_id, "task_id": task_id}


Describe = Callable[..., AssetMap]


@pytest.fixture
def asset_map() -> Iterator[Describe]:
    """
    Return a function that takes DAGs with their tasks, and assets, and returns what is read of them.

    All tasks have run and returned nothing, but those in ``returned``, and in ``new``, which were marked as done.
    """
    servers = []

    def describe(
        dags: Mapping[str, list[dict[str, Any]]],
        assets: list[dict[str, Any]],
        *,
        broken: Mapping[str, str] | None = None,
        returned: Collection[str] = (),
        new: Collection[str] = (),
        **listed: Mapping[str, Any],
    ) -> AssetMap:
        answers = {
            "/api/v2/dags": _page("dags", [dag(dag_id, **listed.get(dag_id, {})) for dag_id in dags]),
            "/api/v2/assets": _page("assets", assets),
            "/api/v2/importErrors": _page(
                "import_errors", [{"filename": file, "stack_trace": trace} for file, trace in (broken or {}).items()]
            ),
            **{f"/api/v2/dags/{dag_id}/tasks": {"tasks": tasks} for dag_id, tasks in dags.items()},
        }
        for dag_id, tasks in dags.items():
            for each in tasks:
                name = f"{dag_id}/{each['task_id']}"
                runs = f"/api/v2/dags/{dag_id}/dagRuns/~/taskInstances"
                answers[f"{runs}/{each['task_id']}/xcomEntries"] = _page("xcom_entries", [{}] * (name in returned))
                tries = {"try_number": int(name not in new)}
                answers[f"{runs}?task_id={each['task_id']}"] = _page("task_instances", [tries])

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                found = answers.get(path) or answers.get(unquote(self.path.partition("&")[0]))
                self.send_response(404 if found is None else 200)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *args: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return AssetMap(AirflowApi(f"http://127.0.0.1:{server.server_port}", token="test"))

    yield describe
    for server in servers:
        server.shutdown()
        server.server_close()


def _page(key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
    return {key: items, "total_entries": len(items)}
