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
