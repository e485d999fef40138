"""Which Airflow a command talks to, and as whom."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from airflow_provider_phlo.airflow_api.client import AirflowApi
from airflow_provider_phlo.exceptions import AirflowRefusedError, AirflowUnavailableError, ConfigurationError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import ports
from airflow_provider_phlo.services.machine.roots import find_root
from airflow_provider_phlo.services.supervising.state import read_state

URL = "PHLO_AIRFLOW_URL"
TOKEN = "PHLO_AIRFLOW_TOKEN"  # noqa: S105 - the name of a variable
USER = "PHLO_AIRFLOW_USER"
PASSWORD = "PHLO_AIRFLOW_PASSWORD"  # noqa: S105 - the same
#: The service under which a keyring has the password of a user for an address: ``phlo:https://airflow.example.com``.
KEYRING = "phlo"


def connect(url: str | None = None, shell: Mapping[str, str] = os.environ) -> AirflowApi:
    """
    Return the Airflow that a command talks to: the address given, that of the shell, or the services of the project.

    :param url: what ``--api-url`` says; None takes ``PHLO_AIRFLOW_URL``, then the services of the project that the
        working directory (or ``PHLO_HOME``) belongs to.
    :param shell: the variables of the shell: token, user and password are there, or the password is in the keyring.
    :raises ConfigurationError: no Airflow is known, none answers, or the login is not accepted; says what to do.
    """
    given = url or shell.get(URL, "")
    if not given:
        _require_no_login(shell)
    api = _remote(given, shell) if given else _of_project(shell)
    try:
        api.call("GET", "/version")
        # the version is public: this is not
        api.call("GET", "/dags?limit=1")
    except AirflowUnavailableError as error:
        todo = "Is the address right?" if given else "Start the services (phlo services start), or name one: --api-url."
        raise ConfigurationError(f"{error} {todo}") from None
    except AirflowRefusedError as error:
        raise ConfigurationError(f"{error} Is {_shown(api.url)} the address of Airflow 3's api-server?") from None
    return api


def is_elsewhere(api: AirflowApi, shell: Mapping[str, str] = os.environ) -> bool:
    """Return whether an Airflow is not the services of the project that the working directory belongs to."""
    local = _services(shell)
    return local is None or not _same_place(local.url, api.url)


def _remote(url: str, shell: Mapping[str, str]) -> AirflowApi:
    token, user = shell.get(TOKEN, ""), shell.get(USER, "")
    # a wrong address is refused before a login for it is missed
    anonymous = AirflowApi(url, token=token)
    if token:
        return anonymous
    password = shell.get(PASSWORD) or (_from_keyring(url, user) if user else None)
    if user and password:
        return AirflowApi(url, user, password)
    local = _services(shell)
    if local and _same_place(local.url, url):
        return local
    missing = f"no password of {user}: set {PASSWORD}" if user else f"no login: set {TOKEN}, or {USER} and {PASSWORD}"
    raise ConfigurationError(
        f"For {_shown(url)} there is {missing}. A keyring may hold the password of {USER}, too: keyring set "
        f"{KEYRING}:{_shown(url)} {user or 'NAME'}"
    )


def _require_no_login(shell: Mapping[str, str]) -> None:
    """Refuse a login without an address: whoever forgets the address would work on the services of this machine."""
    named = [name for name in (TOKEN, USER) if shell.get(name)]
    if named:
        raise ConfigurationError(
            f"{' and '.join(named)} is set, and nothing says for which Airflow: set {URL} or give --api-url. The "
            "services of a project need neither: unset it for them."
        )


def _of_project(shell: Mapping[str, str]) -> AirflowApi:
    found = _services(shell)
    if found is None:
        raise ConfigurationError(
            "No Airflow is known here: start the services of a project, in its folder (phlo services start), or name "
            f"one with --api-url or {URL}."
        )
    return found


def _services(shell: Mapping[str, str]) -> AirflowApi | None:
    """Return the Airflow of the services of the project; whether they run shows when it is asked."""
    root = find_root(Path.cwd())
    if root is None and not shell.get("PHLO_HOME"):
        return None
    home = embedded.resolve_home(root or Path.cwd(), shell)
    if not (home / "airflow" / "port").exists():
        return None
    state = read_state(home)
    url = state.url if state and state.url else f"http://{ports.HOST}:{embedded.ui_port(home)}"
    return AirflowApi(url, embedded.UI_USER, embedded.secret(home, "ui_password"))


def _same_place(one: str, other: str) -> bool:
    return urlsplit(one).netloc == urlsplit(other.rstrip("/")).netloc


def _shown(url: str) -> str:
    """Return an address without a user name or password in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")


def _from_keyring(url: str, user: str) -> str | None:
    try:
        import keyring  # type: ignore[import-not-found]
    except ImportError:
        return None
    try:
        return keyring.get_password(f"{KEYRING}:{_shown(url)}", user)
    except Exception as error:  # noqa: BLE001 - a backend's own errors: locked, no desktop
        raise ConfigurationError(f"The keyring does not give the password ({type(error).__name__}).") from None
