"""How a task that fails says so in its log: once, in our words, without a stack of frames."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

from airflow_provider_phlo.exceptions import PhloError

_SAYS_IT_ALL = "_phlo_says_it_all"


def says_it_all(error: Exception) -> Exception:
    """Return ``error``, which the log will show as its message only, though its class is Airflow's."""
    setattr(error, _SAYS_IT_ALL, True)
    return error


def say_failures_plainly() -> None:
    """
    Have Airflow's log of this process show an error of this package as its message.

    Airflow logs every failure with all frames, most of which are its own. Frames are logged on the level DEBUG instead,
    see :class:`~airflow_provider_phlo.operators.base.PhloOperator`.
    """
    import structlog

    processors = structlog.get_config()["processors"]
    if _without_frames not in processors:
        processors.insert(0, _without_frames)


def _without_frames(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    error = _error(event.get("exc_info"))
    if isinstance(error, PhloError) or getattr(error, _SAYS_IT_ALL, False):
        del event["exc_info"]
        event["event"] = str(error)
    return event


def _error(given: Any) -> BaseException | None:
    """Return the error that a log event is about, in whichever way it was given."""
    if isinstance(given, BaseException):
        return given
    if isinstance(given, tuple):
        return given[1] if len(given) > 1 else None
    return sys.exc_info()[1] if given else None
