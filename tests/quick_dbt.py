"""
dbt in tests does what it does elsewhere, with less work.

What it spends most of a small project's time on is the same for every project: each start looks for the source text of
its callers, and its files of JSON are encoded in Python.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
from dbt_common import behavior_flags
from dbt_common.clients import system


@pytest.fixture(scope="session", autouse=True)
def quick_dbt() -> Iterator[None]:
    """Find the caller's name without its source, and encode JSON at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(behavior_flags.BehaviorFlagRendered, "_default_source", staticmethod(_caller))
        patch.setattr(system, "json", SimpleNamespace(load=json.load, loads=json.loads, dump=_dump))
        yield


def _caller() -> str:
    frame = inspect.currentframe()
    while frame is not None and (name := frame.f_globals.get("__name__")) in (__name__, behavior_flags.__name__):
        frame = frame.f_back
    return "Unknown" if frame is None else str(name)


def _dump(data: Any, file: TextIO, cls: type[json.JSONEncoder] | None = None) -> None:
    file.write(json.dumps(data, cls=cls))
