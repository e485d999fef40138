"""The machine and the environment: Python, packages, folders, disk, clock."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from airflow_provider_phlo.diagnosis.findings import Finding, Verdict
from airflow_provider_phlo.private_files import PASSAGE

DISTRIBUTION = "airflow-provider-phlo"
# a day of the examples takes some 10 MB; SQLite, Postgres and merges need room to write beside what there is
_LITTLE_ROOM = 2 << 30
_NO_ROOM = 200 << 20
_FEW_FILES = 10_000
#: Clocks that differ by less than this do no harm.
SKEW_SECONDS = 5.0


def check_python() -> Iterator[Finding]:
    """Check the version of Python."""
    from packaging.specifiers import SpecifierSet

    version = ".".join(map(str, sys.version_info[:3]))
    needed = importlib.metadata.metadata(DISTRIBUTION)["Requires-Python"] or ""
    if SpecifierSet(needed).contains(version, prereleases=True):
        yield Finding("Python", Verdict.OK, f"{version} ({sys.prefix})")
    else:
        yield Finding(
            "Python", Verdict.PROBLEM, f"{version}, and {needed} is needed", "Make another virtual environment."
        )


def check_packages(constraints: Path | None) -> Iterator[Finding]:
    """
    Check that what this package needs is installed, and name what differs from the versions it was tested with.

    :param constraints: a file of ``name==version`` lines; None if there is none.
    """
    missing = sorted(_unmet())
    if missing:
        yield Finding(
            "packages",
            Verdict.PROBLEM,
            f"not as {DISTRIBUTION} needs them: {', '.join(missing)}",
            f"pip install {' '.join(repr(each.partition(' (')[0]) for each in missing)}",
        )
    if constraints is None:
        yield Finding("tested versions", Verdict.SKIPPED, "no constraints.txt to compare with")
        return
    other = sorted(
        f"{name} {installed} (tested: {tested})"
        for name, tested in _pins(constraints).items()
        if (installed := _installed(name)) and installed != tested
    )
    if other:
        shown = ", ".join(other[:8]) + (f" and {len(other) - 8} more" if len(other) > 8 else "")
        advice = f"If something does not work: pip install -c {constraints} {DISTRIBUTION}"
        yield Finding("tested versions", Verdict.WARNING, shown, advice)
    elif not missing:
        yield Finding("packages", Verdict.OK, "all that is needed, in the versions that were tested")


def check_home(home: Path) -> Iterator[Finding]:
    """Check that the folder of all state can be written, has room, and is its owner's only."""
    if not home.exists():
        yield Finding("PHLO_HOME", Verdict.SKIPPED, f"{home} does not exist yet: the first command makes it")
        yield from _check_room(_existing(home))
        return
    try:
        with tempfile.TemporaryFile(dir=home) as probe:
            probe.write(b"x")
    except OSError as error:
        yield Finding(
            "PHLO_HOME", Verdict.PROBLEM, f"{home}: {error.strerror}", "Set PHLO_HOME to a folder that you may write."
        )
        return
    mode = stat.S_IMODE(home.stat().st_mode)
    if mode & ~PASSAGE:
        yield Finding("PHLO_HOME", Verdict.WARNING, f"other users may read {home}", f"chmod 700 {home}")
    else:
        yield Finding("PHLO_HOME", Verdict.OK, f"{home}, its owner's only")
    yield from _check_room(home)


def check_clock(home: Path) -> Iterator[Finding]:
    """Compare this machine's clock with that of the file system: another machine's, if it is a network share."""
    if not home.exists():
        return
    with tempfile.NamedTemporaryFile(dir=home, prefix=".clock-") as probe:
        skew = os.stat(probe.name).st_mtime - time.time()
    yield compare_clocks(skew, f"the file system of {home}")


def compare_clocks(skew: float, other: str) -> Finding:
    """
    Return what is said of two clocks.

    :param skew: seconds by which ``other`` is ahead of this machine.
    """
    if abs(skew) < SKEW_SECONDS:
        return Finding("clock", Verdict.OK, f"this machine and {other} agree")
    return Finding(
        "clock",
        Verdict.WARNING,
        f"{other} is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine",
        "Keep both clocks by NTP: ages, freshness and schedules are wrong by as much.",
    )


def _check_room(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free
    files = os.statvfs(folder)
    where = f"{free / (1 << 30):.1f} GB free at {folder}"
    if files.f_files and files.f_favail < _FEW_FILES:
        yield Finding("disk", Verdict.WARNING, f"room for {files.f_favail} more files at {folder}", "Remove files.")
    elif free < _LITTLE_ROOM:
        verdict = Verdict.PROBLEM if free < _NO_ROOM else Verdict.WARNING
        advice = "Make room: phlo maintenance run removes what snapshots no longer need."
        yield Finding("disk", verdict, where, advice)
    else:
        yield Finding("disk", Verdict.OK, where)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _unmet() -> Iterator[str]:
    """Yield the requirements of this package that what is installed does not meet."""
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires(DISTRIBUTION) or ():
        requirement = Requirement(line)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        installed = _installed(requirement.name)
        if installed is None:
            yield f"{requirement.name}{requirement.specifier} (missing)"
        elif not requirement.specifier.contains(installed, prereleases=True):
            yield f"{requirement.name}{requirement.specifier} (installed: {installed})"


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _pins(constraints: Path) -> Mapping[str, str]:
    from packaging.requirements import InvalidRequirement, Requirement

    pins: dict[str, str] = {}
    for line in constraints.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(InvalidRequirement):  # a comment, an option of pip
            requirement = Requirement(line.partition(" #")[0].strip())
            if requirement.marker is None or requirement.marker.evaluate():
                pins |= ((requirement.name, each.version) for each in requirement.specifier if each.operator == "==")
    return pins
