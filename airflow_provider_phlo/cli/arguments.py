"""
What the commands of ``airflow phlo`` are made of: arguments, their types, and groups.

Every ``airflow`` call loads this module, as it does :mod:`.definition`, so it imports next to nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Any


@dataclass(frozen=True)
class Argument:
    """One argument of a command: its flags, and the options that ``argparse`` takes with them."""

    flags: tuple[str, ...]
    options: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """
    One command.

    :param path: import path of the function that gets the parsed arguments.
    """

    name: str
    help: str
    path: str
    arguments: tuple[Argument, ...]
    description: str = field(default="")


@dataclass(frozen=True)
class Group:
    """Commands under one name."""

    name: str
    help: str
    commands: tuple[Command, ...]


def output(*choices: str) -> Argument:
    """Return ``--output`` with these forms."""
    return Argument(
        ("-o", "--output"),
        {
            "help": "table for people; json (timestamps ISO 8601, decimals as text) or csv for programs",
            "choices": choices,
            "default": "table",
        },
    )


# the libraries' own limits, which this module does not load
_MOST_DAYS = 36_500
_MOST_ROWS = 10_000


def day(text: str) -> str:
    """Return a date as it is written in ISO 8601."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date: write it as YYYY-MM-DD") from None


def count(text: str) -> int:
    """Return a whole number above 0."""
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")


def up_to(most: int) -> Callable[[str], int]:
    """Return what reads whole numbers from 1 to ``most``."""

    def number(text: str) -> int:
        if text.isascii() and text.isdecimal() and len(text) < 10 and 0 < int(text) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 to {most}")

    return number


def port(text: str) -> int:
    """Return the number of a port."""
    return up_to(65_535)(text)


def days(text: str) -> float:
    """Return a number of days, also a fraction of one."""
    try:
        found = float(text)
    except ValueError:
        found = -1
    # NaN is not one
    if 0 <= found <= _MOST_DAYS:
        return found
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of days from 0 to {_MOST_DAYS}")


def number_option(flag: str, kind: Callable[[str], float], default: float | None, text: str) -> Argument:
    """Return an option that is a number."""
    return Argument((flag,), {"help": text, "type": kind, "default": default})


def window(what: str, rows: int) -> tuple[Argument, ...]:
    """Return the options of questions about the last days: how many days, how many rows, in which form."""
    return (
        number_option("--days", up_to(_MOST_DAYS), 7, f"{what} (7)"),
        number_option("--limit", up_to(_MOST_ROWS), rows, f"At most this many ({rows})"),
        output("table", "json", "csv"),
    )
