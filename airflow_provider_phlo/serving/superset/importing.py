"""
Bring the assets of a folder into Superset.

What somebody has edited there is not overwritten unless that is asked for. Superset keeps no record of who is right, so
everything that is there and says something else than its file counts as edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.serving.superset.assets import Asset
from airflow_provider_phlo.serving.superset.comparison import differences

MASKED = "XXXXXXXXXX"  # what Superset writes instead of a password


class State(StrEnum):
    """What Superset has of a file's asset."""

    MISSING = "missing"
    SAME = "same"
    DIFFERS = "differs"


@dataclass(frozen=True)
class Compared:
    """
    A file's asset, and what Superset has of it.

    :param places: where the two differ.
    """

    asset: Asset
    state: State
    places: tuple[str, ...] = ()


def compare(files: Mapping[str, Asset], there: Mapping[str, Asset]) -> list[Compared]:
    """Return each asset of the files with its state; what only Superset has is not looked at."""
    return [_compared(asset, there.get(uuid)) for uuid, asset in files.items()]


def _compared(asset: Asset, there: Asset | None) -> Compared:
    if there is None:
        return Compared(asset, State.MISSING)
    places = tuple(differences(asset, there))
    return Compared(asset, State.DIFFERS if places else State.SAME, places)


def on_database(files: Mapping[str, Asset], uri: str) -> dict[str, Asset]:
    """
    Return the assets with another address of their database.

    :param uri: as SQLAlchemy writes it, without a password.
    :raises ConfigurationError: it has a password or is not such an address, or the files have several databases.
    """
    databases = [asset for asset in files.values() if asset.kind == "database"]
    if len(databases) != 1:
        raise ConfigurationError(f"The files have {len(databases)} databases: change their sqlalchemy_uri instead.")
    parts = urlsplit(uri)
    if not parts.scheme or not parts.username or not parts.hostname:
        raise ConfigurationError("The address of the database is not one such as postgresql+psycopg2://reader@host/db.")
    if parts.password not in (None, MASKED):
        raise ConfigurationError("Leave the password out of the database's address: it is read from the environment.")
    host = parts.netloc.rpartition("@")[2]
    masked = parts._replace(netloc=f"{parts.username}:{MASKED}@{host}").geturl()
    [database] = databases
    changed = replace(database, content={**database.content, "sqlalchemy_uri": masked})
    return {**files, database.uuid: changed}


def passwords_for(assets: Iterable[Asset], password: str | None, variable: str) -> dict[str, str]:
    """
    Return the password of each database that needs one, by its path.

    :raises ConfigurationError: there is none.
    """
    needing = [
        each.path for each in assets if each.kind == "database" and MASKED in str(each.content["sqlalchemy_uri"])
    ]
    if needing and not password:
        raise ConfigurationError(f"{needing[0]} needs the password of its database: set {variable}.")
    return dict.fromkeys(needing, password or "")


def require_unedited(compared: Iterable[Compared]) -> None:
    """
    Check that nothing would be overwritten.

    :raises ConfigurationError: something in Superset says something else than its file.
    """
    edited = [each for each in compared if each.state is State.DIFFERS]
    if not edited:
        return
    named = "; ".join(f"{each.asset.kind} {each.asset.name!r} in {', '.join(each.places[:5])}" for each in edited[:10])
    raise ConfigurationError(
        f"{len(edited)} of these are in Superset and differ from their files: {named}. Nothing was imported. Bring "
        "the edits into the files (phlo superset export), leave them alone (--keep), or replace them (--overwrite)."
    )
