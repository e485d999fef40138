"""What all reconciliations share: two sides, the differences that are allowed, and how keys are shown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.reconciliation.differences import EXTRA, MISSING, Differences, KeyLabels
from airflow_provider_phlo.quality.rounding import ROUNDING
from airflow_provider_phlo.quality.sql_check import SQLCheck
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
    :param allow_missing: keys, groups or partitions that only the source has are fine.
    :param allow_extra: those that only the target has are fine.
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
        self.require_two_tables(rows.table)
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
        from airflow_provider_phlo.iceberg.declared import declared_columns
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

    def require_two_tables(self, under_check: str | None = None) -> None:
        """
        Refuse to compare a table with all of itself: that cannot fail.

        :param under_check: the table under check, which is the target if none is named.
        :raises ConfigurationError: source and target are the same.
        """
        same = set(names_of(self.source_table)) == set(names_of(self.target_table) or names_of(under_check))
        if self.source_table and same and not (self.source_filter or self.target_filter or self.source_columns):
            raise ConfigurationError(f"{type(self).__name__}: source and target are the same tables.")

    def agrees(self, difference: float, source: float) -> bool:
        """Return whether a difference is within a tolerance, bounds included."""
        share = self.tolerance * (1 + ROUNDING)
        return difference <= self.absolute_tolerance or difference <= share * abs(source)


def require_tolerances(owner: str, **tolerances: float) -> None:
    """
    Assert that tolerances are numbers from 0.

    :param owner: whose they are, in the message.
    :raises ConfigurationError: one of them is something else.
    """
    for name, value in tolerances.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise ConfigurationError(f"{owner}: {name} is {value!r}, it must be a number from 0.")
