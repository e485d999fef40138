"""What a contract says, whichever form it was written in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from airflow_provider_phlo.contracts.model.types import PromisedType

# what a list's items are called, where columns have names
ITEM = "[]"


_PERSONAL = frozenset({"pii", "personal", "sensitive", "restricted"})


def is_personal(tags: Iterable[str], classification: str | None) -> bool:
    """Return whether the tags or the classification of a column say that it holds personal data."""
    return bool(_PERSONAL & {word.lower() for word in (*tags, classification or "")})


class Form(StrEnum):
    """How a contract was written."""

    SHORT = "short"
    ODCS = "odcs"


@dataclass(frozen=True)
class Bounds:
    """
    Which values, or lengths of text, a column may have; None where there is not any.

    :param exclusive_low: whether ``low`` itself is out; likewise ``exclusive_high``.
    """

    low: Any = None
    high: Any = None
    exclusive_low: bool = False
    exclusive_high: bool = False

    def words(self, unit: str = "") -> str:
        """Return ``>= 20 and <= 600``; nothing without bounds."""
        low = "" if self.low is None else f"{'>' if self.exclusive_low else '>='} {self.low}{unit}"
        high = "" if self.high is None else f"{'<' if self.exclusive_high else '<='} {self.high}{unit}"
        return " and ".join(filter(None, (low, high)))


@dataclass(frozen=True)
class Rule:
    """
    A rule of quality.

    :param name: what people call it.
    :param metric: ``nullValues``, ``missingValues``, ``invalidValues``, ``duplicateValues``, ``rowCount``; None if
        it is SQL.
    :param query: SQL that returns one value, with ``${table}`` and ``${column}``; None for a metric.
    :param operator: ``mustBe``, ``mustBeLessThan`` and so on.
    :param operand: a value, or two.
    :param unit: ``rows`` or ``percent``.
    :param severity: ``error``, or ``warning`` and below, which only warn.
    :param id: what the contract itself identifies it by, if it does.
    :param line: where it stands in the file.
    """

    name: str
    metric: str | None
    query: str | None
    operator: str
    operand: Any
    unit: str = "rows"
    severity: str = "error"
    description: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Column:
    """
    A column that readers may rely on.

    :param type: None if the contract does not say.
    :param required: it has a value in every row.
    :param unique: no two rows share a value.
    :param pattern: a regular expression that is found in every text; one of whole texts is ``^(?:…)$``.
    :param allowed: the only values it has; None means any.
    :param pii: whether it holds personal data.
    :param members: of a struct, or of the structs in a list.
    :param line: where it stands in the file.
    :param logical_name: what other parts of the contract call it, if that is not ``name``.
    :param distinct_items: no list holds an item twice.
    :param items: what is promised of every item of a list, beside its type and members; None if nothing is.
    """

    name: str
    type: PromisedType | None = None
    description: str = ""
    required: bool = False
    unique: bool = False
    values: Bounds = Bounds()
    lengths: Bounds = Bounds()
    pattern: str | None = None
    allowed: tuple[Any, ...] | None = None
    classification: str | None = None
    pii: bool = False
    tags: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    members: tuple[Column, ...] = ()
    line: int | None = None
    logical_name: str = field(default="", compare=False)
    distinct_items: bool = False
    items: Column | None = None


@dataclass(frozen=True)
class Promise:
    """
    What a contract says of one table.

    :param table: as written: ``raw.readings``, or without a namespace.
    :param primary_key: its columns, in order.
    :param partitioned_by: likewise.
    :param logical_name: what other parts of the contract call the table, if that is not ``table``.
    """

    table: str
    columns: tuple[Column, ...]
    description: str = ""
    primary_key: tuple[str, ...] = ()
    partitioned_by: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    line: int | None = None
    logical_name: str = field(default="", compare=False)

    def column_called(self, name: str) -> str:
        """Return the table's name of a column that the contract calls ``name``; ``name`` if there is none."""
        names = {column.logical_name: column.name for column in self.columns if column.logical_name}
        return names.get(name, name)


@dataclass(frozen=True)
class ServiceLevel:
    """
    A promise about the table as it goes on: ``freshness``, ``retention``, ``frequency``, ``latency``, ``quality``.

    :param unit: ``hours``, ``days`` and so on; ``share`` of rows for ``quality``.
    :param element: the column that it is about, if it is about one.
    :param line: where it stands in the file.
    """

    property: str
    value: Any
    unit: str = ""
    element: str | None = None
    line: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Consumer:
    """Somebody who relies on the contract."""

    name: str
    usage: str = ""


@dataclass(frozen=True)
class Contract:
    """
    A contract.

    :param version: a semantic version.
    :param owner: who is asked; empty if nobody owns it.
    :param form: of its file; None if it was made from something else.
    :param source: the file.
    :param unjudged: what it promises and nothing here checks, for people.
    :param in_file: what it says for people and other tools, and stays in the file.
    """

    name: str
    version: str
    owner: str
    promises: tuple[Promise, ...]
    form: Form | None
    source: Path
    status: str = "active"
    description: str = ""
    service_levels: tuple[ServiceLevel, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    tags: tuple[str, ...] = ()
    unjudged: tuple[str, ...] = field(default=(), compare=False)
    in_file: tuple[str, ...] = field(default=(), compare=False)

    def where(self, line: int | None = None) -> str:
        """Return the file, and a line of it."""
        return f"{self.source}, line {line}" if line else str(self.source)
