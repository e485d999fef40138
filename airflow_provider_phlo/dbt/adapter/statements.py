"""Which tables SQL changes, and which it names: dbt passes on what models, hooks and macros say, as it is."""

from __future__ import annotations

import re
from itertools import pairwise

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
_MADE_VIEW = re.compile(
    rf"\bcreate\s+(?:or\s+replace\s+)?view\s+(?:if\s+not\s+exists\s+)?(?P<name>{_NAME}(?:\s*\.\s*{_NAME})*)",
    re.IGNORECASE,
)
_KEPT_SEQUENCE = re.compile(
    rf"\bcreate\s+sequence\s+if\s+not\s+exists\s+(?P<name>{_NAME}(?:\s*\.\s*{_NAME})*)", re.IGNORECASE
)
_PART = re.compile(_NAME)
_QUALIFIED = re.compile(rf"{_NAME}(?:\s*\.\s*{_NAME})+")
# what dbt's own macros ask is in ``system.information_schema``
_LISTS = re.compile(
    r"(?<!system\.)\binformation_schema\b|\bduckdb_(?:tables|views|columns)\b|\bpg_(?:catalog|tables|views|class)\b"
    r"|\bsqlite_master\b|\bshow\s+(?:all\s+)?tables\b",
    re.IGNORECASE,
)


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


def made_views(sql: str) -> set[str]:
    """Return the views that statements make, as ``schema.name`` in lower case."""
    return {".".join(["main", *_parts(match["name"])][-2:]) for match in _MADE_VIEW.finditer(sql)}


def kept_sequence(sql: str) -> str | None:
    """Return the name of a sequence that SQL expects to go on from an earlier run, if it makes one."""
    match = _KEPT_SEQUENCE.search(sql)
    return match and match["name"]


def named_tables(sql: str) -> set[str]:
    """Return what may be names of tables in SQL or Python, as ``schema.name`` in lower case: columns, too."""
    found: set[str] = set()
    for match in _QUALIFIED.finditer(sql):
        parts = _parts(match[0])
        found.update(f"{schema}.{name}" for schema, name in pairwise(parts))
    return found


def lists_tables(sql: str) -> bool:
    """Return whether SQL asks which tables there are."""
    return _LISTS.search(sql) is not None


def _parts(name: str) -> list[str]:
    return [part.strip('"').replace('""', '"').lower() for part in _PART.findall(name)]
