"""What a task has read and written, as plain values: names, counts, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_phlo.lineage.datasets import DatasetName


@dataclass(frozen=True)
class Assertion:
    """
    A check or test, and whether the data is as it wants it.

    :param kind: the kind of check: ``null_check``, ``not_null``.
    :param name: its name on pages.
    :param passed: whether the data is as it wants it.
    :param column: the column that it is about, if it is about one.
    :param severity: ``error`` or ``warn``.
    :param counts: numbers of rows, and what was checked (branch, partition).
    """

    kind: str
    name: str
    passed: bool
    column: str | None = None
    severity: str = "error"
    counts: Mapping[str, int | str] = field(default_factory=dict)


@dataclass(frozen=True)
class Read:
    """
    A dataset that a task has read.

    :param table: ``namespace.table`` of the catalog, where its columns are asked for; empty if it is not a table of it.
    :param assertions: what was checked of it.
    """

    dataset: DatasetName
    table: str = ""
    assertions: tuple[Assertion, ...] = ()


@dataclass(frozen=True)
class Model:
    """
    The SQL that made a table.

    :param sql: one query.
    :param dialect: ``duckdb`` or ``trino``.
    :param tables: the tables of the catalog that SQL names, by schema and name in lower case.
    """

    sql: str
    dialect: str
    tables: Mapping[tuple[str, ...], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Copied:
    """
    A dataset whose columns are those of another one.

    :param dataset: the other one.
    :param table: of the catalog, whose columns these are; empty if it is not a table of it.
    :param fields: a prefix of its fields' names, where it feeds several tables.
    :param changed: whether values may have been changed on their way.
    """

    dataset: DatasetName
    table: str = ""
    fields: str = ""
    changed: bool = False


@dataclass(frozen=True)
class Counts:
    """
    How much was written.

    :param rows: the rows; None if that is not known, or nothing was published.
    :param bytes: the size of the files.
    """

    rows: int | None = None
    bytes: int | None = None

    @classmethod
    def of_merge(cls, merged: Mapping[str, Any]) -> Counts:
        """Return what a merge wrote, of its result as JSON; empty if there was none."""
        if not merged:
            return cls()
        return cls(int(merged["inserted"]) + int(merged["updated"]), merged.get("bytes_written"))


@dataclass(frozen=True)
class Written:
    """
    A dataset that a task has written.

    :param table: ``namespace.table`` of the catalog; empty if it is not a table of it.
    :param columns: the columns that are declared, and their types as written, while the catalog has none.
    :param counts: how much was written.
    :param snapshot_id: main's snapshot that holds what was written; None if nothing was published.
    :param made_of: where its columns come from.
    """

    dataset: DatasetName
    table: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    counts: Counts = Counts()
    snapshot_id: int | None = None
    made_of: Model | Copied | None = None


@dataclass(frozen=True)
class Work:
    """What a task has done."""

    read: tuple[Read, ...] = ()
    written: tuple[Written, ...] = ()


def assertions_of(results: Sequence[Mapping[str, Any]], **where: str | None) -> dict[str, tuple[Assertion, ...]]:
    """
    Return the assertions about each table, of the results of checks.

    :param results: what ``QualityCheckResult.to_dict()`` gives. Their messages, samples and what was found instead of
        what was expected are left out: they may name a value.
    :param where: what was checked: ``branch``, ``partition``.
    """
    found: dict[str, tuple[Assertion, ...]] = {}
    checked = {name: value for name, value in where.items() if value}
    for result in results:
        columns: Sequence[str] = result.get("columns") or ()
        table = str(result.get("table") or "")
        counts = {name: result[name] for name in ("failed", "row_count") if isinstance(result.get(name), int)}
        assertion = Assertion(
            kind=str(result.get("check_type") or "check"),
            name=str(result.get("check_name") or ""),
            passed=bool(result["passed"]),
            column=columns[0] if len(columns) == 1 else None,
            severity=str(result.get("severity") or "error"),
            counts={**counts, **checked},
        )
        found[table] = (*found.get(table, ()), assertion)
    return found
