"""Which word somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question that names the known words nearest to ``word``; nothing if none is near."""
    near = difflib.get_close_matches(word, list(known), 2, 0.6)
    return f" Did you mean {' or '.join(near)}?" if near else ""
