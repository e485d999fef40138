"""``.env``, and the connections that its short variables stand for."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError

GITHUB_API = "https://api.github.com"
_SHELL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def connections_from(variables: Mapping[str, str]) -> dict[str, str]:
    """Return Airflow connections for the short variables of ``.env`` that are set."""
    connections = {}
    token, user = variables.get("GITHUB_TOKEN"), variables.get("GITHUB_USERNAME")
    organizations = variables.get("GITHUB_ORGANIZATIONS", "").replace(",", " ").split()
    if token or user or organizations:
        connections["AIRFLOW_CONN_GITHUB_DEFAULT"] = connection(
            GITHUB_API, login=user, password=token, extra={"organizations": organizations} if organizations else None
        )
    if variables.get("NIGHTSCOUT_URL"):
        connections["AIRFLOW_CONN_NIGHTSCOUT_DEFAULT"] = connection(
            variables["NIGHTSCOUT_URL"], password=variables.get("NIGHTSCOUT_API_SECRET")
        )
    return connections


def connection(
    host: str,
    *,
    login: str | None = None,
    password: str | None = None,
    extra: Mapping[str, object] | None = None,
) -> str:
    """Return an HTTP connection in Airflow's JSON form."""
    fields = {"conn_type": "http", "host": host, "login": login, "password": password, "extra": extra}
    return json.dumps({key: value for key, value in fields.items() if value})


def read_env_file(path: Path) -> dict[str, str]:
    """
    Read ``KEY=VALUE`` lines as python-dotenv does; nothing in the file is executed or expanded.

    ``#`` begins a comment at the start of a value and after a space, not inside it; ``KEY=`` means not set.

    :raises ConfigurationError: a line is something else, or the file is not UTF-8; names the line's number, not its
        text.
    """
    from dotenv.parser import parse_stream

    if not path.exists():
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")  # Windows writes a byte order mark
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise ConfigurationError(f"{path}, line {line}: this is not UTF-8. Save the file as UTF-8.") from None
    variables = {}
    for binding in parse_stream(io.StringIO(text, newline="")):
        given = binding.original.string
        blank = given[: len(given) - len(given.lstrip())].count("\n")  # lines before it belong to it
        where = f"{path}, line {binding.original.line + blank}"
        if binding.error:
            raise ConfigurationError(f"{where}: write KEY=VALUE, and close every quote; nothing may follow a quote.")
        if binding.key is None:
            continue
        if not _SHELL_NAME.fullmatch(binding.key):
            raise ConfigurationError(f"{where}: a name has only letters A to Z, digits and _, or no shell exports it.")
        if binding.value is None:
            raise ConfigurationError(f"{where}: write KEY=VALUE.")
        if "\0" in binding.value:
            raise ConfigurationError(f"{where}: a value cannot hold a NUL character.")
        if binding.value:
            variables[binding.key] = binding.value
    return variables
