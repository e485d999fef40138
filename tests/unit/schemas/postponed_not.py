"""Models whose annotations are objects, not text: no ``from __future__ import annotations`` here."""

from typing import ClassVar

from pandera.pandas import Field

from airflow_provider_phlo.schemas import PhloSchema


class Reading(PhloSchema):
    _id: str = Field(unique=True)
    value: int
    _limit: ClassVar[int] = 5
    _bare: ClassVar = 5


class Inherited(Reading):
    _tag: str | None = Field(nullable=True)
