"""What the headers of an answer say about the next page and about waiting, however a server writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# What GitHub asks for when a limit names no time.
UNSTATED_LIMIT_SECONDS = 60.0
# Later moments than this one, in the year 5138, are written in milliseconds or finer.
LATEST_EPOCH_SECONDS = 1e11
# Earlier ones, of 1973, are not moments but seconds from now.
EARLIEST_EPOCH_SECONDS = 1e8

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
# The parts of RFC 8288: each is tried at one position only, so the time is linear in the length of the header.
_SEPARATORS = re.compile(r"[\s,]*")
_TARGET = re.compile(r"<([^>]*)>")
_SEMICOLON = re.compile(r"\s*;\s*")
_NAME = re.compile(r"[^\s=;,\"]*")
_EQUALS = re.compile(r"\s*=\s*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_WORD = re.compile(r"[^\s;,\"]*")
_END = re.compile(r"\s*(?:,|$)")


def next_link(value: str) -> str | None:
    """
    Return the target of the link ``rel="next"`` in a ``Link`` header, None when there is none.

    ``rel`` may hold several relations, in any case. Links about something else (``anchor``) do not count.

    :raises ValueError: the header does not follow RFC 8288, section 3: it may name a page that nobody could find.
    """
    for target, parameters in _links(value):
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            return target
    return None


def _links(value: str) -> Iterator[tuple[str, dict[str, str]]]:
    position = _at(_SEPARATORS, value, 0).end()
    while position < len(value):
        target = _at(_TARGET, value, position)
        parameters, position = _parameters(value, target.end())
        yield target[1].strip(), parameters
        position = _at(_SEPARATORS, value, _at(_END, value, position).end()).end()


def _parameters(value: str, position: int) -> tuple[dict[str, str], int]:
    found: dict[str, str] = {}
    while semicolon := _SEMICOLON.match(value, position):
        name = _at(_NAME, value, semicolon.end())
        text, position = "", name.end()
        if equals := _EQUALS.match(value, position):
            quoted = _QUOTED.match(value, equals.end())
            word = quoted or _at(_WORD, value, equals.end())
            text = re.sub(r"\\(.)", r"\1", word[1]) if quoted else word[0].strip("'")
            position = word.end()
        # the first one counts
        found.setdefault(name[0].lower(), text)
    return found, position


def _at(pattern: re.Pattern[str], value: str, position: int) -> re.Match[str]:
    found = pattern.match(value, position)
    if found is None:
        raise ValueError("not a Link header")
    return found


def limit_seconds(headers: Mapping[str, str], now: float) -> float:
    """Return for how long a rate-limited client has to wait."""
    wait = retry_after(headers, now)
    if wait is not None:
        return wait
    reset = reset_moment(headers, now)
    if reset is not None and headers.get("X-RateLimit-Remaining", "0").strip() == "0":
        return max(reset - now, 0.0)
    return UNSTATED_LIMIT_SECONDS


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, None when it is absent or not to be understood."""
    value = headers.get("Retry-After", "").strip()
    seconds = _number(value)
    if seconds is not None:
        return seconds
    moment = _date(value)
    return None if moment is None else max(moment - now, 0.0)


def reset_moment(headers: Mapping[str, str], now: float) -> float | None:
    """Return when ``X-RateLimit-Reset`` lifts the limit, in epoch seconds: it may be written in s, ms or finer."""
    value = headers.get("X-RateLimit-Reset", "").strip()
    moment = _number(value)
    if moment is None:
        return _date(value)
    if moment < EARLIEST_EPOCH_SECONDS:
        return now + moment
    for _ in range(3):
        moment = moment / 1000 if moment > LATEST_EPOCH_SECONDS else moment
    return moment


def moment_at(now: float, wait: float) -> datetime | None:
    """Return the moment that is this many seconds away, None where no calendar has it."""
    try:
        return datetime.fromtimestamp(now + wait, UTC)
    except (OverflowError, ValueError, OSError):
        return None


def moment_text(now: float, wait: float) -> str:
    """Return the moment that is this many seconds away, and the distance, as text for messages; any number will do."""
    moment = moment_at(now, wait)
    if moment is None:
        return "in more than 1,000 years, says the server"
    return f"at {moment:%Y-%m-%dT%H:%M:%SZ}, in {wait:.0f} s"


def _number(value: str) -> float | None:
    return float(value) if _NUMBER.fullmatch(value) else None


def _date(value: str) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
