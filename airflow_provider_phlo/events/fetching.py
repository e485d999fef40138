"""Fetch the public events that are new, as batches; remember what GitHub says about the next time."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from airflow_provider_phlo.events.batches import BATCH_SIZE, write_batches
from airflow_provider_phlo.sources.github_events import MOST_POLL_SECONDS, PublicEvents

# a run that comes too early waits as long as this
PATIENCE_SECONDS = 120.0
# GitHub has been seen to answer 304 although there was news; after so long without any, its ETag is not believed
_ETAG_SECONDS = 3600.0


@dataclass(frozen=True)
class Fetched:
    """
    What a fetch did.

    :param events: new ones that are written.
    :param repeated: events that pages had more than once.
    :param batches: the names of the files.
    :param reason: why there are none.
    :param gap: the reading before has none of these events: what happened in between was not to be had any more.
    """

    events: int
    repeated: int
    batches: list[str]
    reason: str = ""
    gap: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


def fetch_events(
    read: Callable[[str | None], PublicEvents],
    folder: Any,
    memory: Path,
    *,
    source: str = "",
    size: int = BATCH_SIZE,
    patience_seconds: float = PATIENCE_SECONDS,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """
    Read what is new and write it as batches.

    What GitHub says is remembered once the batches are written: after a crash in between they are read again, and the
    loader knows them by their ids.

    :param read: reads the events that are new since an ETag.
    :param folder: where batches go.
    :param memory: the file that remembers the ETag, and until when GitHub asks not to be polled.
    :param source: the API root; what another one said is forgotten.
    :param size: events in one batch.
    :param patience_seconds: how long to wait where that is not over; beyond it, nothing is read.
    """
    known = _recall(memory, source)
    early = float(known.get("not_before", 0.0)) - clock()
    if early > MOST_POLL_SECONDS:  # nobody asked for that: the clock was set back
        early = 0.0
    if early > patience_seconds:
        return Fetched(0, 0, [], f"GitHub asks not to be polled for another {early:.0f} s.")
    if early > 0:
        sleep(early)
    now = clock()
    read_at = float(known.get("read_at", 0.0))
    believed = 0 <= now - read_at <= _ETAG_SECONDS
    found = read(known.get("etag") if believed else None)
    # an id that is not text, which only a server of its own sends, cannot be known
    ids = [id_ if isinstance(id_ := event.get("id"), str) else None for event in found.events]
    seen = set(known.get("ids", ()))
    events = [] if seen.issuperset(ids) else found.events
    batches = write_batches(folder, events, size=size) if events else []
    _remember(
        memory,
        {
            "source": source,
            "etag": found.etag,
            "not_before": clock() + found.poll_seconds,
            "read_at": now if found.modified else read_at,
            "ids": [each for each in ids if each is not None] or sorted(seen),
        },
    )
    gap = bool(events) and bool(seen) and seen.isdisjoint(ids)
    return Fetched(len(events), found.repeated, batches, "" if events else "GitHub has no new events.", gap)


def _recall(memory: Path, source: str) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_text())
        valid = (
            isinstance(known["etag"], str | None)
            and isinstance(known["not_before"], float)
            and isinstance(known.get("read_at", 0.0), float)
            and all(isinstance(each, str) for each in known.get("ids", ()))
        )
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or cut off by a crash: read all
        return {}
    return known if valid and known.get("source") == source else {}


def _remember(memory: Path, known: dict[str, Any]) -> None:
    memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = memory.with_name(f".{uuid.uuid4().hex}.part")
    part.write_text(json.dumps(known))
    os.replace(part, memory)
