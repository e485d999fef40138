"""What every reconciliation has: two sides, what may differ, and how it is told."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_phlo.exceptions import ConfigurationError
from airflow_provider_phlo.quality.base import SQLCheck
from airflow_provider_phlo.quality.bounds import ROUNDING
from airflow_provider_phlo.quality.reconciliation.differences import EXTRA, MISSING, Differences, Naming
from airflow_provider_phlo.terms import names_of

if TYPE_CHECKING:
    from airflow_provider_phlo.quality.reconciliation.sides import Side
    from airflow_provider_phlo.quality.scan import Rows


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
        (Where one partition of the table is checked, source and target are both read of that day only, anyway.)
    :param tolerance: the largest difference that passes, as a share of what the source has (0.01 is 1 %).
    :param absolute_tolerance: the largest difference that passes, as a number.
    :param allow_missing: keys, groups or partitions that only the source has are fine.
    :param allow_extra: those that only the target has are fine.
    :param limit: of each kind of difference, at most so many keys are named.
    :param show_keys: name keys at all.
    :param pii_columns: columns whose values are masked where keys are named; those that a table's schema tags ``pii``
        are anyway.
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
        what = type(self).__name__
        self.source_table = names_of(self.source_table)
        self.target_table = names_of(self.target_table)
        self.pii_columns = names_of(self.pii_columns)
        require_tolerances(what, tolerance=self.tolerance, absolute_tolerance=self.absolute_tolerance)
        if isinstance(self.limit, bool) or not isinstance(self.limit, int) or self.limit < 0:
            raise ConfigurationError(f"{what}: limit is {self.limit!r}, it must be a whole number from 0.")
        if not isinstance(self.source_columns, Mapping):
            raise ConfigurationError(f"{what}: source_columns must map a column of the target to the source's.")
        self.require_two_tables()

    def problem(self, types: Mapping[str, str]) -> str | None:
        """Return which columns the table under check lacks, if it is the target."""
        return None if self.target_table else super().problem(types)

    def check_name(self) -> str:
        """Return the name in results."""
        return self.name or f"{type(self).__name__}({', '.join(names_of(self.source_table))})"

    def expectation(self) -> str:
        """Return what may differ."""
        allowed = [f"{self.tolerance:.4g} of the source"] if self.tolerance else []
        allowed += [f"{self.absolute_tolerance:g}"] if self.absolute_tolerance else []
        return f"equal to {' + '.join(names_of(self.source_table))}" + (
            f" within {' or '.join(allowed)}" if allowed else ""
        )

    def sides(self, rows: Rows) -> tuple[Side, Side]:
        """
        Return source and target.

        :raises ConfigurationError: a table or column is not there.
        """
        from airflow_provider_phlo.quality.reconciliation.sides import source_side, target_side

        sources = names_of(self.source_table)
        if not sources:
            raise ConfigurationError(f"{type(self).__name__} names no source_table.")
        self.require_two_tables(rows.table)
        return (
            source_side(rows, sources, self.source_names(), self.source_filter),
            target_side(rows, names_of(self.target_table), self.target_filter),
        )

    def source_names(self) -> Mapping[str, str]:
        """Return what the source has for columns of the target that it calls otherwise."""
        return self.source_columns

    def minded(self, found: Differences, *fine: str) -> Differences:
        """Return the differences that matter: none of ``fine``, nor of what is allowed."""
        allowed = {MISSING: self.allow_missing, EXTRA: self.allow_extra}
        return found.without(*fine, *(kind for kind, given in allowed.items() if given))

    def naming(self, rows: Rows, columns: Sequence[str]) -> Naming:
        """Return how keys of these columns are told."""
        hidden = (
            set(columns) if not self.show_keys else {*self.pii_columns, *rows.pii, *self._declared_pii(rows, columns)}
        )
        return Naming(tuple(columns), self.limit, frozenset(hidden))

    def _declared_pii(self, rows: Rows, columns: Sequence[str]) -> set[str]:
        """Return those columns that other tables tag ``pii``, by the name or expression that stands for them."""
        from airflow_provider_phlo.iceberg.declared import declared_columns
        from airflow_provider_phlo.quality.engines import CatalogTables

        if not isinstance(rows.engine, CatalogTables):  # data frames declare nothing
            return set()
        called, found = self.source_names(), set()
        for table in (*names_of(self.source_table), *names_of(self.target_table)):
            _, pii = declared_columns(rows.engine.loaded(rows.engine.qualified(table)))
            for name in columns:
                given = called.get(name, name)
                found |= {name} if pii.intersection([name, given, *re.findall(r"\w+", given)]) else set()
        return found

    def require_two_tables(self, under_check: str | None = None) -> None:
        """
        Refuse to compare a table with all of itself: that cannot fail.

        :param under_check: the target where none is named.
        :raises ConfigurationError: it would be compared.
        """
        same = set(names_of(self.source_table)) == set(names_of(self.target_table) or names_of(under_check))
        if self.source_table and same and not (self.source_filter or self.target_filter or self.source_columns):
            raise ConfigurationError(f"{type(self).__name__}: source and target are the same tables.")

    def agrees(self, difference: float, source: float) -> bool:
        """Return whether a difference is within a tolerance, or just at it."""
        share = self.tolerance * (1 + ROUNDING)
        return difference <= self.absolute_tolerance or difference <= share * abs(source)


def require_tolerances(what: str, **given: float) -> None:
    """
    Check tolerances.

    :raises ConfigurationError: one of them is no number from 0.
    """
    for name, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise ConfigurationError(f"{what}: {name} is {value!r}, it must be a number from 0.")
