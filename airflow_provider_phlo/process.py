"""What imports change for the whole process, and how it is kept from deciding what is stored."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Arrow reads it at every conversion of Python values: anything but "" makes 01:00+02:00 the instant 01:00Z
_IGNORE_OFFSETS = "PYARROW_IGNORE_TIMEZONE"
_FOR_SPARK = (_IGNORE_OFFSETS, "SPARK_LOCAL_IP")


def keep_offsets() -> None:
    """
    Let Arrow convert times with the offsets that they have, whatever is imported later.

    Pandera sets a variable of the environment against it when it is imported, for the sake of Spark, but only where
    there is none: an empty one, which Arrow takes for none, keeps it from doing so.
    """
    os.environ[_IGNORE_OFFSETS] = ""


@contextmanager
def process_as_before() -> Iterator[None]:
    """Undo what imports of libraries change for others: variables for Spark, handlers of the root logger."""
    root = logging.getLogger()
    variables, handlers = {name: os.environ.get(name) for name in _FOR_SPARK}, list(root.handlers)
    try:
        yield
    finally:
        for name, value in variables.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        root.handlers[:] = handlers


# what Cosmos logs as a warning where there is no OpenLineage, and Airflow where Cosmos asks for its setting
_OF_COSMOS = {
    "cosmos.operators.local": "To enable emitting Openlineage events",
    # of seeds, which it looks for beside the manifest; what it is for is not used
    "cosmos.fs": "Unable to read file",
    "airflow.sdk._shared.configuration.parser": "section/key [openlineage/",
    "airflow._shared.configuration.parser": "section/key [openlineage/",
}


@contextmanager
def without_warnings_of_cosmos() -> Iterator[None]:
    """Leave out the warnings of Cosmos, and of what it imports, about what is missing and nobody uses."""
    filters = {logging.getLogger(name): _Without(start) for name, start in _OF_COSMOS.items()}
    for logger, without in filters.items():
        logger.addFilter(without)
    try:
        yield
    finally:
        for logger, without in filters.items():
            logger.removeFilter(without)


class _Without(logging.Filter):
    """Leaves out messages that begin with a text."""

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(self._start)
