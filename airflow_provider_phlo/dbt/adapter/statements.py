"""Which tables a statement changes: the SQL of hooks and operations, which dbt passes on as it is."""

from __future__ import annotations

import re

_NAME = r'(?:"(?:[^"]|"")+"|\w+)'
_VERBS = "|".join(
    (
        r"insert\s+(?:or\s+\w+\s+)?into",
        r"update",
        r"delete\s+from",
        r"merge\s+into",
        r"truncate(?:\s+table)?",
        r"copy",
        r"vacuum(?:\s+analyze)?",
        r"analyze",
        r"(?:create(?:\s+or\s+replace)?|alter|drop)\s+(?:table|(?P<view>view))",
    )
)
_CHANGE = re.compile(
    rf"\b(?:{_VERBS})\s+(?:if\s+(?:not\s+)?exists\s+)?(?P<name>{_NAME}(?:\s*\.\s*{_NAME})*)", re.IGNORECASE
)
_SCHEMA_DROP = re.compile(rf"\bdrop\s+schema\s+(?:if\s+exists\s+)?(?P<name>{_NAME}(?:\s*\.\s*{_NAME})*)", re.IGNORECASE)
_PART = re.compile(_NAME)


def changed_tables(sql: str) -> dict[str, bool]:
    """
    Return what statements create, change or drop, as ``schema.name`` in lower case, and whether as a table.

    A schema that is dropped is ``schema.*``. Words of comments and texts are taken for statements too: whoever asks may
    do more than is needed, never less.
    """
    found: dict[str, bool] = {}
    for match in _CHANGE.finditer(sql):
        parts = _parts(match["name"])
        if len(parts) > 1:
            name = ".".join(parts[-2:])
            found[name] = found.get(name, False) or match["view"] is None
    return found | {f"{_parts(match['name'])[-1]}.*": False for match in _SCHEMA_DROP.finditer(sql)}


def _parts(name: str) -> list[str]:
    return [part.strip('"').replace('""', '"').lower() for part in _PART.findall(name)]
