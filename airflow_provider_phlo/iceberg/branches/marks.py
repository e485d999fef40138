"""
The mark of a run: a table property that says that the run has published; it makes a retry a no-op.

The newest marks are a property each. Older ones are packed, a hundred into one property, and packs go by age and
number: metadata is written with every commit, and a table may have thousands of runs in a week.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from pyiceberg.table import Table

from airflow_provider_phlo.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.terms import Token

VERSION = 1
MARK_PREFIX = "phlo.run."
# packed marks: how many runs, when the newest of them published, and which
PACK_PREFIX = "phlo.runs."
# A retry comes within days; marks beyond both limits only make the metadata larger.
MARKS_KEPT = 100
MARK_DAYS = 7
# this many are packed together, once there are that many beyond those kept
PACKED_TOGETHER = 100
# ten thousand marks: a week of a run a minute
PACKS_KEPT = 100


@dataclass(frozen=True)
class Mark:
    """
    That a run has published.

    :param at: when, in milliseconds since 1970.
    :param result: what the run returned, a small JSON object.
    """

    at: int
    result: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the value of the table property."""
        return json.dumps({VERSION_FIELD: VERSION, "at": self.at, "result": dict(self.result)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Mark:
        """
        Return the mark that :meth:`to_json` wrote.

        :raises ConfigurationError: if a newer release wrote it.
        """
        content = json.loads(text)
        require_known_version(content, VERSION, "The mark of a run")
        return cls(int(content["at"]), content["result"])


def find_published_result(table: Table, token: Token) -> dict[str, Any] | None:
    """
    Return what the run with ``token`` published into ``table``, or None if it has not published.

    :raises ConfigurationError: if a newer release wrote its mark.
    """
    mark = table.properties.get(MARK_PREFIX + token) or _packed(table.properties, token)
    return dict(Mark.from_json(mark).result) if mark else None


def all_marks(properties: Mapping[str, str]) -> dict[str, str]:
    """Return the marks of a table, packed ones as well, by the name that each has or had as a property."""
    found: dict[str, str] = {}
    for name, value in properties.items():
        if name.startswith(PACK_PREFIX):
            found.update({MARK_PREFIX + token: mark for token, mark in _unpack(value).items()})
    return found | {name: value for name, value in properties.items() if name.startswith(MARK_PREFIX)}


def mark_properties(properties: Mapping[str, str]) -> set[str]:
    """Return the names of the properties that hold marks."""
    return {name for name in properties if name.startswith((MARK_PREFIX, PACK_PREFIX))}


def tidy_marks(properties: Mapping[str, str], now: int) -> tuple[dict[str, str], list[str]]:
    """
    Return what to set and what to remove, so that the marks of a table stay few and small.

    Kept are the marks of the newest :data:`MARKS_KEPT` runs, and of all runs of the last :data:`MARK_DAYS` days, up to
    :data:`PACKS_KEPT` packs. Those of a newer release are left to it.

    :param now: in milliseconds since 1970.
    """
    oldest = now - MARK_DAYS * 86_400_000
    surplus = _beyond_kept(properties)
    stale = [name for name, at in surplus if at < oldest]
    young = [(name, at) for name, at in surplus if at >= oldest]
    added: dict[str, str] = {}
    if len(young) >= PACKED_TOGETHER:
        pack = {name.removeprefix(MARK_PREFIX): properties[name] for name, _ in young}
        newest = young[0][1]
        while f"{PACK_PREFIX}{newest}" in properties:  # another pack whose newest run published in that millisecond
            newest += 1
        added[f"{PACK_PREFIX}{newest}"] = _pack(pack)
        stale += [name for name, _ in young]
    packs = sorted((name for name in {*properties, *added} if name.startswith(PACK_PREFIX)), key=_newest, reverse=True)
    stale += [name for number, name in enumerate(packs) if number >= PACKS_KEPT or _newest(name) < oldest]
    return added, stale


def _beyond_kept(properties: Mapping[str, str]) -> list[tuple[str, int]]:
    """Return the marks that are properties of their own beyond the number of those, newest first."""
    names = [name for name in properties if name.startswith(MARK_PREFIX)]
    if len(names) <= MARKS_KEPT:
        return []
    found = {name: orjson.loads(properties[name]) for name in names}
    readable = {name: int(mark["at"]) for name, mark in found.items() if mark.get(VERSION_FIELD, 1) <= VERSION}
    return sorted(readable.items(), key=lambda item: (item[1], item[0]), reverse=True)[MARKS_KEPT:]


def _newest(name: str) -> int:
    """Return when the newest run of a pack published."""
    return int(name.removeprefix(PACK_PREFIX))


def _pack(marks: Mapping[Token, str]) -> str:
    packed = base64.b64encode(zlib.compress(json.dumps(marks).encode())).decode()
    # tokens as they are, so that a run that is not there is seen without unpacking
    return f"{json.dumps(list(marks))}\n{packed}"


def _unpack(value: str) -> dict[Token, str]:
    marks: dict[Token, str] = json.loads(zlib.decompress(base64.b64decode(value.rpartition("\n")[2])))
    return marks


def _packed(properties: Mapping[str, str], token: Token) -> str | None:
    quoted = json.dumps(token)
    packs: Iterator[str] = (value for name, value in properties.items() if name.startswith(PACK_PREFIX))
    # what is packed has no quotes
    return next((_unpack(value)[token] for value in packs if quoted in value), None)
