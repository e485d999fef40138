"""A Superset that runs, over its HTTP API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import requests

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.library_errors import describe
from airflow_provider_phlo.printable_text import printable

_SECONDS = 120


class Superset:
    """
    A Superset, logged in to.

    :param url: where it answers.
    :param user: an administrator of it.
    :raises ConfigurationError: it refuses the login, or is not Superset.
    :raises TransientError: it does not answer.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
            raise ConfigurationError("The address of Superset is not one such as http://127.0.0.1:8088.")
        self.url = url.rstrip("/")
        self._session = requests.Session()
        # a proxy or .netrc of the machine has no part in this
        self._session.trust_env = False
        login = {"username": user, "password": password, "provider": "db", "refresh": False}
        token = self._json("POST", "/api/v1/security/login", json=login).get("access_token")
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.headers["X-CSRFToken"] = str(self._json("GET", "/api/v1/security/csrf_token/").get("result"))
        self._session.headers["Referer"] = self.url

    def export(self) -> bytes:
        """Return everything it has, as an archive."""
        return self._ask("GET", "/api/v1/assets/export/").content

    def import_assets(self, archive: bytes, passwords: Mapping[str, str]) -> None:
        """
        Create or replace what an archive has; what it refers to may be in Superset already.

        :param passwords: of databases, by their path in the archive.
        :raises ConfigurationError: Superset refuses it; nothing is changed then.
        """
        files = {"bundle": ("assets.zip", archive, "application/zip")}
        form = {"passwords": json.dumps(dict(passwords)), "sparse": "true"}
        self._ask("POST", "/api/v1/assets/import/", files=files, data=form)

    def _json(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            found = self._ask(method, path, **more).json()
        except requests.JSONDecodeError:
            found = None
        if not isinstance(found, dict):
            raise ConfigurationError(f"{self.url} does not answer as Superset does: is the address right?")
        return found

    def _ask(self, method: str, path: str, **more: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self.url + path, timeout=_SECONDS, allow_redirects=False, **more)
        except requests.RequestException as error:
            raise TransientError(f"Superset does not answer at {self.url} ({describe(error)}): is it up?") from None
        if answer.status_code in (401, 403):
            raise ConfigurationError(f"Superset at {self.url} refuses the login: check the user and its password.")
        if answer.status_code >= 500:
            raise TransientError(
                f"Superset failed ({answer.status_code} at {path}): its log says why.{_reason(answer)}"
            )
        if answer.status_code != 200:
            raise ConfigurationError(f"Superset refuses {path} ({answer.status_code}).{_reason(answer)}")
        return answer


def _reason(answer: requests.Response) -> str:
    """Return what Superset says was wrong, on one line; nothing if it is a page for people."""
    if "json" not in answer.headers.get("Content-Type", ""):
        return ""
    return f" It says: {printable(answer.text.strip())[:500]}"
