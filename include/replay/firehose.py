"""Generate GitHub's public events: one every ten seconds, by forty people, the same for the same moment."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

from include.replay.activity import Document, event_at

SLOT_SECONDS = 10
#: how many of the latest GitHub keeps in its answer
KEPT = 300
_PEOPLE = tuple(f"{kind}-{number}" for kind in ("ada", "grace", "linus", "margaret") for number in range(1, 11))
# now and then one is broken, and one has nobody who did it
_WITHOUT_ID, _WITHOUT_ACTOR = 97, 89


def public_events(now: datetime, seed: int) -> list[Document]:
    """Return the latest events at ``now``, the newest first."""
    newest = int(now.timestamp()) // SLOT_SECONDS
    return [_event(slot, seed) for slot in range(newest, newest - KEPT, -1)]


def _event(slot: int, seed: int) -> Document:
    rng = Random(f"{seed}/{slot}/public")
    # a few people do most of it, in spells
    moment = datetime.fromtimestamp(slot * SLOT_SECONDS, UTC)
    people = _PEOPLE if rng.random() < 0.3 else _PEOPLE[moment.hour :: 8]
    event = event_at(rng, moment, rng.choice(people))
    event["id"] = str(40_000_000_000 + slot)
    if slot % _WITHOUT_ID == 0:
        del event["id"]
    if slot % _WITHOUT_ACTOR == 0:
        del event["actor"]
    return event
