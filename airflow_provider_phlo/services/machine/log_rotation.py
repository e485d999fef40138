"""
Logs of processes that run for months: cut by size, the last parts kept beside them.

The processes hold their file open, in append mode, and go on writing when the supervisor has been killed. Through a
pipe they could not: whoever reads it would be needed for every line. So a file is copied and emptied in place, and
what is written between the last read and the cut is lost: some hundred lines of a process that writes a million per
second. So a log is cut in a quiet moment; one that always grows is left alone until it has twice its size.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

MAX_BYTES = 10_000_000
KEPT = 3
_BLOCK = 1 << 20
# a full disk is not asked again at once
_PAUSE_AFTER_ERROR = 60


class LogRotation:
    """
    Keeps logs small.

    :param max_bytes: the size from which a log is cut.
    :param kept: how many earlier parts stay: ``scheduler.log.1`` is the newest.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._max_bytes = max_bytes
        self._kept = kept
        self._sizes: dict[Path, int] = {}
        self._not_before = 0.0

    def look(self, logs: Iterable[Path]) -> None:
        """
        Cut the logs that are too long.

        :raises OSError: one cannot be copied; it stays as it is, and is looked at again in a minute.
        """
        if time.monotonic() < self._not_before:
            return
        for log in logs:
            size = log.stat().st_size if log.exists() else 0
            is_quiet = self._sizes.get(log) == size
            self._sizes[log] = size
            if size > self._max_bytes and (is_quiet or size > 2 * self._max_bytes):
                self._not_before = time.monotonic() + _PAUSE_AFTER_ERROR
                self._cut(log)
                self._not_before = 0

    def _cut(self, log: Path) -> None:
        part_of(log, self._kept).unlink(missing_ok=True)
        for number in range(self._kept - 1, 0, -1):
            if part_of(log, number).exists():
                part_of(log, number).replace(part_of(log, number + 1))
        part = part_of(log, 1)
        try:
            with log.open("rb") as source, part.open("wb") as copy:
                shutil.copyfileobj(source, copy, _BLOCK)
                copy.flush()
                while rest := os.read(source.fileno(), _BLOCK):
                    os.write(copy.fileno(), rest)
                os.truncate(log, 0)
        except OSError:
            part.unlink(missing_ok=True)
            raise


def part_of(log: Path, number: int) -> Path:
    """Return the file with an earlier part of a log: 1 is the newest."""
    return log.with_name(f"{log.name}.{number}")
