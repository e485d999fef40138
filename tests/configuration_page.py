"""
The tables of keys of configuration files in ``docs``, written by ``python -m tests.configuration_page``.

They are made from the models that read the files: ``phlo.yaml`` and ``include/alerting/config.yaml``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import time, timedelta
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from airflow_provider_phlo.alerts.rules.conditions import Condition
from airflow_provider_phlo.alerts.rules.configuration import Configuration as AlertConfiguration
from airflow_provider_phlo.services.environment.configuration import Configuration

DOCS = Path(__file__).parents[1] / "docs"
#: The page of each file, and the model that reads it.
PAGES: dict[Path, type[BaseModel]] = {DOCS / "operations.md": Configuration, DOCS / "alerts.md": AlertConfiguration}
_BEGIN = "<!-- made by: python -m tests.configuration_page -->\n"
_END = "<!-- end -->\n"
_UNITS = (("d", 86_400), ("h", 3600), ("m", 60), ("s", 1))
_TYPES = {
    str: "text",
    int: "number",
    float: "number",
    bool: "`true` or `false`",
    timedelta: "length of time",
    Condition: "condition",
    time: "time of day",
}


def page(path: Path) -> str:
    """Return a page's text with the table as it has to be."""
    before, _, rest = path.read_text().partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise ValueError(f"{path} has no table: {_BEGIN.strip()} … {_END.strip()}")
    return before + _BEGIN + table(PAGES[path]) + _END + after


def table(model: type[BaseModel]) -> str:
    """Return the table of a file's keys."""
    rows = [("key", "value", "default", "what"), ("---",) * 4, *_rows(model, "")]
    return "\n" + "".join(f"| {' | '.join(row)} |\n" for row in rows) + "\n"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        kind = _kind(field)
        members = get_args(kind)
        if get_origin(kind) is dict and _is_model(members[1]):
            yield from _rows(members[1], f"{key}.NAME.")
        elif get_origin(kind) is list and _is_model(members[0]):
            yield from _rows(members[0], f"{key}[].")
        elif _is_model(kind):
            yield from _rows(kind, f"{key}.")
        else:
            yield f"`{key}`", _values(kind, field), _default(field), field.description or ""


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _kind(field: FieldInfo) -> Any:
    """Return what a value is; that it may be left out is its default."""
    kind = field.annotation
    if isinstance(kind, UnionType) or NoneType in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _values(kind: Any, field: FieldInfo) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{each}`" for each in get_args(kind))
    if get_origin(kind) is list:
        return f"list of {_words(get_args(kind)[0])}"
    if get_origin(kind) is dict:
        return "keys and values"
    bounds = {name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)}
    return f"{bounds['ge']} to {bounds['le']:,}" if len(bounds) == 2 else _words(kind)


def _words(kind: Any) -> str:
    return " or ".join(f"`{each.value}`" for each in kind) if issubclass(kind, Enum) else _TYPES[kind]


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default in (None, "", [], {}):
        return ""
    if isinstance(field.default, list):
        return f"`[{', '.join(field.default)}]`"
    if isinstance(field.default, timedelta):
        seconds = int(field.default.total_seconds())
        unit, size = next(each for each in _UNITS if not seconds % each[1])
        return f"`{seconds // size}{unit}`"
    return f"`{str(field.default).lower() if isinstance(field.default, bool) else field.default}`"


if __name__ == "__main__":
    for each in PAGES:
        each.write_text(page(each))
