"""Send GET requests to one host, and to no other, whatever redirects and links say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter

from airflow_provider_phlo.sources.address import LOOPBACK, origin, stays_on_host

# more threads than any client has
CONNECTIONS = 64


class NotSentError(Exception):
    """The request is not one that may be sent. The text completes "GET …"."""


class HostSession(requests.Session):
    """
    A session that reaches one host only, so that credentials do not leave it; its threads share connections.

    It follows redirects itself: even with ``allow_redirects=False`` requests reads the whole body of one, however long.

    :param root: the URL whose host it is.
    :param headers: sent with every request.
    :param redirects: that are followed for one request.
    """

    def __init__(self, root: str, headers: Mapping[str, str], redirects: int) -> None:
        super().__init__()
        # Without a callable, requests would put a password of ~/.netrc in the place of our own header.
        self.auth = _leave_request_alone
        self.headers.update(headers)
        self.redirects = redirects
        self._environment: dict[str, dict[str, Any]] = {}
        for scheme in ("http://", "https://"):
            self.mount(scheme, HTTPAdapter(pool_maxsize=CONNECTIONS))
        prepared = self._prepare(root, None, None)
        self.home = root if prepared is None else prepared.url or ""
        # A proxy for the outside world cannot reach this machine's own loopback.
        self.trust_env = self.is_usable and urlsplit(self.home).hostname not in LOOPBACK

    @property
    def is_usable(self) -> bool:
        """Return whether the root is a URL of a host, without credentials."""
        return origin(self.home) is not None

    def fetch(
        self,
        url: str,
        params: Mapping[str, str] | None,
        headers: Mapping[str, str] | None,
        timeout: tuple[float, float],
    ) -> requests.Response:
        """
        Return the answer to a GET request, with its body unread.

        :param timeout: seconds for the connection, and between two pieces of the answer.
        :raises NotSentError: it would leave the host, or is redirected too often.
        :raises requests.RequestException: there is no answer.
        """
        for _ in range(self.redirects + 1):
            request = self._prepare(url, params, headers)
            if request is None:
                raise NotSentError("is not a request that can be sent")
            if not stays_on_host(self.home, request.url or ""):
                raise NotSentError("would leave the host of the connection and was not sent")
            response = self.send(request, timeout=timeout, allow_redirects=False, **self._settings(request.url or ""))
            target = super().get_redirect_target(response)
            if target is None:
                return response
            response.close()
            url, params = joined(request.url or "", target), None
        raise NotSentError(f"is redirected more than {self.redirects} times")

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return None

    def _settings(self, url: str) -> dict[str, Any]:
        """Return proxies and certificates for a URL; reading them from the environment costs as much as a request."""
        scheme = urlsplit(url).scheme
        if scheme not in self._environment:
            self._environment[scheme] = dict(self.merge_environment_settings(url, {}, True, None, None))
        return self._environment[scheme]

    def _prepare(
        self, url: str, params: Mapping[str, str] | None, headers: Mapping[str, str] | None
    ) -> requests.PreparedRequest | None:
        try:
            return self.prepare_request(requests.Request("GET", url, params=params, headers=headers))
        except ValueError:  # of requests, urllib3 and of text that is not Unicode
            return None


def joined(base: str, target: str) -> str:
    """Return the URL that a redirect or link of the answer to ``base`` names."""
    try:
        return urljoin(base, target)
    except ValueError:  # refused where it is sent
        return target


def _leave_request_alone(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request
