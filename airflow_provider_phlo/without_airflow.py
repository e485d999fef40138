"""
What Airflow's configuration certainly says, read without importing Airflow, which takes more than a second.

Commands ask here first. Whatever is not certain (a secrets backend, another database, a value that a command computes)
is None, and Airflow itself is asked.
"""

from __future__ import annotations

import configparser
import json
import os
import sqlite3
import stat
import sys
from contextlib import closing
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit


def option(section: str, key: str, fallback: str) -> str | None:
    """Return an option of Airflow's configuration; None if only Airflow can say."""
    if "airflow" in sys.modules:  # asking it costs nothing
        return None
    name = f"AIRFLOW__{section}__{key}".upper()
    if any(f"{name}{computed}" in os.environ for computed in ("_CMD", "_SECRET")):
        return None
    if name in os.environ:
        return _as_written(os.environ[name])
    parser = _config_file(_config_path())
    if parser is None or any(parser.has_option(section, f"{key}{computed}") for computed in ("_cmd", "_secret")):
        return None
    return _as_written(parser.get(section, key, fallback=fallback))


def _as_written(value: str) -> str | None:
    """Return a value in which Airflow replaces nothing: no reference, variable or home folder."""
    return None if set("%$~").intersection(value) else value


@dataclass
class PlainConnection:
    """A connection that the environment defines as JSON, for commands that need nothing else of Airflow."""

    conn_id: str
    host: str | None = None
    schema: str | None = None
    port: int | None = None
    login: str | None = None
    password: str | None = field(default=None, repr=False)
    extra: Any = field(default=None, repr=False)

    @property
    def extra_dejson(self) -> dict[str, Any]:
        """Return its extra."""
        return dict(json.loads(self.extra) if isinstance(self.extra, str) else self.extra or {})


def connection_of_environment(conn_id: str) -> PlainConnection | None:
    """Return a connection that is certainly the environment's; None if there is none, or if only Airflow can say."""
    text = os.environ.get(f"AIRFLOW_CONN_{conn_id.upper()}", "").strip()
    if not text.startswith("{") or _may_be_elsewhere():
        return None
    try:
        said = json.loads(text)
        return PlainConnection(conn_id, **{item.name: said.get(item.name) for item in fields(PlainConnection)[1:]})
    except ValueError:  # Airflow says what is wrong with it
        return None


def _may_be_elsewhere() -> bool:
    """Return whether a secrets backend may be asked before the environment."""
    backends = (("secrets", "backend"), ("workers", "secrets_backend"), ("secrets", "backends_order"))
    return any(option(*each, "") != "" for each in backends)


def is_connection_unset(conn_id: str) -> bool:
    """Return whether there is certainly no such connection; False if there is one, or if only Airflow can say."""
    if f"AIRFLOW_CONN_{conn_id.upper()}" in os.environ or _may_be_elsewhere():
        return False
    if metadata_url := _bundled_postgres_url():
        return _has_none_in_postgres(metadata_url, conn_id)
    database = option("database", "sql_alchemy_conn", "")
    path = _sqlite_path(database) if database else None
    return path is not None and _has_none_in_sqlite(path, conn_id)


def _config_path() -> Path:
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    return Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg").expanduser()


@cache
def _config_file(path: Path) -> configparser.RawConfigParser | None:
    """Return what is in the file, None if it cannot be read."""
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(path, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError, OSError):
        return None
    return parser


def _sqlite_path(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(unquote(parts.path[1:])) if parts.scheme == "sqlite" and not parts.netloc else None


def _bundled_postgres_url() -> str | None:
    """Return where Airflow's metadata are, if they are in the bundled Postgres of this home, and that runs."""
    from airflow_provider_phlo.services.postgres.metadata import url_command
    from airflow_provider_phlo.services.postgres.server import airflow_url_path

    home = Path(os.environ.get("PHLO_HOME") or ".")
    command = os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD")
    # a URL would win over the command
    if not command or command != url_command(home) or "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN" in os.environ:
        return None
    try:
        return airflow_url_path(home).read_text()
    except OSError:
        return None


def _has_none_in_postgres(url: str, conn_id: str) -> bool:
    import psycopg

    try:
        with psycopg.connect(url.replace("+psycopg2", "", 1), connect_timeout=2) as connection:
            return not connection.execute("SELECT 1 FROM connection WHERE conn_id = %s", (conn_id,)).fetchall()
    except psycopg.Error:
        return False


def _has_none_in_sqlite(database: Path, conn_id: str) -> bool:
    try:
        if not stat.S_ISREG(database.stat().st_mode):
            return False
    except OSError as error:
        # nobody has run Airflow here yet; what cannot be looked at may have one
        return isinstance(error, FileNotFoundError)
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=1)) as connection:
            (found,) = connection.execute("SELECT count(*) FROM connection WHERE conn_id = ?", (conn_id,)).fetchone()
    except sqlite3.Error:
        return False
    return not found
