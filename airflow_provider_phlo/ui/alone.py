"""The API of public events as a server of its own: ``phlo serve``."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request, status
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.ui.dag_runs import DagRuns, PasswordLogin
from airflow_provider_phlo.ui.events import Site, create_app

TOKEN_VARIABLE = "PHLO_SERVE_TOKEN"  # noqa: S105 - the name of a variable
CONNECTION = "phlo_airflow"
# the header Host: an address in brackets or a name, perhaps with a port
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\[\]:@/?#]+))(?::[0-9]*)?")


@dataclass(frozen=True)
class AirflowAddress:
    """
    An Airflow whose DAGs fetch and load.

    :param url: where its api-server answers, without a path.
    """

    url: str
    user: str
    password: str


def create_alone_app(
    published: Callable[[], Path], *, host: str, token: str | None, airflow: AirflowAddress | None
) -> FastAPI:
    """
    Return the API for a server of its own.

    :param published: returns where the loader publishes.
    :param host: the address to listen on.
    :param token: what clients have to send; without one, only programs of this machine are served.
    :param airflow: whose DAGs ``/ingest`` and ``/load`` start; None when there is none.
    :raises ConfigurationError: others than this machine could ask, and there is no token; or clients cannot send it.
    """
    if not token and not is_loopback(host):
        raise ConfigurationError(
            f"{host} can be reached from other machines: set {TOKEN_VARIABLE} to a secret that clients send as bearer "
            "token, or listen on 127.0.0.1."
        )
    if token and not (token.isascii() and token.isprintable()):
        raise ConfigurationError(f"{TOKEN_VARIABLE} has characters that HTTP cannot send: use ASCII ones.")
    may = Depends(_token_check(token) if token else _require_local_name)
    return create_app(
        Site(published=published, may_read=may, may_ingest=may, may_load=may, dag_runs=_dag_runs_of(airflow))
    )


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _require_local_name(request: Request) -> None:
    """Refuse a page of another site whose name was made to lead to this machine."""
    host = _HOST.fullmatch(request.headers.get("host", ""))
    if not host or not is_loopback((host[1] or host[2]).lower()):
        raise HTTPException(
            status.HTTP_403_FORBIDDEN, f"Without {TOKEN_VARIABLE}, this server answers to localhost and 127.0.0.1 only."
        )


class _Basic(HTTPBasic):
    """As FastAPI's, but a header that is malformed counts as none, and a user's name may have any characters."""

    async def __call__(self, request: Request) -> HTTPBasicCredentials | None:  # type: ignore[override]
        scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            user, _, password = base64.b64decode(encoded).decode("latin-1").partition(":")
        except ValueError:
            return None
        return HTTPBasicCredentials(username=user, password=password)


def _token_check(token: str) -> Callable[..., None]:
    """Return a dependency that asks for the token, as bearer token or as the password that a browser asks for."""
    expected = token.encode()
    bearer, basic = HTTPBearer(auto_error=False), _Basic(auto_error=False, scheme_name="HTTPBasic")

    def check(
        given: HTTPAuthorizationCredentials | None = Depends(bearer),  # noqa: B008
        login: HTTPBasicCredentials | None = Depends(basic),  # noqa: B008
    ) -> None:
        said = given.credentials if given else login.password if login else ""
        if not hmac.compare_digest(said.encode(), expected):
            raise HTTPException(
                status.HTTP_401_UNAUTHORIZED,
                f"Send the token of this server ({TOKEN_VARIABLE}) as bearer token, or as password with any user.",
                headers={"WWW-Authenticate": 'Basic realm="phlo"'},
            )

    return check


def _dag_runs_of(airflow: AirflowAddress | None) -> Callable[[Request], Any]:
    login = PasswordLogin(airflow.url, airflow.user, airflow.password) if airflow else None

    @asynccontextmanager
    async def dag_runs(_: Request) -> AsyncIterator[DagRuns]:
        if airflow is None:
            raise HTTPException(
                status.HTTP_503_SERVICE_UNAVAILABLE,
                f"This server knows no Airflow that could do it: set the connection {CONNECTION} "
                f"(AIRFLOW_CONN_{CONNECTION.upper()}=http://user:password@host:port) and start it again.",
            )
        # no proxy stands between processes of one machine
        proxies = not is_loopback(urlsplit(airflow.url).hostname or "")
        async with httpx.AsyncClient(base_url=airflow.url, auth=login, timeout=30, trust_env=proxies) as client:
            yield DagRuns(client)

    return dag_runs
