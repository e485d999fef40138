"""Semantic versions of contracts: how far one has to move for a change."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import IntEnum

_VERSION = re.compile(r"v?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")


class Step(IntEnum):
    """The part of a version that has to grow."""

    NONE = 0
    PATCH = 1  # only texts
    MINOR = 2  # readers may rely on more
    MAJOR = 3  # readers may rely on less


@dataclass(frozen=True, order=True)
class Version:
    """
    A version.

    :param released: 0 for a pre-release, which comes before the version itself.
    """

    major: int
    minor: int
    patch: int
    released: int = 1
    suffix: str = ""


def parse_version(text: str) -> Version | None:
    """Return a version; None if the text is not one."""
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        return None
    major, minor, patch = (int(part or 0) for part in found.groups()[:3])
    return Version(major, minor, patch, 0 if found[4] else 1, found[4] or "")


def step_between(old: Version, new: Version) -> Step:
    """
    Return how far a version has moved, by https://semver.org: below 1.0.0, the minor version stands for the major one.
    """
    if new <= old:
        return Step.NONE
    if new.major > old.major:
        return Step.MAJOR
    if new.minor > old.minor:
        return Step.MAJOR if new.major == 0 else Step.MINOR
    if new.major == 0:  # 0.1.1 after 0.1.0 may only add
        return Step.MINOR
    return Step.PATCH
