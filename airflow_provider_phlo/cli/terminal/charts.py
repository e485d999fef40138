"""Small charts of text."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"


def bars(values: Sequence[float], width: int) -> list[str]:
    """
    Return a bar for each value; the largest is as wide as there is room, and what is not zero can be seen.

    :param values: none of them negative.
    :param width: in characters.
    """
    most = max(values, default=0)
    return [_bar(value / most * width if most else 0, shown=value > 0) for value in values]


def _bar(length: float, *, shown: bool) -> str:
    eighths = max(round(length * 8), int(shown))
    whole, rest = divmod(eighths, 8)
    return _FULL * whole + (_EIGHTHS[rest] if rest else "")
