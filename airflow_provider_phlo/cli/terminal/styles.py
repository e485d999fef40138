"""Colours, where a terminal shows them."""

from __future__ import annotations

import os
import sys
from typing import TextIO

_CODES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold red": "1;31",
}
#: What assets and tasks are told apart by.
HUES = ("cyan", "green", "magenta", "blue", "yellow")


def has_colours(out: TextIO | None = None) -> bool:
    """Return whether colours are shown: by a terminal, unless NO_COLOR or a TERM of ``dumb`` says otherwise."""
    stream = sys.stdout if out is None else out
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") != "dumb"


def paint(text: str, style: str, *, shown: bool) -> str:
    """
    Return a text in a style.

    :param style: one of the names above; empty means none.
    :param shown: what :func:`has_colours` says.
    """
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if shown and style and text else text
