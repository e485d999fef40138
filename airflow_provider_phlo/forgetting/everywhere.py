"""Search all places, remove what is there, and search again: only that says that nothing is left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from airflow_provider_phlo.exceptions import CommitConflictError
from airflow_provider_phlo.forgetting.places import Found, Kind, Place

# a run that has begun before may bring rows back once; who brings them back again does not end
ROUNDS = 3


@dataclass(frozen=True)
class Finding:
    """
    What a search found in one place.

    :param name: of the place, as people call it.
    """

    kind: Kind
    name: str
    found: Found


def look(places: Sequence[Place]) -> list[Finding]:
    """
    Search all places; nothing is changed.

    :returns: one finding for each place, in their order; what a place is free of is empty.
    :raises PhloError: a place cannot be searched, or what is there could not be removed safely.
    """
    return [Finding(place.kind, place.name, place.find()) for place in places]


def forget(places: Sequence[Place], began: Callable[[Place], None] = lambda place: None) -> list[Finding]:
    """
    Remove what is in the places, one after the other, then search all of them again.

    :param began: is called with the place that is next.
    :returns: what is left: nothing, unless findings are true.
    :raises PhloError: it could not be done to the end; what was removed stays removed: call it again.
    """
    for place in places:
        began(place)
        if place.find():
            _erase(place)
    return look(places)


def _erase(place: Place) -> None:
    for _ in range(ROUNDS - 1):
        try:
            place.erase()
        except CommitConflictError:
            continue
        return
    place.erase()
