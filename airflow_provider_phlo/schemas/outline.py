"""The columns of a model as its author wrote them, read without importing what imports Pandera."""

from __future__ import annotations

import ast
import importlib.machinery
import sys
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

_BASES = frozenset({"PhloSchema", "DataFrameModel", "SchemaModel", "BaseConfig", "object"})


def written_columns(schema: Any) -> dict[str, str]:
    """
    Return the columns of a model and their types, as its source has them; none if that cannot be read.

    ::

        written_columns("include.schemas.glucose:RawGlucoseEntries")  # {"_id": "str", "sgv": "int", …}

    :param schema: a Pandera model, or ``"package.module:Class"``, which is not imported.
    """
    if not isinstance(schema, str):
        return _of_class(schema)
    module, _, name = schema.partition(":")
    path = _path(module)
    return _of_source(_classes(path, path.stat().st_mtime_ns), name) if path else {}


def _of_class(model: Any) -> dict[str, str]:
    columns: dict[str, str] = {}
    for base in reversed(getattr(model, "__mro__", ())):
        if base.__name__ not in _BASES:
            columns |= {name: _text(kind) for name, kind in vars(base).get("__annotations__", {}).items()}
    return {name: kind for name, kind in columns.items() if _is_column(name, kind)}


def _text(kind: Any) -> str:
    return kind if isinstance(kind, str) else kind.__name__ if type(kind) is type else str(kind)


def _of_source(classes: Mapping[str, ast.ClassDef], name: str) -> dict[str, str]:
    model = classes.get(name)
    if model is None:
        return {}
    columns: dict[str, str] = {}
    for base in model.bases:  # those of other files are left out
        if isinstance(base, ast.Name) and base.id not in _BASES and base.id != name:
            columns |= _of_source(classes, base.id)
    own = [item for item in model.body if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)]
    columns |= {item.target.id: ast.unparse(item.annotation) for item in own if isinstance(item.target, ast.Name)}
    return {name: kind for name, kind in columns.items() if _is_column(name, kind)}


def _is_column(name: str, kind: str) -> bool:
    return not name.startswith("__") and not kind.startswith(("ClassVar", "typing.ClassVar"))


@lru_cache(maxsize=64)
def _classes(path: Path, _modified: int) -> dict[str, ast.ClassDef]:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return {}
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _path(module: str) -> Path | None:
    """Return the file of a module; its packages are not imported either."""
    known = sys.modules.get(module)
    if known is not None:
        return Path(known.__file__) if known.__file__ else None
    places: list[str] | None = None
    for name in module.split("."):
        spec = importlib.machinery.PathFinder.find_spec(name, places)
        if spec is None:
            return None
        places = list(spec.submodule_search_locations or ())
    return Path(spec.origin) if spec is not None and spec.origin else None
