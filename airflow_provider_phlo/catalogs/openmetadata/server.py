"""OpenMetadata's REST API: requests, their repetition, pages; the token goes to this server only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.servers.asking_again import ask
from airflow_provider_phlo.servers.pages import PagesRead
from airflow_provider_phlo.servers.transport import Answer, Transport

#: From this version on tables have several owners and test suites of their own, as they are written here.
OLDEST = (1, 6)
#: Contracts came with this one.
WITH_CONTRACTS = (1, 8)
#: The newest whose schemas requests were checked by.
NEWEST_MAJOR = 2
_PAGE = 100
_MOST_SAID = 300
_PATCH = {"Content-Type": "application/json-patch+json"}


class RefusedError(PhloError):
    """
    The server refused one request.

    :param status: what it answered.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class OpenMetadata:
    """
    A server, as somebody who has a token.

    :param url: its address, without ``/api``.
    :param token: sent as a bearer.
    :param api_version: the part of its paths: ``v1``.
    :param setting: where its address and token are set, for messages.
    :param patience: seconds to wait for an answer.
    :param sleep: pauses for that many seconds.
    """

    url: str
    token: str = field(repr=False)
    api_version: str = "v1"
    setting: str = "OPENMETADATA_HOST"
    patience: float = 60.0
    sleep: Callable[[float], None] = time.sleep
    requests: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.url = self.url.rstrip("/").removesuffix("/api")
        if not (self.token.isascii() and self.token.isprintable()):
            raise ConfigurationError(f"The token of {self.setting} has a character that no header can carry.")
        if not self.api_version.isalnum():
            raise ConfigurationError("OPENMETADATA_API_VERSION is the part of the API's paths: v1.")
        self._transport = Transport(self.url, self.patience, "OpenMetadata")

    def version(self) -> tuple[int, ...]:
        """
        Return the server's version.

        :raises ConfigurationError: it is too old, or this is not an OpenMetadata.
        """
        said = self.get("/system/version")
        text = str(said.get("version", "")) if isinstance(said, dict) else ""
        found = tuple(int(part) for part in text.split("-")[0].split(".")[:3] if part.isdecimal())
        if len(found) < 2:
            raise ConfigurationError(f"{self.url} does not say which version of OpenMetadata it is: {self.setting}.")
        if found < OLDEST:
            raise ConfigurationError(
                f"{self.url} is OpenMetadata {text}, and the oldest that can be synchronised is "
                f"{'.'.join(map(str, OLDEST))}: nothing was sent."
            )
        return found

    def get(self, path: str, **query: str | int) -> Any:
        """Return what there is at a path; None if there is nothing."""
        try:
            return self._call("GET", _with(path, query)).body
        except RefusedError as error:
            if error.status == 404:
                return None
            raise

    def get_with_etag(self, path: str, **query: str | int) -> tuple[Any, str | None]:
        """Return what there is at a path, and the version that it has; None if there is nothing."""
        try:
            answer = self._call("GET", _with(path, query))
        except RefusedError as error:
            if error.status == 404:
                return None, None
            raise
        return answer.body, answer.etag

    def pages(self, path: str, **query: str | int) -> Iterator[dict[str, Any]]:
        """
        Yield all that a list has.

        :raises ConfigurationError: its pages lead back to one that was read, or it is not a list of OpenMetadata.
        """
        after, read = "", PagesRead(f"{self.url}{path}")
        while True:
            page = self.get(path, **query, limit=_PAGE, **({"after": after} if after else {}))
            if page is None:
                return
            rows = page.get("data") if isinstance(page, dict) else None
            if not isinstance(rows, list) or not all(isinstance(each, dict) for each in rows):
                raise ConfigurationError(
                    f"GET {self.url}{path} answered with something that is not a list of OpenMetadata: another server? "
                    f"Correct {self.setting}."
                )
            yield from rows
            after = str((page.get("paging") or {}).get("after") or "")
            if not after:
                return
            read.turn_to(after)

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """Create or update what a body describes."""
        return self._call("PUT", path, body).body

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """
        Create what a body describes.

        Where the first answer is lost the request is made again: what is created has a name, or a time, of its own.
        """
        return self._call("POST", path, body).body

    def patch(self, path: str, operations: Sequence[Mapping[str, Any]], etag: str | None = None) -> Any:
        """
        Change parts of what there is.

        :param etag: the version that the operations are about.
        """
        return self._call("PATCH", path, operations, {**_PATCH, **({"If-Match": etag} if etag else {})}).body

    def _call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | Sequence[Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        given = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **(headers or {})}

        def send() -> Answer:
            self.requests += 1
            return self._transport.send(method, f"/api/{self.api_version}{path}", body, given)

        answer = ask(send, lambda answer: self._problem(answer, method, path), self.setting, self.sleep)
        if answer.status < 300:
            return self._complete(answer, method, path)
        raise self._refused(answer.status, self._problem(answer, method, path))

    def _complete(self, answer: Answer, method: str, path: str) -> Answer:
        if answer.is_json or not answer.body:
            return answer
        raise ConfigurationError(
            f"{method} {self.url}{_plain(path)} answered with something that is not JSON: another server, or a page "
            f"that asks to log in. Correct {self.setting}."
        )

    def _problem(self, answer: Answer, method: str, path: str) -> str:
        said = answer.body.get("message") if isinstance(answer.body, dict) else None
        text = f": {' '.join(str(said).split())[:_MOST_SAID]}" if said else ""
        return f"OpenMetadata answered {answer.status} to {method} {_plain(path)}{text}".replace(
            self.token or "\0", "***"
        )

    def _refused(self, status: int, problem: str) -> PhloError:
        if status in (401, 403):
            what = "is not accepted" if status == 401 else "may not do that"
            return ConfigurationError(f"{problem.rstrip('.')}. The token {what}: give the bot's, see {self.setting}.")
        return RefusedError(problem, status)


def _with(path: str, query: Mapping[str, str | int]) -> str:
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def _plain(path: str) -> str:
    return path.partition("?")[0][:200]
