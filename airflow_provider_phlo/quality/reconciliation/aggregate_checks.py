"""Checks that a table holds what another one aggregates to."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.reconciliation.differences import Differences
from airflow_provider_phlo.quality.reconciliation.two_sided import Reconciliation, require_tolerances
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.reconciliation.aggregates import Measure
    from airflow_provider_phlo.quality.scan import Rows


GroupBy = str | Sequence[str] | Mapping[str, str]


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
        require_tolerances(f"AggregateSpec {self.name}", **{k: v for k, v in given.items() if v is not None})


@dataclass
class _AggregateReconciliation(Reconciliation):
    """
    A reconciliation of aggregates, group by group.

    The difference is ``|target - source|``, the tolerance a share of the source's value; NULL equals NULL only. A group
    that one side lacks differs, whatever the tolerance.
    """

    @abstractmethod
    def grouping(self) -> GroupBy:
        """Return what tells the group."""

    @abstractmethod
    def specs(self) -> Sequence[AggregateSpec]:
        """Return the aggregates that are compared."""

    def require_two_tables(self, under_check: str | None = None) -> None:
        """Accept any: a column may well be compared with an aggregate of others of its own table."""

    def groups(self) -> dict[str, str]:
        """Return what the source has for each column of the target that tells the group."""
        given, called = self.grouping(), self.source_names()
        names = (*names_of(self.partition_column), *((given,) if isinstance(given, str) else given))
        return {name: called.get(name, name) for name in names}

    def source_names(self) -> Mapping[str, str]:
        """Return what the source has for columns of the target that it calls otherwise."""
        given = self.grouping()
        return {**self.source_columns, **(given if isinstance(given, Mapping) else {})}

    def column_names(self) -> tuple[str, ...]:
        """Return the group's columns and those of the aggregates."""
        values = [spec.target_column or spec.name for spec in self.specs() if not spec.target_expression]
        return tuple(dict.fromkeys([*self.groups(), *values]))

    def measure(self, rows: Rows) -> Mapping[str, Any]:
        """Compare the aggregates of all groups."""
        from airflow_provider_phlo.quality.reconciliation.aggregates import AggregateComparison

        comparison = AggregateComparison(
            *self.sides(rows), self.groups(), [self._measure(spec) for spec in self.specs()], self.partition_column
        )
        found, same = comparison.differences(self.naming(rows, tuple(self.groups())))
        return {"found": self.minded(found), "same": same}

    def judge(self, row_count: int, values: Mapping[str, Any]) -> QualityCheckResult:
        """Pass when no group differs."""
        found: Differences = values["found"]
        names = ", ".join(spec.name for spec in self.specs())
        columns = {name: count for name, count in found.columns.items() if count}
        differing = (
            f"; aggregates that differ: {', '.join(f'{n} ({c})' for n, c in columns.items())}" if columns else ""
        )
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
        from airflow_provider_phlo.quality.reconciliation.aggregates import Measure

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
    group_by: GroupBy = ()
    target_expression: str | None = field(default=None, kw_only=True)

    check_type: ClassVar[str] = "aggregate_consistency"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.aggregate_column and self.source_expression):
            raise ConfigurationError("AggregateConsistencyCheck needs aggregate_column and source_expression.")

    def grouping(self) -> GroupBy:
        """Return what tells the group."""
        return self.group_by

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
    group_by: GroupBy = ()

    check_type: ClassVar[str] = "multi_aggregate_consistency"

    # written out: a field called aggregates would hide the method
    def __init__(
        self,
        source_table: str | Sequence[str] | None = None,
        aggregates: Sequence[AggregateSpec] = (),
        group_by: GroupBy = (),
        **shared: Any,
    ) -> None:
        self.aggregate_specs, self.group_by = tuple(aggregates), group_by
        names = [spec.name for spec in self.aggregate_specs]
        if not names:
            raise ConfigurationError("MultiAggregateConsistencyCheck has no aggregates.")
        if len(set(names)) < len(names):
            raise ConfigurationError(f"MultiAggregateConsistencyCheck: names are not unique: {', '.join(names)}.")
        super().__init__(source_table, **shared)

    def grouping(self) -> GroupBy:
        """Return what tells the group."""
        return self.group_by

    def specs(self) -> Sequence[AggregateSpec]:
        """Return the aggregates."""
        return self.aggregate_specs
