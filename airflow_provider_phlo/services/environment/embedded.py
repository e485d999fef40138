"""
The embedded environment: one folder (``PHLO_HOME``) and the variables that point Airflow and the tools at it.

``make`` calls this module: ``python -m airflow_provider_phlo.services.environment.embedded env|stop|clean|psql``.
Airflow is never imported here, only run.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from airflow_provider_phlo.exceptions import ConfigurationError, PhloError
from airflow_provider_phlo.private_files import STATE, UMASK, protect, write_private
from airflow_provider_phlo.services.environment.live import is_live, is_recorded, own_connections, without_recordings
from airflow_provider_phlo.services.environment.replay import (
    SOURCES,
    Replay,
    ensure_replay,
    has_recordings,
    recorded_connections,
)
from airflow_provider_phlo.services.machine import processes
from airflow_provider_phlo.services.machine.env_file import connections_from, read_env_file
from airflow_provider_phlo.services.machine.ports import HOST, free_port
from airflow_provider_phlo.services.machine.roots import FILE
from airflow_provider_phlo.services.postgres import metadata
from airflow_provider_phlo.services.postgres.server import ensure_postgres, postgres_pid, psql_path, stop_postgres

UI_USER = "admin"
_SECRETS: dict[str, Callable[[], str]] = {
    # file: how it is made
    "fernet_key": lambda: base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    "jwt_secret": lambda: secrets.token_urlsafe(64),
    "api_secret": lambda: secrets.token_urlsafe(48),
    "ui_password": lambda: secrets.token_urlsafe(12),
    "replay_secret": lambda: secrets.token_urlsafe(12),
    "mark": lambda: secrets.token_hex(16),
}


# --- the folder ---------------------------------------------------------------------------------------------


def prepare(home: Path) -> None:
    """Create the folders and secrets of ``home`` that do not exist yet; readable by their owner only."""
    protect(home)
    for name in ("airflow", "logs", "secrets"):
        (home / name).mkdir(mode=0o700, exist_ok=True)
    with lock_setup(home):
        for name, generate in _SECRETS.items():
            if not _secret_path(home, name).exists():
                write_private(_secret_path(home, name), generate())
        write_private(_passwords_path(home), json.dumps({UI_USER: secret(home, "ui_password")}))


def secret(home: Path, name: str) -> str:
    """Return one of the generated secrets of ``home``."""
    return _secret_path(home, name).read_text()


@contextlib.contextmanager
def lock_setup(home: Path) -> Iterator[None]:
    """Let one process at a time set up ``home``."""
    with (home / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _secret_path(home: Path, name: str) -> Path:
    return home / "secrets" / name


def _passwords_path(home: Path) -> Path:
    return home / "secrets" / "ui_passwords.json"


# --- the variables ------------------------------------------------------------------------------------------


def airflow_environment(home: Path, root: Path) -> dict[str, str]:
    """
    Return the variables that make every ``airflow`` process work in ``home``; secrets stay in files.

    :param home: the folder of all local state, already prepared.
    :param root: the project, which holds ``dags/``.
    """
    port = ui_port(home)
    settings = {
        ("api", "base_url"): f"http://{HOST}:{port}",
        ("api", "host"): HOST,
        ("api", "port"): str(port),
        ("api", "workers"): "1",
        ("api", "secret_key_cmd"): _cat(home, "api_secret"),
        ("api_auth", "jwt_secret_cmd"): _cat(home, "jwt_secret"),
        ("core", "dags_folder"): str(root / "dags"),
        # a DAG file that meets a changed dbt project has it parsed: on a busy machine that takes more than 30 s
        ("core", "dagbag_import_timeout"): "120",
        ("core", "execution_api_server_url"): f"http://{HOST}:{port}/execution/",
        ("core", "executor"): "LocalExecutor",
        ("core", "fernet_key_cmd"): _cat(home, "fernet_key"),
        ("core", "load_examples"): "False",
        ("core", "parallelism"): str(max(4, 2 * (os.cpu_count() or 1))),
        ("core", "simple_auth_manager_all_admins"): "False",
        ("core", "simple_auth_manager_passwords_file"): str(_passwords_path(home)),
        ("core", "simple_auth_manager_users"): f"{UI_USER}:admin",
        ("cosmos", "cache_dir"): str(home / "cosmos"),
        ("cosmos", "enable_telemetry"): "False",
        ("dag_processor", "dag_file_processor_timeout"): "150",
        # who has just written a DAG file wants to run it; listing a folder costs nothing
        ("dag_processor", "refresh_interval"): "10",
        **metadata.database_options(home),
        ("logging", "base_log_folder"): str(home / "logs"),
        # Airflow sets these modes itself, whatever the umask is
        ("logging", "file_task_handler_new_file_permissions"): "0o600",
        ("logging", "file_task_handler_new_folder_permissions"): "0o700",
        # the next task of a chain waits for half of it; idle, the scheduler takes 19 % of a core (at 0.2 s: 12 %)
        ("scheduler", "scheduler_idle_sleep_time"): "0.1",
        ("usage_data_collection", "enabled"): "False",
    }
    return {
        "AIRFLOW_HOME": str(home / "airflow"),
        **{f"AIRFLOW__{section}__{key}".upper(): value for (section, key), value in settings.items()},
        "PHLO_HOME": str(home),
        "PHLO_PROJECT": str(root),
        # no tool reports home, and no proxy stands between processes of one machine
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DO_NOT_TRACK": "1",
        # imports are most of the time of every start: let Python keep what it compiled
        "PYTHONDONTWRITEBYTECODE": "",
        "RUNTIME__DLTHUB_TELEMETRY": "False",
        "SCARF_ANALYTICS": "false",
    }


def ui_port(home: Path) -> int:
    """Return the port of Airflow's api-server: chosen once and kept, so that links stay valid."""
    path = home / "airflow" / "port"
    if not path.exists():
        choose_ui_port(home)
    return int(path.read_text())


def choose_ui_port(home: Path, port: int | None = None) -> int:
    """Choose a new port for Airflow's api-server, or take this one."""
    port = port or free_port()
    write_private(home / "airflow" / "port", str(port))
    return port


def shell_environment(home: Path, root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """
    Return what ``make env`` exports.

    :param shell: the variables of the shell: they win over ``.env``, and a connection it sets is left alone.
    """
    file = {key: value for key, value in read_env_file(root / ".env").items() if key not in shell}
    given = {**file, **shell}
    connections = {key: value for key, value in connections_from(given).items() if key not in given}
    return {**file, **connections, **airflow_environment(home, root), **tool_paths(root, shell)}


def added_to(shell: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a shell with those of a home; of what leads to Airflow's metadata only the latter."""
    return {**{name: value for name, value in shell.items() if name not in metadata.VARIABLES}, **variables}


def start_replay(home: Path, root: Path) -> Replay:
    """Return the running server of the recorded APIs."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW")}
    return ensure_replay(home, root, secret(home, "replay_secret"), secret(home, "mark"), inherited)


def tool_paths(root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """Return the search paths that find this environment's programs and the project's modules, nothing twice."""
    loopback = _join_unique(",", "127.0.0.1,localhost", shell.get("NO_PROXY") or shell.get("no_proxy", ""))
    return {
        "PATH": _join_unique(os.pathsep, str(Path(sys.executable).parent), shell.get("PATH", os.defpath)),
        "PYTHONPATH": _join_unique(os.pathsep, str(root), shell.get("PYTHONPATH", "")),
        "NO_PROXY": loopback,
        "no_proxy": loopback,
    }


def _cat(home: Path, name: str) -> str:
    return shlex.join(["cat", str(_secret_path(home, name))])


def _join_unique(separator: str, first: str, rest: str) -> str:
    return separator.join(dict.fromkeys(part for part in f"{first}{separator}{rest}".split(separator) if part))


# --- what make calls ----------------------------------------------------------------------------------------


def migrate(home: Path, environment: Mapping[str, str], postgres_port: int | None = None) -> None:
    """
    Create or upgrade Airflow's metadata database, unless this version of Airflow has done so.

    :raises ConfigurationError: as :func:`.metadata.migrate`.
    """
    with lock_setup(home):
        metadata.migrate(home, environment, postgres_port)


def choose_metadata_database(home: Path, root: Path, *, change: bool = False) -> str:
    """
    Decide where Airflow's metadata are, as ``phlo.yaml`` says, unless that was decided before.

    :param change: whether another decision may take its place: none of the services may run.
    :return: what somebody should know of a change, in words.
    :raises ConfigurationError: ``phlo.yaml`` is wrong.
    """
    if not change and metadata.used(home):
        return ""
    wanted = None
    if (root / FILE).exists():
        # most commands do not come here, and what reads phlo.yaml takes its time to load
        from airflow_provider_phlo.services.environment.configuration import read_configuration

        variables = {**read_env_file(root / ".env"), **os.environ}
        wanted = read_configuration(root / FILE, variables).infrastructure.metadata_database
    with lock_setup(home):
        return metadata.choose(home, wanted)


def parse_models(environment: Mapping[str, str]) -> None:
    """
    Let dbt parse the project before a DAG file asks for its manifest.

    :raises ConfigurationError: dbt cannot; carries the end of what it printed.
    """
    command = [sys.executable, "-m", "airflow_provider_phlo.dbt.manifest"]
    done = subprocess.run(
        command,
        cwd=environment.get("PHLO_PROJECT"),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise ConfigurationError("dbt cannot parse the project:\n" + "\n".join(done.stdout.splitlines()[-8:]))


def print_exports(home: Path, root: Path) -> None:
    """
    Print the umask and ``export`` lines for a POSIX shell; set the Airflow home up first when that was not done yet.
    """
    prepare(home)
    choose_metadata_database(home, root)
    variables = project_variables(home, root)
    migrate(home, added_to(os.environ, variables))
    print(f"umask {UMASK:03o}")  # what this shell starts writes private files too
    print(f"unset {' '.join(metadata.VARIABLES)}")
    for key, value in sorted(variables.items()):
        print(f"export {key}={shlex.quote(value)}")


def project_variables(home: Path, root: Path) -> dict[str, str]:
    """Return what the Airflow of a project gets beside the shell's own variables; recorded APIs answer after that."""
    shell = without_recordings(home, secret(home, "replay_secret"), os.environ)
    return {**shell_environment(home, root, shell), **connections_to_recordings(home, root, shell)}


def connections_to_recordings(home: Path, root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """Return connections to the recorded APIs for the sources that have none; say so, for no file does."""
    missing = _recorded_sources(home, root, shell)
    if not missing:
        return {}
    connections = start_replay(home, root).connections()
    names = " and ".join(name.removeprefix("AIRFLOW_CONN_").lower() for name in missing)
    print(f"phlo: {names}: recorded data (live data: README.md). phlo services stop ends its server.", file=sys.stderr)
    return {name: connections[name] for name in missing}


def running_recordings(home: Path, root: Path, shell: Mapping[str, str]) -> dict[str, str]:
    """Return the same connections if the server of the recorded APIs runs already; none otherwise."""
    known = recorded_connections(home, secret(home, "replay_secret"))
    if not known or not any(process.is_running() for process in processes.find_marked(secret(home, "mark"))):
        return {}
    return {name: known[name] for name in _recorded_sources(home, root, shell) if name in known}


def _recorded_sources(home: Path, root: Path, shell: Mapping[str, str]) -> list[str]:
    """Return the sources that recorded data stand in for."""
    own = own_connections(root, shell)
    if is_live(home) or not has_recordings(root) or not (is_recorded(home) or not own):
        return []
    return [name for name in SOURCES if name not in own]


def stop(home: Path) -> None:
    """
    End the demo or the services of ``home``, whatever earlier ones left behind, and the bundled Postgres; say so.
    """
    if home.exists():
        print(end_all(home))


def end_all(home: Path) -> str:
    """Do what :func:`stop` does, and return what was ended, in words."""
    mark = secret(home, "mark") if _secret_path(home, "mark").exists() else ""
    running = {process.pid for process in processes.find_marked(mark)} if mark else set()
    had_postgres = postgres_pid(home) is not None
    owner = processes.end_owner(home / "demo.lock")
    if owner:
        running.add(owner)
    if mark:
        processes.stop(mark)
    # also one that was only about to start
    postgres = ((home / "postgres").exists() and stop_postgres(home)) or had_postgres
    many = f"{len(running)} process{'' if len(running) == 1 else 'es'}"
    return f"{home}: stopped {many}{' and Postgres' if postgres else ''}."


def clean(home: Path, root: Path) -> None:
    """
    Stop everything and remove the state of runs from ``home``; the folder too, if nothing else is in it.

    :raises ConfigurationError: ``home`` is not such a folder, or has files that no run made (they stay).
    """
    if not home.exists():
        return
    if home in (Path("/"), Path.home()) or root.is_relative_to(home) or not _secret_path(home, "mark").exists():
        raise ConfigurationError(f"PHLO_HOME is {home}: that folder holds other files, too. Nothing was removed.")
    stop(home)
    for entry in home.iterdir():
        if entry.name in STATE:
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    left = sorted(entry.name for entry in home.iterdir())
    if left:
        raise ConfigurationError(f"{home} is kept: this project did not make {', '.join(left[:5])} in it.")
    home.rmdir()


def psql(home: Path, arguments: list[str]) -> None:
    """Become ``psql`` on the bundled Postgres; the password is in the environment, not in the process list."""
    server = ensure_postgres(home)
    coordinates = {
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PGDATABASE": server.dbname,
    }
    os.execve(psql_path(), ["psql", *arguments], {**os.environ, **coordinates})  # noqa: S606


def resolve_home(root: Path, shell: Mapping[str, str]) -> Path:
    """Return ``PHLO_HOME`` of the shell or ``.env``, else ``.phlo`` in the project."""
    given = shell.get("PHLO_HOME") or read_env_file(root / ".env").get("PHLO_HOME") or ".phlo"
    return (root / given).resolve()


def main() -> None:
    """Run one of the commands ``make`` offers."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_phlo.services.environment.embedded", description=__doc__
    )
    parser.add_argument("command", choices=("env", "stop", "clean", "psql"))
    arguments, rest = parser.parse_known_args()
    root = Path.cwd()
    try:
        home = resolve_home(root, os.environ)
        if arguments.command == "env":
            print_exports(home, root)
        elif arguments.command == "stop":
            stop(home)
        elif arguments.command == "clean":
            clean(home, root)
        else:
            psql(home, rest)
    except PhloError as error:
        raise SystemExit(f"phlo: {error}") from error


if __name__ == "__main__":
    main()
