"""
dbt in tests does what it does elsewhere, with less work.

What it spends most of a small project's time on is the same for every project: each start looks for the source text of
its callers, and its files of JSON are encoded in Python.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, TextIO

import pytest
from dbt_common import behavior_flags
from dbt_common.clients import system


@pytest.fixture(scope="session", autouse=True)
def quick_dbt() -> Iterator[None]:
    """Name the adapters as a flag's source, as tasks do, and encode JSON at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(behavior_flags.BehaviorFlagRendered, "_default_source", staticmethod(lambda: "dbt.adapters"))
        patch.setattr(system, "json", SimpleNamespace(load=json.load, loads=json.loads, dump=_dump))
        yield


def _dump(data: Any, file: TextIO, cls: type[json.JSONEncoder] | None = None) -> None:
    file.write(json.dumps(data, cls=cls))
