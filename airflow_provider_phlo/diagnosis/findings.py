"""What a check found."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as OutOfTime
from dataclasses import dataclass
from enum import StrEnum

from airflow_provider_phlo.library_errors import describe


class Verdict(StrEnum):
    """How bad it is."""

    OK = "ok"
    SKIPPED = "skipped"  # there is nothing to check, and the finding says why
    WARNING = "warning"  # runs work, for now
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """
    One thing that was checked.

    :param check: what, in a word or two.
    :param found: how it is.
    :param advice: what to do; empty if nothing has to be done.
    :param seconds: how long the check took.
    """

    check: str
    verdict: Verdict
    found: str
    advice: str = ""
    seconds: float = 0


Check = Callable[[], Iterable[Finding]]


def guarded(name: str, check: Check, *, seconds: float, advice: str = "") -> Iterator[Finding]:
    """
    Yield what a check finds; one that fails or takes too long is a problem itself.

    :param name: what it checks, for that finding.
    :param seconds: how long it may take.
    :param advice: what to do if it fails.
    """
    began = time.monotonic()
    pool = ThreadPoolExecutor(1)
    try:
        found = pool.submit(lambda: list(check())).result(seconds)
    except OutOfTime:
        found = [
            Finding(name, Verdict.PROBLEM, f"no answer within {seconds:.0f} seconds", "Is a host right, a firewall?")
        ]
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what was looked for
        found = [Finding(name, Verdict.PROBLEM, describe(error), advice)]
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    took = time.monotonic() - began
    for each in found:
        yield Finding(each.check, each.verdict, each.found, each.advice, each.seconds or took)
