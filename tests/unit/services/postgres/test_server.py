from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.machine.ports import free_port
from airflow_provider_phlo.services.postgres.programs import PASSED_ON
from airflow_provider_phlo.services.postgres.server import (
    PostgresServer,
    _server_pid,
    allow_roles,
    ensure_postgres,
    psql_path,
    stop_postgres,
)
from tests.other_user import readable_by
from tests.patience import PATIENCE
from tests.processes import wait_until_gone

# one worker starts the server
pytestmark = pytest.mark.xdist_group("bundled postgres")


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


def test_role_owns_the_database_and_is_not_a_superuser(server: PostgresServer) -> None:
    role = "select rolsuper, rolcreaterole, rolcreatedb from pg_roles where rolname = current_user"
    assert rows(server, role) == [(False, False, False)]
    rows(server, "create schema marts; create table marts.t as select 1 as one")
    assert rows(server, "select one from marts.t") == [(1,)]


@pytest.mark.long
def test_roles_are_made_once_that_is_allowed(tmp_path: Path) -> None:
    """Who serves the marts makes roles; of those, only that of PostgREST may ever log in."""
    try:
        server = allow_roles(tmp_path)
        pid = pid_of(tmp_path)
        assert allow_roles(tmp_path) == server
        assert pid_of(tmp_path) == pid
        rows(server, "create role authenticator login password 'a'; create role other login password 'b'")
        assert rows(replace(server, user="authenticator", password="a"), "select current_user") == [("authenticator",)]
        with pytest.raises(psycopg.OperationalError, match=r"no pg_hba\.conf entry"):
            rows(replace(server, user="other", password="b"), "select 1")
        for statement in ("create role boss superuser", "alter role airflow password 'x'"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                rows(server, statement)
    finally:
        stop_postgres(tmp_path)


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
    os.kill(pid_of(home), signal.SIGKILL)  # not waited for: it may still be on its way out when the next one starts
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


@pytest.mark.long
def test_takes_the_port_that_it_is_given(tmp_path: Path) -> None:
    port = free_port()
    try:
        assert ensure_postgres(tmp_path, port).port == port
        assert ensure_postgres(tmp_path).port == port
    finally:
        stop_postgres(tmp_path)


@pytest.mark.long
def test_two_processes_at_once_get_one_server(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from airflow_provider_phlo.services.postgres.server import *; "
        "print(ensure_postgres(Path(sys.argv[1])).uri)"
    )
    starters = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    try:
        assert len({s.communicate(timeout=PATIENCE)[0] for s in starters}) == 1
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
    process = psutil.Process(pid_of(tmp_path))
    stop_postgres(tmp_path)
    wait_until_gone(process)
    assert _server_pid(tmp_path / "postgres") is None


@pytest.mark.long
@pytest.mark.skipif(os.geteuid() != 0, reason="others run the server as themselves")
def test_root_starts_it_from_folders_that_are_closed_to_others(tmp_path: Path) -> None:
    """As in a clone below /root: neither the programs nor the data can be reached by the user the server runs as."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = psql_path().parents[2]
    for part in (wheel, wheel.with_name(wheel.name + ".libs")):
        shutil.copytree(part, closed / part.name, ignore=shutil.ignore_patterns("pginstall", "include"))
    code = (
        "import sys; from pathlib import Path; from airflow_provider_phlo.services.postgres.server import *; "
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
        with pytest.raises(KeyError):  # no account has its user id
            pwd.getpwuid(psutil.Process(pid_of(closed / "home")).uids().real)
    finally:
        stop_postgres(closed / "home")


# --- what it keeps to itself --------------------------------------------------------------------------------


def fails(server: PostgresServer, sql: str) -> str:
    with pytest.raises(psycopg.Error) as raised:
        rows(server, sql)
    return str(raised.value)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into canary values (5, 'O''Brien 77')",  # DETAIL: Failing row contains (…)
        "insert into canary values (1, 'O''Brien 77'), (1, 'O''Brien 77')",  # DETAIL: Key (…)=(…) already exists
        "select cast(note as int) from (values ('O''Brien 77')) as t(note)",  # the message itself
        "select to_date(note, 'YYYY') from (values ('O''Brien 77')) as t(note)",
        "select note::json from (values ('{\"name\": O''Brien 77}')) as t(note)",  # CONTEXT: JSON data, line 1: …
        "do $$ begin raise exception '%', 'O''Brien 77'; end $$",
        "do $$ begin raise warning '%', 'O''Brien 77'; end $$; select 1/0",
        "selec 'O''Brien 77'",  # STATEMENT: …
        "select xmlparse(document 'O''Brien 77')",
        "select pg_input_is_valid('O''Brien 77', 'no_such_type')",
    ],
)
def test_case_35_no_row_reaches_the_log_of_the_bundled_postgres(server: PostgresServer, home: Path, sql: str) -> None:
    rows(server, "create table if not exists canary (n int primary key check (n < 5), note varchar(20))")
    fails(server, sql)
    log = (home / "postgres" / "log").read_text()
    assert "Brien" not in log
    assert "database system is ready" in log  # it is not silent


def test_case_35_a_bound_value_does_not_reach_the_log(server: PostgresServer, home: Path) -> None:
    with psycopg.connect(server.uri) as connection, pytest.raises(psycopg.Error):
        connection.execute("select cast(%s::text as int)", ["O'Brien 77"])
    assert "Brien" not in (home / "postgres" / "log").read_text()


def test_case_36_its_processes_get_no_secret_of_the_environment(
    home: Path, server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_postgres(home)
    for name in ("GITHUB_TOKEN", "NIGHTSCOUT_API_SECRET", "AIRFLOW_CONN_X", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "canary-77")
    ensure_postgres(home)
    main = psutil.Process(pid_of(home))
    workers = [child for child in main.children() if child.is_running()]
    assert len(workers) > 2
    for process in (main, *workers[:3]):
        environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        assert b"canary-77" not in environment
        # pg_ctl's shell adds some of its own, Postgres PG_GRANDPARENT_PID and the like
        added = {"PWD", "OLDPWD", "SHLVL", "_"}
        assert {name for name in process.environ() if not name.startswith("PG")} <= {*PASSED_ON} | added


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_case_36_nobody_can_read_neither_its_environment_nor_its_files(home: Path, server: PostgresServer) -> None:
    secrets = [f"/proc/{pid_of(home)}/environ", *map(str, (home / "postgres").rglob("*"))]
    assert readable_by(65534, secrets) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="others run the server as themselves")
def test_case_36_a_server_that_ran_as_nobody_is_handed_over(home: Path, server: PostgresServer) -> None:
    rows(server, "create table before as select 7 as n")
    stop_postgres(home)
    nobody = pwd.getpwnam("nobody")
    data = home / "postgres" / "data"
    for path in (data, *data.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    assert rows(ensure_postgres(home), "select n from before") == [(7,)]
    assert psutil.Process(pid_of(home)).uids().real not in (0, nobody.pw_uid)
