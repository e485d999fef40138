"""
A small JSON-over-HTTP client that the sources share.

It retries what may pass (no connection, 5xx, a truncated answer, a page where JSON was promised), waits for rate
limits, refuses what needs a person, and never sends credentials to another host. Its messages carry no query
string, no header and no body: none can hold a secret or a health value.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

import requests

from airflow_provider_phlo import __version__
from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    SourceRejectedError,
    SourceUnavailableError,
)

log = logging.getLogger(__name__)

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_REDIRECTS = 5
# Statuses of requests that were fine but came at a bad moment.
TRANSIENT_STATUSES = frozenset({408, 425})
# What GitHub asks for when a limit names no time.
UNSTATED_LIMIT_SECONDS = 60.0


class ConnectionLike(Protocol):
    """The fields of an Airflow connection that sources read."""

    conn_id: Any
    host: Any
    schema: Any
    login: Any
    password: Any
    port: Any

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """The connection's extra, as a dict."""


@dataclass(frozen=True)
class RetryPolicy:
    """
    How patient a client is, and the clock it lives by.

    :param attempts: requests made in vain before giving up.
    :param backoff_seconds: the first pause; it doubles up to ``max_backoff_seconds``, half of each is random.
    :param max_wait_seconds: all that one client may spend waiting for rate limits.
    :param sleep: pauses for that many seconds.
    :param clock: returns the epoch time in seconds.
    """

    attempts: int = 5
    backoff_seconds: float = 0.5
    max_backoff_seconds: float = 20.0
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 30.0
    max_wait_seconds: float = 240.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.time

    def backoff(self, failures: int) -> float:
        """Return the pause after that many failures in a row."""
        pause = min(self.backoff_seconds * 2.0 ** (failures - 1), self.max_backoff_seconds)
        return pause * random.uniform(0.5, 1.0)  # noqa: S311  # spreads clients out, guards nothing


@dataclass(frozen=True)
class Answer:
    """One answer: its status, its parsed body (None for a 304) and what paging needs."""

    status: int
    body: Any
    headers: Mapping[str, str]
    next_url: str | None = None


@dataclass(frozen=True)
class _Setback:
    """Why a request has to be made again, and when the server asked for it (seconds from now)."""

    reason: str
    wait: float | None = None
    limited: bool = False


@dataclass
class JsonClient:
    """
    Gets JSON from one host.

    :param root: the root URL; every request has to stay on its host.
    :param conn_id: the connection to name in messages.
    :param headers: sent with every request; credentials belong here.
    :param advice: status → the part of the connection to set when the server answers so.
    """

    root: str
    conn_id: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    advice: Mapping[int, str] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    _waited: float = field(default=0.0, init=False)
    _closed_until: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.root = self.root.rstrip("/")
        if _origin(self.root) is None:
            raise ConfigurationError(
                f"{self.conn_id}: the base URL is not an http(s) URL. {hint(self.conn_id, 'host')}"
            )
        self._session = requests.Session()
        # Without a callable, requests would put a password of ~/.netrc in the place of our own header.
        self._session.auth = _leave_request_alone
        # A proxy for the outside world cannot reach this machine's own loopback.
        self._session.trust_env = urlsplit(self.root).hostname not in LOOPBACK
        self._session.headers.update(
            {"Accept": "application/json", "User-Agent": f"airflow-provider-phlo/{__version__}", **self.headers}
        )

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """
        Get ``url``, a path below the root or a full URL of the same host.

        :raises SourceUnavailableError: every attempt failed, or a rate limit outlasts the patience.
        :raises SourceRejectedError: the server refuses the request, or it would leave the host.
        """
        url = self.root + url if url.startswith("/") else url
        failures = limits = 0
        while True:
            self._wait_until_open(url)
            outcome = self._try(url, params, headers)
            if isinstance(outcome, Answer):
                return outcome
            if outcome.limited:
                limits += 1
                self._wait_for_limit(url, outcome, limits)
                continue
            failures += 1
            self._pause(url, outcome, failures)

    def rejected(self, url: str, problem: str, setting: str = "host") -> SourceRejectedError:
        """Return the error that says ``problem`` and which part of the connection to set."""
        return SourceRejectedError(f"{self.conn_id}: GET {bare(url)} {problem}. {hint(self.conn_id, setting)}")

    def _try(self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> Answer | _Setback:
        try:
            response = self._send(url, params, headers)
        except requests.RequestException as error:
            # The error's own text holds the full URL, and a URL may hold a token: only its kind goes on.
            setback = _connection_setback(error)
        else:
            return self._judge(url, response)
        if setback is None:
            raise self.rejected(url, "is not a request that can be sent")
        return setback

    def _send(self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> requests.Response:
        timeouts = (self.retry.connect_timeout_seconds, self.retry.read_timeout_seconds)
        for _ in range(MAX_REDIRECTS):
            if not self._stays_on_host(url):
                raise self.rejected(url, "would leave the host of the connection and was not sent")
            response = self._session.get(url, params=params, headers=headers, timeout=timeouts, allow_redirects=False)
            if not response.is_redirect:
                return response
            url, params = urljoin(url, response.headers["Location"]), None
        raise self.rejected(url, f"is redirected more than {MAX_REDIRECTS} times")

    def _judge(self, url: str, response: requests.Response) -> Answer | _Setback:
        status = response.status_code
        if status == 304:
            return self._answer(response, None)
        if status >= 500 or status in TRANSIENT_STATUSES:
            return _Setback(f"answered {status}", _retry_after(response, self.retry.clock()))
        if is_rate_limit(response):
            wait = limit_seconds(response, self.retry.clock())
            return _Setback(f"answered {status} (rate limit)", wait, limited=True)
        if not response.ok or status >= 300:
            raise self.rejected(url, f"answered {status}", self.advice.get(status, "host"))
        return self._parse(response)

    def _parse(self, response: requests.Response) -> Answer | _Setback:
        try:
            body = response.json()
        except ValueError:
            kind = response.headers.get("Content-Type", "no content type").split(";")[0].strip()
            return _Setback(f"answered {response.status_code} with a body that is not JSON ({kind})")
        return self._answer(response, body)

    def _answer(self, response: requests.Response, body: Any) -> Answer:
        if response.headers.get("X-RateLimit-Remaining") == "0":
            self._closed_until = _number(response.headers.get("X-RateLimit-Reset")) or 0.0
        link = response.links.get("next", {}).get("url")
        next_url = urljoin(response.url, link) if link else None
        return Answer(response.status_code, body, response.headers, next_url)

    def _wait_until_open(self, url: str) -> None:
        """Wait when the answer before used the last request of the limit's window."""
        wait = self._closed_until - self.retry.clock()
        self._closed_until = 0.0
        if wait > 0:
            self._wait_for_limit(url, _Setback("has no request left", wait, limited=True), 1)

    def _wait_for_limit(self, url: str, setback: _Setback, limits: int) -> None:
        # A limit that lifts at once, again and again, must not become a busy loop.
        wait = max(setback.wait or 0.0, 2.0 ** (limits - 1))
        if self._waited + wait > self.retry.max_wait_seconds:
            lifts = datetime.fromtimestamp(self.retry.clock() + wait, UTC)
            raise SourceUnavailableError(
                f"{self.conn_id}: GET {bare(url)} {setback.reason}. The limit resets at "
                f"{lifts:%Y-%m-%dT%H:%M:%SZ}, in {wait:.0f} s; "
                f"a run waits {self.retry.max_wait_seconds:.0f} s in all. Run again after that.{self._higher_limit()}"
            )
        log.info("%s: GET %s %s, waiting %.0f s", self.conn_id, bare(url), setback.reason, wait)
        self._waited += wait
        self.retry.sleep(wait)

    def _higher_limit(self) -> str:
        setting = self.advice.get(429)
        return f" {hint(self.conn_id, setting)}" if setting else ""

    def _pause(self, url: str, setback: _Setback, failures: int) -> None:
        pause = max(self.retry.backoff(failures), setback.wait or 0.0)
        if failures >= self.retry.attempts or pause > self.retry.max_wait_seconds:
            raise SourceUnavailableError(
                f"{self.conn_id}: GET {bare(url)} {setback.reason}, after {failures} attempts. "
                f"Check that the server is up and that this is its address: {hint(self.conn_id, 'host')}"
            )
        log.info("%s: GET %s %s, again in %.1f s", self.conn_id, bare(url), setback.reason, pause)
        self.retry.sleep(pause)

    def _stays_on_host(self, url: str) -> bool:
        here, there = _origin(self.root), _origin(url)
        if here is None or there is None:
            return False
        # http → https on the standard ports is the same site, only safer
        return here == there or (here == ("http", there[1], 80) and there[::2] == ("https", 443))


def base_url(connection: ConnectionLike, default: str | None = None) -> str:
    """
    Return the root URL that an Airflow-like connection names, without a slash at its end.

    ``host`` is a full URL (``http://127.0.0.1:8080/path``), or a host name beside ``schema`` and ``port``. The schema
    is https unless said otherwise; http for this machine itself, where nobody keeps certificates.

    :param default: the root URL of a connection without a host.
    :raises ConfigurationError: there is no host, or it is not part of a URL.
    """
    host = (connection.host or "").strip()
    conn_id = str(connection.conn_id)
    if not host:
        if default is None:
            raise ConfigurationError(f"{conn_id}: the connection has no host. {hint(conn_id, 'host')}")
        return default.rstrip("/")
    if "://" not in host:
        host = f"{_schema(connection, host)}://{host}"
    parts = urlsplit(host)
    origin = _origin(host)
    if origin is None or parts.query or parts.fragment or "@" in parts.netloc:
        # not repeated here: what is wrong with it may be a secret in it
        raise ConfigurationError(
            f"{conn_id}: host has to be a host name (schema: http or https), or an http(s) URL, "
            f"without credentials and query. "
            f"{hint(conn_id, 'host, and the secret as password,')}"
        )
    return f"{_with_port(parts, connection.port)}{parts.path.rstrip('/')}"


def hint(conn_id: str, setting: str) -> str:
    """Return the sentence that says where ``setting`` of a connection is set."""
    return f"Set {setting} of the connection {conn_id} (AIRFLOW_CONN_{conn_id.upper()}, or Admin > Connections)."


def bare(url: str) -> str:
    """Return ``url`` without query, fragment and credentials: fit for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def records(client: JsonClient, url: str, body: Any) -> list[dict[str, Any]]:
    """
    Return ``body`` when it is a JSON list of objects.

    :raises SourceRejectedError: it is something else: JSON, but of another service.
    """
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise client.rejected(url, "answered JSON that is not a list of objects")
    return body


def is_rate_limit(response: requests.Response) -> bool:
    """Tell a rate limit, primary or secondary, from a refusal."""
    if response.status_code == 429:
        return True
    if response.status_code != 403:
        return False
    if "Retry-After" in response.headers or response.headers.get("X-RateLimit-Remaining") == "0":
        return True
    # Some secondary limits carry no header at all, only this text.
    text = response.text[:2000].lower()
    return "rate limit" in text or "abuse detection" in text


def limit_seconds(response: requests.Response, now: float) -> float:
    """Return for how long a rate-limited client has to wait."""
    wait = _retry_after(response, now)
    if wait is not None:
        return wait
    reset = _number(response.headers.get("X-RateLimit-Reset"))
    if reset is not None and response.headers.get("X-RateLimit-Remaining", "0") == "0":
        return max(reset - now, 0.0)
    return UNSTATED_LIMIT_SECONDS


def _retry_after(response: requests.Response, now: float) -> float | None:
    value = response.headers.get("Retry-After", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(value).timestamp() - now, 0.0)
    except ValueError:
        return None


def _number(value: str | None) -> float | None:
    return float(value) if value is not None and value.isascii() and value.isdigit() else None


def _connection_setback(error: requests.RequestException) -> _Setback | None:
    reasons: tuple[tuple[type[requests.RequestException], str], ...] = (
        (requests.exceptions.SSLError, "found no valid TLS certificate"),
        (requests.exceptions.ProxyError, "did not get through the proxy"),
        (requests.exceptions.ConnectTimeout, "found no connection in time"),
        (requests.exceptions.ReadTimeout, "got no answer in time"),
        (requests.exceptions.ChunkedEncodingError, "got a truncated answer"),
        (requests.exceptions.ContentDecodingError, "got an answer that cannot be decompressed"),
        (requests.exceptions.ConnectionError, "found no connection, or lost it"),
    )
    return next((_Setback(reason) for kind, reason in reasons if isinstance(error, kind)), None)


def _leave_request_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _schema(connection: ConnectionLike, host: str) -> str:
    if connection.schema:
        return str(connection.schema).strip().lower()
    name = urlsplit(f"//{host}").hostname
    return "http" if name in LOOPBACK else "https"


def _with_port(parts: SplitResult, port: Any) -> str:
    suffix = f":{int(port)}" if port and parts.port is None else ""
    return f"{parts.scheme}://{parts.netloc}{suffix}"


def _origin(url: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port; None when ``url`` is no http(s) URL. All names of loopback are one host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    host = "localhost" if parts.hostname in LOOPBACK else parts.hostname
    return parts.scheme, host, port or DEFAULT_PORTS[parts.scheme]
