"""Python types that Pandera does not know: ``datetime.time`` and ``uuid.UUID`` as annotations of a column."""

from __future__ import annotations

import datetime
import uuid

from pandera.dtypes import immutable
from pandera.engines.pandas_engine import ArrowBinary, ArrowTime64, Engine


@Engine.register_dtype(equivalents=[datetime.time])
@immutable(init=True)
class Time(ArrowTime64):
    """A time of day in microseconds."""

    unit: str | None = "us"


@Engine.register_dtype(equivalents=[uuid.UUID])
@immutable(init=True)
class UUID(ArrowBinary):
    """The 16 bytes of a UUID."""

    length: int | None = 16
