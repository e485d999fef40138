"""Live data or recordings: which of them fills the tables of a ``PHLO_HOME``, and the connections to either."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.env_file import connections_from, read_env_file
from airflow_provider_phlo.services.replay import SOURCES, recorded_connections


def own_connections(root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """
    Return the connections to live sources that the shell or ``.env`` sets.

    :param shell: the variables of the shell :func:`without_recordings`.
    """
    given = {**read_env_file(root / ".env"), **shell}
    given = {**connections_from(given), **given}
    return {name: given[name] for name in SOURCES if given.get(name)}


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
