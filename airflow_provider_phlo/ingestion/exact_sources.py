"""
Let what a source reads as JSON keep its digits, and show names that occur twice.

requests and dlt parse JSON as most programs do: a number becomes the nearest float, of two values of one name the last
is taken. While a source runs, its answers and lines are read by :mod:`airflow_provider_phlo.exact_json` instead.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests

from airflow_provider_phlo.exact_json import RepeatedNames, members_of, read_number, read_quickly
from airflow_provider_phlo.exceptions import SourceRejectedError

_READERS = "dlt.sources.filesystem.readers"


class _Replacement:
    """Something else in the place of an attribute, as long as one of several threads wants it."""

    def __init__(self, new: Callable[[Any], Any]) -> None:
        self._new, self._lock, self._count, self._original = new, threading.Lock(), 0, None

    @contextmanager
    def __call__(self, owner: Any, name: str) -> Iterator[None]:
        with self._lock:
            if not self._count:
                self._original = getattr(owner, name)
                setattr(owner, name, self._new(self._original))
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1
                if not self._count:
                    setattr(owner, name, self._original)


def _exactly(original: Callable[..., Any]) -> Callable[..., Any]:
    def read(response: requests.Response, **arguments: Any) -> Any:
        found = original(response, **{"parse_float": read_number, "object_pairs_hook": members_of, **arguments})
        _require_plain_envelope(found)
        return found

    return read


def _require_plain_envelope(found: Any) -> None:
    """Refuse an answer in which an object that is in no list has a name twice: which of its lists is meant?"""
    level = [found]
    while level:
        if any(isinstance(each, RepeatedNames) for each in level):
            raise SourceRejectedError(
                "The source answered JSON in which an object around its records has the same name twice: parsers drop "
                "one of the two. Ask whoever makes it, or read response.text in the source."
            )
        level = [member for each in level if isinstance(each, dict) for member in each.values()]


class _ExactLines:
    """dlt's JSON, but for what its reader of lines calls."""

    loadb = staticmethod(read_quickly)

    def __init__(self, of_dlt: Any) -> None:
        self._of_dlt = of_dlt

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of_dlt, name)


_ANSWERS, _LINES = _Replacement(_exactly), _Replacement(_ExactLines)


@contextmanager
def exact_answers() -> Iterator[None]:
    """Let ``requests`` read JSON exactly, for dlt's ``rest_api`` and for whoever else asks with it."""
    with _ANSWERS(requests.Response, "json"):
        yield


@contextmanager
def exact_lines() -> Iterator[None]:
    """Let dlt's ``read_jsonl`` read JSON exactly, if it has been imported."""
    readers = sys.modules.get(_READERS)
    if readers is None:
        yield
        return
    with _LINES(readers, "json"):
        yield
