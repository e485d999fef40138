"""The few parts of Airflow's REST API that the demo needs. It imports no Airflow, which runs in other processes."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

from airflow_provider_phlo.exceptions import TransientError

# SQLite lets one process write at a time; Airflow makes an error 500 of a database that is busy for too long
_BUSY_ATTEMPTS = 6
# longer than the server itself waits for its database (60 s): its answer is better than none
_PATIENCE = 90


class _ServerError(TransientError):
    """Airflow answered 5xx."""


class AirflowApi:
    """
    A logged-in user of Airflow's api-server.

    :param url: where the api-server answers, without a path.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._credentials = {"username": user, "password": password}
        self._token: str | None = None
        # the server is on this machine, whatever proxy the environment names
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def health(self) -> dict[str, str]:
        """Return component → status; empty while the api-server does not answer."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health", None)
        except TransientError:
            return {}
        return {name: part["status"] or "starting" for name, part in answer.items() if part}

    def warm_up(self) -> None:
        """Let the server build the API of the tasks, which takes it seconds, before the first tasks wait for it."""
        with contextlib.suppress(TransientError):
            self._send("GET", "/execution/health", None)

    def dag_ids(self) -> set[str]:
        """Return the Dags that are parsed and ready."""
        return {dag["dag_id"] for dag in self.call("GET", "/dags?limit=100")["dags"] if not dag["is_stale"]}

    def import_errors(self) -> dict[str, str]:
        """Return file → stack trace of the Dag files that could not be parsed."""
        errors = self.call("GET", "/importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run, as ``airflow dags trigger`` does; return its id."""
        self.call("PATCH", f"/dags/{dag_id}?update_mask=is_paused", {"is_paused": False})
        run = self.call("POST", f"/dags/{dag_id}/dagRuns", {"logical_date": None, "conf": dict(conf)})
        return str(run["dag_run_id"])

    def fail_unfinished_runs(self, dag_id: str) -> list[str]:
        """Mark runs that are queued or running as failed, and return their ids."""
        runs = self.call("GET", f"/dags/{dag_id}/dagRuns?state=queued&state=running&limit=100")["dag_runs"]
        for run in runs:
            self.call("PATCH", f"/dags/{dag_id}/dagRuns/{run['dag_run_id']}?update_mask=state", {"state": "failed"})
        return [str(run["dag_run_id"]) for run in runs]

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the tasks of a run, in the order they started."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100&order_by=start_date"
        return list(self.call("GET", path)["task_instances"])

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """
        Call ``/api/v2<path>``.

        :raises TransientError: the server does not answer, or refuses; says what it answered.
        """
        if self._token is None:
            self._token = self._send("POST", "/auth/token", self._credentials)["access_token"]
        for attempt in range(_BUSY_ATTEMPTS):
            try:
                return self._send(method, f"/api/v2{path}", body)
            except _ServerError:
                time.sleep(0.5 * (attempt + 1))
        return self._send(method, f"/api/v2{path}", body)

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        request = urllib.request.Request(  # noqa: S310 - the address is our own
            self.url + path, method=method, data=None if body is None else json.dumps(body).encode()
        )
        request.add_header("Content-Type", "application/json")
        if self._token:
            request.add_header("Authorization", f"Bearer {self._token}")
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            kind = _ServerError if error.code >= 500 else TransientError
            raise kind(f"Airflow answered {error.code} to {method} {path}: {said}") from error
        except OSError as error:
            raise TransientError(f"Airflow does not answer {method} {path} ({type(error).__name__}).") from error
