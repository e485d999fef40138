"""When a file was written last, as the file systems of machines and of object stores say it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def modified_at(status: Any) -> datetime | None:
    """
    Return when a file was written last; None if that is not known, as of the folders of an object store.

    :param status: what the ``stat`` of a ``Path`` or an ``ObjectStoragePath`` returned: the time is a number, or with
        PyArrow's file systems a ``datetime``, or with Google's text.
    """
    moment = getattr(status, "st_mtime", None)
    if isinstance(moment, str):
        moment = datetime.fromisoformat(moment)
    if isinstance(moment, datetime):
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    return datetime.fromtimestamp(moment, UTC) if moment else None
