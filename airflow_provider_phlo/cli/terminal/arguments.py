"""
What the commands of ``airflow phlo`` are made of: arguments, their types, and groups.

Every ``airflow`` call loads this module, as it does :mod:`.definition`, so it imports next to nothing.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

# what exit codes mean, for most commands
FAILED_1: dict[int, str] = {1: "it failed"}
REFUSED_2: dict[int, str] = {2: "it was refused, and nothing was done"}


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
    :param examples: command lines as people type them; at least one.
    :param exit_codes: what exit codes other than 0 mean.
    :param alone: whether it finds or makes its project itself, instead of running in the environment of one.
    :param passes_on: whether all of its arguments, options too, are another program's.
    """

    name: str
    help: str
    path: str
    arguments: tuple[Argument, ...]
    description: str = field(default="")
    examples: tuple[str, ...] = field(default=())
    exit_codes: Mapping[int, str] = field(default_factory=lambda: FAILED_1 | REFUSED_2)
    alone: bool = field(default=False)
    passes_on: bool = field(default=False)


def epilog(command: Command) -> str:
    """Return the end of a command's help: examples, and what exit codes mean."""
    examples = "".join(f"\n  {example}" for example in command.examples)
    codes = {0: "it was done", **command.exit_codes}
    return f"example{'s' * (len(command.examples) > 1)}:{examples}\n\nexit codes:" + "".join(
        f"\n  {code}: {meaning}" for code, meaning in sorted(codes.items())
    )


@dataclass(frozen=True)
class Group:
    """Commands under one name, and groups of them."""

    name: str
    help: str
    commands: tuple[Command | Group, ...]


VERBOSE = Argument(
    ("-v", "--verbose"),
    {"help": "Of an error, show also what it came from and the lines of code", "action": "store_true"},
)
_FORMS = {
    "json": "json (timestamps ISO 8601, decimals as text)",
    "csv": "csv (NULL is an empty field, empty text two quotes)",
    "parquet": "parquet (a file's bytes, in exact types)",
    "junit": "junit (XML)",
}

#: The options of every command that talks to Airflow.
API = (
    Argument(
        ("--api-url",),
        {
            "help": "The Airflow to talk to (PHLO_AIRFLOW_URL, else the services of this project); who asks is in "
            "PHLO_AIRFLOW_TOKEN, or PHLO_AIRFLOW_USER and PHLO_AIRFLOW_PASSWORD",
            "metavar": "URL",
        },
    ),
)


def output(*choices: str) -> Argument:
    """Return ``--output`` with these forms."""
    return Argument(
        ("-o", "--output"),
        {
            "help": f"table for people; {' or '.join(_FORMS[each] for each in choices[1:])} for programs",
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
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            raise argparse.ArgumentTypeError(f"the calendar has no day {text}") from None
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


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def period(text: str) -> timedelta:
    """Return a length of time: ``90s``, ``30m``, ``12h``, ``7d``, ``2w``."""
    number, unit = text[:-1], text[-1:]
    if number.isascii() and number.isdecimal() and len(number) < 10 and unit in _UNITS:
        found = int(number) * _UNITS[unit]
        if 0 < found <= _MOST_DAYS * 86_400:
            return timedelta(seconds=found)
    raise argparse.ArgumentTypeError(f"{text!r} is not a length of time: write it as 30m, 12h or 7d")


def moment_or_period(text: str) -> datetime | timedelta:
    """Return a time, in UTC unless it says another offset, or a length of time."""
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    try:
        return period(text)
    except argparse.ArgumentTypeError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a length of time (30m, 12h, 7d) nor a time (2024-01-15T06:00Z)"
        ) from None


def pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a regular expression: {error}") from None


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
