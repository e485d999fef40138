from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import PATIENCE


@pytest.mark.parametrize(("lines", "code"), [(100_000, 141), (1, 0)])
def test_output_that_nobody_reads_any_more_ends_a_command_silently(lines: int, code: int) -> None:
    program = f"""
from airflow_provider_phlo.cli.terminal.errors import exit_on_error
with exit_on_error("query"):
    for number in range({lines}):
        print("a line of some length", number)
"""
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "a line of some length 0\n"
    process.stdout.close()

    assert process.stderr.read() == ""
    assert process.wait(PATIENCE) == code


@pytest.mark.long
@pytest.mark.parametrize(
    "arguments",
    [["query", "SELECT 1"], ["logs"], ["services", "status"], ["--help"]],
)
def test_a_full_disk_is_a_line_and_an_error(tmp_path: Path, arguments: list[str]) -> None:
    log = tmp_path / "logs" / "dag_id=d" / "run_id=r" / "task_id=t" / "attempt=1.log"
    log.parent.mkdir(parents=True)
    log.write_text("a line\n")
    (tmp_path / "phlo.yaml").write_text("name: x\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PHLO_HOME": str(tmp_path)}
    with open("/dev/full", "w") as full:
        command = [Path(sys.executable).with_name("phlo"), *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    last = done.stderr.splitlines()[-1]
    named = " ".join(word for word in arguments[:2] if word.isalpha()) if arguments[0] != "--help" else ""
    assert last == f"{f'phlo {named}'.rstrip()}: the output cannot be written: No space left on device."
    assert done.returncode == 1
    assert "Exception ignored" not in done.stderr
