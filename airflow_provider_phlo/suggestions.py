"""Which word somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable


def did_you_mean(word: str, known: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """
    Return a question that names the known words nearest to ``word``, in either case; nothing if none is near.

    :param shown: how a word is written in it, such as quoted for a shell.
    """
    known = list(known)
    near = difflib.get_close_matches(word, known, 2, 0.6)
    if not near:
        spellings = {each.casefold(): each for each in known}
        near = [spellings[each] for each in difflib.get_close_matches(word.casefold(), list(spellings), 2, 0.6)]
    return f" Did you mean {' or '.join(map(shown, near))}?" if near else ""
