"""What every place has in common where rows of a person may be: look for them, remove them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Kind(StrEnum):
    """What a place is."""

    TABLE = "table"
    QUARANTINE = "quarantine"
    STAGING = "staging"
    MART = "mart"
    EXPORT = "export"
    RESULTS = "results"


@dataclass(frozen=True)
class Found:
    """
    What a search found in one place.

    :param amounts: how much of what, for example rows, files, snapshots; what there is none of is left out.
    :param notes: what removing it does beside that, or does not.
    :param waits: what cannot be removed yet, and when it can be.
    """

    amounts: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    waits: str = ""

    def __bool__(self) -> bool:
        return any(self.amounts.values()) or bool(self.waits)


class Place(Protocol):
    """One place; ``find`` and ``erase`` may be called any number of times, also after a crash in the middle."""

    @property
    def kind(self) -> Kind:
        """Return what it is."""

    @property
    def name(self) -> str:
        """Return what people call it."""

    def find(self) -> Found:
        """
        Search what is there physically; nothing is changed.

        :raises PhloError: it cannot be searched, or what is there could not be removed safely.
        """

    def erase(self) -> None:
        """
        Remove what :meth:`find` finds.

        :raises PhloError: it could not be done to the end: call it again.
        """
