"""Bring a server's metadata to what is served: read, merge, replace, and once more if somebody was faster."""

from __future__ import annotations

import logging
import random

from airflow_provider_phlo.serving.hasura.merging import Merged, Scope, merge
from airflow_provider_phlo.serving.hasura.metadata import Metadata
from airflow_provider_phlo.serving.hasura.server import ConflictError, HasuraServer

log = logging.getLogger(__name__)

_ROUNDS = 5
_PAUSE_SECONDS = 0.2


def compare(server: HasuraServer, wanted: Metadata, scope: Scope) -> Merged:
    """Return what a server is to have, and what differs from what it has; nothing is changed."""
    return merge(server.export()[0], wanted, scope)


def track(server: HasuraServer, wanted: Metadata, scope: Scope) -> Merged:
    """
    Put what is served into a server's metadata, and return what was changed.

    :raises ConflictError: somebody was faster every time; nothing was changed.
    """
    for attempt in range(1, _ROUNDS + 1):
        current, version = server.export()
        merged = merge(current, wanted, scope)
        if not merged.differences:
            return merged
        try:
            server.replace(merged.document, version)
        except ConflictError:
            if attempt == _ROUNDS:
                raise
            log.info("Somebody has changed the metadata of Hasura meanwhile: read again")
            server.sleep(_PAUSE_SECONDS * attempt * (1 + random.random()))  # noqa: S311 - a pause
        else:
            return merged
    raise AssertionError("unreachable")
