"""What all tests share: an environment that no setting of the machine reaches."""

from __future__ import annotations

import atexit
import gc
import os
import socketserver
import sys
import tempfile
from collections.abc import Generator
from typing import Any

import pytest
from dbt_common.tests import enable_test_caching

# Thousands of tests commit to a SQLite catalog and wait for the disk each time: in memory they need not. What passes
# is removed at once, what failed when the next tests begin. The soak, and the system tests, which show what a user
# sees, stay on the disk.
MEMORY, ENOUGH = "/dev/shm", 4 << 30
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and os.environ.get("PHLO_SOAK") != "1" and os.access(MEMORY, os.W_OK):
    _space = os.statvfs(MEMORY)
    if _space.f_bavail * _space.f_frsize >= ENOUGH and not any("tests/system" in word for word in sys.argv):
        os.environ["PYTEST_DEBUG_TEMPROOT"] = MEMORY
# examples of Hypothesis share a test's folder and take temporary ones instead; other programs' own stay on the disk
tempfile.tempdir = os.environ.get("PYTEST_DEBUG_TEMPROOT")

# a developer's own airflow.cfg must not decide what is tested; workers of pytest-xdist inherit the folder
if "PHLO_TESTS_AIRFLOW_HOME" not in os.environ:
    _folder = tempfile.TemporaryDirectory(prefix="phlo-tests-")
    os.environ["PHLO_TESTS_AIRFLOW_HOME"] = _folder.name
os.environ["AIRFLOW_HOME"] = os.environ["PHLO_TESTS_AIRFLOW_HOME"]
# dlt would import Airflow to look for its settings there: seconds that a unit test need not wait for
os.environ.setdefault("PROVIDERS__ENABLE_AIRFLOW_SECRETS", "false")
os.environ.setdefault("RUNTIME__DLTHUB_TELEMETRY", "false")
# imports are most of the time of every process that a test starts: let Python keep what it compiled
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# a client may hang up while a server of a test answers: what is printed of that is not the program's under test
_say_error = socketserver.BaseServer.handle_error


def _say_error_of_server(server: socketserver.BaseServer, request: Any, client_address: Any) -> None:
    if not isinstance(sys.exc_info()[1], ConnectionError):
        _say_error(server, request, client_address)


socketserver.BaseServer.handle_error = _say_error_of_server  # type: ignore[assignment]

# dbt reads its own macros again for each project: within a process they are the same
enable_test_caching()

# what is imported and collected stays: looking through it for garbage takes a third of the time of collection
gc.disable()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect without the garbage collector, which leaves what it found alone afterwards."""
    try:
        return (yield)
    finally:
        gc.freeze()
        # tests allocate much and leave little: looking for garbage after every 700 objects takes a tenth of the time
        gc.set_threshold(50_000, 20, 50)
        gc.enable()


# the end of the process finds what was left alone: DuckDB lists on stderr what nobody takes back; pytest looks through
# all there is twice before
atexit.register(gc.unfreeze)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End a worker of pytest-xdist at once: to take its objects apart one by one is half a minute's work."""
    if hasattr(config, "workerinput"):
        atexit.unregister(gc.unfreeze)
        atexit._run_exitfuncs()
        os._exit(0)


@pytest.fixture
def run_phlo(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return a function that runs ``phlo`` in this process, in ``PHLO_HOME``, and gives its exit code and output."""
    from airflow_provider_phlo.cli import main as cli
    from airflow_provider_phlo.cli.terminal import environment

    # let it see no environment of another catalog
    monkeypatch.setattr(environment, "enter_project_environment", lambda **_: None)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = 0
        try:
            cli.main(arguments)
        except SystemExit as ended:
            code = int(ended.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run
