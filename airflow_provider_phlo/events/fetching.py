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


@dataclass(frozen=True)
class Fetched:
    """
    What a fetch did.

    :param events: new ones that are written.
    :param repeated: events that pages had more than once.
    :param batches: the names of the files.
    :param reason: why there are none.
    """

    events: int
    repeated: int
    batches: list[str]
    reason: str = ""

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
    found = read(known.get("etag"))
    batches = write_batches(folder, found.events, size=size) if found.events else []
    _remember(memory, {"source": source, "etag": found.etag, "not_before": clock() + found.poll_seconds})
    reason = "" if found.events else "GitHub has no new events."
    return Fetched(len(found.events), found.repeated, batches, reason)


def _recall(memory: Path, source: str) -> dict[str, Any]:
    try:
        known = json.loads(memory.read_text())
        valid = isinstance(known["etag"], str | None) and isinstance(known["not_before"], float)
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or cut off by a crash: read all
        return {}
    return known if valid and known.get("source") == source else {}


def _remember(memory: Path, known: dict[str, Any]) -> None:
    memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = memory.with_name(f".{uuid.uuid4().hex}.part")
    part.write_text(json.dumps(known))
    os.replace(part, memory)
