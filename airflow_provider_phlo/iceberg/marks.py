"""The mark of a run: a table property that says that the run has published; it makes a retry a no-op."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyiceberg.table import Table

from airflow_provider_phlo.iceberg.formats import VERSION_FIELD, require_known_version
from airflow_provider_phlo.terms import Token

VERSION = 1
MARK_PREFIX = "phlo.run."
# A retry comes within days; marks beyond both limits only make the metadata larger.
MARKS_KEPT = 100
MARK_DAYS = 7


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
    mark = table.properties.get(MARK_PREFIX + token)
    return dict(Mark.from_json(mark).result) if mark else None


def stale_marks(properties: Mapping[str, str], now: int) -> list[str]:
    """
    Return the names of the marks that are no longer needed; those of a newer release are left to it.

    :param now: in milliseconds since 1970.
    """
    found = {name: json.loads(value) for name, value in properties.items() if name.startswith(MARK_PREFIX)}
    readable = {name: mark for name, mark in found.items() if mark.get(VERSION_FIELD, 1) <= VERSION}
    marks = sorted(((mark["at"], name) for name, mark in readable.items()), reverse=True)
    return [name for at, name in marks[MARKS_KEPT:] if now - at > MARK_DAYS * 86_400_000]
