from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.postgres import (
    PostgresServer,
    _server_pid,
    ensure_postgres,
    psql_path,
    stop_postgres,
)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # pytest's folders are closed to other users: the server has to get there all the same
    home = tmp_path_factory.mktemp("phlo")
    yield home
    stop_postgres(home)


@pytest.fixture
def server(home: Path) -> PostgresServer:
    return ensure_postgres(home)


def rows(server: PostgresServer, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.uri) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def pid_of(home: Path) -> int:
    pid = _server_pid(home / "postgres")
    assert pid is not None
    return pid


def test_role_owns_the_database_and_is_no_superuser(server: PostgresServer) -> None:
    role = "select rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname = current_user"
    assert rows(server, role) == [(False, False, False)]
    rows(server, "create schema marts; create table marts.t as select 1 as one")
    assert rows(server, "select one from marts.t") == [(1,)]


def test_listens_on_loopback_only(server: PostgresServer, home: Path) -> None:
    listening = [c for c in psutil.Process(pid_of(home)).net_connections() if c.status == psutil.CONN_LISTEN]
    assert {c.laddr for c in listening} == {("127.0.0.1", server.port)}
    assert not [c for c in psutil.Process(pid_of(home)).net_connections("unix") if c.laddr]


@pytest.mark.parametrize("user", ["phlo", "postgres"])
def test_refuses_a_wrong_password_and_the_superuser(server: PostgresServer, user: str) -> None:
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(host=server.host, port=server.port, user=user, password="x", dbname=server.dbname)


def test_secrets_are_for_their_owner(server: PostgresServer, home: Path) -> None:
    assert (home / "postgres" / "server.json").stat().st_mode & 0o777 == 0o600
    assert (home / "postgres" / "data").stat().st_mode & 0o777 == 0o700
    assert server.password not in repr(server)
    assert server.password not in (home / "postgres" / "log").read_text()


def test_asking_twice_gives_the_same_server(server: PostgresServer, home: Path) -> None:
    pid = pid_of(home)
    assert ensure_postgres(home) == server
    assert pid_of(home) == pid


def test_keeps_data_and_port_over_a_restart(server: PostgresServer, home: Path) -> None:
    rows(server, "create table kept as select 7 as n")
    assert stop_postgres(home) is True
    assert stop_postgres(home) is False
    again = ensure_postgres(home)
    assert again == server
    assert rows(again, "select n from kept") == [(7,)]


def test_comes_back_after_kill_9(server: PostgresServer, home: Path) -> None:
    rows(server, "create table survives as select 1 as n")
    os.kill(pid_of(home), signal.SIGKILL)
    assert rows(ensure_postgres(home), "select n from survives") == [(1,)]


def test_a_stale_pid_file_of_another_program_does_not_stop_it(server: PostgresServer, home: Path) -> None:
    stop_postgres(home)
    pid_file = home / "postgres" / "data" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n1\n1\n\n127.0.0.1\n 1 1\nready\n")
    assert stop_postgres(home) is False  # and this process lives
    assert rows(ensure_postgres(home), "select 1") == [(1,)]


def test_takes_another_port_when_its_own_is_gone(server: PostgresServer, home: Path) -> None:
    import socket

    stop_postgres(home)
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        again = ensure_postgres(home)
    assert again.port != server.port
    assert rows(again, "select 1") == [(1,)]


def test_two_processes_at_once_get_one_server(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from airflow_provider_phlo.services.postgres import *; "
        "print(ensure_postgres(Path(sys.argv[1])).uri)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        assert len({s.communicate(timeout=60)[0] for s in starters}) == 1
        assert [s.returncode for s in starters] == [0, 0, 0]
        # and it outlives them
        assert rows(ensure_postgres(tmp_path), "select 1") == [(1,)]
    finally:
        stop_postgres(tmp_path)


def test_a_first_start_cut_short_is_done_again(tmp_path: Path) -> None:
    half = tmp_path / "postgres" / "data.part"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    try:
        assert rows(ensure_postgres(tmp_path), "select 1") == [(1,)]
    finally:
        stop_postgres(tmp_path)


def test_a_lost_password_is_said(tmp_path: Path) -> None:
    (tmp_path / "postgres" / "data").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match=r"server\.json"):
        ensure_postgres(tmp_path)


def test_psql_is_there(server: PostgresServer) -> None:
    out = subprocess.run([psql_path(), server.uri, "-Atc", "select 40 + 2"], capture_output=True, text=True, check=True)
    assert out.stdout == "42\n"


def test_no_process_is_left(tmp_path: Path) -> None:
    ensure_postgres(tmp_path)
    pid = pid_of(tmp_path)
    stop_postgres(tmp_path)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and psutil.pid_exists(pid):
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            break
        time.sleep(0.05)
    assert _server_pid(tmp_path / "postgres") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="others run the server as themselves")
def test_root_starts_it_from_folders_that_are_closed_to_others(tmp_path: Path) -> None:
    """As in a clone below /root: neither the programs nor the data can be reached by the user the server runs as."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = psql_path().parents[2]
    for part in (wheel, wheel.with_name(wheel.name + ".libs")):
        shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("pginstall", "include"))
    code = (
        "import sys; from pathlib import Path; from airflow_provider_phlo.services.postgres import *; "
        "print(psql_path()); print(ensure_postgres(Path(sys.argv[1])).uri)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(closed), *sys.path])}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code, str(closed / "home")], env=environment, capture_output=True, text=True
        )
        program, uri = done.stdout.split() if done.returncode == 0 else (done.stderr, "")
        assert program.startswith(str(closed))
        with psycopg.connect(uri) as connection:
            assert connection.execute("select 1").fetchone() == (1,)
        assert closed.stat().st_mode & 0o777 == 0o700
        assert psutil.Process(pid_of(closed / "home")).username() == "nobody"
    finally:
        stop_postgres(closed / "home")
