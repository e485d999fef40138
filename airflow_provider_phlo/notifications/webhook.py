"""A generic webhook: JSON by POST to one address, never further."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook, BaseNotifier
from airflow.sdk.log import mask_secret

from airflow_provider_phlo.alerts.delivery.destinations import DeliveryError
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.sources.headers import retry_after

if TYPE_CHECKING:
    from airflow.sdk import Context

_FORMS = ("json", "slack")
# statuses that are about one message
_OF_MESSAGE = frozenset({400, 413, 415, 422})


class WebhookNotifier(BaseNotifier):
    """
    Send JSON by POST.

    The address is a secret: it reaches no log and no error. Redirects are not followed, so that neither it nor its
    credentials reach another host. Certificates are checked.

    :param url: the address; or
    :param http_conn_id: a connection: its host (with ``https://``, or with a schema), login and password for basic
        authentication, and ``headers`` in its extra.
    :param content: what to send: a JSON object.
    :param form: ``json``, or ``slack`` for what Slack and its likes take: the text of the content.
    :param channel: for the form ``slack``.
    :param headers: sent with it.
    :param timeout: seconds for the connection, and again for the answer.
    """

    template_fields = ("content", "channel", "headers")

    def __init__(
        self,
        *,
        url: str | None = None,
        http_conn_id: str | None = None,
        content: Mapping[str, Any] | None = None,
        form: str = "json",
        channel: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 10.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if form not in _FORMS:
            raise ConfigurationError(f"form={form!r}: write one of {', '.join(_FORMS)}.")
        if (url is None) == (http_conn_id is None):
            raise ConfigurationError("A webhook needs url or http_conn_id.")
        self.url = url
        self.http_conn_id = http_conn_id
        self.content = dict(content or {})
        self.form = form
        self.channel = channel
        self.headers = dict(headers or {})
        self.timeout = timeout

    def notify(self, context: Context) -> None:
        """
        Send it.

        :raises DeliveryError: it was not taken.
        """
        import requests

        url, auth, headers = self._address()
        mask_secret(url)
        try:
            with requests.Session() as session:
                session.trust_env = False  # credentials of ~/.netrc are not for it
                session.proxies = requests.utils.get_environ_proxies(url)
                with session.post(
                    url,
                    json=self._body(),
                    headers=headers,
                    auth=auth,
                    timeout=self.timeout,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    _check(answer.status_code, answer.headers)
        except requests.RequestException as error:
            raise DeliveryError(_reason(error, self.timeout)) from None

    def _address(self) -> tuple[str, tuple[str, str] | None, dict[str, str]]:
        """Return where to, the credentials, and the headers."""
        if self.http_conn_id is None:
            return _checked_address(str(self.url), "url"), None, self.headers
        connection = BaseHook.get_connection(self.http_conn_id)
        host, extra = connection.host or "", connection.extra_dejson
        if "://" not in host:
            port = f":{connection.port}" if connection.port else ""
            host = f"{connection.schema or connection.conn_type or 'https'}://{host}{port}"
        auth = (connection.login, connection.password or "") if connection.login else None
        if connection.password:
            mask_secret(connection.password)
        headers = {str(name): str(value) for name, value in (extra.get("headers") or {}).items()}
        for value in headers.values():
            mask_secret(value)
        return _checked_address(host, f"connection {self.http_conn_id!r}"), auth, {**headers, **self.headers}

    def _body(self) -> dict[str, Any]:
        if self.form == "json":
            return self.content
        body = {"text": self.content.get("text", "")}
        return {**body, "channel": self.channel} if self.channel else body


def _checked_address(url: str, where: str) -> str:
    """Return an address; what is wrong with it is said without it."""
    if not url.startswith(("https://", "http://")) or not url.partition("://")[2]:
        raise ConfigurationError(f"The {where} of a webhook is not an address: it begins with https://.")
    return url


def _check(status: int, headers: Mapping[str, str]) -> None:
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        raise DeliveryError(
            f"it answered {status}: redirects are not followed; use the address that it redirects to, if you trust it"
        )
    raise DeliveryError(
        f"it answered {status}", wait=retry_after(headers, time.time()), of_message=status in _OF_MESSAGE
    )


def _reason(error: Exception, timeout: float) -> str:
    """Return why there is no answer, without the address."""
    import requests

    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted"
    if isinstance(error, requests.exceptions.Timeout):
        return f"no answer within {timeout:g} s"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "its address cannot be used"
    return "no connection, or it was closed before the answer"
