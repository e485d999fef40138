"""Live data or recordings: which of them fills the tables of a ``PHLO_HOME``, and the connections to either."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from airflow_provider_phlo.events.terms import INGEST_DAG
from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.environment.replay import SOURCES, recorded_connections
from airflow_provider_phlo.services.machine.env_file import connections_from, read_env_file

GLUCOSE_DAG, STATS_DAG, PULLS_DAG = "glucose_platform", "github_stats", "github_pull_requests"
ALL_DAGS = frozenset({GLUCOSE_DAG, STATS_DAG, INGEST_DAG, PULLS_DAG})
NIGHTSCOUT, GITHUB = "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT", "AIRFLOW_CONN_GITHUB_DEFAULT"


def filled_dags(connections: Mapping[str, str]) -> set[str]:
    """Return the DAGs that live sources fill, by the variables of their connections."""
    found = {GLUCOSE_DAG} if NIGHTSCOUT in connections else set()
    return found | set(github_dags(connections[GITHUB])) if GITHUB in connections else found


def own_connections(root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """
    Return the connections to live sources that the shell or ``.env`` sets.

    :param shell: the variables of the shell :func:`without_recordings`.
    """
    given = {**read_env_file(root / ".env"), **shell}
    given = {**connections_from(given), **given}
    return {name: given[name] for name in SOURCES if given.get(name)}


def github_dags(connection: str) -> tuple[str, ...]:
    """
    Return the DAGs that a connection to GitHub can fill.

    :param connection: in Airflow's JSON form, or as a URI.
    :raises ConfigurationError: it is neither.
    """
    try:
        if connection.lstrip().startswith("{"):
            fields = json.loads(connection)
            login, extra = fields.get("login"), fields.get("extra") or {}
        else:
            parts = urlsplit(connection)
            login, extra = parts.username, parse_qs(parts.query).get("__extra__", ["{}"])[0]
        organizations = (json.loads(extra) if isinstance(extra, str) else extra).get("organizations")
    except (ValueError, AttributeError):
        raise ConfigurationError(f"{GITHUB} is neither JSON of a connection nor its URI.") from None
    return (*((STATS_DAG,) if login else ()), INGEST_DAG, *((PULLS_DAG,) if organizations else ()))


def without_recordings(home: Path, secret: str, shell: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a shell but for the connections to recordings that an earlier ``make env`` gave it."""
    known = recorded_connections(home, secret)
    return {name: value for name, value in shell.items() if known.get(name) != value}


def is_live(home: Path) -> bool:
    """Return whether the tables of ``home`` are filled by live sources."""
    return (home / "airflow" / "live").exists()


def is_recorded(home: Path) -> bool:
    """Return whether the tables of ``home`` may hold recorded data."""
    return (home / "replay").exists() and (home / "catalog.db").exists()


def claim(home: Path, *, live: bool) -> None:
    """
    Fill the tables of ``home`` from live sources from now on, or from recordings.

    :raises ConfigurationError: they hold data of the other kind: figures over both would be wrong.
    """
    mark = home / "airflow" / "live"
    if live and is_recorded(home):
        raise ConfigurationError(
            f"The tables in {home} hold recorded data, which live data must not be mixed with. Take another folder: "
            "make demo LIVE=1 PHLO_HOME=.phlo-live; or remove the tables first: make clean."
        )
    if live:
        shutil.rmtree(home / "replay", ignore_errors=True)
        mark.touch(mode=0o600)
    elif is_live(home) and (home / "catalog.db").exists():
        raise ConfigurationError(
            f"The tables in {home} hold live data, which recordings must not be mixed with. Go on with: make demo "
            "LIVE=1; or take another folder: make demo PHLO_HOME=.phlo-demo."
        )
    else:
        mark.unlink(missing_ok=True)
