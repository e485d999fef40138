"""dbt's own functional tests for adapters (``dbt-tests-adapter``), on the embedded catalog."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import dbt.tests.adapter

from tests.services.dbt_suite.differences import ABSTRACT, IN_DUCKDB

PACKAGE = "dbt.tests.adapter"


def _classes() -> Iterator[tuple[str, type]]:
    """Yield every class of the package that has tests, with the folder and module it is in."""
    root = Path(next(iter(dbt.tests.adapter.__path__)))
    for path in sorted(root.rglob("*.py")):
        place = ".".join(path.relative_to(root).with_suffix("").parts)
        module = importlib.import_module(f"{PACKAGE}.{place}")
        for name, found in sorted(vars(module).items()):
            if not inspect.isclass(found) or found.__module__ != module.__name__:
                continue
            # classes named Test… are these with PostgreSQL's names
            if not name.startswith(("Test", "_")) and name not in ABSTRACT and _tests(found):
                yield place, found


def _tests(of: type) -> list[str]:
    return [name for name in dir(of) if name.startswith("test_") and isinstance(getattr(of, name), FunctionType)]


def _collected(of: type) -> type:
    adapted = IN_DUCKDB.get(of.__name__)
    return type(of.__name__, (adapted, of) if adapted else (of,), {"__module__": __name__})


globals().update({f"Test_{place.replace('.', '_')}__{of.__name__}": _collected(of) for place, of in _classes()})
