"""Send requests to one server and to no other, and read its answers within limits."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, LocationParseError

from airflow_provider_phlo.exceptions import ConfigurationError, ServerUnavailableError
from airflow_provider_phlo.sources.address import LOOPBACK, origin

# a page of task instances is below 1 MB, a log with all its lines may be some MB
_MOST_BYTES = 256 * 2**20
_CHUNK_BYTES = 2**16
_CONNECT_SECONDS = 10
# threads that ask at the same time
_CONNECTIONS = 16
_REDIRECTS = range(300, 400)


@dataclass(frozen=True)
class Answer:
    """
    What a server answered.

    :param body: JSON as Python values; text where it is not JSON.
    :param is_json: whether it was.
    :param date: the server's clock, to the second; None if it did not say.
    :param retry_after: seconds that it asks to wait.
    :param etag: which version of a thing it has answered with.
    """

    status: int
    body: Any
    is_json: bool
    date: datetime | None
    retry_after: float | None
    etag: str | None = None


class Transport:
    """
    Requests to one server; threads share its connections.

    :param url: where it answers; a path before the API's own is kept.
    :param patience: seconds to wait for an answer.
    :param of: what messages call the server.
    :param unavailable: what is raised where it does not answer.
    :raises ConfigurationError: the URL is not one of an http server, or holds a password.
    """

    def __init__(
        self,
        url: str,
        patience: float,
        of: str,
        unavailable: type[ServerUnavailableError] = ServerUnavailableError,
    ) -> None:
        self.url = url.rstrip("/")
        self._of, self._unavailable = of, unavailable
        if "?" in url or "#" in url or origin(self.url) is None:
            raise ConfigurationError(
                f"The address of {of} is not a URL such as https://{of.lower()}.example.com, without user name "
                "and query."
            )
        self._patience = patience
        self._pool = _pool(self.url, urllib3.Timeout(connect=min(_CONNECT_SECONDS, patience), read=patience))

    def send(
        self, method: str, path: str, body: Mapping[str, Any] | Sequence[Any] | None, headers: Mapping[str, str]
    ) -> Answer:
        """
        Return the answer to one request, whatever its status.

        :raises ServerUnavailableError: there is none, or it is too long; ``not_sent`` says whether the server may have
            got the request.
        """
        data = None if body is None else json.dumps(body).encode()
        given = {"Accept": "application/json", "Content-Type": "application/json", **headers}
        try:
            response = self._pool.request(
                method,
                self.url + path,
                body=data,
                headers=given,
                redirect=False,
                retries=False,
                preload_content=False,
            )
            try:
                text = _read(response, time.monotonic() + self._patience)
            except BaseException:
                response.close()
                raise
            response.release_conn()
        except HTTPError as error:
            not_sent = isinstance(error, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError)
            reason = _reason(error)
            raise self._unavailable(
                f"{self._of} at {self.url} does not answer {method} {_without_query(path)} ({reason}).",
                not_sent=not_sent,
            ) from None
        if response.status in _REDIRECTS:
            raise ConfigurationError(
                f"{self.url} redirects to {_target(response.headers.get('Location', ''))}, and a password or token is "
                f"not sent on to another address: give that one, if it is that of {self._of}."
            )
        return _answer(response, text)


def _pool(url: str, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    parts = urlsplit(url)
    options: dict[str, Any] = {"timeout": timeout, "maxsize": _CONNECTIONS, "retries": False}
    proxy = _proxy(parts.scheme, parts.hostname or "")
    try:
        return urllib3.ProxyManager(proxy, **options) if proxy else urllib3.PoolManager(**options)
    except (HTTPError, LocationParseError):
        raise ConfigurationError(f"{parts.scheme}_proxy is not the address of a proxy.") from None


def _proxy(scheme: str, host: str) -> str | None:
    """Return the proxy that the environment names for a host; for this machine itself none is asked."""
    if host in LOOPBACK or not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    from urllib.request import getproxies, proxy_bypass  # only where it may be needed: it takes 40 ms to load

    found = None if proxy_bypass(host) else getproxies().get(scheme)
    return found if not found or "://" in found else f"http://{found}"


def _read(response: urllib3.BaseHTTPResponse, deadline: float) -> bytes:
    parts, size = [], 0
    for part in response.stream(_CHUNK_BYTES):
        parts.append(part)
        size += len(part)
        if size > _MOST_BYTES or time.monotonic() > deadline:
            raise HTTPError("more than it may take" if size > _MOST_BYTES else "too slow")
    return b"".join(parts)


def _answer(response: urllib3.BaseHTTPResponse, text: bytes) -> Answer:
    try:
        body, is_json = json.loads(text), True
    except ValueError:
        body, is_json = text.decode(errors="replace"), False
    date, pause = response.headers.get("Date"), response.headers.get("Retry-After")
    return Answer(response.status, body, is_json, _date(date), _seconds(pause), response.headers.get("ETag"))


def _date(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text or "")
    except ValueError:
        return None


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isascii() and text.isdecimal() and len(text) < 6 else None


def _target(location: str) -> str:
    """Return where a redirect goes, without what its query carries."""
    return location.partition("?")[0][:200] or "another address"


def _without_query(path: str) -> str:
    return path.partition("?")[0]


def _reason(error: HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.SSLError):
        return "its certificate is not trusted: SSL_CERT_FILE names those that are"
    if isinstance(error, urllib3.exceptions.NameResolutionError):
        return "its name is not known"
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # before timeouts: it counts as one
        return "nothing listens there"
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "too slow"
    return str(error) if type(error) is HTTPError else type(error).__name__
