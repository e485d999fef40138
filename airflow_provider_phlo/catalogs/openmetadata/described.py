"""What there is to say of a catalog, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class ColumnFacts:
    """
    A column, or a field of one.

    :param type: OpenMetadata's: ``BIGINT``, ``STRUCT``.
    :param display: the type as Iceberg writes it.
    :param element: the type of what an array holds.
    :param is_pii: whether it is declared to hold personal data.
    """

    name: str
    type: str
    display: str
    doc: str = ""
    required: bool = False
    precision: int | None = None
    scale: int | None = None
    length: int | None = None
    element: str | None = None
    fields: tuple[ColumnFacts, ...] = ()
    is_pii: bool = False


@dataclass(frozen=True)
class TableFacts:
    """
    A table.

    :param namespace: with dots, if it has several levels.
    :param key: the columns of its key.
    :param owner: of the tasks that write it.
    :param snapshot_id: main's; with the counts, None for a table without any.
    :param updated_ms: when that was made, in milliseconds since 1970.
    """

    namespace: str
    name: str
    columns: tuple[ColumnFacts, ...] = ()
    doc: str = ""
    location: str = ""
    key: tuple[str, ...] = ()
    owner: str | None = None
    snapshot_id: int | None = None
    updated_ms: int = 0
    rows: int | None = None
    bytes: int | None = None

    @property
    def id(self) -> str:
        """Return ``namespace.table``."""
        return f"{self.namespace}.{self.name}"


@dataclass(frozen=True)
class CheckResult:
    """What a check has found the last time: a verdict and counts; no value."""

    passed: bool
    at_ms: int
    failed: int | None = None
    rows: int | None = None
    severity: str = "error"


@dataclass(frozen=True)
class Check:
    """
    A check of a table.

    :param kind: ``not_null``, ``range``.
    :param column: the column that it is about, if it is about one.
    """

    name: str
    kind: str
    column: str | None = None
    result: CheckResult | None = None


@dataclass(frozen=True)
class Promise:
    """
    A contract, as far as it is about one table.

    :param columns: the columns that it names.
    """

    name: str
    version: str
    owner: str | None = None
    description: str = ""
    columns: tuple[str, ...] = ()
    consumers: tuple[str, ...] = ()
    freshness_hours: float | None = None


#: For each column of a table, the columns that it is made from, as ``namespace.table`` and name.
Origins = Mapping[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True)
class CatalogFacts:
    """
    What there is to say.

    :param parents: for each table, the tables that it is made from.
    :param origins: for each table, where its columns come from.
    """

    tables: tuple[TableFacts, ...]
    parents: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    origins: Mapping[str, Origins] = field(default_factory=dict)
    checks: Mapping[str, tuple[Check, ...]] = field(default_factory=dict)
    promises: Mapping[str, tuple[Promise, ...]] = field(default_factory=dict)
