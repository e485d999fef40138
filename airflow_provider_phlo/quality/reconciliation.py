"""
Reconciliation: does the table under check (the target) say what other tables (the sources) say?

The five checks share their arguments (:class:`Reconciliation`). What is equal, how tolerances are meant and what a
checksum is made of is written down in ``docs/reconciliation.md``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import SQLCheck
from airflow_provider_phlo.quality.canonical import HASHES
from airflow_provider_phlo.quality.differences import (
    DIFFERENT,
    EXTRA,
    MISSING,
    Differences,
    Naming,
)
from airflow_provider_phlo.quality.results import QualityCheckResult

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.aggregates import Measure
    from airflow_provider_phlo.quality.checksums import RowComparison
    from airflow_provider_phlo.quality.scan import Rows
    from airflow_provider_phlo.quality.sides import Side

WHOLE = "the whole table"


@dataclass
class Reconciliation(SQLCheck):
    """
    What all reconciliations share.

    A difference passes when it is within the relative *or* the absolute tolerance.

    :param source_table: the table, or several whose rows are united, that the target is compared with;
        ``namespace.table``, or a bare name in the namespace of the table under check.
    :param target_table: the table or tables that are compared instead of the one under check.
    :param source_columns: what the source has for a column of the target, where it is called otherwise: the name of a
        column, or an SQL expression.
    :param source_filter: an SQL condition: only rows of the source that meet it count.
    :param target_filter: the same for the target.
    :param partition_column: compare partition by partition: a column of the target; of a time, its UTC day counts.
        Where one partition is checked, source and target are both read of that day only.
    :param tolerance: the largest difference that passes, as a share of what the source has (0.01 is 1 %).
    :param absolute_tolerance: the largest difference that passes, as a number.
    :param limit: of each kind of difference, at most so many keys are named.
    :param show_keys: name keys at all.
    :param pii_columns: columns whose values are masked where keys are named.
    """

    source_table: str | Sequence[str] | None = None
    target_table: str | Sequence[str] | None = field(default=None, kw_only=True)
    source_columns: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    source_filter: str | None = field(default=None, kw_only=True)
    target_filter: str | None = field(default=None, kw_only=True)
    partition_column: str | None = field(default=None, kw_only=True)
    tolerance: float = field(default=0.0, kw_only=True)
    absolute_tolerance: float = field(default=0.0, kw_only=True)
    limit: int = field(default=10, kw_only=True)
    show_keys: bool = field(default=True, kw_only=True)
    pii_columns: Sequence[str] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        what = type(self).__name__
        self.source_table = _names(self.source_table)
        self.target_table = _names(self.target_table)
        self.pii_columns = _names(self.pii_columns)
        _require_tolerances(what, tolerance=self.tolerance, absolute_tolerance=self.absolute_tolerance)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:
            raise ConfigurationError(f"{what}: limit is {self.limit!r}, it must be a whole number from 0.")
        if not isinstance(self.source_columns, Mapping):
            raise ConfigurationError(f"{what}: source_columns must map a column of the target to the source's.")
        doubled = {name for name in self.source_table if name in self.target_table}
        if doubled and not (self.source_filter or self.target_filter or self.source_columns):
            raise ConfigurationError(f"{what}: {', '.join(sorted(doubled))} is source and target at once.")

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return which columns the table under check lacks, if it is the target."""
        return None if self.target_table else super().problem(types)

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or f"{type(self).__name__}({', '.join(_names(self.source_table))})"

    def expectation(self) -> str:
        """Return what may differ."""
        allowed = [f"{self.tolerance:.4g} of the source"] if self.tolerance else []
        allowed += [f"{self.absolute_tolerance:g}"] if self.absolute_tolerance else []
        return f"equal to {' + '.join(_names(self.source_table))}" + (
            f" within {' or '.join(allowed)}" if allowed else ""
        )

    def sides(self, rows: Rows) -> tuple[Side, Side]:
        """
        Return source and target.

        :raises ConfigurationError: a table or column is not there.
        """
        from airflow_provider_phlo.quality.sides import source_side, target_side

        sources = _names(self.source_table)
        if not sources:
            raise ConfigurationError(f"{type(self).__name__} names no source_table.")
        day = self.partition_column or (rows.partition[0] if rows.partition else "")
        return (
            source_side(rows, sources, self.source_columns, self.source_filter, day),
            target_side(rows, _names(self.target_table), self.target_filter, day),
        )

    def naming(self, columns: Sequence[str]) -> Naming:
        """Return how keys of these columns are told."""
        hidden = columns if not self.show_keys else self.pii_columns
        return Naming(tuple(columns), self.limit, frozenset(hidden))

    def agrees(self, difference: float, source: float) -> bool:
        """Return whether a difference is within a tolerance."""
        return difference <= self.absolute_tolerance or difference <= self.tolerance * abs(source)


@dataclass(init=False)
class ReconciliationCheck(Reconciliation):
    """
    The target has as many rows as the source.

    The difference is ``|target - source|`` rows, the tolerance a share of the source's. A partition that one side lacks
    has 0 rows there.

    :param partition_column: compare the rows of each partition.
    :param check_type: ``rowcount_parity``, or ``rowcount_gte``: the target has at least as many, more are fine.
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
        return _names(self.partition_column)

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Count the rows of both sides."""
        from airflow_provider_phlo.quality.row_counts import row_counts

        source, target = row_counts(self.sides(rows), self.partition_column)
        return {"source": source, "target": target}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when the counts of every partition are close enough."""
        source: Mapping[Any, int] = values["source"]
        target: Mapping[Any, int] = values["target"]
        found = self._differences(source, target)
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

    def _differences(self, source: Mapping[Any, int], target: Mapping[Any, int]) -> Differences:
        found, naming = Differences(), self.naming(self.column_names())
        for key in sorted(source.keys() | target.keys(), key=lambda key: (key is None, str(key))):
            ours, theirs = source.get(key, 0), target.get(key, 0)
            difference = ours - theirs if self.check_type == "rowcount_gte" else abs(ours - theirs)
            if difference > 0 and not self.agrees(difference, ours):
                kind = MISSING if not theirs else EXTRA if not ours else DIFFERENT
                name = naming.text((key,))
                found.add(kind, 1, [f"{name}: {ours} and {theirs}" if name else None], self.limit)
        return found


@dataclass
class _RowReconciliation(Reconciliation):
    """
    A reconciliation of rows that keys match.

    The difference is the number of keys that are missing, extra or different; the tolerance a share of the source's
    rows.

    :param allow_missing: keys that only the source has are fine.
    :param allow_extra: keys that only the target has are fine.
    """

    key_columns: Sequence[str] = ()
    allow_missing: bool = field(default=False, kw_only=True)
    allow_extra: bool = field(default=False, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.key_columns = _names(self.key_columns)

    def column_names(self) -> tuple[str, ...]:
        """Return the columns of the key, that of the partition first."""
        return tuple(dict.fromkeys((*_names(self.partition_column), *self.key_columns)))

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when few enough keys differ."""
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

    def _found(self, comparison: RowComparison, *unwanted: str) -> Differences:
        found = comparison.differences(self.naming(self.column_names()))
        allowed = {MISSING: self.allow_missing, EXTRA: self.allow_extra}
        return found.without(*unwanted, *(kind for kind, fine in allowed.items() if fine))


@dataclass
class KeyParityCheck(_RowReconciliation):
    """
    Source and target have the same keys. How often a key occurs is :class:`.UniqueCheck`'s business.

    :param key_columns: what a key is made of, as the target calls it.
    """

    check_type: ClassVar[str] = "key_parity"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.key_columns:
            raise ConfigurationError("KeyParityCheck names no key_columns.")

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Find the keys that one side lacks."""
        from airflow_provider_phlo.quality.checksums import RowComparison
        from airflow_provider_phlo.quality.sides import readings

        sides, names = self.sides(rows), self.column_names()
        comparison = RowComparison(rows.engine, *readings(sides, names, self.partition_column), len(names), ())
        found = self._found(comparison, DIFFERENT)
        return {"found": found, "counts": comparison.row_counts(), "note": "", "metrics": {}}


@dataclass
class ChecksumReconciliationCheck(_RowReconciliation):
    """
    Source and target have the same rows: checksums say where to look, values whether it is so.

    :param key_columns: what matches rows, as the target calls it; without it whole rows are matched, and one that
        differs is missing and extra at once.
    :param columns: what is compared; by default all columns that both sides have, but not the metadata columns.
    :param hash_algorithm: ``xxhash64``, ``md5`` or ``sha256``.
    :param checksums: tell the checksum of each side, made of the documented hash of each row. Trino does so anyway, and
        with another algorithm than ``xxhash64`` DuckDB does, too; else DuckDB finds differences by its own hash, which
        is several times as fast.
    :param exclude_columns: what is left out of ``columns``.
    :param value_tolerance: floats and decimals count as equal if they differ by at most this share of the source's.
    :param absolute_value_tolerance: or by at most this much.
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
        self.columns = None if self.columns is None else _names(self.columns)
        self.exclude_columns = _names(self.exclude_columns)
        if self.columns == ():
            raise ConfigurationError("ChecksumReconciliationCheck: columns is empty; leave it out to compare all.")
        if self.hash_algorithm not in HASHES:
            raise ConfigurationError(
                f"ChecksumReconciliationCheck: hash_algorithm is {self.hash_algorithm!r}, use one of {', '.join(HASHES)}."
            )
        _require_tolerances(
            "ChecksumReconciliationCheck",
            value_tolerance=self.value_tolerance,
            absolute_value_tolerance=self.absolute_value_tolerance,
        )

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return which columns the table under check lacks, if it is the target."""
        missing = [name for name in self.columns or () if name not in types]
        if missing and not self.target_table:
            return f"there is no column {', '.join(missing)}; the columns are: {', '.join(types)}"
        return super().problem(types)

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Compare the rows."""
        from airflow_provider_phlo.quality.checksums import RowComparison, ValueTolerance
        from airflow_provider_phlo.quality.sides import readings

        sides = self.sides(rows)
        columns, ignored = self._compared(sides)
        keys = self.column_names()
        if not self.key_columns:
            keys, columns = (*keys, *columns), ()
        comparison = RowComparison(
            rows.engine,
            *readings(sides, (*keys, *columns), self.partition_column),
            len(keys),
            columns,
            None if self.hash_algorithm == "xxhash64" and not self.checksums else self.hash_algorithm,
            ValueTolerance(self.value_tolerance, self.absolute_value_tolerance),
        )
        found = self._found_of(comparison, keys)
        sums = comparison.checksums()
        told = {} if sums is None else dict(zip(("source_checksum", "target_checksum"), sums, strict=True))
        return {
            "found": found,
            "counts": comparison.row_counts(),
            "note": f"; not compared: {', '.join(ignored)}" if ignored else "",
            "metrics": {"compared_columns": [*keys, *columns], **told},
        }

    def _found_of(self, comparison: RowComparison, keys: Sequence[str]) -> Differences:
        return self._found(comparison)

    def _compared(self, sides: tuple[Side, Side]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the columns that are compared, and those that only one side has."""
        from airflow_provider_phlo.schemas.iceberg import METADATA_COLUMNS

        left_out = {*self.column_names(), *self.exclude_columns}
        if self.columns is not None:
            return tuple(name for name in self.columns if name not in left_out), ()
        source, target = (set(side.shared_columns()) - {*METADATA_COLUMNS} - left_out for side in sides)
        return tuple(sorted(source & target)), tuple(sorted(source ^ target))


@dataclass(frozen=True)
class AggregateSpec:
    """
    One aggregate of a :class:`MultiAggregateConsistencyCheck`.

    :param name: how results call it.
    :param expression: an SQL aggregate over the source, such as ``sum(amount)``.
    :param target_column: the column of the target that has it; ``name`` by default. A group has one row there.
    :param target_expression: an SQL aggregate over the target instead, where a group has several rows.
    :param tolerance: that of this aggregate, instead of the check's.
    :param absolute_tolerance: the same.
    """

    name: str
    expression: str
    target_column: str | None = None
    target_expression: str | None = field(default=None, kw_only=True)
    tolerance: float | None = field(default=None, kw_only=True)
    absolute_tolerance: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if not self.name or not self.expression:
            raise ConfigurationError("AggregateSpec needs a name and an expression.")
        if self.target_column and self.target_expression:
            raise ConfigurationError(f"AggregateSpec {self.name}: give target_column or target_expression, not both.")
        given = {"tolerance": self.tolerance, "absolute_tolerance": self.absolute_tolerance}
        _require_tolerances(f"AggregateSpec {self.name}", **{k: v for k, v in given.items() if v is not None})


@dataclass
class _AggregateReconciliation(Reconciliation):
    """
    A reconciliation of aggregates, group by group.

    The difference is ``|target - source|``, the tolerance a share of the source's value; NULL equals NULL only. A group
    that one side lacks differs, whatever the tolerance.

    :param allow_missing: groups that only the source has are fine.
    :param allow_extra: groups that only the target has are fine.
    """

    allow_missing: bool = field(default=False, kw_only=True)
    allow_extra: bool = field(default=False, kw_only=True)

    def specs(self) -> Sequence[AggregateSpec]:
        """Return the aggregates that are compared."""
        raise NotImplementedError

    def groups(self) -> dict[str, str]:
        """Return what the source has for each column of the target that tells the group."""
        given = getattr(self, "group_by", None) or ()
        named = dict(given) if isinstance(given, Mapping) else {name: name for name in _names(given)}
        names = [*_names(self.partition_column), *named]
        return {name: self.source_columns.get(name, named.get(name, name)) for name in names}

    def column_names(self) -> tuple[str, ...]:
        """Return the group's columns and those of the aggregates."""
        values = [spec.target_column or spec.name for spec in self.specs() if not spec.target_expression]
        return tuple(dict.fromkeys([*self.groups(), *values]))

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Compare the aggregates of all groups."""
        from airflow_provider_phlo.quality.aggregates import AggregateComparison

        comparison = AggregateComparison(
            *self.sides(rows), self.groups(), [self._measure(spec) for spec in self.specs()], self.partition_column
        )
        found, same = comparison.differences(self.naming(tuple(self.groups())))
        allowed = {MISSING: self.allow_missing, EXTRA: self.allow_extra}
        return {"found": found.without(*(kind for kind, fine in allowed.items() if fine)), "same": same}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no group differs."""
        found: Differences = values["found"]
        names = ", ".join(spec.name for spec in self.specs())
        columns = {name: count for name, count in found.columns.items() if count}
        differing = f"; aggregates that differ: {', '.join(f'{n} ({c})' for n, c in columns.items())}" if columns else ""
        if self.groups():
            message = f"{found.total} of {found.total + values['same']} groups differ"
            message += f": {found.text()}{differing}" if found.total else f" in {names}"
        else:
            message = f"{found.text()}{differing}" if found.total else f"{names} agree"
        return QualityCheckResult(
            passed=not found.total,
            message=message,
            metrics={"agreeing_count": values["same"], **found.metrics(), "different_aggregates": columns},
        )

    def _measure(self, spec: AggregateSpec) -> Measure:
        from airflow_provider_phlo.quality.aggregates import Measure

        return Measure(
            spec.name,
            spec.expression,
            spec.target_expression or spec.target_column or spec.name,
            spec.target_expression is not None,
            self.tolerance if spec.tolerance is None else spec.tolerance,
            self.absolute_tolerance if spec.absolute_tolerance is None else spec.absolute_tolerance,
        )


@dataclass
class AggregateConsistencyCheck(_AggregateReconciliation):
    """
    A column of the target is what the source aggregates to.

    :param aggregate_column: the column of the target; a group has one row there.
    :param source_expression: an SQL aggregate over the source, such as ``count(*)``.
    :param group_by: columns of the target that tell the group, or a mapping of each to the source's column or SQL
        expression (``{"activity_date": "CAST(created_at AS DATE)"}``). Without it the whole tables are one group.
    :param target_expression: an SQL aggregate over the target instead of its column, where a group has several rows.
    """

    aggregate_column: str = ""
    source_expression: str = ""
    group_by: str | Sequence[str] | Mapping[str, str] = ()
    target_expression: str | None = field(default=None, kw_only=True)

    check_type: ClassVar[str] = "aggregate_consistency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.aggregate_column and self.source_expression):
            raise ConfigurationError("AggregateConsistencyCheck needs aggregate_column and source_expression.")

    def specs(self) -> Sequence[AggregateSpec]:
        """Return the one aggregate."""
        name, whole = self.aggregate_column, self.target_expression
        return [AggregateSpec(name, self.source_expression, None if whole else name, target_expression=whole)]


@dataclass(init=False)
class MultiAggregateConsistencyCheck(_AggregateReconciliation):
    """
    Several columns of the target are what the source aggregates to, in one scan of each.

    :param aggregates: the aggregates.
    :param group_by: as of :class:`AggregateConsistencyCheck`.
    """

    aggregate_specs: tuple[AggregateSpec, ...] = ()
    group_by: str | Sequence[str] | Mapping[str, str] = ()

    check_type: ClassVar[str] = "multi_aggregate_consistency"

    # written out: a field called aggregates would hide the method
    def __init__(
        self,
        source_table: str | Sequence[str] | None = None,
        aggregates: Sequence[AggregateSpec] = (),
        group_by: str | Sequence[str] | Mapping[str, str] = (),
        **shared: Any,
    ) -> None:
        self.aggregate_specs, self.group_by = tuple(aggregates), group_by
        names = [spec.name for spec in self.aggregate_specs]
        if not names:
            raise ConfigurationError("MultiAggregateConsistencyCheck has no aggregates.")
        if len(set(names)) < len(names):
            raise ConfigurationError(f"MultiAggregateConsistencyCheck: names are not unique: {', '.join(names)}.")
        super().__init__(source_table, **shared)

    def specs(self) -> Sequence[AggregateSpec]:
        """Return the aggregates."""
        return self.aggregate_specs


def _names(given: str | Sequence[str] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def _require_tolerances(what: str, **given: float) -> None:
    for name, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise ConfigurationError(f"{what}: {name} is {value!r}, it must be a number from 0.")
