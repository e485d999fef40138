"""
The HTTP client of all sources: JSON from one host.

It retries what may pass (no connection, 5xx, 202, a truncated answer, a page where JSON was promised), waits for rate
limits, refuses what needs a person, never sends credentials to another host, and takes no more than its limits allow.
Its messages carry no query string, no header and no body: none can hold a secret or a health value.

requests sends, tenacity repeats; docs/decisions/022-one-http-client.md says why the rest is here.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
from tenacity import RetryCallState, Retrying, retry_if_result, stop_after_attempt, stop_any
from tenacity.stop import stop_base
from tenacity.wait import wait_base, wait_exponential, wait_random_exponential

from airflow_provider_phlo import __version__
from airflow_provider_phlo.exact_json import RepeatedNames
from airflow_provider_phlo.exceptions import (
    ConfigurationError,
    SourceRejectedError,
    SourceUnavailableError,
)
from airflow_provider_phlo.sources.address import bare, hint
from airflow_provider_phlo.sources.body import BodyLostError, BodyRefusedError, parse_json, read_body
from airflow_provider_phlo.sources.budget import Budget
from airflow_provider_phlo.sources.headers import limit_seconds, moment_at, moment_text, next_link, retry_after
from airflow_provider_phlo.sources.session import HostSession, NotSentError, joined

log = logging.getLogger(__name__)

# Statuses of requests that were fine but came at a bad moment.
TRANSIENT_STATUSES = frozenset({408, 425})
# Nobody asked for a part.
PARTIAL_CONTENT = 206
# The only one that says that the body is all there is: a list of 202 is not made yet, a proxy changed one of 203.
COMPLETE = 200
# Of refusals, some of which are rate limits by what they say; 422 for a page far on, without a token.
LIMIT_STATUSES = frozenset({403, 422})
# Enough to see why a request was refused.
REFUSAL_BYTES = 65536


@dataclass(frozen=True)
class RetryPolicy:
    """
    How often and how long a client retries, and the clock that it uses.

    :param attempts: failed requests before giving up.
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

    @property
    def backoff(self) -> wait_base:
        """Return the pauses between attempts."""
        half, most = self.backoff_seconds / 2, self.max_backoff_seconds / 2
        return wait_exponential(half, most) + wait_random_exponential(half, most)


@dataclass(frozen=True)
class Limits:
    """
    What a client takes from a server that is broken or hostile.

    :param response_bytes: of one answer, as sent and unpacked; 100 events of GitHub have 0.3 MB.
    :param response_seconds: for the body of one answer.
    :param redirects: of one request.
    :param pages: of one resource.
    """

    response_bytes: int = 32 * 1024 * 1024
    response_seconds: float = 300.0
    redirects: int = 5
    pages: int = 10_000


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
    wait: float = 0.0
    limited: bool = False
    status: int | None = None


@dataclass
class JsonClient:
    """
    Gets JSON from one host. Threads may share it.

    :param root: the root URL; every request has to stay on its host.
    :param conn_id: the connection to name in messages.
    :param headers: sent with every request; credentials belong here.
    :param advice: status → the part of the connection to set when the server answers so.
    :param repeated_names: whether objects in lists may have a name twice, as bad records; else the answer is refused.
    :param budget: what may be asked of the server.
    :raises ConfigurationError: ``root`` is not an http(s) URL, or a header has characters that no header can carry.
    """

    root: str
    conn_id: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    advice: Mapping[int, str] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: Limits = field(default_factory=Limits)
    budget: Budget = field(default_factory=Budget)
    repeated_names: bool = False
    _answers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self.root = self.root.rstrip("/")
        self._check_headers()
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": f"airflow-provider-phlo/{__version__}",
            **self.headers,
        }
        self._session = HostSession(self.root, headers, self.limits.redirects)
        if not self._session.is_usable:
            raise ConfigurationError(
                f"{self.conn_id}: the base URL is not an http(s) URL without credentials. {hint(self.conn_id, 'host')}"
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
        :raises SourceRejectedError: the server refuses the request, it would leave the host, or the answer is beyond
            a limit.
        """
        url = self.root + url if url.startswith("/") else url
        limits = 0
        while True:
            self._wait_until_open(url)
            outcome = self._attempts(url)(self._try, url, params, headers)
            if isinstance(outcome, Answer):
                self._answers += 1
                return outcome
            limits += 1
            # A limit that lifts at once, again and again, must not become a busy loop.
            self._wait_for_limit(url, outcome.reason, max(outcome.wait, 2.0 ** (limits - 1)))

    def rejected(self, url: str, problem: str, setting: str = "host", status: int | None = None) -> SourceRejectedError:
        """Return the error that says why ``url`` is of no use, and which part of the connection to look at."""
        message = f"{self.conn_id}: GET {bare(url)} {problem}. {hint(self.conn_id, setting)}"
        return SourceRejectedError(message, status)

    def _check_headers(self) -> None:
        for name, value in self.headers.items():
            if not (value.isascii() and value.isprintable()):
                raise ConfigurationError(
                    f"{self.conn_id}: the header {name} cannot be sent: what it is made of has a character that is not "
                    f"printable ASCII (a line break, a typographic quote, a letter such as ž). "
                    f"{hint(self.conn_id, 'password')}"
                )

    def _attempts(self, url: str) -> Retrying:
        """Return what repeats a request after setbacks; a rate limit ends it too, but is not a failure."""
        backoff = self.retry.backoff

        def pause(state: RetryCallState) -> float:
            return max(backoff(state), _setback(state).wait)

        def announce(state: RetryCallState) -> None:
            seconds = state.next_action.sleep if state.next_action else 0.0
            log.info("%s: GET %s %s, again in %.1f s", self.conn_id, bare(url), _setback(state).reason, seconds)

        def give_up(state: RetryCallState) -> Any:
            attempts = f"{state.attempt_number} attempt{'s' if state.attempt_number > 1 else ''}"
            asked = _setback(state).wait
            raise SourceUnavailableError(
                f"{self.conn_id}: GET {bare(url)} {_setback(state).reason}, after {attempts}. "
                f"Check that the server is up and that this is its address: {hint(self.conn_id, 'host')}",
                retry_at=moment_at(self.retry.clock(), asked) if asked > self.retry.max_wait_seconds else None,
                answers=self._answers,
                status=_setback(state).status,
            )

        return Retrying(
            retry=retry_if_result(lambda outcome: isinstance(outcome, _Setback) and not outcome.limited),
            wait=pause,
            stop=stop_any(stop_after_attempt(self.retry.attempts), _AskedTooLong(self.retry.max_wait_seconds)),
            sleep=self.retry.sleep,
            before_sleep=announce,
            retry_error_callback=give_up,
        )

    def _try(self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None) -> Answer | _Setback:
        problem = "is not a request that can be sent"
        try:
            timeout = (self.retry.connect_timeout_seconds, self.retry.read_timeout_seconds)
            with self._session.fetch(url, params, headers, timeout) as response:
                return self._judge(url, response)
        except (BodyRefusedError, NotSentError) as error:
            problem = str(error)
        except BodyLostError as error:
            return _Setback(str(error))
        except requests.RequestException as error:
            # The error's own text holds the full URL, and a URL may hold a token: only its kind goes on.
            setback = _connection_setback(error)
            if setback is not None:
                return setback
        except UnicodeError:  # a host name that cannot be one
            pass
        raise self.rejected(url, problem)

    def _judge(self, url: str, response: requests.Response) -> Answer | _Setback:
        status, now = response.status_code, self.retry.clock()
        if status == 304:
            return self._answer(response, None)
        if status >= 500 or status in TRANSIENT_STATUSES:
            return _Setback(f"answered {status}", retry_after(response.headers, now) or 0.0, status=status)
        if self._is_rate_limit(response):
            return _Setback(f"answered {status} (rate limit)", limit_seconds(response.headers, now), limited=True)
        if not response.ok or status >= 300 or status == PARTIAL_CONTENT:
            raise self.rejected(url, f"answered {status}", self.advice.get(status, "host"), status)
        if status != COMPLETE:
            return _Setback(
                f"answered {status}, not yet a whole answer", retry_after(response.headers, now) or 0.0, status=status
            )
        body = read_body(response, self.limits.response_bytes, self.limits.response_seconds)
        kind = response.headers.get("Content-Type", "no content type")
        try:
            return self._answer(response, parse_json(body, kind, self.repeated_names))
        except ValueError:
            kind = kind.split(";")[0].strip()[:100]
            return _Setback(f"answered {status} with a body that is not JSON ({kind})")

    def _is_rate_limit(self, response: requests.Response) -> bool:
        """Return whether this is a rate limit, primary or secondary, and not a refusal."""
        if response.status_code not in LIMIT_STATUSES:
            return response.status_code == 429
        if "Retry-After" in response.headers or response.headers.get("X-RateLimit-Remaining", "").strip() == "0":
            return True
        try:
            text = read_body(response, REFUSAL_BYTES, self.limits.response_seconds)[:2000].lower()
        except (BodyLostError, BodyRefusedError):
            return False
        # Some secondary limits carry no header at all, only this text.
        return b"rate limit" in text or b"abuse detection" in text

    def _answer(self, response: requests.Response, body: Any) -> Answer:
        headers = response.headers
        self.budget.note(headers, self.retry.clock())
        try:
            link = next_link(headers.get("Link", ""))
        except ValueError:
            raise BodyRefusedError("answered with a Link header that cannot be read: pages could be missed") from None
        next_url = None if link is None else joined(response.url, link)
        return Answer(response.status_code, body, headers, next_url)

    def _wait_until_open(self, url: str) -> None:
        """Wait while the limit's window is used up, then for this request's turn."""
        while (wait := self.budget.closed_for(self.retry.clock())) > 0:
            self._wait_for_limit(url, "has no request left", max(wait, 1.0))
        wait = self.budget.take_turn(self.retry.clock())
        if wait > 0:
            self.retry.sleep(wait)

    def _wait_for_limit(self, url: str, reason: str, wait: float) -> None:
        now = self.retry.clock()
        self.budget.close(now + wait)  # for other threads too
        if not self.budget.count_wait(wait, now, self.retry.max_wait_seconds):
            setting = self.advice.get(429)
            raise SourceUnavailableError(
                f"{self.conn_id}: GET {bare(url)} {reason}. The limit resets {moment_text(now, wait)}; "
                f"a run waits {self.retry.max_wait_seconds:.0f} s in all. Run again after that."
                + (f" {hint(self.conn_id, setting)}" if setting else ""),
                retry_at=moment_at(now, wait),
                answers=self._answers,
            )
        log.info("%s: GET %s %s, waiting %.0f s", self.conn_id, bare(url), reason, wait)
        self.retry.sleep(wait)


def records(client: JsonClient, url: str, body: Any) -> list[dict[str, Any]]:
    """
    Return ``body`` when it is a JSON list of objects.

    :raises SourceRejectedError: it is something else: JSON, but of another service.
    """
    if not isinstance(body, list) or not all(isinstance(item, (dict, RepeatedNames)) for item in body):
        raise client.rejected(url, "answered JSON that is not a list of objects")
    return body


class _AskedTooLong(stop_base):
    """Stops when the server asks for a longer pause than a run waits."""

    def __init__(self, most: float) -> None:
        self._most = most

    def __call__(self, retry_state: RetryCallState) -> bool:
        return _setback(retry_state).wait > self._most


def _setback(state: RetryCallState) -> _Setback:
    outcome = state.outcome.result() if state.outcome else None
    return outcome if isinstance(outcome, _Setback) else _Setback("was not made")


def _connection_setback(error: requests.RequestException) -> _Setback | None:
    reasons: tuple[tuple[type[requests.RequestException], str], ...] = (
        (requests.exceptions.SSLError, "found no valid TLS certificate"),
        (requests.exceptions.ProxyError, "did not get through the proxy"),
        (requests.exceptions.ConnectTimeout, "found no connection in time"),
        (requests.exceptions.ReadTimeout, "got no answer in time"),
        (requests.exceptions.ConnectionError, "found no connection, or lost it"),
    )
    return next((_Setback(reason) for kind, reason in reasons if isinstance(error, kind)), None)
