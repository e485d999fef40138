"""Reconciliations of aggregates: a table holds what aggregates of another one give."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.reconciliation.differences import Differences
from airflow_provider_phlo.quality.reconciliation.two_sided import Reconciliation
from airflow_provider_phlo.quality.results import QualityCheckResult
from airflow_provider_phlo.quality.tolerances import require_tolerances
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.reconciliation.aggregates import ComparedAggregate
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


GroupBy = str | Sequence[str] | Mapping[str, str]


@dataclass(frozen=True)
class AggregateSpec:
    """
    One aggregate of a :class:`MultiAggregateConsistencyCheck`.

    Example::

        AggregateSpec("revenue", "sum(amount)", target_column="total", absolute_tolerance=0.01)

    :param name: its name in results.
    :param expression: an SQL aggregate over the source, such as ``sum(amount)``.
    :param target_column: the column of the target that holds it; ``name`` by default. A group has one row there.
    :param target_expression: an SQL aggregate over the target instead, for groups of several rows.
    :param tolerance: the tolerance of this aggregate, instead of the check's.
    :param absolute_tolerance: its absolute tolerance, instead of the check's.
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
        """Return the columns of a group."""

    @abstractmethod
    def specs(self) -> Sequence[AggregateSpec]:
        """Return the aggregates that are compared."""

    def _reads_both_alike(self) -> bool:
        # a column may well be compared with an aggregate of other columns of its own table
        return super()._reads_both_alike() and all(spec.target_expression == spec.expression for spec in self.specs())

    def groups(self) -> dict[str, str]:
        """Return the source's column or SQL expression for each column of a group, by its name in the target."""
        given, expressions = self.grouping(), self.source_expressions()
        names = (*names_of(self.partition_column), *((given,) if isinstance(given, str) else given))
        return {name: expressions.get(name, name) for name in names}

    def source_expressions(self) -> Mapping[str, str]:
        """Return, for columns that the source names differently, its column or an SQL expression."""
        given = self.grouping()
        return {**self.source_columns, **(given if isinstance(given, Mapping) else {})}

    def column_names(self) -> tuple[str, ...]:
        """Return the columns of a group and those of the aggregates."""
        values = [spec.target_column or spec.name for spec in self.specs() if not spec.target_expression]
        return tuple(dict.fromkeys([*self.groups(), *values]))

    def compared_columns(self) -> tuple[str, ...]:
        """Return the source's columns of a group, and the aggregates."""
        return (*self.groups().values(), *(spec.expression for spec in self.specs()))

    def measure(self, rows: RowsUnderCheck) -> Mapping[str, Any]:
        """Compare the aggregates of all groups."""
        from airflow_provider_phlo.quality.reconciliation.aggregates import AggregateComparison

        aggregates = [self._compared_aggregate(spec) for spec in self.specs()]
        comparison = AggregateComparison(*self.sides(rows), self.groups(), aggregates, self.partition_column)
        found, same = comparison.differences(self.key_labels(rows, tuple(self.groups())))
        return {"found": self.without_allowed(found), "same": same}

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

    def _compared_aggregate(self, spec: AggregateSpec) -> ComparedAggregate:
        from airflow_provider_phlo.quality.reconciliation.aggregates import ComparedAggregate

        return ComparedAggregate(
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
    A column of the target holds an aggregate of the source.

    Example::

        AggregateConsistencyCheck(
            source_table="raw.orders",
            aggregate_column="revenue",
            source_expression="sum(amount)",
            group_by={"day": "CAST(ordered_at AS DATE)"},
        )

    :param aggregate_column: the column of the target; a group has one row there.
    :param source_expression: an SQL aggregate over the source, such as ``count(*)``.
    :param group_by: the target's columns of a group, or a mapping of each to the source's column or SQL expression.
        Without it all rows are one group.
    :param target_expression: an SQL aggregate over the target instead of its column, for groups of several rows.
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
        """Return the columns of a group."""
        return self.group_by

    def specs(self) -> Sequence[AggregateSpec]:
        """Return the one aggregate."""
        name, expression = self.aggregate_column, self.target_expression
        column = None if expression else name
        return [AggregateSpec(name, self.source_expression, column, target_expression=expression)]


@dataclass(init=False)
class MultiAggregateConsistencyCheck(_AggregateReconciliation):
    """
    Several columns of the target hold aggregates of the source; one scan of each side compares all of them.

    Example::

        MultiAggregateConsistencyCheck(
            source_table="raw.orders",
            aggregates=[AggregateSpec("orders", "count(*)"), AggregateSpec("revenue", "sum(amount)")],
            group_by="day",
        )

    :param aggregates: the aggregates.
    :param group_by: as in :class:`AggregateConsistencyCheck`.
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
            raise ConfigurationError(
                f"MultiAggregateConsistencyCheck: the names of aggregates are not unique: {', '.join(names)}."
            )
        super().__init__(source_table, **shared)

    def grouping(self) -> GroupBy:
        """Return the columns of a group."""
        return self.group_by

    def specs(self) -> Sequence[AggregateSpec]:
        """Return the aggregates."""
        return self.aggregate_specs
