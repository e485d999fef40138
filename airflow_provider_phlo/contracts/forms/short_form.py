"""The short form of a contract: one table, its required columns, service levels and consumers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from airflow_provider_phlo.contracts.model.contract import (
    Bounds,
    Column,
    Consumer,
    Contract,
    Form,
    Promise,
    ServiceLevel,
    is_personal,
)
from airflow_provider_phlo.contracts.model.patterns import found_in_text
from airflow_provider_phlo.contracts.model.types import known_types, promised_type
from airflow_provider_phlo.suggestions import did_you_mean
from airflow_provider_phlo.yaml_lines import Document
from airflow_provider_phlo.yaml_models import checked

_VERSION = re.compile(r"\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Constraints(_Part):
    """What holds for the values of a column."""

    required: bool = Field(False, description="A value in every row")
    unique: bool = Field(False, description="No value twice")
    min: Any = Field(None, description="The least value")
    max: Any = Field(None, description="The greatest value")
    min_length: int | None = Field(None, ge=0, description="The least number of characters")
    max_length: int | None = Field(None, ge=0, description="The most characters")
    pattern: str | None = Field(None, description="A regular expression that the whole text matches")
    allowed_values: list[Any] | None = Field(None, description="The only values", min_length=1)

    @model_validator(mode="after")
    def _check_order(self) -> Constraints:
        if any(isinstance(end, float) and not math.isfinite(end) for end in (self.min, self.max)):
            raise ValueError("a bound has to be a finite number")
        for low, high in ((self.min, self.max), (self.min_length, self.max_length)):
            if low is None or high is None:
                continue
            try:
                wrong = low > high
            except TypeError:
                raise ValueError("min and max cannot be compared: write two numbers, two dates or two texts") from None
            if wrong:
                raise ValueError("no value is at least min and at most max")
        return self


class RequiredColumn(_Part):
    """A column that readers may rely on."""

    name: str = Field(description="As in the table", min_length=1)
    type: str | None = Field(None, description="long, string, timestamp, decimal(9, 2), …")
    description: str = Field("", description="What it holds")
    constraints: Constraints = Field(Constraints(), description="What holds for its values")
    pii: bool = Field(False, description="Whether it holds personal data")
    classification: str | None = Field(None, description="Such as public or restricted")
    tags: list[str] = Field([], description="Words to find it by")

    @field_validator("type")
    @classmethod
    def _check_type(cls, text: str | None) -> str | None:
        if text is not None and promised_type(text) is None:
            hint = did_you_mean(text, known_types()) or " Write long, string, timestamp, list<string> and so on."
            raise ValueError(f"{text} is not a type.{hint}")
        return text


class Schema(_Part):
    """The columns."""

    required_columns: list[RequiredColumn] = Field(description="What readers may rely on", min_length=1)

    @field_validator("required_columns")
    @classmethod
    def _check_names(cls, columns: list[RequiredColumn]) -> list[RequiredColumn]:
        names = [column.name for column in columns]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is there twice")
        return columns


class Sla(_Part):
    """What is promised about the table as it goes on."""

    freshness_hours: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="The newest data are at most this old"
    )
    quality_threshold: float | None = Field(None, ge=0, le=1, description="The least share of good rows")


class ConsumerPart(_Part):
    """Somebody who relies on it."""

    name: str = Field(description="A person, a team, a model, a report", min_length=1)
    usage: str = Field("", description="What for")


class ShortContract(_Part):
    """A contract in its short form."""

    name: str = Field(description="The contract's name", min_length=1)
    version: str = Field(description="A semantic version: 1.2.0")
    owner: str = Field("", description="Who is asked")
    table: str | None = Field(None, description="namespace.table (the contract's name)", min_length=1)
    status: str = Field("active", description="Such as draft, active, deprecated")
    description: str = Field("", description="What the table is")
    schema_: Schema = Field(alias="schema", description="Its columns")
    sla: Sla = Field(Sla(), description="What is promised about it as it goes on")
    consumers: list[ConsumerPart] = Field([], description="Who relies on it")
    tags: list[str] = Field([], description="Words to find it by")

    @field_validator("version", mode="before")
    @classmethod
    def _check_version(cls, version: Any) -> Any:
        # 1.2 without quotes is a number, and no version with them
        if not isinstance(version, str) or not _VERSION.fullmatch(version):
            raise ValueError("write a semantic version, of three numbers: 1.2.0")
        return version


def read(document: Document) -> Contract:
    """
    Return the contract of a file in the short form.

    :raises ConfigurationError: as :func:`~airflow_provider_phlo.yaml_models.checked`.
    """
    said = checked(document, ShortContract)
    columns = tuple(
        _column(column, document.lines.get(("schema", "required_columns", str(index))))
        for index, column in enumerate(said.schema_.required_columns)
    )
    promise = Promise(said.table or said.name, columns, said.description, line=document.lines.get(("table",)))
    return Contract(
        name=said.name,
        version=said.version,
        owner=said.owner.strip(),
        promises=(promise,),
        form=Form.SHORT,
        source=document.path,
        status=said.status,
        description=said.description,
        service_levels=tuple(_service_levels(said.sla, document)),
        consumers=tuple(Consumer(each.name, each.usage) for each in said.consumers),
        tags=tuple(said.tags),
    )


def _column(column: RequiredColumn, line: int | None) -> Column:
    rules = column.constraints
    return Column(
        name=column.name,
        type=promised_type(column.type) if column.type else None,
        description=column.description,
        required=rules.required,
        unique=rules.unique,
        values=Bounds(_as_text(rules.min), _as_text(rules.max)),
        lengths=Bounds(rules.min_length, rules.max_length),
        pattern=None if rules.pattern is None else found_in_text(rules.pattern),
        allowed=tuple(map(_as_text, rules.allowed_values)) if rules.allowed_values is not None else None,
        classification=column.classification,
        pii=column.pii or is_personal(column.tags, column.classification),
        tags=tuple(column.tags),
        line=line,
    )


def _as_text(value: Any) -> Any:
    """Return a day or a moment as text, as the standard has it: quoted or not, it is the same value."""
    return value.isoformat() if isinstance(value, date) else value


def _service_levels(sla: Sla, document: Document) -> Iterator[ServiceLevel]:
    def line(key: str) -> int | None:
        return document.lines.get(("sla", key))

    if sla.freshness_hours is not None:
        yield ServiceLevel("freshness", sla.freshness_hours, "hours", line=line("freshness_hours"))
    if sla.quality_threshold is not None:
        yield ServiceLevel("quality", sla.quality_threshold, "share", line=line("quality_threshold"))
