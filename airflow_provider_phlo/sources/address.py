"""Which address a connection names, and whether a request would stay on its host."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import SplitResult, urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from airflow_provider_phlo.exceptions import ConfigurationError

DEFAULT_PORTS = {"http": 80, "https": 443}
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


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


@lru_cache(maxsize=64)
def origin(url: str) -> tuple[str, str, int] | None:
    """
    Return the scheme, host and port that a request for ``url`` connects to, None where that is not certain.

    Parsers disagree about URLs such as ``http://a:1\\@b:2/``: urllib3, which connects, ends the host at the backslash,
    Python's ``urlsplit`` begins it after the ``@``. Only a URL that both read alike, and that carries no user name, has
    an origin.

    :param url: as it will be sent: of a prepared request.
    """
    try:
        sent, read = parse_url(url), urlsplit(url)
        port = read.port
    except (LocationParseError, ValueError):
        return None
    if read.scheme not in DEFAULT_PORTS or not read.hostname or "@" in read.netloc:
        return None
    if (sent.scheme, (sent.host or "").strip("[]"), sent.port) != (read.scheme, read.hostname, port):
        return None
    return read.scheme, read.hostname, DEFAULT_PORTS[read.scheme] if port is None else port


def stays_on_host(root: str, url: str) -> bool:
    """
    Return whether a request for ``url`` reaches the host of ``root``, so that it may carry the credentials for it.

    The same host means the same scheme, name and port; http to https on the standard ports is the same site, only
    safer. Two names of one machine are two hosts: on ``localhost`` and on ``127.0.0.1`` different servers may listen.

    :param root: as it was prepared by the library that sends.
    :param url: likewise.
    """
    here, there = origin(root), origin(url)
    if here is None or there is None:
        return False
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
    parts = _split(host)
    if parts is None:
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
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL that cannot be read"
    if parts.scheme not in DEFAULT_PORTS:
        return f"a URL of the scheme {parts.scheme!r}"
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _split(host: str) -> SplitResult | None:
    try:
        parts = urlsplit(host)
        port = parts.port
    except ValueError:
        return None
    usable = parts.scheme in DEFAULT_PORTS and parts.hostname and port != 0
    return parts if usable and not (parts.query or parts.fragment or "@" in parts.netloc) else None


def _schema(connection: ConnectionLike, host: str) -> str:
    if connection.schema:
        return str(connection.schema).strip().lower()
    parts = _split(f"http://{host}")
    return "http" if parts is not None and parts.hostname in LOOPBACK else "https"


def _with_port(parts: SplitResult, port: Any) -> str:
    suffix = f":{int(port)}" if port and parts.port is None else ""
    return f"{parts.scheme}://{parts.netloc}{suffix}"
