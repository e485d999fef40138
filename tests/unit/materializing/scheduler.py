"""An api-server with DAGs that run as soon as they may: enough of Airflow to see what is asked of it, and when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from airflow_provider_phlo.airflow_api.client import AirflowApi
from tests.unit.materializing.conftest import asset, dag, task

LONG_AGO = "2020-01-01T00:00:00+00:00"


class Scheduler:
    """
    A DAG ``shop`` with the tasks a → b, each of which makes an asset of its name.

    :param seconds: how long a task takes.
    :param fails: days whose runs fail.
    :param broken: days and tasks that fail; a run is as its last task is, as in Airflow.
    :param refused: days whose runs cannot be created, and the status of the answer.
    :param hasty: how many runs are begun at once, before they may.
    """

    def __init__(
        self,
        *,
        seconds: float = 0.05,
        fails: tuple[str, ...] = (),
        broken: tuple[tuple[str, str], ...] = (),
        hasty: int = 0,
        **listed: Any,
    ) -> None:
        self.seconds, self.fails, self.hasty, self.broken = seconds, fails, hasty, broken
        self.refused: dict[str, int] = {}
        self.dag = dag("shop", timetable_summary="0 6 * * *", timetable_periodic=True, catchup=False, **listed)
        self.runs: dict[str, dict[str, Any]] = {}
        self.most_at_once = 0
        self.healthy = False
        self.source = ""
        self.zone = "UTC"  # [phlo] day_zone
        self.instances = [("a", -1), ("b", -1)]
        self.lock = threading.Lock()

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Return status and body of the answer to a request."""
        with self.lock:
            self._tick()
            parts = [unquote(part) for part in path.removeprefix("/api/v2/").split("/")]
            if parts[:2] in [["dags", "shop"], ["dags", "~"]] and len(parts) > 2:
                return self._of_dag(method, parts[2:], query, body)
            if path.endswith("/dags/shop") and method == "PATCH":
                self.dag.update(body)
            lists = {
                "dags": {"dags": [self.dag]},
                "assets": {"assets": [asset("raw.a", "shop/a", readers=("shop/b",)), asset("raw.b", "shop/b")]},
                "assets/events": {"asset_events": self._events(query)},
                "importErrors": {"import_errors": []},
                "dagSources/shop": {"content": self.source},
                "monitor/health": self._health(),
                "config/section/phlo/option/day_zone": {"sections": [{"options": [{"value": self.zone}]}]},
            }
            return 200, lists.get("/".join(parts), {})

    def _of_dag(self, method: str, parts: list[str], query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        if parts[1:] == ["~", "taskInstances"]:
            if "task_id" in query and "try_number" not in query:  # all tasks have run before
                return 200, {"task_instances": [{"try_number": 1}]}
            states = query.get("state", [])
            every = [each for run in self.runs.values() for each in run["tasks"].values()]
            return 200, {"task_instances": [each for each in every if each["state"] in states]}
        if len(parts) > 1:
            return self._of_run(method, parts[1:], body)
        if parts == ["dagRuns"] and method == "POST":
            return self._create(body)
        prefix = query.get("run_id_prefix_pattern", [""])[0]
        states = query.get("state", ["queued", "running", "success", "failed"])
        found = [run for name, run in self.runs.items() if name.startswith(prefix) and run["state"] in states]
        tasks = [{**each, "start_date": LONG_AGO} for each in (task("a", "b"), task("b"))]
        answers = {"tasks": {"tasks": tasks}, "details": self.dag, "dagRuns": {"dag_runs": found}}
        return 200, answers[parts[0]]

    def _of_run(self, method: str, parts: list[str], body: Any) -> tuple[int, Any]:
        if parts[-1] == "xcomEntries":
            return 200, {"xcom_entries": []}
        run = self.runs.get(parts[0])
        if run is None:
            return 404, {"detail": "no such run"}
        if method == "DELETE":
            del self.runs[parts[0]]
        elif method == "PATCH" and parts[1:]:
            return 200, self._mark(run, body["actions"][0]["entities"])
        elif method == "PATCH":
            run["state"] = body["state"]
        if parts[1:] == ["upstreamAssetEvents"]:
            return 200, {"asset_events": run["events"]}
        if parts[-1] == "dependencies":
            return 200, {"dependencies": [{"name": "Pool", "reason": "The pool is full."}]}
        if parts[1:] == ["taskInstances"]:
            return 200, {"task_instances": list(run["tasks"].values())}
        return (200, run) if len(parts) == 1 else (404, {"detail": "no log"})

    def _health(self) -> dict[str, Any]:
        beat = datetime.now(UTC).isoformat()
        return {"scheduler": {"status": "healthy", "latest_scheduler_heartbeat": beat}} if self.healthy else {}

    def _mark(self, run: dict[str, Any], entities: list[dict[str, Any]]) -> dict[str, Any]:
        """Change states as Airflow 3 does: without an index, the second of a mapped task ends it all."""
        for change in entities:
            instances = [each for each in run["tasks"].values() if each["task_id"] == change["task_id"]]
            if "map_index" in change:
                instances = [each for each in instances if each["map_index"] == change["map_index"]]
            for each in instances:
                each.update(state=change["new_state"], start_date=LONG_AGO)
            if len(instances) > 1:
                return {"update": {"errors": [{"error": "Task is already in success state", "status_code": 409}]}}
        return {"update": {"errors": []}}

    def _create(self, body: dict[str, Any]) -> tuple[int, Any]:
        if any(run["logical_date"] == body["logical_date"] for run in self.runs.values()):
            return 409, {"detail": "the logical date is taken"}
        if status := self.refused.get(body["conf"].get("partition_date")):
            return status, {"detail": "not this day"}
        tasks = {
            (name if index < 0 else f"{name}{index}"): {
                "dag_run_id": body["dag_run_id"], "task_id": name, "map_index": index,
                "state": None, "try_number": 0, "pid": None, "start_date": None, "end_date": None, "duration": None,
            }
            for name, index in self.instances
        }  # fmt: skip
        run = {
            "dag_id": "shop", "state": "queued", "start_date": None, "triggered_by": "rest_api",
            "run_type": "manual", "partition_key": None, "tasks": tasks, **body,
        }  # fmt: skip
        self.runs[body["dag_run_id"]] = run
        if self.hasty:
            self.hasty -= 1
            tasks["b"].update(try_number=1, state="running")
        return 200, run

    def _tick(self) -> None:
        """Let time pass."""
        now = datetime.now(UTC)
        for run in self.runs.values():
            due = datetime.fromisoformat(run["run_after"]) <= now
            if run["state"] in ("success", "failed") or not due or self.dag["is_paused"]:
                continue
            began = run.setdefault("began", time.monotonic())
            run.update(state="running", start_date=now.isoformat())
            open_tasks = [each for each in run["tasks"].values() if each["state"] not in ("success", "failed")]
            if time.monotonic() - began < self.seconds:
                continue
            day = run["conf"].get("partition_date")
            for each in open_tasks:
                above = run["tasks"]["a"]["state"] if each["task_id"] == "b" and day not in self.fails else ""
                failed = day in self.fails or (day, each["task_id"]) in self.broken
                state = "upstream_failed" if above == "failed" else "failed" if failed else "success"
                each.update(try_number=int(state != "upstream_failed"), state=state, duration=self.seconds)
                each.update(start_date=now.isoformat(), end_date=now.isoformat())
            run["state"] = "success" if [*run["tasks"].values()][-1]["state"] == "success" else "failed"
        running = sum(run["state"] == "running" for run in self.runs.values())
        self.most_at_once = max(self.most_at_once, running)

    def _events(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        if "source_run_id" not in query:
            return []
        run = self.runs[query["source_run_id"][0]]
        return [
            {"uri": f"iceberg://phlo/raw/{each['task_id']}", "extra": {"read": 3, "inserted": 2}}
            for each in run["tasks"].values()
            if each["try_number"] and each["state"] == "success"
        ]


@contextmanager
def serving(scheduler: Scheduler) -> Iterator[AirflowApi]:
    """Serve it; give its client."""

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            parts = urlsplit(self.path)
            status, found = scheduler.answer(
                self.command, parts.path, parse_qs(parts.query), json.loads(body or "null")
            )
            if isinstance(found, dict):
                lists = [len(value) for value in found.values() if isinstance(value, list)]
                found = {"total_entries": lists[0], **found} if lists else found
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(found).encode())

        do_GET = do_POST = do_PATCH = do_DELETE = reply

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield AirflowApi(f"http://127.0.0.1:{server.server_port}", token="test")
    finally:
        server.shutdown()
        server.server_close()
