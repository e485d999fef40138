"""
The bundled Postgres of the embedded default: one server for each ``PHLO_HOME``, started when first needed.

It listens on 127.0.0.1 only, at a free port, and knows two roles that may log in, each the owner of the database of
its name, with a generated password (SCRAM): ``phlo`` for the marts, ``airflow`` for Airflow's metadata, where a home
keeps that here (:mod:`.metadata`). The superuser cannot log in at all, there is no socket file. A third,
``authenticator``, may log in to the marts once they are served (``phlo api``) and it was given a password. The server
outlives the process that started it, :func:`stop_postgres` ends it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.private_files import protect, write_private
from airflow_provider_phlo.services.machine.ports import HOST, free_port, usable_port
from airflow_provider_phlo.services.postgres.programs import (
    Runner,
    creating_account,
    give,
    hand_over,
    owner_of,
    programs_folder,
)

ROLE = DATABASE = "phlo"
AIRFLOW = "airflow"
# who PostgREST logs in as
AUTHENTICATOR = "authenticator"
READY_SECONDS = 60

_HBA = f"""host {AIRFLOW} {AIRFLOW} {HOST}/32 scram-sha-256
host {AIRFLOW} all {HOST}/32 reject
host all {ROLE} {HOST}/32 scram-sha-256
host {DATABASE} {AUTHENTICATOR} {HOST}/32 scram-sha-256
"""
_CONF = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
max_connections = 200
shared_buffers = '64MB'
"""
# Given at every start, so that servers that were created before have them too. An error's detail quotes the row that
# failed, its context and statement the values of the query: none of them reaches the log. What it says to the client
# is not changed.
_QUIET = {
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
    "log_min_messages": "log",
    "log_parameter_max_length_on_error": "0",
}


@dataclass(frozen=True)
class PostgresServer:
    """Where the bundled Postgres answers, and as whom to log in."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    dbname: str

    @property
    def uri(self) -> str:
        """Return the libpq URI; it holds the password."""
        return f"postgresql://{self.user}:{self.password}@{self.host}:{self.port}/{self.dbname}"

    @property
    def airflow_url(self) -> str:
        """Return the URI as Airflow's ``sql_alchemy_conn`` has it."""
        return self.uri.replace("postgresql:", "postgresql+psycopg2:", 1)


def ensure_postgres(home: Path, port: int | None = None) -> PostgresServer:
    """
    Return the running server of ``home``; create and start it when needed.

    :param home: the folder of all local state; the server's files are in ``home/postgres``.
    :param port: where it listens if it has to be started; None means the port it had before, or a free one.
    :raises ConfigurationError: the wheel is missing, or this user cannot run it.
    :raises TransientError: the server did not get ready in time; says where its log is.
    """
    folder = _folder(home)
    server = _coordinates(folder)
    if server and _answers(server):
        return server
    with _lock(folder):
        server = _coordinates(folder)
        if server and _answers(server):  # another process started it meanwhile
            return server
        if not _data(folder).exists():
            _create(folder, Runner.for_folder(folder, creating_account()))
        return _start(folder, port)


def stop_postgres(home: Path) -> bool:
    """
    Stop the server of ``home``.

    :return: whether one was running.
    """
    folder = _folder(home)
    with _lock(folder):
        if _server_pid(folder) is None:
            return False
        return _stop(folder)


def ensure_airflow_database(home: Path, port: int | None = None) -> PostgresServer:
    """
    Return the running server of ``home`` with the database for Airflow's metadata; make what is not there.

    A server that has no such database, as an earlier version made it, is stopped for a moment.

    :param port: as :func:`ensure_postgres`.
    :raises ConfigurationError: as :func:`ensure_postgres`.
    :raises TransientError: as :func:`ensure_postgres`.
    """
    folder = _folder(home)
    with _lock(folder):
        if _data(folder).exists() and not _password_path(folder).exists():
            runner = _runner_of_stopped(folder)
            write_private(_password_path(folder), _make_databases(runner, _data(folder), AIRFLOW)[AIRFLOW])
    server = ensure_postgres(home, port)
    if not airflow_url_path(home).exists():
        _write_airflow_url(folder, server)
    return _as_airflow(folder, server)


def allow_roles(home: Path) -> PostgresServer:
    """
    Let the role of the marts make other roles, which serving them takes; return the running server of ``home``.

    Nobody can log in as one who may allow that: a server whose role may not yet is stopped for a moment.

    :raises ConfigurationError: as :func:`ensure_postgres`.
    :raises TransientError: as :func:`ensure_postgres`.
    """
    folder = _folder(home)
    server = ensure_postgres(home)
    if not _may_make_roles(server):
        with _lock(folder):
            runner = _runner_of_stopped(folder)
            statement = f"ALTER ROLE {ROLE} CREATEROLE\n"
            runner.run("postgres", "--single", "-D", _data(folder), "template1", input=statement)
        server = ensure_postgres(home)
    return server


def _runner_of_stopped(folder: Path) -> Runner:
    """Stop the server if it runs, and return what runs programs on its files: a user that has an account."""
    if _server_pid(folder) is not None:
        _stop(folder)
    account = creating_account()
    if owner_of(_data(folder)) != account:
        give(_data(folder), account)
    return Runner.for_folder(folder, account)


def _may_make_roles(server: PostgresServer) -> bool:
    import psycopg

    with psycopg.connect(server.uri) as connection:
        found = connection.execute("SELECT rolcreaterole FROM pg_roles WHERE rolname = current_user").fetchone()
    return found == (True,)


def airflow_url_path(home: Path) -> Path:
    """Return the file with the URL of Airflow's metadata database: it is there while the server answers."""
    return home.resolve() / "postgres" / "metadata_url"


def _stop(folder: Path) -> bool:
    (folder / "metadata_url").unlink(missing_ok=True)
    runner = Runner.for_folder(folder, owner_of(_data(folder)))
    for mode in ("fast", "immediate"):
        done = runner.run("pg_ctl", "stop", "-w", "-t", "20", "-m", mode, "-D", _data(folder), check=False)
        if done.returncode == 0:
            return True
    raise TransientError(f"The bundled Postgres does not stop; see {folder / 'log'}.")


def postgres_pid(home: Path) -> int | None:
    """Return the process id of the running server of ``home``, if there is one."""
    folder = home.resolve() / "postgres"
    return _server_pid(folder) if folder.exists() else None


def running_version(home: Path) -> str | None:
    """Return the version of the server of ``home``; None if it does not let its role log in."""
    server = _coordinates(home / "postgres")
    return _ask_version(server) if server else None


def installed_version() -> str:
    """
    Return the version of the bundled programs; a server that runs may have an earlier one.

    :raises ConfigurationError: they are not installed.
    """
    said = subprocess.run([programs_folder() / "postgres", "--version"], capture_output=True, text=True, check=True)
    return said.stdout.split()[-1]


def psql_path() -> Path:
    """Return the ``psql`` that belongs to the bundled server."""
    return programs_folder() / "psql"


# --- the server's files -------------------------------------------------------------------------------------


def _folder(home: Path) -> Path:
    home = home.resolve()
    protect(home)
    folder = home / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _data(folder: Path) -> Path:
    return folder / "data"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _coordinates(folder: Path) -> PostgresServer | None:
    path = folder / "server.json"
    return PostgresServer(**json.loads(path.read_text())) if path.exists() else None


def _save(folder: Path, server: PostgresServer) -> None:
    write_private(folder / "server.json", json.dumps(asdict(server)))


def _create(folder: Path, runner: Runner) -> None:
    """Make the data folder beside where it belongs and move it when complete: a kill leaves nothing half made."""
    part = folder / "data.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    runner.own(part)
    # initdb asks for a superuser's password unless nobody may log in; pg_hba.conf is ours anyway
    runner.run("initdb", "-D", part, "-U", "postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--no-sync")
    with (part / "postgresql.conf").open("a") as conf:
        conf.write(_CONF)
    passwords = _make_databases(runner, part, DATABASE, AIRFLOW)
    _save(folder, PostgresServer(HOST, free_port(), ROLE, passwords[DATABASE], DATABASE))
    write_private(_password_path(folder), passwords[AIRFLOW])
    part.rename(_data(folder))


def _make_databases(runner: Runner, data: Path, *names: str) -> dict[str, str]:
    """Make databases and their owners in a server that does not run, from nothing; return the owners' passwords."""
    passwords = {name: secrets.token_urlsafe(24) for name in names}
    statements = "".join(
        f"DROP DATABASE IF EXISTS {name}\n"  # of somebody who was killed before anybody knew its password
        f"DROP ROLE IF EXISTS {name}\n"
        f"CREATE ROLE {name} LOGIN PASSWORD '{password}'\n"
        f"CREATE DATABASE {name} OWNER {name}\n"
        for name, password in passwords.items()
    )
    runner.run("postgres", "--single", "-D", data, "template1", input=statements)
    return passwords


def _password_path(folder: Path) -> Path:
    return folder / "metadata_password"


def _as_airflow(folder: Path, server: PostgresServer) -> PostgresServer:
    return replace(server, user=AIRFLOW, dbname=AIRFLOW, password=_password_path(folder).read_text())


def _write_airflow_url(folder: Path, server: PostgresServer) -> None:
    if _password_path(folder).exists():
        write_private(folder / "metadata_url", _as_airflow(folder, server).airflow_url)


# --- the server's process -----------------------------------------------------------------------------------


def _start(folder: Path, port: int | None) -> PostgresServer:
    server = _coordinates(folder)
    if server is None:
        raise ConfigurationError(
            f"{_data(folder)} exists, but {folder / 'server.json'} with its password does not: "
            f"restore that file, or remove {folder} and publish the marts again."
        )
    launched = False
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        # asked again each time: a server that was just killed is still there for a moment, and then it is not
        if not launched and _server_pid(folder) is None:
            server = _launch(folder, replace(server, port=port or usable_port(server.port)))
            launched = True
        if _answers(server):
            _write_airflow_url(folder, server)
            return server
        time.sleep(0.05)
    raise TransientError(f"The bundled Postgres is not ready after {READY_SECONDS} s; see {folder / 'log'}.")


def _launch(folder: Path, server: PostgresServer) -> PostgresServer:
    """Start the server and return where it will answer; do not wait for that."""
    # a pid file that a kill left behind, whose number may belong to somebody else now
    (_data(folder) / "postmaster.pid").unlink(missing_ok=True)
    (folder / "metadata_url").unlink(missing_ok=True)
    _save(folder, server)
    # its mode and owner stay: Postgres has to read it
    (_data(folder) / "pg_hba.conf").write_text(_HBA)
    runner = Runner.for_folder(folder, hand_over(_data(folder)))
    with (folder / "log").open("ab") as log:
        options = " ".join(f"-c {name}={value}" for name, value in {"port": server.port, **_QUIET}.items())
        start = ("start", "-W", "-s", "-D", _data(folder), "-o", options)
        runner.run("pg_ctl", *start, check=False, stdout=log, stderr=log)
    return server


def _server_pid(folder: Path) -> int | None:
    """Return the pid of the running server, or None when the pid file is stale or names another program."""
    import psutil  # type: ignore[import-untyped]

    try:
        pid = int((_data(folder) / "postmaster.pid").read_text().split("\n", 1)[0])
        process = psutil.Process(pid)
        ours = str(_data(folder)) in process.cmdline() and process.status() != psutil.STATUS_ZOMBIE
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None
    return pid if ours else None


def _answers(server: PostgresServer) -> bool:
    return _ask_version(server) is not None


def _ask_version(server: PostgresServer) -> str | None:
    """Return the version of the server that lets its role log in: only that of this folder knows the password."""
    import psycopg

    try:
        with psycopg.connect(server.uri, connect_timeout=5) as connection:
            return connection.info.parameter_status("server_version") or ""
    except psycopg.OperationalError:
        return None
