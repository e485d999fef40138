"""
dlt's state of a table's sources, when several runs are under way: what each read on, and what stands after both.

A run reads its source from where the table's state says, and sets the state when it publishes. Another run that
publishes in between has read from the same place: their rows may be the same, and neither state knows of the other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

# what dlt keeps for a resource, by source, "resources" and name; what it keeps for a source itself, by source and key
_Entry: TypeAlias = tuple[str, ...]
_RESOURCES, _CURSORS = "resources", "incremental"


def reads_on(state: str, cursors: Iterable[tuple[str, str | None]]) -> bool:
    """
    Return whether resources read on from ``state``: what they yield is only what is new since then.

    :param state: dlt's state before they were read, as its own JSON; empty for none.
    :param cursors: the resources' names, each with the cursors that it keeps state for; None for what else it keeps.
    """
    entries = _entries(state)
    for resource, cursor in cursors:
        for entry, content in entries.items():
            if entry[1:] == (_RESOURCES, resource) and (
                cursor in content.get(_CURSORS, {}) if cursor is not None else content.keys() - {_CURSORS}
            ):
                return True
    return False


def advanced_by_both(before: str, after: str, present: str) -> list[str]:
    """
    Return the cursors, as ``resource.cursor``, that a run has moved, and others since its source was read.

    :param before: the state on which the run read its source.
    :param after: the state that it left.
    :param present: the state that the table has now.
    """
    if before == present:
        return []
    old, mine, others = (dict(_cursors(state)) for state in (before, after, present))
    moved = (name for name, value in mine.items() if value != old.get(name))
    return sorted(".".join(name[1:]) for name in moved if name in others and others[name] != old.get(name))


def merged(before: str, after: str, present: str) -> str:
    """Return ``present`` with what a run has changed from ``before`` to ``after``; others' resources stay."""
    if before == present:
        return after
    old, mine, entries = _entries(before), _entries(after), dict(_entries(present))
    entries.update((entry, value) for entry, value in mine.items() if value != old.get(entry))
    for entry in old.keys() - mine.keys():
        if entries.get(entry) == old[entry]:
            del entries[entry]
    sources: dict[str, dict[str, Any]] = {}
    for (source, *path), value in entries.items():
        content = sources.setdefault(source, {})
        for step in path[:-1]:
            content = content.setdefault(step, {})
        content[path[-1]] = value
    return json.dumps(sources) if sources else ""


def _entries(state: str) -> Mapping[_Entry, Any]:
    found: dict[_Entry, Any] = {}
    for source, content in (json.loads(state) if state else {}).items():
        for key, value in content.items():
            if key == _RESOURCES:
                found.update({(source, key, name): kept for name, kept in value.items()})
            else:
                found[source, key] = value
    return found


def _cursors(state: str) -> Iterator[tuple[_Entry, Any]]:
    for entry, content in _entries(state).items():
        if entry[1] == _RESOURCES:
            for cursor, value in content.get(_CURSORS, {}).items():
                yield (entry[0], entry[2], cursor), value
