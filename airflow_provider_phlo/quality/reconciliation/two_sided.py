"""What all reconciliations share: two sides, the differences that are allowed, and how keys are shown."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.reconciliation.differences import EXTRA, MISSING, Differences, KeyLabels
from airflow_provider_phlo.quality.sql_check import SQLCheck
from airflow_provider_phlo.quality.tolerances import require_tolerances, within
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.reconciliation.sides import Side
    from airflow_provider_phlo.quality.rows_under_check import RowsUnderCheck


@dataclass
class Reconciliation(SQLCheck):
    """
    What all reconciliations share.

    A difference passes when it is within the relative *or* the absolute tolerance.

    :param source_table: the table, or several whose rows are united, that the target is compared with;
        ``namespace.table``, or a bare name in the namespace of the table under check.
    :param target_table: the table or tables that are compared instead of the one under check.
    :param source_columns: for columns that the source names differently: the target's name, mapped to the column of the
        source or to an SQL expression.
    :param source_filter: an SQL condition: only rows of the source that meet it are compared.
    :param target_filter: the same for the target.
    :param partition_column: compare partition by partition, by this column of the target; a time counts as its UTC
        day. (When one partition of the table is checked, only that day is read of both sides in any case.)
    :param tolerance: the largest difference that passes, as a share of what the source has (0.01 is 1 %).
    :param absolute_tolerance: the largest difference that passes, as a number.
    :param allow_missing: accept keys, groups or partitions that only the source has.
    :param allow_extra: accept those that only the target has.
    :param limit: how many keys are named at most, for each kind of difference.
    :param show_keys: name keys at all.
    :param pii_columns: columns whose values are masked when keys are named; those that a table's schema tags ``pii``
        are masked in any case.
    """

    source_table: str | Sequence[str] | None = None
    target_table: str | Sequence[str] | None = field(default=None, kw_only=True)
    source_columns: Mapping[str, str] = field(default_factory=dict, kw_only=True)
    source_filter: str | None = field(default=None, kw_only=True)
    target_filter: str | None = field(default=None, kw_only=True)
    partition_column: str | None = field(default=None, kw_only=True)
    tolerance: float = field(default=0.0, kw_only=True)
    absolute_tolerance: float = field(default=0.0, kw_only=True)
    allow_missing: bool = field(default=False, kw_only=True)
    allow_extra: bool = field(default=False, kw_only=True)
    limit: int = field(default=10, kw_only=True)
    show_keys: bool = field(default=True, kw_only=True)
    pii_columns: Sequence[str] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check = type(self).__name__
        self.source_table = names_of(self.source_table)
        self.target_table = names_of(self.target_table)
        self.pii_columns = names_of(self.pii_columns)
        require_tolerances(check, tolerance=self.tolerance, absolute_tolerance=self.absolute_tolerance)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:
            raise ConfigurationError(f"{check}: limit is {self.limit!r}, it must be a whole number from 0.")
        if not isinstance(self.source_columns, Mapping):
            raise ConfigurationError(f"{check}: source_columns must map columns of the target to those of the source.")
        self.require_two_tables()

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return which columns the table under check lacks; None if it is not the target."""
        return None if self.target_table else super().problem(types)

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or f"{type(self).__name__}({', '.join(names_of(self.source_table))})"

    def compared_columns(self) -> tuple[str, ...]:
        """Return the source's column or SQL expression for each column of the target."""
        expressions = self.source_expressions()
        names = dict.fromkeys([*names_of(self.partition_column), *self.column_names()])
        return tuple(expressions.get(name, name) for name in names)

    def expectation(self) -> str:
        """Return what the target must equal, and how closely."""
        allowed = [f"{self.tolerance:.4g} of the source"] if self.tolerance else []
        allowed += [f"{self.absolute_tolerance:g}"] if self.absolute_tolerance else []
        return f"equal to {' + '.join(names_of(self.source_table))}" + (
            f" within {' or '.join(allowed)}" if allowed else ""
        )

    def sides(self, rows: RowsUnderCheck) -> tuple[Side, Side]:
        """
        Return source and target.

        :raises ConfigurationError: a table or column does not exist.
        """
        from airflow_provider_phlo.quality.reconciliation.sides import source_side, target_side

        sources = names_of(self.source_table)
        if not sources:
            raise ConfigurationError(f"{type(self).__name__} names no source_table.")
        self.require_two_tables(rows)
        return (
            source_side(rows, sources, self.source_expressions(), self.source_filter),
            target_side(rows, names_of(self.target_table), self.target_filter),
        )

    def source_expressions(self) -> Mapping[str, str]:
        """Return, for columns that the source names differently, its column or an SQL expression."""
        return self.source_columns

    def without_allowed(self, differences: Differences, *ignored: str) -> Differences:
        """Return the differences that count: neither of a kind that is allowed, nor of those ``ignored``."""
        allowed = {MISSING: self.allow_missing, EXTRA: self.allow_extra}
        return differences.without(*ignored, *(kind for kind, is_allowed in allowed.items() if is_allowed))

    def key_labels(self, rows: RowsUnderCheck, columns: Sequence[str]) -> KeyLabels:
        """Return how keys of these columns are shown in results."""
        hidden = (
            set(columns) if not self.show_keys else {*self.pii_columns, *rows.pii, *self._declared_pii(rows, columns)}
        )
        return KeyLabels(tuple(columns), self.limit, frozenset(hidden))

    def _declared_pii(self, rows: RowsUnderCheck, columns: Sequence[str]) -> set[str]:
        """Return the columns that other tables declare as ``pii``, also under another name or in an expression."""
        from airflow_provider_phlo.iceberg.branches.declared import declared_columns
        from airflow_provider_phlo.quality.engines.catalog_tables import CatalogTables

        if not isinstance(rows.engine, CatalogTables):  # data frames declare nothing
            return set()
        expressions, declared = self.source_expressions(), set()
        for table in (*names_of(self.source_table), *names_of(self.target_table)):
            _, pii = declared_columns(rows.engine.loaded(rows.engine.qualified(table)))
            for name in columns:
                given = expressions.get(name, name)
                declared |= {name} if pii.intersection([name, given, *re.findall(r"\w+", given)]) else set()
        return declared

    def require_two_tables(self, rows: RowsUnderCheck | None = None) -> None:
        """
        Refuse what cannot fail or counts rows twice: a table compared with all of itself, or named twice on a side.

        :param rows: the rows under check, which are the target if no table is named; None before there are any.
        :raises ConfigurationError: source and target are the same, or a side names a table twice.
        """
        check, qualified = type(self).__name__, _qualified_by(rows)
        sides = [qualified(names_of(self.source_table)), qualified(names_of(self.target_table))]
        for name, side in zip(("source_table", "target_table"), sides, strict=True):
            if len(set(side)) < len(side):
                raise ConfigurationError(f"{check}: {name} names a table twice: {', '.join(side)}.")
        source, target = sides
        if not target and rows is not None:
            target = qualified(names_of(rows.table))
        if source and set(source) == set(target) and self._reads_both_alike():
            raise ConfigurationError(f"{check}: source and target are the same tables, {', '.join(sorted(source))}.")

    def _reads_both_alike(self) -> bool:
        renamed = any(name != given for name, given in self.source_expressions().items())
        return not renamed and (self.source_filter or None) == (self.target_filter or None)

    def agrees(self, difference: int, source: int) -> bool:
        """Return whether a difference of counts is within a tolerance, bounds included."""
        return within(difference, source, relative=self.tolerance, absolute=self.absolute_tolerance)


def _qualified_by(rows: RowsUnderCheck | None) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    """Return what completes bare names of tables, as far as the namespace of the table under check is known."""
    from airflow_provider_phlo.quality.engines.catalog_tables import CatalogTables

    engine = rows.engine if rows is not None else None
    if not isinstance(engine, CatalogTables):
        return lambda names: names
    return lambda names: tuple(map(engine.qualified, names))
