"""
Airflow's metadata database in a home: a file of SQLite, or a database of the bundled Postgres.

Which one is decided when a home is set up, and changed only when its services are started, as ``phlo.yaml`` says.
Airflow asks for the URL in Postgres by a command (``metadata_url.sh``), which starts the server if it does not run:
so ``airflow`` works in a shell also while no services run.
"""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.private_files import write_private
from airflow_provider_phlo.services.postgres.server import ensure_airflow_database
from airflow_provider_phlo.sql import sqlite_url

#: The variables that say where the metadata are. Of a shell that was set up before, the wrong one may be left.
VARIABLES = ("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD")
_SCRIPT = Path(__file__).with_name("metadata_url.sh")


class MetadataDatabase(StrEnum):
    """Where Airflow keeps what it knows of DAGs, runs and connections."""

    SQLITE = "sqlite"
    POSTGRES = "postgres"


DEFAULT = MetadataDatabase.POSTGRES


def used(home: Path) -> MetadataDatabase | None:
    """Return the database of a home; None if it was not set up yet."""
    choice = _choice_path(home)
    if choice.exists():
        return MetadataDatabase(choice.read_text())
    return MetadataDatabase.SQLITE if _sqlite_path(home).exists() else None


def choose(home: Path, wanted: MetadataDatabase | None) -> str:
    """
    Decide where the metadata of a home is from now on.

    :param home: the folder of all local state, already prepared; none of its services runs.
    :param wanted: what ``phlo.yaml`` says; None leaves it as it is, or takes :data:`DEFAULT` for a new home.
    :return: what somebody should know of a change, in words; empty if there is none.
    """
    before = used(home)
    choice = wanted or before or DEFAULT
    if choice is not before or not _choice_path(home).exists():
        write_private(_choice_path(home), choice)
    if before in (None, choice):
        return ""
    return (
        f"Airflow's metadata is in {choice} from now on (metadata_database in phlo.yaml). Its runs, connections and "
        f"paused DAGs stay in {before}, and come back with metadata_database: {before}."
    )


def database_options(home: Path) -> dict[tuple[str, str], str]:
    """Return the options of Airflow that lead to the metadata database of a home; no secret is in them."""
    if (used(home) or MetadataDatabase.SQLITE) is MetadataDatabase.SQLITE:
        return {("database", "sql_alchemy_conn"): sqlite_url(_sqlite_path(home))}
    return {("database", "sql_alchemy_conn_cmd"): url_command(home)}


def url_command(home: Path) -> str:
    """Return the command that prints the URL of the database in Postgres."""
    return shlex.join(["sh", str(_SCRIPT), str(home), sys.executable])


def migrate(home: Path, environment: Mapping[str, str], postgres_port: int | None = None) -> None:
    """
    Create or upgrade the metadata database, unless this version of Airflow has done so; start Postgres if it is there.

    Only one process may do so at a time.

    :param environment: the variables of Airflow, with :func:`database_options` among them.
    :param postgres_port: as :func:`~airflow_provider_phlo.services.postgres.server.ensure_postgres`.
    :raises ConfigurationError: ``airflow db migrate`` failed; carries the end of what it printed.
    """
    in_postgres = used(home) is MetadataDatabase.POSTGRES
    if in_postgres:
        ensure_airflow_database(home, postgres_port)
    version = importlib.metadata.version("apache-airflow-core")
    if migrated_version(home) == version:
        return
    command = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    (home / "logs" / "migrate.log").write_text(done.stdout)
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-8:])
        raise ConfigurationError(f"airflow db migrate failed ({done.returncode}):\n{tail}")
    if not in_postgres:
        _sqlite_path(home).chmod(0o600)
    write_private(_stamp(home), version)


def migrated_version(home: Path) -> str | None:
    """Return the version of Airflow that the metadata database of a home is for; None if it was not made yet."""
    stamp = _stamp(home)
    there = stamp.exists() and (stamp.parent.name == "data" or _sqlite_path(home).exists())
    return stamp.read_text() if there else None


def main() -> None:
    """Print the URL of the metadata database in Postgres: the home is the argument."""
    print(ensure_airflow_database(Path(sys.argv[1])).airflow_url)


def _choice_path(home: Path) -> Path:
    return home / "airflow" / "metadata_database"


def _stamp(home: Path) -> Path:
    """Return the file that says for which version the database was made: beside the data, so that it goes with them."""
    return home / ("postgres/data" if used(home) is MetadataDatabase.POSTGRES else "airflow") / "migrated"


def _sqlite_path(home: Path) -> Path:
    return home / "airflow" / "airflow.db"


if __name__ == "__main__":
    main()
