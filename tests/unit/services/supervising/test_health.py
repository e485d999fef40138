"""How services are said to be, by processes that are there and that are not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from airflow_provider_phlo.services.environment.projects import find_project
from airflow_provider_phlo.services.supervising.health import HEALTHY, report
from airflow_provider_phlo.services.supervising.state import PartState, SupervisorState
from airflow_provider_phlo.services.supervising.supervision import Status


@pytest.mark.parametrize("reaped", [False, True], ids=["its supervisor has not seen it", "it is gone"])
def test_a_service_that_was_killed_does_not_run_and_is_not_healthy(tmp_path: Path, reaped: bool) -> None:
    (tmp_path / "phlo.yaml").write_text("name: shop\n")
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as process:
        created = psutil.Process(os.getpid()).create_time()
        part = PartState(Status.RUNNING, process.pid, time.time(), 0, "", "")
        state = SupervisorState(os.getpid(), created, str(tmp_path), "starting", parts={"triggerer": part})

        def triggerer() -> tuple[str, int | None, bool]:
            found = next(each for each in report(find_project(tmp_path), state) if each.name == "triggerer")
            return found.state, found.pid, found.health == HEALTHY

        assert triggerer()[:2] == (Status.RUNNING, process.pid)
        process.kill()
        while not reaped and psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        if reaped:
            process.wait()
        assert triggerer() == (Status.RESTARTING, None, False)
