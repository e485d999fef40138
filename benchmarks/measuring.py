"""How ways are compared in one run, and how a process's memory is measured."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

# does its work once, and returns the seconds that count
Way = Callable[[], float]


def medians(ways: Mapping[str, Way], repeat: int) -> dict[str, float]:
    """Run all ways in turn, once to warm up, and return the median seconds of each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeat + 1):
        for name, way in ways.items():
            seconds = way()
            if turn:
                taken[name].append(seconds)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def timed(work: Callable[[], Any]) -> float:
    """Return how many seconds ``work`` takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def in_own_process(target: Callable[..., None], *arguments: Any) -> float:
    """Return what ``target`` sends to the pipe that it gets last, from a process that shares nothing with this one."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(*arguments, sender))
    process.start()
    sender.close()  # so that a process that dies is an error here, and nothing to wait for
    found: float = receiver.recv()
    process.join()
    return found


def peak() -> int:
    """Return the most bytes of memory this process has had; ``getrusage`` counts those before its exec, too."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
