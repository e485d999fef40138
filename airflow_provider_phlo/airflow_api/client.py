"""The one client of Airflow's REST API. It imports no Airflow, which runs in other processes, or on other machines."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from airflow_provider_phlo.exceptions import AirflowRefusedError, AirflowUnavailableError, ConfigurationError
from airflow_provider_phlo.servers.pages import PagesRead
from airflow_provider_phlo.servers.transport import Answer, Transport

# SQLite lets one process write at a time; Airflow makes an error 500 of a database that is busy for too long
_ATTEMPTS = 7
_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
# longer than the server itself waits for its database (60 s): its answer is better than none
_PATIENCE = 90
_PAGE = 100
# Airflow answers 401 to a token that has expired, 403 to one that another server has signed
_NOT_ACCEPTED = (401, 403)
_TOO_MANY = 429
# its own errors undo what they began; those of a proxy before it (502, 504) say nothing of what it did
_NOTHING_DONE = (500, 503, _TOO_MANY)
_MOST_SAID = 300


class AirflowApi:
    """
    A logged-in user of Airflow's api-server; its threads share connections and the token.

    :param url: where the api-server answers.
    :param user: who asks; with the password, a token is fetched when one is needed, and again when it has expired.
    :param token: used as it is, in place of both.
    :param patience: seconds to wait for an answer.
    """

    def __init__(
        self, url: str, user: str = "", password: str = "", *, token: str = "", patience: float = _PATIENCE
    ) -> None:
        self._transport = Transport(url, patience, "Airflow", AirflowUnavailableError)
        self.url = self._transport.url
        self._credentials = {"username": user, "password": password} if user else None
        self._token = token
        self._login = threading.Lock()
        self._has_answered = False
        self._clock: datetime | None = None

    def health(self) -> dict[str, str]:
        """Return component → status; empty while the api-server does not answer."""
        return {name: status for name, (status, _) in self.components().items()}

    def components(self) -> dict[str, tuple[str, datetime | None]]:
        """Return component → status and last heartbeat; empty while the api-server does not answer."""
        try:
            answer = self._send("GET", "/api/v2/monitor/health", None, "")
        except (AirflowUnavailableError, ConfigurationError):
            return {}
        if answer.status != 200 or not isinstance(answer.body, dict):
            return {}
        found = {}
        for name, part in answer.body.items():
            if part:
                beat = part.get(f"latest_{name}_heartbeat")
                found[name] = (part["status"] or "starting", datetime.fromisoformat(beat) if beat else None)
        return found

    def warm_up(self) -> None:
        """Let the server build the API of the tasks, which takes it seconds, before the first tasks wait for it."""
        with contextlib.suppress(AirflowUnavailableError):
            self._send("GET", "/execution/health", None, "")

    def dag_ids(self) -> set[str]:
        """Return the Dags that are parsed and ready."""
        return {dag["dag_id"] for dag in self.pages("/dags", "dags") if not dag["is_stale"]}

    def import_errors(self) -> dict[str, str]:
        """Return file → stack trace of the Dag files that could not be parsed."""
        return {error["filename"]: error["stack_trace"] for error in self.pages("/importErrors", "import_errors")}

    def trigger(self, dag_id: str, conf: Mapping[str, Any]) -> str:
        """Start a run, as ``airflow dags trigger`` does; return its id."""
        self.call("PATCH", f"{dag_path(dag_id)}?update_mask=is_paused", {"is_paused": False})
        run = self.call("POST", f"{dag_path(dag_id)}/dagRuns", {"logical_date": None, "conf": dict(conf)})
        return str(run["dag_run_id"])

    def fail_unfinished_runs(self, dag_id: str) -> list[str]:
        """Mark runs that are queued or running as failed, and return their ids."""
        runs = list(self.pages(f"{dag_path(dag_id)}/dagRuns?state=queued&state=running", "dag_runs"))
        for run in runs:
            path = f"{run_path(dag_id, run['dag_run_id'])}?update_mask=state"
            self.call("PATCH", path, {"state": "failed"})
        return [str(run["dag_run_id"]) for run in runs]

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run."""
        return str(self.call("GET", run_path(dag_id, run_id))["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the tasks of a run, in the order they started."""
        return list(self.pages(f"{run_path(dag_id, run_id)}/taskInstances?order_by=start_date", "task_instances"))

    def server_time(self) -> datetime:
        """Return the server's clock, to the second; it may be up to two seconds ahead of that."""
        self.call("GET", "/version")
        return self._clock or datetime.now(UTC)

    def pages(self, path: str, key: str) -> Iterator[dict[str, Any]]:
        """
        Yield all that a list has, page by page.

        :param path: with its query, without ``limit``, ``offset`` and ``cursor``.
        :param key: under which an answer has its items.
        :raises ConfigurationError: the pages lead back to one that was read.
        """
        query = f"{path}{'&' if '?' in path else '?'}limit={_PAGE}"
        # a cursor does not miss what moves between pages; lists (and older versions) that have none ignore it
        cursor, offset, read = "", 0, PagesRead(f"{self.url}/api/v2{path}")
        while True:
            answer = self.call("GET", f"{query}&offset={offset}&cursor={quote(cursor, safe='')}")
            items = answer[key]
            yield from items
            if answer.get("next_cursor"):
                cursor = read.turn_to(answer["next_cursor"])
                continue
            offset += len(items)
            if cursor or not items or offset >= (answer.get("total_entries") or 0):
                return

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, repeatable: bool | None = None
    ) -> Any:
        """
        Call ``/api/v2<path>``; a server that is busy, or has answered before and does not now, is asked again.

        :param repeatable: whether asking twice does no harm where the first answer was lost; by default all but POST.
        :return: the JSON of the answer; None if it has no body.
        :raises AirflowRefusedError: the server refuses (4xx); says what it answered, and ``status``.
        :raises AirflowUnavailableError: the server does not answer, or is in error.
        :raises ConfigurationError: the user, password or token is not accepted.
        """
        repeatable = method != "POST" if repeatable is None else repeatable
        for attempt in range(1, _ATTEMPTS + 1):
            pause = _PAUSE * attempt
            try:
                answer = self._send_with_token(method, f"/api/v2{path}", body)
                if answer.status < 500 and answer.status != _TOO_MANY:
                    return self._checked(method, path, answer)
                pause = min(max(pause, answer.retry_after or 0), _LONGEST_PAUSE)
                raise AirflowUnavailableError(
                    self._refusal(method, path, answer), not_sent=answer.status in _NOTHING_DONE
                )
            except AirflowUnavailableError as error:
                if attempt == _ATTEMPTS or not self._has_answered or not (repeatable or error.not_sent):
                    raise
            time.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _send_with_token(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        token = self._token or self._new_token("")
        answer = self._send(method, path, body, token)
        if answer.status not in _NOT_ACCEPTED or self._credentials is None:
            return answer
        # 403 may also mean that the user may not do this: a new token finds out, once
        return self._send(method, path, body, self._new_token(token))

    def _new_token(self, old: str) -> str:
        """Log in; where another thread has done so since ``old`` was used, take its token."""
        with self._login:
            if self._token == old and self._credentials is not None:
                answer = self._send("POST", "/auth/token", self._credentials, "")
                if answer.status in (400, 401, 403, 422):
                    raise ConfigurationError(
                        f"Airflow at {self.url} does not accept the password of user {self._credentials['username']}."
                    )
                if answer.status >= 500:
                    raise AirflowUnavailableError(self._refusal("POST", "/auth/token", answer), not_sent=True)
                self._token = str(self._checked("POST", "/auth/token", answer)["access_token"])
            return self._token

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str) -> Answer:
        answer = self._transport.send(method, path, body, {"Authorization": f"Bearer {token}"} if token else {})
        self._has_answered = True
        self._clock = answer.date or self._clock
        return answer

    def _checked(self, method: str, path: str, answer: Answer) -> Any:
        if answer.status == 401 or (answer.status == 403 and "JWT" in str(answer.body)):
            raise ConfigurationError(
                f"Airflow at {self.url} does not accept the token: it has expired, or is another server's. Set "
                "PHLO_AIRFLOW_TOKEN to a new one, or PHLO_AIRFLOW_USER and PHLO_AIRFLOW_PASSWORD."
                if self._token
                else f"Airflow at {self.url} wants to know who asks: set PHLO_AIRFLOW_TOKEN, or PHLO_AIRFLOW_USER and "
                "PHLO_AIRFLOW_PASSWORD."
            )
        if answer.status >= 400:
            raise AirflowRefusedError(self._refusal(method, path, answer), answer.status)
        if not answer.is_json and answer.body:
            raise ConfigurationError(f"{self.url} answers without JSON: is it the address of an Airflow api-server?")
        return answer.body if answer.is_json else None

    def _refusal(self, method: str, path: str, answer: Answer) -> str:
        detail = answer.body.get("detail", answer.body) if isinstance(answer.body, dict) else answer.body
        said = " ".join(str(detail).split())[:_MOST_SAID]
        for hidden in (self._token, (self._credentials or {}).get("password", "")):
            said = said.replace(hidden, "***") if len(hidden) > 3 else said
        return f"Airflow answered {answer.status} to {method} /api/v2{path.partition('?')[0]}: {said}"


def dag_path(dag_id: str) -> str:
    """Return the path of a Dag."""
    return f"/dags/{quote(dag_id, safe='')}"


def run_path(dag_id: str, run_id: str) -> str:
    """Return the path of a run."""
    return f"{dag_path(dag_id)}/dagRuns/{quote(run_id, safe='')}"
