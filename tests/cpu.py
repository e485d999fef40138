"""
Which tests take the CPU time: ``python -m tests.cpu [options and paths of pytest]``.

CPU time of the test's process and of the children it waited for: unlike the time on the clock, it says the same on a
busy machine. What takes less than :data:`SHOWN` seconds is left out.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest

SHOWN = 3.0
_FOLDER = "PHLO_TESTS_CPU"


def _spent() -> float:
    return sum(os.times()[:4])


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Note what a test takes, its fixtures among it."""
    before = _spent()
    try:
        return (yield)
    finally:
        worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
        with Path(os.environ[_FOLDER], worker).open("a") as file:
            print(json.dumps([item.nodeid, _spent() - before]), file=file)


def main() -> int:
    """Run the tests and print the sums."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_FOLDER] = folder
        code = int(pytest.main(["-p", "tests.cpu", *sys.argv[1:]]))
        lines = [line for path in Path(folder).iterdir() for line in path.read_text().splitlines()]
    tests: dict[str, float] = dict(map(json.loads, lines))
    files: dict[str, float] = defaultdict(float)
    for name, seconds in tests.items():
        files[name.partition("::")[0]] += seconds
    print(f"\n{_spent():.0f} s of CPU, {sum(files.values()):.0f} of them in {len(tests)} tests")
    for title, found in (("files", files), ("tests", tests)):
        print(f"{title} of at least {SHOWN:.0f} s:")
        for name, seconds in sorted(found.items(), key=lambda each: -each[1]):
            if seconds >= SHOWN:
                print(f"{seconds:7.1f}  {name}")
    return code


if __name__ == "__main__":
    sys.exit(main())
