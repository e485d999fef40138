"""Start runs of DAGs and wait for their results, through Airflow's REST API."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
from fastapi import HTTPException, status

_FINAL = ("success", "failed")
_POLL_SECONDS = 0.5
# SQLite lets one process write at a time; Airflow makes an error 500 of a database that is busy for too long
_BUSY_ATTEMPTS = 4


@dataclass(frozen=True)
class Outcome:
    """
    What became of a run.

    :param state: ``success`` or ``failed``.
    :param result: what its task returned; None if it returned nothing.
    """

    state: str
    result: Any


class DagRuns:
    """
    The runs of an Airflow.

    :param client: of its api-server, logged in.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def trigger(self, dag_id: str) -> str:
        """
        Start a run of a DAG; return its id.

        :raises HTTPException: Airflow does not answer or refuses; the DAG is not there, or is paused: its runs would
            wait.
        """
        path = f"/dags/{quote(dag_id, safe='')}"
        dag = await self._call("GET", path)
        if dag["is_paused"]:
            raise HTTPException(
                status.HTTP_409_CONFLICT, f"DAG {dag_id} is paused, so that its runs wait: unpause it in Airflow."
            )
        run = await self._call("POST", f"{path}/dagRuns", {"logical_date": None})
        return str(run["dag_run_id"])

    async def outcome(self, dag_id: str, run_id: str, task_id: str, seconds: float) -> Outcome | None:
        """
        Wait for a run to end; return None when it has not within this time.

        :param task_id: the task whose result is returned.
        """
        path = f"/dags/{quote(dag_id, safe='')}/dagRuns/{quote(run_id, safe='')}"
        deadline = time.monotonic() + seconds
        while (state := (await self._call("GET", path))["state"]) not in _FINAL:
            if time.monotonic() > deadline:
                return None
            await asyncio.sleep(_POLL_SECONDS)
        entry = f"{path}/taskInstances/{quote(task_id, safe='')}/xcomEntries/return_value"
        answer = await self._send("GET", entry)
        return Outcome(state, answer.json()["value"] if answer.is_success else None)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        answer = await self._send(method, path, body)
        if answer.is_success:
            return answer.json()
        if answer.status_code in (status.HTTP_401_UNAUTHORIZED, status.HTTP_403_FORBIDDEN):
            raise HTTPException(answer.status_code, "Airflow refuses this to the user.")
        if answer.status_code == status.HTTP_404_NOT_FOUND:
            raise HTTPException(
                status.HTTP_503_SERVICE_UNAVAILABLE,
                f"Airflow has no DAG {path.split('/')[2]}: dags/github_events.py has to be in its DAG folder.",
            )
        raise HTTPException(
            status.HTTP_503_SERVICE_UNAVAILABLE, f"Airflow answered {answer.status_code}: its log says why."
        )

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx.Response:
        for attempt in range(1, _BUSY_ATTEMPTS + 1):
            try:
                answer = await self._client.request(method, f"/api/v2{path}", json=body)
            except httpx.HTTPError as error:
                raise HTTPException(
                    status.HTTP_503_SERVICE_UNAVAILABLE, f"Airflow does not answer ({type(error).__name__})."
                ) from None
            if answer.status_code < status.HTTP_500_INTERNAL_SERVER_ERROR:
                break
            await asyncio.sleep(_POLL_SECONDS * attempt)
        return answer


class PasswordLogin(httpx.Auth):
    """
    A user and password of Airflow, exchanged for a token when one is needed.

    :param url: where the api-server answers.
    """

    requires_response_body = True

    def __init__(self, url: str, user: str, password: str) -> None:
        self._url, self._credentials = url, {"username": user, "password": password}
        self._token = ""

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request, and again with a new token when the one it had is not accepted."""
        if self._token:
            request.headers["Authorization"] = f"Bearer {self._token}"
        answer = yield request
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            login = yield httpx.Request("POST", f"{self._url}/auth/token", json=self._credentials)
            if login.is_success:
                self._token = login.json()["access_token"]
                request.headers["Authorization"] = f"Bearer {self._token}"
                yield request
