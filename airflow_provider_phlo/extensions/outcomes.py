"""How a trial of a plugin ended."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Verdict(StrEnum):
    """Whether a plugin keeps a promise."""

    OK = "ok"
    WARNING = "warning"  # it works, and somebody may be surprised
    FAILED = "failed"


@dataclass(frozen=True)
class Trial:
    """
    One thing that was tried.

    :param what: what its kind promises.
    :param why: what happened instead; empty if nothing did.
    """

    what: str
    verdict: Verdict = Verdict.OK
    why: str = ""


def promised(what: str, problem: str) -> Trial:
    """Return the trial of what has to be; it has failed if there is a problem."""
    return Trial(what, Verdict.FAILED if problem else Verdict.OK, problem)


def expected(what: str, surprise: str) -> Trial:
    """Return the trial of what people expect, though it need not be."""
    return Trial(what, Verdict.WARNING if surprise else Verdict.OK, surprise)
