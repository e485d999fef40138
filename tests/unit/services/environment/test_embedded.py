from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.services.environment import embedded
from airflow_provider_phlo.services.machine import env_file, ports, processes
from tests.patience import PATIENCE
from tests.real_airflow import migrated_database

ROOT = Path(__file__).parents[4]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "phlo"
    embedded.prepare(home)
    return home


def modes(home: Path) -> dict[str, int]:
    return {str(path.relative_to(home)): path.stat().st_mode & 0o777 for path in home.rglob("*")}


# --- the folder ---------------------------------------------------------------------------------------------


def test_folder_is_closed_to_others(home: Path) -> None:
    assert home.stat().st_mode & 0o066 == 0
    for path, mode in modes(home).items():
        if path.startswith(("secrets/", "airflow/")):
            assert mode & 0o077 == 0, path


def test_secrets_are_made_once(home: Path) -> None:
    before = {path.name: path.read_text() for path in (home / "secrets").iterdir()}
    embedded.prepare(home)
    assert {path.name: path.read_text() for path in (home / "secrets").iterdir()} == before
    assert len(set(before.values())) == len(before)
    assert len(before["jwt_secret"]) >= 64


def test_two_homes_share_nothing(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    embedded.prepare(other)
    for name in ("jwt_secret", "ui_password", "mark", "fernet_key"):
        assert embedded.secret(home, name) != embedded.secret(other, name)


def test_ui_knows_the_password(home: Path) -> None:
    passwords = json.loads((home / "secrets" / "ui_passwords.json").read_text())
    assert passwords == {embedded.UI_USER: embedded.secret(home, "ui_password")}


def test_port_is_kept(home: Path) -> None:
    port = embedded.ui_port(home)
    assert embedded.ui_port(home) == port
    assert ports.is_free(port)


# --- .env ---------------------------------------------------------------------------------------------------


def test_reads_plain_lines(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        '# a comment\n\nA=1\nB = two\nexport C=\'three four\'\nD="five # six"  # a comment\nE=\nF=""\n'
        'G=\'{"conn_type": "http", "password": "a b"}\'\nH=$HOME/`id`\nI=a=b\n'
    )
    assert env_file.read_env_file(file) == {
        "A": "1",
        "B": "two",
        "C": "three four",
        "D": "five # six",
        "G": '{"conn_type": "http", "password": "a b"}',
        "H": "$HOME/`id`",
        "I": "a=b",
    }


def test_a_missing_file_sets_nothing(tmp_path: Path) -> None:
    assert env_file.read_env_file(tmp_path / ".env") == {}


@pytest.mark.parametrize("line", ["TOKEN", "TOKEN='ghp_secret", "a b=ghp_secret", "=ghp_secret"])
def test_a_bad_line_is_named_without_its_text(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"A=1\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 2") as raised:
        env_file.read_env_file(tmp_path / ".env")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("SECRET=pass#word", "pass#word"),
        ("SECRET=#word", "#word"),
        ("SECRET=pass#word # a comment", "pass#word"),
        ("SECRET=pass word", "pass word"),
        ("SECRET=pa\\ss\\word", "pa\\ss\\word"),
        ("SECRET=it's\"one", "it's\"one"),
        ("SECRET='a\u2028b\u0085c'", "a\u2028b\u0085c"),
        ("SECRET=a\u2028b\x0cc", "a\u2028b\x0cc"),
        ("SECRET='two\nlines'", "two\nlines"),
        ("SECRET=$HOME/${HOME}/`id`/$(id)", "$HOME/${HOME}/`id`/$(id)"),
        ("SECRET='ü€'", "ü€"),
        ("\ufeffSECRET=after a mark", "after a mark"),
        ("SECRET=windows\r\nOTHER=1\r\n", "windows"),
    ],
)
def test_case_37_the_whole_value_is_read(home: Path, tmp_path: Path, content: str, value: str) -> None:
    (tmp_path / ".env").write_bytes(content.encode())
    assert env_file.read_env_file(tmp_path / ".env")["SECRET"] == value
    # and a shell gets it back
    script = f'unset SECRET; export SECRET={shlex.quote(value)}; printf %s "$SECRET"'
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True).stdout == value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("A=1\né=ghp_secret\n".encode(), "line 2: a name has only letters A to Z"),
        (b"A=1\nA-B=ghp_secret\n", "line 2: a name has only letters"),
        ("A=1\nÄ=ghp_secret\n".encode("latin-1"), "line 2: this is not UTF-8. Save the file as UTF-8."),
        ("A=1\n".encode("utf-16"), "line 1: this is not UTF-8"),
        (b"A=1\n\nTOKEN=ghp_secret\0x\n", "line 3: a value cannot hold a NUL"),
        (b"A='ghp_secret'x\n", "line 1: write KEY=VALUE"),
        (b"A=1\nB='ghp_secret\n\n", "line 2: write KEY=VALUE, and close every quote"),
    ],
)
def test_case_37_a_bad_file_is_a_clear_message(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / ".env").write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        env_file.read_env_file(tmp_path / ".env")
    assert message in str(raised.value)
    assert "secret" not in str(raised.value)


def test_github_and_nightscout_become_connections() -> None:
    given = {
        "GITHUB_TOKEN": "t",
        "GITHUB_USERNAME": "me",
        "NIGHTSCOUT_URL": "https://site.example.com",
        "NIGHTSCOUT_API_SECRET": "s",
    }
    connections = {key: json.loads(value) for key, value in env_file.connections_from(given).items()}
    assert connections == {
        "AIRFLOW_CONN_GITHUB_DEFAULT": {
            "conn_type": "http",
            "host": "https://api.github.com",
            "login": "me",
            "password": "t",
        },
        "AIRFLOW_CONN_NIGHTSCOUT_DEFAULT": {
            "conn_type": "http",
            "host": "https://site.example.com",
            "password": "s",
        },
    }


@pytest.mark.parametrize("given", [{}, {"NIGHTSCOUT_API_SECRET": "s"}])
def test_nothing_set_makes_no_connection(given: dict[str, str]) -> None:
    assert env_file.connections_from(given) == {}


def test_the_token_is_optional() -> None:
    (connection,) = env_file.connections_from({"GITHUB_USERNAME": "me"}).values()
    assert "password" not in json.loads(connection)


# --- the variables ------------------------------------------------------------------------------------------


def test_shell_wins_over_the_file(home: Path, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GITHUB_USERNAME=file\nGITHUB_TOKEN=t\nOTHER=x\n")
    variables = embedded.shell_environment(home, tmp_path, {"GITHUB_USERNAME": "shell"})
    assert json.loads(variables["AIRFLOW_CONN_GITHUB_DEFAULT"])["login"] == "shell"
    assert "GITHUB_USERNAME" not in variables
    assert variables["OTHER"] == "x"


@pytest.mark.parametrize("where", ["shell", "file"])
def test_a_connection_that_is_set_is_left_alone(home: Path, tmp_path: Path, where: str) -> None:
    own = '{"conn_type": "http", "host": "http://127.0.0.1:1"}'
    (tmp_path / ".env").write_text(
        "GITHUB_TOKEN=t\n" + (f"AIRFLOW_CONN_GITHUB_DEFAULT='{own}'\n" if where == "file" else "")
    )
    shell = {"AIRFLOW_CONN_GITHUB_DEFAULT": own} if where == "shell" else {}
    variables = embedded.shell_environment(home, tmp_path, shell)
    assert {**variables, **shell}["AIRFLOW_CONN_GITHUB_DEFAULT"] == own
    assert ("AIRFLOW_CONN_GITHUB_DEFAULT" in variables) == (where == "file")


def test_paths_are_added_once(home: Path, tmp_path: Path) -> None:
    shell = {"PATH": "/usr/bin:/bin", "PYTHONPATH": "/mine", "NO_PROXY": "example.com"}
    once = embedded.shell_environment(home, tmp_path, shell)
    twice = embedded.shell_environment(home, tmp_path, {**shell, **once})
    assert once["PATH"] == f"{Path(sys.executable).parent}:/usr/bin:/bin"
    assert once["PYTHONPATH"] == f"{tmp_path}:/mine"
    assert once["NO_PROXY"] == "127.0.0.1,localhost,example.com"
    assert twice == once


def test_no_secret_is_in_the_variables(home: Path) -> None:
    values = " ".join(embedded.airflow_environment(home, ROOT).values())
    for path in (home / "secrets").iterdir():
        assert path.read_text() not in values


def test_airflow_is_on_loopback_and_asks_for_a_login(home: Path) -> None:
    variables = embedded.airflow_environment(home, ROOT)
    assert variables["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert variables["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"].startswith("http://127.0.0.1:")
    assert variables["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS"] == "False"


@pytest.mark.long
def test_airflow_reads_its_secrets_from_the_files(home: Path) -> None:
    code = (
        "from airflow.configuration import conf; "
        "print(conf.get('api_auth', 'jwt_secret'), conf.get('core', 'fernet_key'), conf.get('api', 'secret_key'))"
    )
    environment = {**os.environ, **embedded.airflow_environment(home, ROOT)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    names = ("jwt_secret", "fernet_key", "api_secret")
    assert out.stdout.split() == [embedded.secret(home, name) for name in names]


@pytest.mark.parametrize(
    ("shell", "file", "expected"),
    [
        ({}, "", ".phlo"),
        ({}, "PHLO_HOME=state\n", "state"),
        ({"PHLO_HOME": "other"}, "PHLO_HOME=state\n", "other"),
        ({"PHLO_HOME": ""}, "", ".phlo"),
    ],
)
def test_home_is_found(tmp_path: Path, shell: dict[str, str], file: str, expected: str) -> None:
    (tmp_path / ".env").write_text(file)
    assert embedded.resolve_home(tmp_path, shell) == tmp_path.resolve() / expected


# --- what make calls ----------------------------------------------------------------------------------------


def make(home: Path, target: str, **variables: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "MAKE", "GITHUB"))}
    return subprocess.run(
        ["make", "-s", target],
        cwd=ROOT,
        env={**clean, "PHLO_HOME": str(home), **variables},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


@pytest.mark.long
@pytest.mark.skipif(not (ROOT / ".venv" / ".setup-done").exists(), reason="make setup has not run")
def test_make_env_prints_exports_that_airflow_works_with(tmp_path: Path) -> None:
    home = tmp_path / "a folder"
    embedded.prepare(home)
    # the database that the same function makes of nothing: here it finds nothing left to do
    shutil.copyfile(migrated_database(), home / "airflow" / "airflow.db")
    first = make(home, "env", GITHUB_USERNAME="o'neil $x")
    assert first.returncode == 0, first.stderr
    umask, unset, *exports = first.stdout.splitlines()
    assert (umask, unset.split()[0]) == ("umask 077", "unset")
    assert all(line.startswith("export ") for line in exports)
    exported = dict(shlex.split(line)[1].split("=", 1) for line in exports)
    assert json.loads(exported["AIRFLOW_CONN_GITHUB_DEFAULT"])["login"] == "o'neil $x"
    # a shell that evaluates them finds a migrated database
    code = (
        "from airflow.configuration import conf; from airflow.utils.db import check_migrations; "
        "check_migrations(timeout=0); print(conf.get('core', 'executor'))"
    )
    check = f'{first.stdout}\npython -c "{code}"'
    done = subprocess.run(["sh", "-c", check], capture_output=True, text=True, cwd=tmp_path, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("LocalExecutor\n")
    assert modes(home)["airflow/airflow.db"] == 0o600
    assert (home / "airflow" / "migrated").exists()


def test_stop_ends_what_a_killed_demo_left(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = processes.start(
        [sys.executable, "-c", "import time; time.sleep(300)"],
        mark=embedded.secret(home, "mark"),
        environment=os.environ,
        log=home / "logs" / "left.log",
    )
    embedded.stop(home)
    assert left.poll() is not None
    assert "stopped 1 process." in capsys.readouterr().out


def test_stop_of_nothing_is_quiet(tmp_path: Path) -> None:
    embedded.stop(tmp_path / "missing")
    assert not (tmp_path / "missing").exists()


def test_clean_removes_the_folder_and_its_postgres(home: Path) -> None:
    server = embedded.ensure_postgres(home)
    embedded.clean(home, ROOT)
    assert not home.exists()
    assert server.port not in {c.laddr.port for c in psutil.net_connections("tcp4") if c.status == "LISTEN"}


def test_clean_keeps_what_no_run_has_made(home: Path) -> None:
    embedded.prepare(home)
    embedded.secret(home, "mark")
    (home / "warehouse").mkdir(exist_ok=True)
    (home / "precious.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match=r"precious\.txt"):
        embedded.clean(home, ROOT)
    assert [path.name for path in home.iterdir()] == ["precious.txt"]


def test_clean_refuses_a_folder_that_was_never_a_home(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    with pytest.raises(ConfigurationError, match="Nothing was removed"):
        embedded.clean(tmp_path, ROOT)
    assert (tmp_path / "warehouse").exists()


@pytest.mark.parametrize("folder", [Path("/"), Path.home(), ROOT, ROOT.parent])
def test_clean_refuses_what_is_not_a_state_folder(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="Nothing was removed"):
        embedded.clean(folder, ROOT)
    assert folder.exists()
