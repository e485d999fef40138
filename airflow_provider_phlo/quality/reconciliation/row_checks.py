"""Reconciliations of rows: how many there are, which keys they have, and whether all their values are the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.reconciliation.canonical import HASHES
from airflow_provider_phlo.quality.reconciliation.differences import DIFFERENT, EXTRA, MISSING, Differences, KeyLabels
from airflow_provider_phlo.quality.reconciliation.two_sided import Reconciliation
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.tolerances import require_tolerances
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.reconciliation.sides import Side
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


@dataclass(init=False)
class ReconciliationCheck(Reconciliation):
    """
    The target has as many rows as the source.

    The difference is ``|target - source|`` rows, the tolerance a share of the source's rows. A partition that one side
    lacks has 0 rows there.

    Example::

        ReconciliationCheck(source_table="raw.orders", partition_column="day", absolute_tolerance=2)

    :param partition_column: compare the number of rows of each partition.
    :param check_type: ``rowcount_parity``, or ``rowcount_gte``: the target has at least as many rows.
    """

    check_type: str = "rowcount_parity"  # type: ignore[misc]

    # written out: the base's class variable would make check_type the first argument
    def __init__(
        self,
        source_table: str | Sequence[str] | None = None,
        partition_column: str | None = None,
        check_type: Literal["rowcount_parity", "rowcount_gte"] = "rowcount_parity",
        tolerance: float = 0.0,
        absolute_tolerance: float = 0.0,
        **shared: Any,
    ) -> None:
        if check_type not in ("rowcount_parity", "rowcount_gte"):
            raise ConfigurationError(
                f"ReconciliationCheck: check_type is {check_type!r}, use 'rowcount_parity' or 'rowcount_gte'."
            )
        self.check_type = check_type
        super().__init__(
            source_table,
            partition_column=partition_column,
            tolerance=tolerance,
            absolute_tolerance=absolute_tolerance,
            **shared,
        )

    def column_names(self) -> tuple[str, ...]:
        """Return the partition column."""
        return names_of(self.partition_column)

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Count the rows of both sides."""
        from airflow_provider_phlo.quality.reconciliation.row_counts import row_counts

        source, target = row_counts(self.sides(rows), self.partition_column)
        found = self._differences(source, target, self.key_labels(rows, self.column_names()))
        return {"source": source, "target": target, "found": found}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the counts of every partition are close enough."""
        source: Mapping[Any, int] = values["source"]
        target: Mapping[Any, int] = values["target"]
        found: Differences = values["found"]
        counted = f"{sum(source.values())} rows in the source, {sum(target.values())} in the target"
        partitions = len(source.keys() | target.keys())
        about = f": {found.total} of {partitions} partitions differ: {found.text()}"
        return QualityCheckResult(
            passed=not found.total,
            message=counted + (about if found.total and self.partition_column else ""),
            metrics={
                "source_count": sum(source.values()),
                "target_count": sum(target.values()),
                **(found.metrics() if self.partition_column else {}),
            },
        )

    def _differences(self, source: Mapping[Any, int], target: Mapping[Any, int], keys: KeyLabels) -> Differences:
        found = Differences()
        for key in sorted(source.keys() | target.keys(), key=lambda key: (key is None, str(key))):
            ours, theirs = source.get(key, 0), target.get(key, 0)
            difference = ours - theirs if self.check_type == "rowcount_gte" else abs(ours - theirs)
            if difference > 0 and not self.agrees(difference, ours):
                kind = MISSING if not theirs else EXTRA if not ours else DIFFERENT
                label = keys.label((key,))
                found.add(kind, 1, [f"{label}: {ours} and {theirs}" if label else None], self.limit)
        return self.without_allowed(found)


@dataclass
class _RowReconciliation(Reconciliation):
    """
    A reconciliation that matches rows by their keys.

    The difference is the number of keys that are missing, extra or different; the tolerance a share of the source's
    rows.
    """

    key_columns: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        self.key_columns = names_of(self.key_columns)

    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the key, the partition column first."""
        return tuple(dict.fromkeys((*names_of(self.partition_column), *self.key_columns)))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the keys that differ are few enough."""
        found: Differences = values["found"]
        source, target = values["counts"]
        compared = f"{source} rows in the source, {target} in the target"
        columns = {name: count for name, count in found.columns.items() if count}
        differing = f"; columns that differ: {', '.join(f'{n} ({c})' for n, c in columns.items())}" if columns else ""
        return QualityCheckResult(
            passed=self.agrees(found.total, source),
            failed=found.total,
            message=f"{compared}: {found.text() + differing if found.total else 'no difference'}{values['note']}",
            metrics={
                "source_count": source,
                "target_count": target,
                **found.metrics(),
                **({"different_columns": columns} if columns else {}),
                **values["metrics"],
            },
        )


@dataclass
class KeyParityCheck(_RowReconciliation):
    """
    Source and target have the same keys. How often a key occurs does not matter (see :class:`.UniqueCheck`).

    Example::

        KeyParityCheck(source_table="raw.orders", key_columns=["order_id"])

    :param key_columns: the columns of a key, by their names in the target.
    """

    check_type: ClassVar[str] = "key_parity"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.key_columns:
            raise ConfigurationError("KeyParityCheck names no key_columns.")

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Find the keys that one side lacks."""
        from airflow_provider_phlo.quality.reconciliation.checksums import RowComparison
        from airflow_provider_phlo.quality.reconciliation.sides import align_columns

        sides, names = self.sides(rows), self.column_names()
        source, target = align_columns(sides, names, self.partition_column)
        comparison = RowComparison(rows.engine, source, target, len(names), ())
        found = self.without_allowed(comparison.differences(self.key_labels(rows, names)), DIFFERENT)
        return {"found": found, "counts": comparison.row_counts(), "note": "", "metrics": {}}


@dataclass
class ChecksumReconciliationCheck(_RowReconciliation):
    """
    Source and target have the same rows: checksums find where they differ, values say whether they do.

    Example::

        ChecksumReconciliationCheck(source_table="raw.orders", key_columns=["order_id"], columns=["amount", "status"])

    :param key_columns: the columns by which rows are matched, by their names in the target; without them all columns
        match rows, and a row that differs is missing and extra at once.
    :param columns: the columns that are compared; by default all that both sides have, but not the metadata columns.
    :param hash_algorithm: ``xxhash64``, ``md5`` or ``sha256``.
    :param checksums: report the checksum of each side, made from the documented hash of each row. Trino always does,
        and DuckDB does with ``md5`` and ``sha256``; otherwise DuckDB finds differences by its own hash, which is
        several times as fast.
    :param exclude_columns: columns that are left out of ``columns``.
    :param value_tolerance: floats and decimals count as equal if they differ by at most this share of the source's.
    :param absolute_value_tolerance: or by at most this number.
    """

    target_table: str | Sequence[str] | None = None
    key_columns: Sequence[str] = ()
    columns: Sequence[str] | None = None
    hash_algorithm: str = "xxhash64"
    checksums: bool = field(default=False, kw_only=True)
    exclude_columns: Sequence[str] = field(default=(), kw_only=True)
    value_tolerance: float = field(default=0.0, kw_only=True)
    absolute_value_tolerance: float = field(default=0.0, kw_only=True)

    check_type: ClassVar[str] = "checksum"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.columns = None if self.columns is None else names_of(self.columns)
        self.exclude_columns = names_of(self.exclude_columns)
        if self.columns == ():
            raise ConfigurationError("ChecksumReconciliationCheck: columns is empty; leave it out to compare all.")
        if self.columns and set(self.columns) <= {*self.column_names(), *self.exclude_columns}:
            raise ConfigurationError(
                "ChecksumReconciliationCheck: columns names nothing but the key and what exclude_columns leaves out: "
                "name the columns to compare, or use KeyParityCheck."
            )
        if self.hash_algorithm not in HASHES:
            raise ConfigurationError(
                f"ChecksumReconciliationCheck: hash_algorithm is {self.hash_algorithm!r}, use {' or '.join(HASHES)}."
            )
        require_tolerances(
            "ChecksumReconciliationCheck",
            value_tolerance=self.value_tolerance,
            absolute_value_tolerance=self.absolute_value_tolerance,
        )
        if (self.value_tolerance or self.absolute_value_tolerance) and not self.key_columns:
            raise ConfigurationError("ChecksumReconciliationCheck: a tolerance for values needs key_columns.")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return which columns the table under check lacks; None if it is not the target."""
        missing = [name for name in self.columns or () if name not in types]
        if missing and not self.target_table:
            return f"there is no column {', '.join(missing)}; the columns are: {', '.join(types)}"
        return super().problem(types)

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Compare the rows."""
        from airflow_provider_phlo.quality.reconciliation.checksums import RowComparison
        from airflow_provider_phlo.quality.reconciliation.sides import align_columns
        from airflow_provider_phlo.quality.reconciliation.value_tolerance import ValueTolerance

        sides = self.sides(rows)
        columns, ignored = self._compared_columns(sides)
        keys = self.column_names()
        if ignored and not columns:
            raise ConfigurationError(
                f"No column {'but the key ' if keys else ''}is in both tables, only one has {', '.join(ignored)}: "
                "give the source's names in source_columns, or leave columns out with exclude_columns."
            )
        if not self.key_columns:
            keys, columns = (*keys, *columns), ()
        source, target = align_columns(sides, (*keys, *columns), self.partition_column)
        comparison = RowComparison(
            rows.engine,
            source,
            target,
            len(keys),
            columns,
            None if self.hash_algorithm == "xxhash64" and not self.checksums else self.hash_algorithm,
            ValueTolerance(self.value_tolerance, self.absolute_value_tolerance),
        )
        found = self.without_allowed(comparison.differences(self.key_labels(rows, self.column_names())))
        pair = comparison.checksums()
        checksums = {} if pair is None else {"source_checksum": pair[0], "target_checksum": pair[1]}
        return {
            "found": found,
            "counts": comparison.row_counts(),
            "note": f"; not compared: {', '.join(ignored)}" if ignored else "",
            "metrics": {"compared_columns": [*keys, *columns], **checksums},
        }

    def _compared_columns(self, sides: tuple[Side, Side]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns that are compared, and those that only one side has."""
        from airflow_provider_phlo.terms import METADATA_COLUMNS

        left_out = {*self.column_names(), *self.exclude_columns}
        if self.columns is not None:
            return tuple(name for name in self.columns if name not in left_out), ()
        source, target = (set(side.shared_columns()) - {*METADATA_COLUMNS} - left_out for side in sides)
        return tuple(sorted(source & target)), tuple(sorted(source ^ target))
