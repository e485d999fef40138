"""Keep the results in ``docs/benchmarks.md``: one section a script, replaced when it runs again."""

from __future__ import annotations

import datetime
import os
import platform
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"


def versions(*packages: str) -> dict[str, str]:
    """Return the installed versions of ``packages``, and Python's."""
    return {"python": platform.python_version(), **{package: version(package) for package in packages}}


def write_section(title: str, command: str, body: str, used: dict[str, str]) -> None:
    """Put ``body`` under the heading ``title``, with the command, versions and machine that made it."""
    made = ", ".join(f"{name} {number}" for name, number in used.items())
    today = datetime.datetime.now(datetime.UTC).date()
    section = f"## {title}\n\n`{command}`\n\n{body}\n\n{today}, {os.cpu_count()} cores, {made}.\n\n"
    text = PAGE.read_text() if PAGE.exists() else "# Benchmarks\n\n"
    pattern = re.compile(rf"^## {re.escape(title)}\n.*?(?=^## |\Z)", re.S | re.M)
    text = pattern.sub(lambda _: section, text) if pattern.search(text) else text.rstrip() + "\n\n" + section
    PAGE.write_text(text.rstrip() + "\n")


@dataclass(frozen=True)
class Section:
    """
    One section of the page, which a script of several runs.

    :param rows: how many there are, unless less is asked for.
    :param measure: gets a folder, the number of rows and how often to repeat; returns JSON.
    :param table: makes Markdown of that.
    :param about: what was measured, for ``rows`` and ``repeat``.
    :param packages: those whose versions matter.
    """

    title: str
    rows: int
    measure: Callable[[Path, int, int], dict[str, Any]]
    table: Callable[[Mapping[str, Any]], str]
    about: Callable[[int, int], str]
    packages: tuple[str, ...]
