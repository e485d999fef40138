"""Regular expressions that contracts have: the short form's match a whole text, the standard's are found in it."""

from __future__ import annotations

import re

_WHOLE = re.compile(r"\^\(\?:(.*)\)\$", re.DOTALL)
# ^abc$ is the same, unless its ends belong to alternatives or are escaped
_PLAIN_WHOLE = re.compile(r"\^([^|]*[^\\|])\$", re.DOTALL)
_ANYWHERE = re.compile(r"\[\\s\\S\]\*\(\?:(.*)\)\[\\s\\S\]\*", re.DOTALL)


def found_in_text(whole: str) -> str:
    """Return the expression that is found in a text which ``whole`` matches from one end to the other."""
    anywhere = _ANYWHERE.fullmatch(whole)
    return anywhere[1] if anywhere else f"^(?:{whole})$"


def of_whole_text(pattern: str) -> str:
    """Return the expression that matches a text from one end to the other if ``pattern`` is found in it."""
    return whole_part(pattern) or f"[\\s\\S]*(?:{pattern})[\\s\\S]*"


def whole_part(pattern: str) -> str | None:
    """Return what is between the ends if an expression is about both ends of a text; else None."""
    found = _WHOLE.fullmatch(pattern) or _PLAIN_WHOLE.fullmatch(pattern)
    return found[1] if found else None


def same_pattern(pattern: str | None) -> str | None:
    """Return an expression as one of those that mean the same."""
    whole = whole_part(pattern) if pattern is not None else None
    return pattern if whole is None else f"^(?:{whole})$"
