"""What of a table has been sent, written at the table in OpenMetadata: its ``sourceHash``, of at most 32 characters."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields

_MARK = re.compile(r"p1((?:[0-9a-f]{6}|-{6}){5})")
_NONE = "-" * 6


@dataclass(frozen=True)
class Mark:
    """
    Hashes of what has been sent; empty where nothing has.

    :param docs: of all descriptions, as they were after that.
    :param profile: of the snapshot whose counts were sent.
    """

    docs: str = ""
    profile: str = ""
    lineage: str = ""
    quality: str = ""
    contracts: str = ""

    @classmethod
    def read(cls, text: str | None) -> Mark:
        """Return what a table's ``sourceHash`` says; nothing if others have written it."""
        found = _MARK.fullmatch(text or "")
        if found is None:
            return cls()
        parts = [found[1][start : start + 6] for start in range(0, 30, 6)]
        return cls(*("" if part == _NONE else part for part in parts))

    def __str__(self) -> str:
        return "p1" + "".join(asdict(self)[item.name] or _NONE for item in fields(self))
