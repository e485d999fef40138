"""``phlo serve`` as a program."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from airflow_provider_phlo.services.machine.ports import free_port
from tests.patience import PATIENCE


@pytest.mark.long
def test_it_serves_until_it_is_ended(tmp_path):
    port = free_port()
    command = [str(Path(sys.executable).with_name("phlo")), "serve", "--port", str(port)]
    environment = {**os.environ, "PHLO_HOME": str(tmp_path), "PHLO_SERVE_TOKEN": "of-the-tests"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        deadline, answer = time.monotonic() + PATIENCE, None
        while answer is None and time.monotonic() < deadline and process.poll() is None:
            try:
                answer = httpx.get(
                    f"http://127.0.0.1:{port}/top-repos", headers={"Authorization": "Bearer of-the-tests"}
                )
            except httpx.ConnectError:
                time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read()
    assert answer is not None, said
    assert (answer.status_code, answer.json()) == (200, [])
    assert process.returncode in (0, 130, -signal.SIGINT)
    assert "Traceback" not in said
    assert "leaked" not in said
    assert "of-the-tests" not in said
