from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from airflow_provider_phlo.services.machine.log_rotation import LogRotation, part_of

# appends numbered lines in bursts, as a service does whose output is the file
WRITER = """
import os, time
for number in range(2_000):
    os.write(1, b"%d %s\\n" % (number, b"x" * 40))
    if number % 100 == 99:
        time.sleep(0.1)
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "scheduler.log"


def test_a_log_is_cut_when_it_is_quiet(log: Path) -> None:
    rotation = LogRotation(max_bytes=10)
    log.write_text("a" * 11)
    rotation.look([log])
    assert log.stat().st_size == 11  # it has just grown
    rotation.look([log, log.with_name("none.log")])
    assert (log.read_text(), part_of(log, 1).read_text()) == ("", "a" * 11)
    log.write_text("b" * 21)
    rotation.look([log])  # too long to wait
    assert (log.read_text(), part_of(log, 1).read_text()[0], part_of(log, 2).read_text()[0]) == ("", "b", "a")
    for letter in "cde":
        log.write_text(letter * 21)
        rotation.look([log])
    assert {path.name: path.read_text()[0] for path in log.parent.glob("*.log.*")} == {
        "scheduler.log.1": "e",
        "scheduler.log.2": "d",
        "scheduler.log.3": "c",
    }


def test_who_writes_in_bursts_goes_on_and_loses_nothing(log: Path) -> None:
    rotation = LogRotation(max_bytes=20_000, kept=60)
    with log.open("ab") as out, subprocess.Popen([sys.executable, "-c", WRITER], stdout=out) as writer:
        while writer.poll() is None:
            rotation.look([log])
            time.sleep(0.03)
    parts = [part_of(log, number) for number in range(60, 0, -1)]
    text = b"".join(part.read_bytes() for part in [*parts, log] if part.exists())
    assert part_of(log, 3).exists()
    assert [int(line.split()[0]) for line in text.splitlines()] == list(range(2_000))


def test_what_cannot_be_copied_stays(log: Path) -> None:
    rotation = LogRotation(max_bytes=10)
    log.write_text("a" * 30)
    part_of(log, 3).mkdir()
    with pytest.raises(OSError, match="irectory"):
        rotation.look([log])
    rotation.look([log])  # not again at once
    assert log.read_text() == "a" * 30
